package netx

import (
	"io"
	"net"
	"sync"
	"syscall"
)

// MinBuffer is the least length of a buffer given to ReadReady. It is also how much ReadReady reads at first from a
// connection that cannot be asked whether it is readable.
const MinBuffer = 64

const (
	// copyBuffer is the size of the pieces in which a file is sent that sendfile cannot send.
	copyBuffer = 64 << 10
	// gatherBuffer is the size up to which slices are gathered for a connection without writev: one TLS record.
	gatherBuffer = 16 << 10
	// maxKeptSlices bounds the list of slices that a Socket keeps for its next WriteBuffers.
	maxKeptSlices = 1024
)

// The pools hold arrays by pointer, because a slice in an interface allocates.
var (
	copyBuffers   = sync.Pool{New: func() any { return new([copyBuffer]byte) }}
	gatherBuffers = sync.Pool{New: func() any { return new([gatherBuffer]byte) }}
)

// Socket is a connection with the operations that net.Conn lacks. One goroutine at a time may read and one may write,
// each through Socket or through the embedded Conn. The operations honour deadlines and Close as those of net.Conn do.
type Socket struct {
	net.Conn
	// raw is the descriptor of a plain TCP or Unix connection, nil for all others: for them the portable ways are used.
	raw syscall.RawConn

	read  readState
	write writeState
	watch watch
}

// readState belongs to the reading goroutine.
type readState struct {
	try  func(fd uintptr) bool // made once, so that a read allocates nothing
	get  func() []byte
	put  func()
	held []byte // a buffer that a read found nothing for and that could not be given back
	wait bool   // the connection was waited for in this call
	n    int
	err  error
	peek [1]byte
	// small is what a connection without descriptor is waited for with, made at its first read.
	small []byte
}

// writeState belongs to the writing goroutine.
type writeState struct {
	try    func(fd uintptr) bool
	srcFd  int
	off    int64
	left   int
	err    error
	kept   [][]byte    // backing array for view
	view   net.Buffers // consumed by writev
	direct bool        // sendfile works on this connection and kind of file
}

// NewSocket wraps conn. Only plain *net.TCPConn and *net.UnixConn are driven by their descriptor; what wraps them, such
// as TLS, must see every byte.
func NewSocket(conn net.Conn) *Socket {
	s := &Socket{Conn: conn}
	var sc syscall.Conn
	switch c := conn.(type) {
	case *net.TCPConn:
		sc = c
	case *net.UnixConn:
		sc = c
	default:
		return s
	}
	if raw, err := sc.SyscallConn(); err == nil {
		s.raw = raw
		s.read.try = s.tryRead
	}
	return s
}

// ReadReady waits until there is input, then calls get for a buffer of at least MinBuffer bytes and reads into it once.
// It returns what one Read returns: at least one byte, or an error, io.EOF at the end. While it waits no buffer is held.
// The buffer from get is the caller's to give back, also after an error.
//
// With put nil, each call costs a system call to ask for input before get is called. With put set, get is called at
// once, and if there is no input put is called before waiting and get again after: cheaper for busy connections.
// An end or an error that is found while asking is returned without a call of get.
func (s *Socket) ReadReady(get func() []byte, put func()) (int, error) {
	if s.raw == nil || !canTryRead {
		return s.readSmall(get)
	}
	r := &s.read
	r.get, r.put, r.wait, r.n, r.err = get, put, false, 0, nil
	err := s.raw.Read(r.try)
	r.get, r.put, r.held = nil, nil, nil
	if err == nil {
		err = r.err
	}
	return r.n, err
}

// readSmall waits with a few bytes of buffer, then moves what came into the caller's.
func (s *Socket) readSmall(get func() []byte) (int, error) {
	if s.read.small == nil {
		s.read.small = make([]byte, MinBuffer)
	}
	small := s.read.small
	n, err := s.Conn.Read(small)
	if n == 0 {
		return 0, err
	}
	return copy(get()[:n], small), err
}

