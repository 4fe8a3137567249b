package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DecodeFactor and DecodeSlack bound what decoding a body may allocate: factor times
// its length plus slack. Requests of real clients need two to five times their
// length; only bodies made of thousands of empty or one-letter names come near the
// factor, and the slack lets those of up to some ten kilobytes pass.
const (
	DecodeFactor = 8
	DecodeSlack  = 128 << 10
)

// DecodeRequest decodes the body of a request into a new kmsg request.
func DecodeRequest(h RequestHeader, body []byte) (kmsg.Request, error) {
	req := NewRequest(h.Key)
	if req == nil {
		return nil, fmt.Errorf("%w: API key %d has no body", ErrMalformed, h.Key)
	}
	if err := DecodeInto(req, h.Version, body); err != nil {
		return nil, err
	}
	return req, nil
}

// DecodeInto decodes the body of a request of this version into req. Byte fields
// alias the body, strings are copies.
func DecodeInto(req kmsg.Request, version int16, body []byte) error {
	if err := prepare(req, version, body); err != nil {
		return err
	}
	return wrapDecode(req, version, req.ReadFrom(body))
}

// DecodeAlias is DecodeInto with strings that alias the body too: nothing of req
// may be used once the body's memory is released.
func DecodeAlias(req kmsg.Request, version int16, body []byte) error {
	if err := prepare(req, version, body); err != nil {
		return err
	}
	if u, ok := req.(kmsg.UnsafeReadFrom); ok {
		return wrapDecode(req, version, u.UnsafeReadFrom(body))
	}
	return wrapDecode(req, version, req.ReadFrom(body))
}

// prepare sets the version and checks the body before anything is allocated for it.
func prepare(req kmsg.Request, version int16, body []byte) error {
	key := req.Key()
	if key < 0 || int(key) >= len(schemas) || version < 0 || version > req.MaxVersion() {
		return fmt.Errorf("%w: API key %d has no version %d", ErrMalformed, key, version)
	}
	req.SetVersion(version)
	return wrapDecode(req, version, checkBody(key, version, req.IsFlexible(), body))
}

func wrapDecode(req kmsg.Request, version int16, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("decoding %s v%d: %w: %w", Name(req.Key()), version, ErrMalformed, err)
}
