package server

import (
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/bufpool"
	"github.com/gregorhq/gregor/internal/invariant"
)

// frame is a piece of memory that bytes of requests are read into. The reader and
// every request whose body lies in it hold a reference; the last one returns the
// memory to the pool and to the budget.
type frame struct {
	buf    *bufpool.Buf
	budget *bufpool.Budget
	refs   atomic.Int32
	// charged is what the budget holds for this frame. The reader sets it before
	// anyone else has a reference.
	charged int64
}

var framePool = sync.Pool{New: func() any { return new(frame) }}

// newFrame returns a frame of at least n bytes with one reference, not yet charged.
func newFrame(n int) *frame {
	f := framePool.Get().(*frame)
	f.buf = bufpool.Get(n)
	f.refs.Store(1)
	return f
}

// bytes returns all of the frame's memory.
func (f *frame) bytes() []byte { return f.buf.Bytes(f.buf.Cap()) }

func (f *frame) cap() int { return f.buf.Cap() }

func (f *frame) retain() { f.refs.Add(1) }

// exclusive says whether the caller's reference is the only one.
func (f *frame) exclusive() bool { return f.refs.Load() == 1 }

func (f *frame) release() {
	n := f.refs.Add(-1)
	invariant.Check(n >= 0, "frame released %d times too often", -n)
	if n != 0 {
		return
	}
	if f.charged > 0 {
		f.budget.Release(f.charged)
	}
	f.buf.Release()
	f.buf, f.budget, f.charged = nil, nil, 0
	framePool.Put(f)
}
