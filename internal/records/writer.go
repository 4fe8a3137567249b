package records

import (
	"encoding/binary"
	"math"
)

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendInt8(dst []byte, v int8) []byte     { return append(dst, byte(v)) }
func appendInt16(dst []byte, v int16) []byte   { return binary.BigEndian.AppendUint16(dst, uint16(v)) }
func appendUint16(dst []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(dst, v) }
func appendInt32(dst []byte, v int32) []byte   { return binary.BigEndian.AppendUint32(dst, uint32(v)) }
func appendInt64(dst []byte, v int64) []byte   { return binary.BigEndian.AppendUint64(dst, uint64(v)) }

func appendFloat64(dst []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v))
}

func appendUvarint(dst []byte, v uint32) []byte { return binary.AppendUvarint(dst, uint64(v)) }

func appendString(dst []byte, s string, flexible bool) []byte {
	if flexible {
		dst = appendUvarint(dst, uint32(len(s)+1))
	} else {
		dst = appendInt16(dst, int16(len(s)))
	}
	return append(dst, s...)
}

func appendNullableString(dst []byte, s *string, flexible bool) []byte {
	switch {
	case s != nil:
		return appendString(dst, *s, flexible)
	case flexible:
		return append(dst, 0)
	}
	return appendInt16(dst, -1)
}

func appendBytes(dst []byte, b []byte, nullable, flexible bool) []byte {
	return append(appendArrayLen(dst, len(b), nullable && b == nil, flexible), b...)
}

func appendArrayLen(dst []byte, n int, null, flexible bool) []byte {
	switch {
	case null && flexible:
		return append(dst, 0)
	case null:
		return appendInt32(dst, -1)
	case flexible:
		return appendUvarint(dst, uint32(n+1))
	}
	return appendInt32(dst, int32(n))
}

// appendTags writes the tag section of a struct that has no tagged fields of its
// own.
func appendTags(dst []byte, tags Tags) []byte {
	dst = appendUvarint(dst, uint32(len(tags)))
	for _, t := range tags {
		dst = appendTag(dst, t)
	}
	return dst
}

func appendTag(dst []byte, t Tag) []byte {
	dst = appendUvarint(dst, t.ID)
	dst = appendUvarint(dst, uint32(len(t.Data)))
	return append(dst, t.Data...)
}

// tagWriter writes a tag section: known fields in ascending order with the
// unknown ones between them. The caller counts known first.
type tagWriter struct {
	unknown Tags
	known   int
	start   int // where the open field's data begins
}

func (t *tagWriter) begin(dst []byte) []byte {
	return appendUvarint(dst, uint32(t.known+len(t.unknown)))
}

// open starts a known field, with one byte reserved for its size.
func (t *tagWriter) open(dst []byte, id uint32) []byte {
	for len(t.unknown) > 0 && t.unknown[0].ID < id {
		dst = appendTag(dst, t.unknown[0])
		t.unknown = t.unknown[1:]
	}
	dst = append(appendUvarint(dst, id), 0)
	t.start = len(dst)
	return dst
}

// close fills in the size, moving the data if the size needs more than a byte.
func (t *tagWriter) close(dst []byte) []byte {
	size := len(dst) - t.start
	if size < 0x80 {
		dst[t.start-1] = byte(size)
		return dst
	}
	var buf [binary.MaxVarintLen32]byte
	n := binary.PutUvarint(buf[:], uint64(size))
	dst = append(dst, buf[1:n]...)
	copy(dst[t.start+n-1:], dst[t.start:t.start+size])
	copy(dst[t.start-1:], buf[:n])
	return dst
}

func (t *tagWriter) end(dst []byte) []byte {
	for _, tag := range t.unknown {
		dst = appendTag(dst, tag)
	}
	return dst
}
