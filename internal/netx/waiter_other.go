//go:build !linux

package netx

import "errors"

// Waiter exists on Linux only.
type Waiter struct{}

type watch struct{}

// NewWaiter always fails.
func NewWaiter() (*Waiter, error) { return nil, errors.ErrUnsupported }

// CanWatch says that no Waiter can wait for the connection.
func (s *Socket) CanWatch() bool { return false }

// Watch leaves the reading with the caller.
func (w *Waiter) Watch(*Socket, func()) bool { return false }

// Unwatch finds nothing that is watched.
func (w *Waiter) Unwatch(*Socket) bool { return false }

// Run returns at once.
func (w *Waiter) Run() error { return errors.ErrUnsupported }

// Close does nothing.
func (w *Waiter) Close() error { return nil }
