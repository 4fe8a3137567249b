package batch

import (
	"encoding/binary"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Record is one record of a batch of any format. Its slices alias the batch, or
// the iterator's buffer when the batch is compressed: they are valid until the
// iterator is closed or reset.
type Record struct {
	// Offset is absolute if the batch's base offset is.
	Offset int64
	// Timestamp is the batch's when that is LogAppendTime.
	Timestamp int64
	// Sequence is NoSequence without an idempotent producer.
	Sequence int32
	// Attributes are unused in format v2.
	Attributes int8
	// Key and Value are nil when they are null, and empty otherwise.
	Key, Value []byte
	// NumHeaders counts the headers that Headers decodes.
	NumHeaders int
	// Size is what the record takes in its batch before compression.
	Size    int
	headers []byte
}

// RecordHeader is one header of a record. A null value is nil.
type RecordHeader struct {
	Key   string
	Value []byte
}

// Headers decodes the headers; it allocates. The values alias the record.
func (r *Record) Headers() []RecordHeader {
	if r.NumHeaders == 0 {
		return nil
	}
	// A header takes at least two bytes, so the count was already compared with
	// what there is.
	hs := make([]RecordHeader, 0, r.NumHeaders)
	b := r.headers
	for range r.NumHeaders {
		key, rest, ok := sliceField(b)
		if !ok {
			return hs
		}
		value, rest2, ok := sliceField(rest)
		if !ok {
			return hs
		}
		hs = append(hs, RecordHeader{Key: string(key), Value: value})
		b = rest2
	}
	return hs
}

// sliceField cuts a field with a varint length off b; a negative length is null.
func sliceField(b []byte) (field, rest []byte, ok bool) {
	n, w := varint(b)
	if w == 0 {
		return nil, nil, false
	}
	b = b[w:]
	if n < 0 {
		return nil, b, true
	}
	if int(n) > len(b) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}

// varint reads a zigzag varint of 32 bits. w is 0 when b ends before it or it
// has more than 5 bytes. Bits past the 32nd are dropped, as Kafka does.
func varint(b []byte) (v int32, w int) {
	if len(b) > 0 && b[0] < 0x80 {
		u := uint32(b[0])
		return int32(u>>1) ^ -int32(u&1), 1
	}
	return varintSlow(b)
}

func varintSlow(b []byte) (int32, int) {
	var u uint32
	for i := 0; i < len(b) && i < 5; i++ {
		u |= uint32(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return int32(u>>1) ^ -int32(u&1), i + 1
		}
	}
	return 0, 0
}

// varlong is varint with 64 bits and at most 10 bytes.
func varlong(b []byte) (v int64, w int) {
	if len(b) > 0 && b[0] < 0x80 {
		u := uint64(b[0])
		return int64(u>>1) ^ -int64(u&1), 1
	}
	return varlongSlow(b)
}

func varlongSlow(b []byte) (int64, int) {
	var u uint64
	for i := 0; i < len(b) && i < 10; i++ {
		u |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return int64(u>>1) ^ -int64(u&1), i + 1
		}
	}
	return 0, 0
}

// rawRecord is a v2 record as it lies in its batch: deltas not yet added,
// positions relative to the slice that was parsed. A null field has length -1.
type rawRecord struct {
	tsDelta             int64
	offsetDelta         int32
	keyPos, keyLen      int
	valuePos, valueLen  int
	headersPos, headers int
	attributes          int8
}

// Reasons for which a record is malformed. They are constants so that a hostile
// batch costs no formatting before it is refused.
const (
	badSize      = "the record's size is not what the batch holds"
	badStructure = "Found invalid record structure"
	badHeaders   = "Found invalid number of record headers"
)

// parseRecord parses the v2 record that b begins with and returns its size, or a
// reason. Every length is compared with what remains.
func parseRecord(b []byte, r *rawRecord) (size int, reason string) {
	if size = parseCommon(b, r); size > 0 {
		return size, ""
	}
	return parseAny(b, r)
}

