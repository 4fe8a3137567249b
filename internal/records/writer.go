package records

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/gregorhq/gregor/internal/kafka"
)

// maxString is the most bytes that a string has, in flexible versions too: Kafka neither
// writes nor reads a longer one.
const maxString = math.MaxInt16

// writer appends a body to b. The first error sticks; what is appended then is of no use.
type writer struct {
	b   []byte
	err error
}

func (w *writer) bool(v bool) {
	if v {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
}

func (w *writer) int8(v int8)       { w.b = append(w.b, byte(v)) }
func (w *writer) int16(v int16)     { w.uint16(uint16(v)) }
func (w *writer) uint16(v uint16)   { w.b = binary.BigEndian.AppendUint16(w.b, v) }
func (w *writer) int32(v int32)     { w.b = binary.BigEndian.AppendUint32(w.b, uint32(v)) }
func (w *writer) int64(v int64)     { w.b = binary.BigEndian.AppendUint64(w.b, uint64(v)) }
func (w *writer) float64(v float64) { w.int64(int64(math.Float64bits(v))) }
func (w *writer) uuid(v kafka.UUID) { w.b = append(w.b, v[:]...) }
func (w *writer) uvarint(v uint32)  { w.b = binary.AppendUvarint(w.b, uint64(v)) }

// string refuses what is too long: a length that wraps would make another record of it.
func (w *writer) string(s string, flexible bool) {
	if len(s) > maxString && w.err == nil {
		w.err = fmt.Errorf("a string of %d bytes is too long for a record", len(s))
	}
	if flexible {
		w.uvarint(uint32(len(s) + 1))
	} else {
		s = s[:min(len(s), maxString)]
		w.int16(int16(len(s)))
	}
	w.b = append(w.b, s...)
}

func (w *writer) nullableString(s *string, flexible bool) {
	switch {
	case s != nil:
		w.string(*s, flexible)
	case flexible:
		w.uvarint(0)
	default:
		w.int16(-1)
	}
}

func (w *writer) bytes(b []byte, nullable, flexible bool) {
	w.arrayLen(len(b), nullable && b == nil, flexible)
	w.b = append(w.b, b...)
}

func (w *writer) arrayLen(n int, null, flexible bool) {
	switch {
	case null && flexible:
		w.uvarint(0)
	case null:
		w.int32(-1)
	case flexible:
		w.uvarint(uint32(n + 1))
	default:
		w.int32(int32(n))
	}
}

// tags writes the tag section of a struct that has no tagged fields of its own.
func (w *writer) tags(tags Tags) {
	w.uvarint(uint32(len(tags)))
	for _, t := range tags {
		w.tag(t)
	}
}

func (w *writer) tag(t Tag) {
	w.uvarint(t.ID)
	w.uvarint(uint32(len(t.Data)))
	w.b = append(w.b, t.Data...)
}

// tagWriter writes a tag section: known fields in ascending order with the
// unknown ones between them. The caller counts known first.
type tagWriter struct {
	w       *writer
	unknown Tags
	known   int
	start   int // where the open field's data begins
}

func (t *tagWriter) begin() { t.w.uvarint(uint32(t.known + len(t.unknown))) }

// open starts a known field, with one byte reserved for its size.
func (t *tagWriter) open(id uint32) {
	for len(t.unknown) > 0 && t.unknown[0].ID < id {
		t.w.tag(t.unknown[0])
		t.unknown = t.unknown[1:]
	}
	t.w.uvarint(id)
	t.w.b = append(t.w.b, 0)
	t.start = len(t.w.b)
}

// close fills in the size, moving the data if the size needs more than a byte.
func (t *tagWriter) close() {
	dst := t.w.b
	size := len(dst) - t.start
	if size < 0x80 {
		dst[t.start-1] = byte(size)
		return
	}
	var buf [binary.MaxVarintLen32]byte
	n := binary.PutUvarint(buf[:], uint64(size))
	dst = append(dst, buf[1:n]...)
	copy(dst[t.start+n-1:], dst[t.start:t.start+size])
	copy(dst[t.start-1:], buf[:n])
	t.w.b = dst
}

func (t *tagWriter) end() {
	for _, tag := range t.unknown {
		t.w.tag(tag)
	}
}
