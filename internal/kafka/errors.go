package kafka

import (
	"errors"
	"fmt"
	"sort"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Code is one error of the protocol. It is an error itself, so that a bare code
// can be returned, and the identity that errors.Is compares with.
type Code struct {
	num  int16
	name string
}

// byNum holds every code that this package defines. It is written only during
// package initialisation.
var byNum = map[int16]*Code{}

func code(num int16, name string) *Code {
	c := &Code{num: num, name: name}
	byNum[num] = c
	return c
}

// Num is the number that stands in responses.
func (c *Code) Num() int16 { return c.num }

// Name is the protocol guide's name, for example NOT_LEADER_OR_FOLLOWER.
func (c *Code) Name() string { return c.name }

// Message is the explanation that users of the protocol know for the code.
func (c *Code) Message() string {
	if e := kerr.TypedErrorForCode(c.num); e != nil {
		return e.Description
	}
	return c.name
}

// Retriable says whether a client may repeat the request unchanged.
func (c *Code) Retriable() bool {
	e := kerr.TypedErrorForCode(c.num)
	return e != nil && e.Retriable
}

// Error makes a bare code usable as an error.
func (c *Code) Error() string { return c.name }

// Errorf returns an error with this code and a message that says what happened,
// to what. %w keeps the cause.
func (c *Code) Errorf(format string, args ...any) error {
	return &codedError{code: c, err: fmt.Errorf(format, args...)}
}

// codedError is a message with a code; it unwraps to both the code and the cause.
type codedError struct {
	code *Code
	err  error
}

func (e *codedError) Error() string   { return e.err.Error() }
func (e *codedError) Unwrap() []error { return []error{e.code, e.err} }

// CodeOf returns the code of err: nil for a nil error, the first code in err's
// tree, or UnknownServerError when err carries none.
func CodeOf(err error) *Code {
	if err == nil {
		return nil
	}
	var c *Code
	if errors.As(err, &c) {
		return c
	}
	return UnknownServerError
}

// NumOf returns the number to put into a response for err; 0 means none.
func NumOf(err error) int16 {
	if c := CodeOf(err); c != nil {
		return c.num
	}
	return 0
}

// NumAndText returns what stands for err in a response: the number, and the text, which
// is the code's own message for a bare code; 0 and nil for no error.
func NumAndText(err error) (num int16, text *string) {
	if err == nil {
		return 0, nil
	}
	said := err.Error()
	if c, ok := err.(*Code); ok {
		said = c.Message()
	}
	return NumOf(err), &said
}

// CodeForNum returns the code with the given number. It returns nil for 0 and
// UnknownServerError for a number that is not in the protocol.
func CodeForNum(num int16) *Code {
	if num == 0 {
		return nil
	}
	if c, ok := byNum[num]; ok {
		return c
	}
	return UnknownServerError
}

// AllCodes returns every code, ordered by number.
func AllCodes() []*Code {
	all := make([]*Code, 0, len(byNum))
	for _, c := range byNum {
		all = append(all, c)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].num < all[j].num })
	return all
}
