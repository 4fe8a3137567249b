package wire

import (
	"encoding/binary"
	"errors"
	"math"
)

// What checkBody finds wrong with a body.
var (
	errShort    = errors.New("a length or value goes beyond the end of the body")
	errNull     = errors.New("a field that cannot be null is null")
	errLength   = errors.New("a length is negative or too large")
	errTooDense = errors.New("decoding would take far more memory than the body has bytes")
	errLong     = errors.New("a string is longer than 32767 bytes")
)

// maxString is the most bytes that a string has in any version of any message. A compact
// length could say more, but what a request names is written into records and answers
// whose strings have a length of 16 bits.
const maxString = math.MaxInt16

// Memory that decoding takes beside the bytes themselves. An unknown tagged field
// goes into a map: the first one of a struct makes the map, each further one fills
// and sometimes doubles it.
const (
	stringOverhead   = 8
	firstTagOverhead = 384
	tagOverhead      = 128
)

// walker steps over a body field by field without allocating.
type walker struct {
	b        []byte
	version  int16
	flexible bool
	// left is the memory that decoding may still take.
	left int64
}

// checkBody walks a body along its schema. Nil means that every length in it stands
// within the body and that decoding allocates at most DecodeFactor times its length
// plus DecodeSlack. Bytes after the last field are ignored, as Apache Kafka does.
func checkBody(key, version int16, flexible bool, body []byte) error {
	w := walker{
		b: body, version: version, flexible: flexible,
		left: DecodeFactor*int64(len(body)) + DecodeSlack,
	}
	return w.fields(schemas[key])
}

// take books memory that decoding would allocate.
func (w *walker) take(n int64) error {
	if w.left -= n; w.left < 0 {
		return errTooDense
	}
	return nil
}

// skip steps over n bytes.
func (w *walker) skip(n int64) error {
	if n > int64(len(w.b)) {
		return errShort
	}
	w.b = w.b[n:]
	return nil
}

func (w *walker) uvarint() (uint32, error) {
	if len(w.b) > 0 && w.b[0] < 0x80 {
		v := uint32(w.b[0])
		w.b = w.b[1:]
		return v, nil
	}
	v, rest, err := uvarint(w.b)
	w.b = rest
	return v, err
}

// length reads a length of the given plain width, or a compact one; -1 means null.
func (w *walker) length(width int) (int64, error) {
	var n int64
	switch {
	case w.flexible:
		v, err := w.uvarint()
		if err != nil {
			return 0, err
		}
		n = int64(v) - 1
	case len(w.b) < width:
		return 0, errShort
	case width == 2:
		n = int64(int16(binary.BigEndian.Uint16(w.b)))
		w.b = w.b[2:]
	default:
		n = int64(int32(binary.BigEndian.Uint32(w.b)))
		w.b = w.b[4:]
	}
	if n < -1 || n > 1<<31-1 {
		return 0, errLength
	}
	if n > int64(len(w.b)) {
		return 0, errShort
	}
	return n, nil
}

// fields steps over the fields that this version has.
func (w *walker) fields(fs []field) error {
	for i := range fs {
		f := &fs[i]
		if w.version < f.min || w.version > f.max {
			continue
		}
		if err := w.field(f); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) field(f *field) error {
	switch f.kind {
	case fixed:
		return w.skip(int64(f.size))
	case str, nullableStr:
		return w.str(f)
	case byteSlice, nullableByteSlice:
		n, err := w.length(4)
		if err != nil || n <= 0 {
			return err
		}
		return w.skip(n) // byte fields alias the body
	case array:
		return w.array(f)
	case nullableStruct:
		if len(w.b) == 0 {
			return errShort
		}
		present := int8(w.b[0]) != -1
		w.b = w.b[1:]
		if !present {
			return nil
		}
		if err := w.take(int64(f.size)); err != nil {
			return err
		}
		return w.fields(f.sub)
	case inlineStruct:
		return w.fields(f.sub)
	default:
		return w.tags(f)
	}
}

func (w *walker) str(f *field) error {
	n, err := w.length(2)
	switch {
	case err != nil:
		return err
	case n > maxString:
		return errLong
	case n < 0 && f.kind == str:
		return errNull
	case n < 0:
		return nil
	}
	// The allocator rounds sizes up by at most a quarter, or to eight bytes.
	cost := n + n/4 + stringOverhead + int64(f.size)
	if f.kind == nullableStr {
		cost += ptrSize
	}
	if err := w.take(cost); err != nil {
		return err
	}
	return w.skip(n)
}

// array books the memory of all elements before it looks at the first one, because
// the decoder allocates them so.
func (w *walker) array(f *field) error {
	n, err := w.length(4)
	if err != nil || n <= 0 {
		return err
	}
	size := n * int64(f.size)
	if err := w.take(size + size/4); err != nil {
		return err
	}
	if len(f.sub) == 1 && f.sub[0].kind == fixed {
		return w.skip(n * int64(f.sub[0].size))
	}
	for ; n > 0; n-- {
		if err := w.fields(f.sub); err != nil {
			return err
		}
	}
	return nil
}

// tags steps over a tagged-field section, which only flexible versions have.
func (w *walker) tags(f *field) error {
	if !w.flexible {
		return nil
	}
	num, err := w.uvarint()
	if err != nil {
		return err
	}
	unknown := 0
	for ; num > 0; num-- {
		key, err := w.uvarint()
		if err != nil {
			return err
		}
		size, err := w.uvarint()
		if err != nil {
			return err
		}
		if uint64(size) > uint64(len(w.b)) {
			return errShort
		}
		rest := w.b[size:]
		if known := findTag(f.sub, key); known != nil {
			w.b = w.b[:size]
			if err := w.field(&known.sub[0]); err != nil {
				return err
			}
		} else {
			cost := int64(tagOverhead)
			if unknown++; unknown == 1 {
				cost = firstTagOverhead
			}
			if err := w.take(cost); err != nil {
				return err
			}
		}
		w.b = rest
	}
	return nil
}

func findTag(known []field, key uint32) *field {
	for i := range known {
		if known[i].size == key {
			return &known[i]
		}
	}
	return nil
}
