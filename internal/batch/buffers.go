package batch

import "sync"

// buffer is a pooled byte slice. Its owner is whoever got it; release hands it
// back. The owner may make b any slice; what goes back is whole, the memory with
// the capacity of its class.
type buffer struct {
	b     []byte
	whole []byte
	class int
}

// Classes of pooled buffers. What is larger is left to the garbage collector, so
// that one huge batch does not pin its memory for ever.
var bufferClasses = [...]int{16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20}

var bufferPools [len(bufferClasses)]sync.Pool

// getBuffer returns an empty buffer with a capacity of at least n.
func getBuffer(n int) *buffer {
	for c, size := range bufferClasses {
		if n > size {
			continue
		}
		if p, ok := bufferPools[c].Get().(*buffer); ok {
			p.b = p.whole
			return p
		}
		return newBuffer(size, c)
	}
	return newBuffer(n, -1)
}

func newBuffer(size, class int) *buffer {
	b := make([]byte, 0, size)
	return &buffer{b: b, whole: b, class: class}
}

func (p *buffer) release() {
	p.b = nil
	if p.class >= 0 {
		bufferPools[p.class].Put(p)
	}
}
