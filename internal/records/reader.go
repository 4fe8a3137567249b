package records

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/gregorhq/gregor/internal/kafka"
)

var errShort = errors.New("ends in the middle of a field")

// reader consumes a body. The first error sticks, after which every method
// returns zero values; b is what remains.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// take returns the next n bytes, or nil after an error.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) || r.err != nil {
		r.fail(errShort)
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) bool() bool { return r.int8() != 0 }

func (r *reader) int8() int8 {
	if b := r.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) int16() int16 { return int16(r.uint16()) }

func (r *reader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) int64() int64     { return int64(r.uint64()) }
func (r *reader) float64() float64 { return math.Float64frombits(r.uint64()) }

func (r *reader) uuid() (u kafka.UUID) {
	copy(u[:], r.take(len(u)))
	return u
}

// uvarint reads an unsigned varint of at most 32 bits.
func (r *reader) uvarint() uint32 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 5 || v > math.MaxUint32 {
		r.fail(fmt.Errorf("bad varint: %w", errShort))
		return 0
	}
	r.b = r.b[n:]
	return uint32(v)
}

// short reads one of the varints of the frame.
func (r *reader) short(what string) int16 {
	v := r.uvarint()
	if r.err == nil && v > math.MaxInt16 {
		r.fail(fmt.Errorf("value %d for %s is too large", v, what))
	}
	if r.err != nil {
		return 0
	}
	return int16(v)
}

// length reads the length of a string or bytes field; -1 is null.
func (r *reader) length(flexible, wide bool) int {
	switch {
	case flexible:
		return int(r.uvarint()) - 1
	case wide:
		return int(r.int32())
	}
	return int(r.int16())
}

func (r *reader) string(flexible bool) string {
	n := r.length(flexible, false)
	if n < 0 {
		r.fail(errors.New("null string in a field that is not nullable"))
	}
	return string(r.take(n))
}

func (r *reader) nullableString(flexible bool) *string {
	n := r.length(flexible, false)
	if n == -1 || r.err != nil {
		return nil
	}
	s := string(r.take(n))
	return &s
}

func (r *reader) bytes(nullable, flexible bool) []byte {
	n := r.length(flexible, true)
	if n == -1 && nullable {
		return nil
	}
	if b := r.take(n); b != nil {
		return append([]byte{}, b...)
	}
	return nil
}

// arrayLen reads the count of an array whose elements take at least min bytes
// each. ok is false when the array stays nil: null, or empty where null is not
// allowed, or after an error.
func (r *reader) arrayLen(min int, nullable, flexible bool) (n int, ok bool) {
	n = r.length(flexible, true)
	if r.err != nil || (n == -1 && nullable) {
		return 0, false
	}
	if n < 0 || n > len(r.b)/min {
		r.fail(fmt.Errorf("array of %d elements in %d bytes", n, len(r.b)))
		return 0, false
	}
	return n, n > 0 || nullable
}

func (r *reader) int16Array(nullable, flexible bool) []int16 {
	n, ok := r.arrayLen(2, nullable, flexible)
	if !ok {
		return nil
	}
	a := make([]int16, n)
	for i := range a {
		a[i] = r.int16()
	}
	return a
}

func (r *reader) int32Array(nullable, flexible bool) []int32 {
	n, ok := r.arrayLen(4, nullable, flexible)
	if !ok {
		return nil
	}
	a := make([]int32, n)
	for i := range a {
		a[i] = r.int32()
	}
	return a
}

func (r *reader) uuidArray(nullable, flexible bool) []kafka.UUID {
	n, ok := r.arrayLen(16, nullable, flexible)
	if !ok {
		return nil
	}
	a := make([]kafka.UUID, n)
	for i := range a {
		a[i] = r.uuid()
	}
	return a
}

func (r *reader) stringArray(nullable, flexible bool) []string {
	n, ok := r.arrayLen(1, nullable, flexible)
	if !ok {
		return nil
	}
	a := make([]string, n)
	for i := range a {
		a[i] = r.string(flexible)
	}
	return a
}

// tagCount reads the number of tagged fields; each takes at least two bytes.
func (r *reader) tagCount() int {
	n := int(r.uvarint())
	if r.err == nil && n > len(r.b)/2 {
		r.fail(fmt.Errorf("%d tagged fields in %d bytes", n, len(r.b)))
	}
	if r.err != nil {
		return 0
	}
	return n
}

// tag reads the head of one tagged field and returns a reader over its data.
func (r *reader) tag() (uint32, reader) {
	id := r.uvarint()
	data := r.take(int(r.uvarint()))
	return id, reader{b: data, err: r.err}
}

// closeTag checks that a known tagged field was used up.
func (r *reader) closeTag(id uint32, t *reader) {
	if t.err == nil && len(t.b) > 0 {
		t.err = fmt.Errorf("%d bytes left over", len(t.b))
	}
	if t.err != nil {
		r.fail(fmt.Errorf("tagged field %d: %w", id, t.err))
	}
}

// keepTag stores an unknown tagged field. Tags must ascend.
func (r *reader) keepTag(tags Tags, id uint32, t *reader) Tags {
	if r.err != nil {
		return tags
	}
	if len(tags) > 0 && tags[len(tags)-1].ID >= id {
		r.fail(fmt.Errorf("tagged field %d is out of order", id))
		return tags
	}
	return append(tags, Tag{ID: id, Data: append([]byte{}, t.b...)})
}