// parseCommon parses a record whose numbers take up to three bytes each, without
// headers, with at least eight bytes behind its last length: nearly all there are. It
// returns 0 for every other, right or wrong. It reads eight bytes for each number, or
// for some together, those of the next record among them; that a number goes beyond
// its own record shows in the end, which then is not where the size says.
func parseCommon(b []byte, r *rawRecord) int {
	if len(b) < 8 {
		return 0
	}
	x := binary.LittleEndian.Uint64(b)
	body, w := short(x)
	x >>= 8 * w & 63
	size := int(w) + int(body)
	r.attributes = int8(x)
	ts, n := short(x >> 8)
	pos := int(w + 1 + n)
	if w == 0 || n == 0 || body < 6 || size > len(b) || pos > len(b)-8 {
		return 0
	}
	r.tsDelta = int64(ts)
	x = binary.LittleEndian.Uint64(b[pos:])
	offset, w := short(x)
	key, n := short(x >> (8 * w & 63))
	pos += int(w + n)
	if w == 0 || n == 0 {
		return 0
	}
	r.offsetDelta, r.keyPos, r.keyLen = offset, pos, max(int(key), -1)
	pos += max(int(key), 0)
	if pos > len(b)-8 {
		return 0
	}
	value, w := short(binary.LittleEndian.Uint64(b[pos:]))
	pos += int(w)
	r.valuePos, r.valueLen = pos, max(int(value), -1)
	pos += max(int(value), 0)
	// The number of headers is 0, the last byte.
	if w == 0 || pos != size-1 || b[pos] != 0 {
		return 0
	}
	r.headersPos, r.headers = size, 0
	return size
}

// short reads a zigzag varint of up to three bytes, the lowest of x; w is 0 for others.
func short(x uint64) (v int32, w uint) {
	u := uint32(x)
	switch {
	case u&0x80 == 0:
		u, w = u&0x7f, 1
	case u&0x8000 == 0:
		u, w = u&0x7f|u>>1&0x3f80, 2
	case u&0x800000 == 0:
		u, w = u&0x7f|u>>1&0x3f80|u>>2&0x1fc000, 3
	}
	return int32(u>>1) ^ -int32(u&1), w
}

// parseAny is parseRecord for every record.
func parseAny(b []byte, r *rawRecord) (size int, reason string) {
	body, w := varint(b)
	if w == 0 || body < 6 || int(body) > len(b)-w {
		return 0, badSize
	}
	size = w + int(body)
	b = b[:size]
	r.attributes = int8(b[w])
	pos := w + 1
	var n int
	if r.tsDelta, n = varlong(b[pos:]); n == 0 {
		return 0, badStructure
	}
	pos += n
	if r.offsetDelta, n = varint(b[pos:]); n == 0 {
		return 0, badStructure
	}
	pos += n
	var l int32
	if l, n = varint(b[pos:]); n == 0 {
		return 0, badStructure
	}
	pos += n
	r.keyPos, r.keyLen = pos, -1
	if l >= 0 {
		if int(l) > size-pos {
			return 0, badStructure
		}
		r.keyLen = int(l)
		pos += int(l)
	}
	if l, n = varint(b[pos:]); n == 0 {
		return 0, badStructure
	}
	pos += n
	r.valuePos, r.valueLen = pos, -1
	if l >= 0 {
		if int(l) > size-pos {
			return 0, badStructure
		}
		r.valueLen = int(l)
		pos += int(l)
	}
	if l, n = varint(b[pos:]); n == 0 {
		return 0, badStructure
	}
	pos += n
	r.headersPos, r.headers = pos, int(l)
	if l == 0 {
		if pos != size {
			return 0, badSize
		}
		return size, ""
	}
	return size, checkHeaders(b[pos:], l)
}

// checkHeaders checks that b is exactly n headers.
func checkHeaders(b []byte, n int32) string {
	if n < 0 || int(n) > len(b)/2 {
		return badHeaders
	}
	for range n {
		l, w := varint(b)
		if w == 0 || l < 0 || int(l) > len(b)-w {
			return badStructure
		}
		b = b[w+int(l):]
		if l, w = varint(b); w == 0 {
			return badStructure
		}
		if l < 0 {
			l = 0
		}
		if int(l) > len(b)-w {
			return badStructure
		}
		b = b[w+int(l):]
	}
	if len(b) != 0 {
		return badSize
	}
	return ""
}

// field returns b[pos:pos+n], or nil for a null field.
func field(b []byte, pos, n int) []byte {
	if n < 0 {
		return nil
	}
	return b[pos : pos+n : pos+n]
}

// malformed is the error of a batch whose records do not parse.
func malformed(index int32, reason string) error {
	return kafka.InvalidRecord.Errorf("record %d of the batch: %s", index, reason)
}
