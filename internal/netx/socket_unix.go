//go:build unix

package netx

import (
	"io"
	"os"
	"syscall"
)

// canTryRead tells that tryRead works here.
const canTryRead = true

// tryRead is called by the poller: it reads if there is input, and returns false to be called again when there is.
func (s *Socket) tryRead(fd uintptr) bool {
	r := &s.read
	if r.put == nil && !r.wait && !r.readable(int(fd)) {
		r.wait = true
		return r.err != nil
	}
	buf := r.held
	if buf == nil {
		buf = r.get()
	}
	n, err := retry(func() (int, error) { return syscall.Read(int(fd), buf) })
	switch {
	case err == syscall.EAGAIN:
		r.wait = true
		if r.put != nil {
			r.put()
		} else {
			r.held = buf
		}
		return false
	case err != nil:
		r.err = os.NewSyscallError("read", err)
	case n == 0 && len(buf) > 0:
		r.err = io.EOF
	default:
		r.n = n
	}
	return true
}

// readable asks for input without taking it. At the end of input, or after an error, it returns false and sets err.
func (r *readState) readable(fd int) bool {
	n, err := retry(func() (int, error) {
		n, _, err := syscall.Recvfrom(fd, r.peek[:], syscall.MSG_PEEK)
		return n, err
	})
	switch {
	case err == syscall.EAGAIN:
		return false
	case err != nil:
		r.err = os.NewSyscallError("recvfrom", err)
	case n == 0:
		r.err = io.EOF
	}
	return r.err == nil
}

// retry repeats a system call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
