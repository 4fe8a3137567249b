package rpc

import (
	"errors"
	"fmt"
	"syscall"
)

var (
	// ErrNotSent is in the tree of errors of requests that the peer surely did not get.
	ErrNotSent = errors.New("the request was not sent")
	// ErrRefused says that the address refused the connection. It implies ErrNotSent.
	ErrRefused = errors.New("connection refused")
	// ErrClosed is the cause after Close.
	ErrClosed = errors.New("the connection was closed by this side")
)

// notSent marks err as that of a request which left nothing behind.
func notSent(err error) error {
	if errors.Is(err, ErrNotSent) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotSent, err)
}

// DialError tells what an error of netx says about addr: ErrRefused, or just that nothing
// was sent.
func DialError(addr string, err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return notSent(fmt.Errorf("%w: %s: %w", ErrRefused, addr, err))
	}
	return notSent(fmt.Errorf("connecting to %s: %w", addr, err))
}
