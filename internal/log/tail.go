package log

import (
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/invariant"
)

const (
	// tailChunk is the unit in which memory for recent bytes is handed out.
	tailChunk = 128 << 10
	// maxTailChunks bounds the memory that one log may hold.
	maxTailChunks = 64
	// defaultTailBytes bounds the memory of all logs together.
	defaultTailBytes = 64 << 20
)

// tailPool hands out chunks of memory outside the Go heap in which logs keep a
// copy of what was appended last, so that consumers at the tail are served
// without reading a file. When all chunks are given out the one given out first
// is taken back; readers that pin it keep it until they are done.
//
// mu guards free, fifo and closed. Pinning takes no lock.
type tailPool struct {
	mem []byte

	mu     sync.Mutex
	free   []*chunk
	fifo   []*chunk // given out, oldest first, as a ring: fifo[head:]
	head   int
	closed bool
}

// chunk is one piece of the pool's memory. state holds the generation, which
// changes each time the chunk is given out, in the upper half, and in the lower
// the number of pins, plus one while a log owns it.
type chunk struct {
	b     []byte
	pool  *tailPool
	state atomic.Uint64
}

const chunkRefs = 1<<32 - 1

// newTailPool takes limit bytes; none at all when limit is negative.
func newTailPool(limit int64) *tailPool {
	if limit == 0 {
		limit = defaultTailBytes
	}
	n := int(limit / tailChunk)
	p := &tailPool{}
	if n <= 0 {
		return p
	}
	if p.mem = mapMemory(n * tailChunk); p.mem == nil {
		return p
	}
	chunks := make([]chunk, n)
	for i := n - 1; i >= 0; i-- {
		c := &chunks[i]
		c.pool = p
		c.b = p.mem[i*tailChunk : (i+1)*tailChunk : (i+1)*tailChunk]
		p.free = append(p.free, c)
	}
	return p
}

// get returns a chunk with one reference, its owner's, and its generation; nil
// when there is none to be had.
func (p *tailPool) get() (*chunk, uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, 0
	}
	// A chunk taken back while readers hold it comes to free later; a bounded
	// number of others is tried meanwhile.
	for tries := 0; len(p.free) == 0; tries++ {
		if p.head == len(p.fifo) || tries == 8 {
			return nil, 0
		}
		c := p.fifo[p.head]
		p.fifo[p.head] = nil
		p.head++
		if c.state.Add(^uint64(0))&chunkRefs == 0 {
			p.free = append(p.free, c)
		}
	}
	if p.head > 1024 && p.head > len(p.fifo)/2 {
		n := copy(p.fifo, p.fifo[p.head:])
		clear(p.fifo[n:])
		p.fifo, p.head = p.fifo[:n], 0
	}
	c := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	gen := uint32(c.state.Load()>>32) + 1
	c.state.Store(uint64(gen)<<32 | 1)
	p.fifo = append(p.fifo, c)
	return c, gen
}

// pin takes a use of the chunk if it still is what it was when gen was noted.
func (c *chunk) pin(gen uint32) bool {
	for {
		s := c.state.Load()
		if uint32(s>>32) != gen || s&chunkRefs == 0 {
			return false
		}
		if c.state.CompareAndSwap(s, s+1) {
			return true
		}
	}
}

// unpin gives a use back; the last one returns the chunk to the pool.
func (c *chunk) unpin() {
	s := c.state.Add(^uint64(0))
	invariant.Check(s&chunkRefs != chunkRefs, "tail chunk released too often")
	if s&chunkRefs != 0 {
		return
	}
	p := c.pool
	p.mu.Lock()
	p.free = append(p.free, c)
	unmap := p.closed && len(p.free) == len(p.mem)/tailChunk
	p.mu.Unlock()
	if unmap {
		unmapMemory(p.mem)
	}
}

// close gives the memory back, at once or when the last reader is done.
func (p *tailPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.mem == nil {
		p.closed = true
		return
	}
	p.closed = true
	for ; p.head < len(p.fifo); p.head++ {
		if c := p.fifo[p.head]; c.state.Add(^uint64(0))&chunkRefs == 0 {
			p.free = append(p.free, c)
		}
	}
	if len(p.free) == len(p.mem)/tailChunk {
		unmapMemory(p.mem)
	}
}

// tailEntry says that a chunk holds the bytes [pos, limit) of a segment's file.
// limit only grows, and is stored after the bytes were copied.
type tailEntry struct {
	c     *chunk
	gen   uint32
	seg   *segment
	pos   int64
	limit atomic.Int64
}

// tailView is what a log has in memory, oldest first, without gaps within a
// segment. It is immutable but for the limit of the last entry.
type tailView struct {
	entries []*tailEntry
}

// addTail copies appended bytes into the log's tail; l.mu is held. Without memory
// to be had the tail is given up until the next append.
func (l *Log) addTail(seg *segment, data []byte, pos int64) {
	pool := l.env.tail
	if pool.mem == nil {
		return
	}
	var view *tailView
	var last *tailEntry
	if view = l.tail.Load(); view != nil && len(view.entries) > 0 {
		last = view.entries[len(view.entries)-1]
		if last.seg != seg || last.limit.Load() != pos || !last.c.pin(last.gen) {
			last = nil
		}
	}
	for {
		if last != nil {
			n := copy(last.c.b[pos-last.pos:], data)
			pos += int64(n)
			data = data[n:]
			last.limit.Store(pos)
			last.c.unpin()
		}
		if len(data) == 0 {
			return
		}
		c, gen := pool.get()
		if c == nil || !c.pin(gen) {
			l.tail.Store(nil)
			return
		}
		last = &tailEntry{c: c, gen: gen, seg: seg, pos: pos}
		last.limit.Store(pos)
		view = view.with(last)
		l.tail.Store(view)
	}
}

// with returns the view with e at the end, without the entries whose memory was
// taken back and without the oldest above the bound.
func (v *tailView) with(e *tailEntry) *tailView {
	var old []*tailEntry
	if v != nil {
		old = v.entries
	}
	if len(old) >= maxTailChunks {
		old = old[len(old)-maxTailChunks+1:]
	}
	entries := make([]*tailEntry, 0, len(old)+1)
	for _, o := range old {
		s := o.c.state.Load()
		if uint32(s>>32) == o.gen && s&chunkRefs != 0 {
			entries = append(entries, o)
		}
	}
	return &tailView{append(entries, e)}
}

// pinTail appends the memory that holds all of [pos, end) of seg to the pin set;
// without all of it nothing is pinned and the result is false.
func (l *Log) pinTail(p *pinSet, seg *segment, pos, end int64) bool {
	view := l.tail.Load()
	if view == nil {
		return false
	}
	first := -1
	for i := len(view.entries) - 1; i >= 0; i-- {
		if e := view.entries[i]; e.seg == seg && e.pos <= pos && pos < e.limit.Load() {
			first = i
			break
		}
	}
	if first < 0 {
		return false
	}
	mark, spans := len(p.chunks), len(p.spans)
	for _, e := range view.entries[first:] {
		limit := min(e.limit.Load(), end)
		if e.seg != seg || e.pos > pos || limit <= pos || !e.c.pin(e.gen) {
			break
		}
		p.chunks = append(p.chunks, e.c)
		p.addMemory(e.c.b[pos-e.pos : limit-e.pos])
		if pos = limit; pos == end {
			return true
		}
	}
	for _, c := range p.chunks[mark:] {
		c.unpin()
	}
	p.chunks = p.chunks[:mark]
	p.spans = p.spans[:spans]
	return false
}
