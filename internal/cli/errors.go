package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
)

// answered is a broker's error with the message that the broker sent along.
type answered struct {
	err     error
	message string
}

func (a *answered) Error() string { return a.message }
func (a *answered) Unwrap() error { return a.err }

// withMessage is the error of a response: its message, or the code's own.
func withMessage(code int16, message *string) error {
	err := kerr.ErrorForCode(code)
	if err == nil || message == nil {
		return messageOr(err, "")
	}
	return messageOr(err, *message)
}

// messageOr gives a broker's error its message, or the description of its code.
func messageOr(err error, message string) error {
	if err == nil {
		return nil
	}
	var ke *kerr.Error
	if message == "" && errors.As(err, &ke) {
		message = ke.Description
	}
	if message == "" {
		return err
	}
	return &answered{err: err, message: message}
}

// reason turns a client's error into what a person can act on.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("Timed out waiting for the cluster to answer; is a broker running at the bootstrap address? (%v)", err)
	}
	var ke *kerr.Error
	var a *answered
	if !errors.As(err, &a) && errors.As(err, &ke) {
		return ke.Description
	}
	return err.Error()
}
