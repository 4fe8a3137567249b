// Command floor is the least server that does the bytes' work of a broker: it
// reads a frame, checks the batch's CRC32C, writes the batch to a file, keeps a
// tail in memory, acknowledges, and serves fetches from the tail. It knows one
// topic, no metadata and no failure; it shows how much of a broker's time is
// unavoidable on the machine.
package main

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/twmb/franz-go/pkg/kbin"
)

const tailBytes = 1 << 30 // a partition's whole content up to here is kept; only what is used takes memory

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type partition struct {
	mu   sync.Mutex
	wake *sync.Cond
	file *os.File
	pos  int64
	next int64
	tail []byte
	at   []int // where in tail each batch begins
	base []int64
}

type store struct {
	mu    sync.Mutex
	dir   string
	parts map[int32]*partition
}

func (s *store) get(i int32) *partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.parts[i]
	if p == nil {
		f, err := os.Create(filepath.Join(s.dir, fmt.Sprintf("%d.log", i)))
		if err != nil {
			log.Fatal(err)
		}
		p = &partition{file: f}
		p.wake = sync.NewCond(&p.mu)
		s.parts[i] = p
	}
	return p
}

// forget empties the partitions but keeps their memory: giving it back and asking
// again would be what the next run measures.
func (s *store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts {
		p.mu.Lock()
		if err := p.file.Truncate(0); err != nil {
			log.Fatal(err)
		}
		p.pos, p.next, p.tail, p.at, p.base = 0, 0, p.tail[:0], p.at[:0], p.base[:0]
		p.mu.Unlock()
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:9092", "address on loopback")
	dir := flag.String("dir", ".", "where the files go")
	flag.Parse()
	s := &store{dir: *dir, parts: map[int32]*partition{}}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(s, c)
	}
}

func serve(s *store, c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 128<<10)
	var buf, out []byte
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(head[:]))
		if n == 0 {
			s.forget()
			c.Write(make([]byte, 4))
			continue
		}
		if n < 8 || n > 100<<20 {
			return
		}
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		buf = buf[:n]
		if _, err := io.ReadFull(r, buf); err != nil {
			return
		}
		b := kbin.Reader{Src: buf}
		key := b.Int16()
		b.Int16()
		correlation := b.Int32()
		b.NullableString()
		b.Uvarint()
		var extra []byte
		if key == 0 {
			out = produce(s, &b, correlation, out)
		} else {
			out, extra = fetch(s, &b, correlation, out)
		}
		if extra == nil && r.Buffered() >= 4 && len(out) < 64<<10 {
			continue // more requests are here: answer them together
		}
		bufs := net.Buffers{out, extra, {0, 0, 0}}
		if extra == nil {
			bufs = bufs[:1]
		}
		if _, err := bufs.WriteTo(c); err != nil {
			return
		}
		out = out[:0]
	}
}

// produce handles Produce v9 with one partition.
func produce(s *store, b *kbin.Reader, correlation int32, out []byte) []byte {
	b.CompactNullableString()
	b.Int16()
	b.Int32()
	b.CompactArrayLen()
	topic := b.UnsafeCompactString()
	b.CompactArrayLen()
	index := b.Int32()
	batch := b.CompactNullableBytes()
	var code int16
	if len(batch) < 61 || crc32.Checksum(batch[21:], castagnoli) != binary.BigEndian.Uint32(batch[17:]) {
		code = 2
	}
	var base int64
	if code == 0 {
		base = s.get(index).append(batch)
	}
	start := len(out)
	out = append(out, 0, 0, 0, 0)
	out = kbin.AppendInt32(out, correlation)
	out = append(out, 0, 2)
	out = kbin.AppendCompactString(out, topic)
	out = append(out, 2)
	out = kbin.AppendInt32(out, index)
	out = kbin.AppendInt16(out, code)
	out = kbin.AppendInt64(out, base)
	out = kbin.AppendInt64(out, -1) // log append time
	out = kbin.AppendInt64(out, 0)  // log start offset
	out = append(out, 1, 0, 0, 0)   // record errors, message, tags of partition and topic
	out = kbin.AppendInt32(out, 0)  // throttle
	out = append(out, 0)
	binary.BigEndian.PutUint32(out[start:], uint32(len(out)-start-4))
	return out
}

func (p *partition) append(batch []byte) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	base := p.next
	binary.BigEndian.PutUint64(batch, uint64(base))
	p.next += int64(binary.BigEndian.Uint32(batch[23:])) + 1
	if _, err := p.file.WriteAt(batch, p.pos); err != nil {
		log.Fatal(err)
	}
	p.pos += int64(len(batch))
	if len(p.tail)+len(batch) <= tailBytes {
		if cap(p.tail) == 0 {
			p.tail = make([]byte, 0, tailBytes)
		}
		p.at, p.base = append(p.at, len(p.tail)), append(p.base, base)
		p.tail = append(p.tail, batch...)
	}
	p.wake.Broadcast()
	return base
}

// fetch handles Fetch v12 with one partition; it waits for at least one batch.
func fetch(s *store, b *kbin.Reader, correlation int32, out []byte) ([]byte, []byte) {
	b.Span(4 + 4 + 4 + 4 + 1 + 4 + 4) // replica, wait, min, max, isolation, session
	b.CompactArrayLen()
	topic := b.UnsafeCompactString()
	b.CompactArrayLen()
	index := b.Int32()
	b.Int32()
	offset := b.Int64()
	b.Int32() // last fetched epoch
	b.Int64() // log start offset
	maxBytes := int(b.Int32())
	recs, hw := s.get(index).read(offset, maxBytes)

	start := len(out)
	out = append(out, 0, 0, 0, 0)
	out = kbin.AppendInt32(out, correlation)
	out = append(out, 0)
	out = kbin.AppendInt32(out, 0) // throttle
	out = kbin.AppendInt16(out, 0)
	out = kbin.AppendInt32(out, 0) // session
	out = append(out, 2)
	out = kbin.AppendCompactString(out, topic)
	out = append(out, 2)
	out = kbin.AppendInt32(out, index)
	out = kbin.AppendInt16(out, 0)
	out = kbin.AppendInt64(out, hw)
	out = kbin.AppendInt64(out, hw)
	out = kbin.AppendInt64(out, 0)
	out = append(out, 0)            // aborted transactions: null
	out = kbin.AppendInt32(out, -1) // preferred replica
	out = kbin.AppendUvarint(out, uint32(len(recs)+1))
	binary.BigEndian.PutUint32(out[start:], uint32(len(out)-start-4+len(recs)+3))
	return out, recs
}

func (p *partition) read(offset int64, maxBytes int) ([]byte, int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for offset >= p.next {
		p.wake.Wait()
	}
	lo, hi := 0, len(p.base)
	for lo < hi {
		mid := (lo + hi) / 2
		if p.base[mid] < offset {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(p.base) { // behind what the tail could hold
		return nil, p.base[len(p.base)-1]
	}
	end := lo + 1
	for end < len(p.at) && p.at[end]-p.at[lo] < maxBytes {
		end++
	}
	stop := len(p.tail)
	if end < len(p.at) {
		stop = p.at[end]
	}
	return p.tail[p.at[lo]:stop:stop], p.next
}