// Sendfile sends n bytes of f from off and returns how many were sent; fewer only with an error. The offset of the
// file's descriptor is neither used nor moved. A file that ends too early gives io.ErrUnexpectedEOF. On Linux a plain
// connection takes the bytes from the page cache; otherwise they are copied through a pooled buffer.
func (s *Socket) Sendfile(f Source, off int64, n int) (int, error) {
	if n <= 0 {
		return 0, nil
	}
	sent := 0
	if fd, ok := f.Fd(); ok && s.raw != nil {
		var done bool
		var err error
		if sent, done, err = s.sendfile(int(fd), off, n); done || err != nil {
			return sent, err
		}
	}
	m, err := s.copyRange(f, off+int64(sent), n-sent)
	return sent + m, err
}

// SendMapped is Sendfile by another way: on Linux a plain connection is written from a mapping of the file, which lasts
// for the call. It copies once, into the socket, where reading into a buffer copies twice; to a peer on the same machine
// it is cheaper than sendfile for both sides. head is written before the range, in the same system call where that is
// possible, so that a peer that waits for it wakes once; it may be empty, and is left as it was. What is returned counts
// the file's bytes only. Where mapping does not work the bytes are copied through a pooled buffer.
// A range should be long: a call costs three system calls more than a write.
func (s *Socket) SendMapped(head [][]byte, f Source, off int64, n int) (int, error) {
	sent, mapped := 0, false
	if fd, ok := f.Fd(); ok && s.raw != nil && n > 0 {
		var err error
		if sent, mapped, err = s.sendMapped(head, int(fd), off, n); err != nil {
			return sent, err
		}
	}
	if !mapped && len(head) > 0 {
		if _, err := s.WriteBuffers(head); err != nil {
			return 0, err
		}
	}
	if sent >= n {
		return sent, nil
	}
	m, err := s.copyRange(f, off+int64(sent), n-sent)
	return sent + m, err
}

// copyRange sends a range of a file by reading and writing.
func (s *Socket) copyRange(f io.ReaderAt, off int64, n int) (int, error) {
	buf := copyBuffers.Get().(*[copyBuffer]byte)
	defer copyBuffers.Put(buf)
	sent := 0
	for sent < n {
		chunk := buf[:min(copyBuffer, n-sent)]
		got, err := f.ReadAt(chunk, off+int64(sent))
		if got > 0 {
			m, werr := s.Conn.Write(chunk[:got])
			sent += m
			if werr != nil {
				return sent, werr
			}
		}
		if got == len(chunk) {
			continue
		}
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return sent, err
	}
	return sent, nil
}

// WriteBuffers writes all slices in order and returns how many bytes were written; fewer than all only with an error.
// Unlike net.Buffers it leaves bufs as it was, so pooled slices can be given back. A plain connection writes them with
// writev; for others small slices are gathered, so that TLS makes full records.
func (s *Socket) WriteBuffers(bufs [][]byte) (int64, error) {
	if len(bufs) == 1 {
		n, err := s.Conn.Write(bufs[0])
		return int64(n), err
	}
	if s.raw == nil {
		return s.writeGathered(bufs)
	}
	return s.writev(bufs, nil)
}

// writev writes the slices and then last, if there is one.
func (s *Socket) writev(bufs [][]byte, last []byte) (int64, error) {
	w := &s.write
	w.kept = append(w.kept[:0], bufs...)
	if len(last) > 0 {
		w.kept = append(w.kept, last)
	}
	w.view = w.kept
	n, err := w.view.WriteTo(s.Conn)
	clear(w.kept)
	w.view = nil
	if cap(w.kept) > maxKeptSlices {
		w.kept = nil
	}
	return n, err
}

func (s *Socket) writeGathered(bufs [][]byte) (int64, error) {
	gather := gatherBuffers.Get().(*[gatherBuffer]byte)
	defer gatherBuffers.Put(gather)
	var written int64
	filled := 0
	flush := func(b []byte) error {
		n, err := s.Conn.Write(b)
		written += int64(n)
		return err
	}
	for _, b := range bufs {
		for len(b) > 0 {
			if filled == 0 && len(b) >= gatherBuffer {
				if err := flush(b); err != nil {
					return written, err
				}
				break
			}
			n := copy(gather[filled:], b)
			b, filled = b[n:], filled+n
			if filled < gatherBuffer {
				continue
			}
			filled = 0
			if err := flush(gather[:]); err != nil {
				return written, err
			}
		}
	}
	if filled == 0 {
		return written, nil
	}
	return written, flush(gather[:filled])
}
