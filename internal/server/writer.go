package server

import (
	"fmt"
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/bufpool"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Limits of one write. The system takes at most 1,024 slices at a time; a write of
// more than maxWriteBytes is cut so that the reaper sees a slow peer's progress.
const (
	maxWriteSlices = 512
	maxWriteBytes  = 1 << 20
	copyChunk      = 256 << 10
)

// batch is what one round of writing works on. Rounds borrow it, so that an idle
// connection holds none.
type batch struct {
	reqs  []*Request
	bufs  [][]byte
	bytes int
}

var batchPool = sync.Pool{New: func() any { return new(batch) }}

// writeAsync is the writer goroutine. It is started as the holder of conn.writing
// and ends when nothing is ready.
func (c *conn) writeAsync() { c.writeReady() }

// writeReady writes responses in order until the head of the queue is not completed
// or the connection is dead. The caller holds conn.writing and gives it up.
func (c *conn) writeReady() {
	b := batchPool.Get().(*batch)
	for c.takeReady(b) {
		first := b.reqs[0].ReceivedAt
		begin := first.Add(c.srv.cfg.Clock.Since(first))
		err := c.writeBatch(b)
		last := c.finishBatch(b, begin, err)
		if err == nil && last != nil {
			c.srv.logClose(c, last)
		}
		if err != nil || last != nil {
			c.kill()
		}
	}
	batchPool.Put(b)
}

// takeReady moves completed requests from the head of the queue into the batch. When
// there is none it gives conn.writing up and returns false.
func (c *conn) takeReady(b *batch) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices := 0
	for r := c.head; r != nil && r.done && slices < maxWriteSlices; r = c.head {
		c.head = r.next
		if c.head == nil {
			c.tail = nil
		}
		r.next = nil
		b.reqs = append(b.reqs, r)
		slices += 2 + len(r.spans)
		if r.closing != nil {
			break // nothing leaves after it
		}
	}
	if len(b.reqs) == 0 {
		c.writing = false
		if c.dead.Load() {
			c.room.Broadcast() // the reader waits for the writer before it ends
		}
		return false
	}
	return true
}

// finishBatch releases what was written and makes room for the reader. It returns
// why the connection must be closed when a request of the batch asked for it.
func (c *conn) finishBatch(b *batch, begin time.Time, err error) (closing error) {
	now := c.srv.cfg.Clock.Now()
	m := &c.srv.metrics
	queued, sent := 0, 0
	var times spans
	n := len(b.reqs)
	for i, r := range b.reqs {
		queued += r.mem
		sent += r.size
		if r.closing != nil {
			closing = r.closing
		}
		if err == nil && r.size > 0 {
			r.api.ResponseBytes.Add(int64(r.size))
		}
		if err == nil && r.closing == nil {
			times.answered(r, begin, now)
		}
		r.dropResponse()
		b.reqs[i] = nil
	}
	times.flush()
	b.reqs = b.reqs[:0]
	m.RequestsInFlight.Add(-int64(n))
	m.ResponseBytesQueued.Add(-int64(sent))
	if err == nil {
		m.BytesOut.Add(int64(sent))
	}
	c.progressedAt(now)
	c.mu.Lock()
	c.inFlight -= n
	c.queued -= queued
	c.room.Broadcast()
	c.mu.Unlock()
	return closing
}

// writeBatch writes the responses of a batch: memory with as few calls as possible,
// file ranges in between.
func (c *conn) writeBatch(b *batch) error {
	defer b.clear()
	for _, r := range b.reqs {
		if r.size == 0 {
			continue
		}
		if err := c.add(b, r.out); err != nil {
			return err
		}
		if err := c.add(b, r.prefix); err != nil {
			return err
		}
		for i := range r.spans {
			if err := c.addSpan(b, &r.spans[i]); err != nil {
				return err
			}
		}
	}
	return c.flush(b)
}

// clear empties the list, so that the pool keeps no slice alive.
func (b *batch) clear() {
	clear(b.bufs)
	b.bufs, b.bytes = b.bufs[:0], 0
}

func (c *conn) addSpan(b *batch, s *vfs.Span) error {
	if s.File == nil {
		return c.add(b, s.B)
	}
	return c.sendFile(b, s)
}

// add puts memory on the list and writes the list when it is long enough. A long
// piece is cut, but not so that a short rest needs a write of its own.
func (c *conn) add(b *batch, p []byte) error {
	for len(p) > 2*maxWriteBytes {
		if err := c.addPiece(b, p[:maxWriteBytes]); err != nil {
			return err
		}
		p = p[maxWriteBytes:]
	}
	return c.addPiece(b, p)
}

func (c *conn) addPiece(b *batch, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	b.bufs = append(b.bufs, p)
	b.bytes += len(p)
	if len(b.bufs) < maxWriteSlices && b.bytes < maxWriteBytes {
		return nil
	}
	if err := c.flush(b); err != nil {
		return err
	}
	c.progressed()
	return nil
}

// progressed notes that the peer sent or took something, however much is still to come.
func (c *conn) progressed() { c.lastActive.Store(c.srv.elapsed()) }

// progressedAt is progressed for who has read the clock already.
func (c *conn) progressedAt(now time.Time) { c.lastActive.Store(int64(now.Sub(c.srv.began))) }

// flush writes the list.
func (c *conn) flush(b *batch) error {
	var err error
	switch len(b.bufs) {
	case 0:
		return nil
	case 1:
		_, err = c.sock.Write(b.bufs[0])
	default:
		_, err = c.sock.WriteBuffers(b.bufs)
	}
	b.clear()
	if err != nil {
		return fmt.Errorf("writing responses: %w", err)
	}
	return nil
}

// sendFile sends a file range in pieces. Encrypted connections and files without a
// descriptor go through a buffer. Of the two ways that the system has, sendfile moves
// pages that a receiver on the same machine then finds cold, so such a peer is written
// to from a mapping of the file (docs/adr/0005), together with the list before it.
func (c *conn) sendFile(b *batch, s *vfs.Span) error {
	off, left := s.Off, s.Len
	_, hasFd := s.File.Fd()
	direct := hasFd && !c.srv.cfg.NoSendfile && c.l.Protocol == PlainText
	if !direct || !c.loopback {
		if err := c.flush(b); err != nil {
			return err
		}
	}
	for left > 0 {
		var n int
		var err error
		switch {
		case !direct:
			n, err = c.copyFile(s, off, min(left, copyChunk))
		case c.loopback:
			n, err = c.sock.SendMapped(b.bufs, s.File, off, min(left, maxWriteBytes))
			b.clear()
		default:
			n, err = c.sock.Sendfile(s.File, off, min(left, maxWriteBytes))
		}
		if err != nil {
			return fmt.Errorf("sending %d bytes of %s from %d: %w", left, s.File.Name(), off, err)
		}
		if n <= 0 {
			return fmt.Errorf("sending %d bytes of %s from %d: the file ends before them", left, s.File.Name(), off)
		}
		off += int64(n)
		left -= n
		c.progressed()
	}
	return nil
}

// copyFile reads n bytes of the range at off and writes them.
func (c *conn) copyFile(s *vfs.Span, off int64, n int) (int, error) {
	buf := bufpool.Get(n)
	defer buf.Release()
	if m, err := s.File.ReadAt(buf.B, off); m < n {
		return 0, err
	}
	return c.sock.Write(buf.B)
}
