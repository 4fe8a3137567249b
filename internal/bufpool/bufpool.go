package bufpool

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/invariant"
)

const (
	// MinPooled is the size of the smallest class.
	MinPooled = 512
	// MaxPooled is the size of the largest class.
	MaxPooled = 4 << 20

	minShift = 9
	// Two classes for each power of two: the power itself and one and a half of it. The last class is MaxPooled alone.
	numClasses = 2*(22-minShift) + 1
	// exact is the class of a buffer that is dropped on release.
	exact = -1
	// poison fills released buffers when invariants are on.
	poison = 0xDB
)

var pools [numClasses]sync.Pool

// Buf is a buffer on loan. B may be resliced by the holder, but must not be made to point to other memory; the whole
// buffer returns to the pool with the last Release, and nobody may touch B after his own Release.
type Buf struct {
	B []byte

	whole []byte // the full class-sized array
	refs  atomic.Int32
	class int8
}

// Get returns a buffer with one reference and len(B) == n. Its content is arbitrary.
func Get(n int) *Buf {
	class := classOf(n)
	if class == exact {
		b := &Buf{whole: make([]byte, n), class: exact}
		b.B = b.whole
		b.refs.Store(1)
		return b
	}
	b, _ := pools[class].Get().(*Buf)
	if b == nil {
		b = &Buf{whole: make([]byte, classSize(class)), class: int8(class)}
	}
	b.B = b.whole[:n]
	b.refs.Store(1)
	return b
}

// Retain adds a reference. The caller must hold one.
func (b *Buf) Retain() {
	n := b.refs.Add(1)
	invariant.Check(n > 1, "retain of a released buffer: %d references", n)
}

// Release gives one reference back; the last one returns the buffer to the pool.
func (b *Buf) Release() {
	n := b.refs.Add(-1)
	invariant.Check(n >= 0, "buffer released %d times too often", -n)
	if n != 0 {
		return
	}
	if invariant.Enabled {
		for i := range b.whole {
			b.whole[i] = poison
		}
	}
	b.B = nil
	if b.class == exact {
		b.whole = nil
		return
	}
	pools[b.class].Put(b)
}

// Cap returns the number of bytes that the buffer occupies.
func (b *Buf) Cap() int { return len(b.whole) }

// Bytes returns the buffer from its start, n bytes long; n must not exceed Cap.
func (b *Buf) Bytes(n int) []byte { return b.whole[:n] }

// classOf returns the smallest class that holds n bytes, or exact.
func classOf(n int) int {
	if n <= MinPooled {
		return 0
	}
	if n > MaxPooled {
		return exact
	}
	shift := bits.Len(uint(n-1)) - 1 // 1<<shift < n <= 2<<shift
	class := 2 * (shift - minShift)
	if n <= 3<<(shift-1) {
		return class + 1
	}
	return class + 2
}

// classSize returns the size of the buffers of a class.
func classSize(class int) int {
	size := 1 << (minShift + class/2)
	if class%2 == 1 {
		size += size / 2
	}
	return size
}
