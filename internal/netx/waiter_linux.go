package netx

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// eventsAtOnce is how many sockets one look at the poller's list reports.
const eventsAtOnce = 128

// Waiter waits for sockets that no goroutine reads from. A goroutine that waits costs its stack, 2 to 4 KB; a socket of
// a Waiter costs an entry in a table. Run must be running; the other methods may be called by anybody.
//
// It is an epoll descriptor of its own, which the runtime's poller waits for in turn, so no thread is held. A socket
// reports once: the mask is EPOLLONESHOT, and whoever takes the socket out of the table owns its reading again.
type Waiter struct {
	file *os.File
	raw  syscall.RawConn

	closed atomic.Bool

	mu   sync.Mutex
	last uint64             // key that was given last; guarded by mu
	by   map[uint64]*Socket // guarded by mu; nil when Run has ended
}

// watch is a Socket's part of a Waiter. key and ready are guarded by the Waiter's mu; armed belongs to the goroutine
// that owns the reading.
type watch struct {
	key   uint64 // 0 while it is not watched
	ready func()
	armed bool // the descriptor is on the poller's list
}

// NewWaiter makes a Waiter. An error means that the process has no descriptor left.
func NewWaiter() (*Waiter, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "epoll")
	raw, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &Waiter{file: f, raw: raw, by: map[uint64]*Socket{}}, nil
}

// CanWatch says whether a Waiter can wait for this connection: a plain one with a descriptor.
func (s *Socket) CanWatch() bool { return s.raw != nil }

// Watch gives the socket's reading away: ready is called once, on Run's goroutine, when there is input, an end or an
// error to be read; it must not block. It returns false, and the reading stays the caller's, if the socket cannot be
// watched or is closed.
func (w *Waiter) Watch(s *Socket, ready func()) bool {
	if s.raw == nil {
		return false
	}
	op := syscall.EPOLL_CTL_ADD
	if s.watch.armed {
		op = syscall.EPOLL_CTL_MOD
	}
	w.mu.Lock()
	if w.by == nil {
		w.mu.Unlock()
		return false
	}
	s.watch.armed = true // while nobody else can own the socket yet
	w.last++
	key := w.last
	s.watch.key, s.watch.ready = key, ready
	w.by[key] = s
	w.mu.Unlock()
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: int32(uint32(key)), Pad: int32(uint32(key >> 32))}
	if w.control(s, op, &ev) == nil {
		return true
	}
	// If somebody has taken it back meanwhile, it is theirs.
	if _, mine := w.take(key); !mine {
		return true
	}
	s.watch.armed = op == syscall.EPOLL_CTL_MOD
	return false
}

// control changes the poller's list. Neither descriptor can be closed, and be another's, while it does.
func (w *Waiter) control(s *Socket, op int, ev *syscall.EpollEvent) (err error) {
	socketErr := s.raw.Control(func(fd uintptr) {
		if closed := w.raw.Control(func(poller uintptr) { err = syscall.EpollCtl(int(poller), op, int(fd), ev) }); closed != nil {
			err = closed
		}
	})
	return errors.Join(socketErr, err)
}

// Unwatch takes the reading back. It returns false if the socket is not watched: ready was called or will be, or
// nobody had given it away. A socket that is closed is not reported: who closes it takes it back.
func (w *Waiter) Unwatch(s *Socket) bool {
	w.mu.Lock()
	key := s.watch.key
	w.mu.Unlock()
	_, ok := w.take(key)
	return ok
}

// take removes a socket from the table and returns what was to be called.
func (w *Waiter) take(key uint64) (ready func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.by[key]
	if s == nil {
		return nil, false
	}
	delete(w.by, key)
	ready = s.watch.ready
	s.watch.key, s.watch.ready = 0, nil
	return ready, true
}

// Run reports sockets until Close, or until the system refuses to say which; then it returns an error. When it ends it
// reports whatever is still watched, so that nobody waits for a Waiter that is gone.
func (w *Waiter) Run() error {
	defer w.reportAll()
	events := make([]syscall.EpollEvent, eventsAtOnce)
	for {
		n := 0
		var waitErr error
		err := w.raw.Read(func(fd uintptr) bool {
			n, waitErr = retry(func() (int, error) { return syscall.EpollWait(int(fd), events, 0) })
			return n > 0 || waitErr != nil
		})
		switch {
		case w.closed.Load():
			return nil
		case err != nil:
			return fmt.Errorf("waiting for sockets: %w", err)
		case waitErr != nil:
			return fmt.Errorf("waiting for sockets: %w", os.NewSyscallError("epoll_wait", waitErr))
		}
		for _, ev := range events[:n] {
			// A key that is not in the table was taken back when the event was on its way.
			if ready, ok := w.take(uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32); ok {
				ready()
			}
		}
	}
}

func (w *Waiter) reportAll() {
	w.mu.Lock()
	var all []func()
	for _, s := range w.by {
		all = append(all, s.watch.ready)
		s.watch.key, s.watch.ready = 0, nil
	}
	w.by = nil
	w.mu.Unlock()
	for _, ready := range all {
		ready()
	}
}

// Close ends Run.
func (w *Waiter) Close() error {
	w.closed.Store(true)
	return w.file.Close()
}
