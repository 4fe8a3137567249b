package batch

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Builder makes one batch of format v2. Set its fields, append records, Build;
// Reset to make the next one with the same memory. It belongs to one goroutine.
//
//	b := batch.NewBuilder(0)
//	b.Codec = batch.CodecZstd
//	b.Append(nowMs, key, value, nil)
//	data, err := b.Build(nil)
type Builder struct {
	BaseOffset  int64
	LeaderEpoch int32
	Codec       Codec
	// Level is the level to compress with; 0 is the codec's default.
	Level int
	// TimestampType LogAppendTime makes LogAppendTimeMs every record's time.
	TimestampType   TimestampType
	LogAppendTimeMs int64
	ProducerID      int64
	ProducerEpoch   int16
	BaseSequence    int32
	IsTransactional bool
	IsControl       bool
	// DeleteHorizonMs is when the batch's tombstones may go, -1 is unknown; it
	// takes the place of the base timestamp (KIP-534).
	DeleteHorizonMs int64
	// MaxTimestampMs is the largest timestamp of a batch without records.
	MaxTimestampMs int64

	records       []byte
	count         int32
	baseTimestamp int64
	maxTimestamp  int64
	next          int64
	end           int64
	err           error
}

// NewBuilder returns a Builder for a plain batch: no codec, no producer, no
// leader epoch, CreateTime.
func NewBuilder(baseOffset int64) *Builder {
	b := new(Builder)
	b.Reset(baseOffset)
	return b
}

// Reset makes b as new, but keeps its memory.
func (b *Builder) Reset(baseOffset int64) {
	*b = Builder{
		BaseOffset:      baseOffset,
		LeaderEpoch:     NoLeaderEpoch,
		LogAppendTimeMs: NoTimestamp,
		ProducerID:      NoProducerID,
		ProducerEpoch:   NoProducerEpoch,
		BaseSequence:    NoSequence,
		DeleteHorizonMs: NoTimestamp,
		MaxTimestampMs:  NoTimestamp,
		records:         b.records[:0],
		maxTimestamp:    NoTimestamp,
		next:            baseOffset,
		end:             -1,
	}
}

// Append adds a record at the next offset. Nil key and value are null.
func (b *Builder) Append(timestamp int64, key, value []byte, headers []RecordHeader) {
	b.AppendAt(b.next, timestamp, key, value, headers)
}

// AppendAt adds a record at offset, which must be above the one before. Build
// reports it when it is not.
func (b *Builder) AppendAt(offset, timestamp int64, key, value []byte, headers []RecordHeader) {
	delta, ok := b.begin(offset, timestamp)
	if !ok {
		return
	}
	size := 0
	for i := range headers {
		size += sizeVarint(int32(len(headers[i].Key))) + len(headers[i].Key) + sizeField(headers[i].Value)
	}
	b.head(delta, timestamp, key, value, int32(len(headers)), size)
	for i := range headers {
		b.records = binary.AppendVarint(b.records, int64(len(headers[i].Key)))
		b.records = append(b.records, headers[i].Key...)
		b.records = appendField(b.records, headers[i].Value)
	}
}

// AppendRecord adds a record that an Iter read, headers too, at offset.
func (b *Builder) AppendRecord(offset int64, r *Record) {
	delta, ok := b.begin(offset, r.Timestamp)
	if !ok {
		return
	}
	b.head(delta, r.Timestamp, r.Key, r.Value, int32(r.NumHeaders), len(r.headers))
	b.records = append(b.records, r.headers...)
}

// begin notes a record and returns its offset's delta.
func (b *Builder) begin(offset, timestamp int64) (delta int64, ok bool) {
	delta = offset - b.BaseOffset
	if offset < b.next || delta < 0 || delta > maxInt32 {
		if b.err == nil {
			b.err = fmt.Errorf("offset %d does not fit after %d in a batch from %d", offset, b.next-1, b.BaseOffset)
		}
		return 0, false
	}
	if b.count == 0 {
		b.baseTimestamp = timestamp
		if b.DeleteHorizonMs >= 0 {
			b.baseTimestamp = b.DeleteHorizonMs
		}
	}
	b.maxTimestamp = max(b.maxTimestamp, timestamp)
	b.count++
	b.next = offset + 1
	return delta, true
}

// head writes a record up to its headers, which take headerBytes.
func (b *Builder) head(delta, timestamp int64, key, value []byte, headers int32, headerBytes int) {
	tsDelta := timestamp - b.baseTimestamp
	body := 1 + sizeVarlong(tsDelta) + sizeVarint(int32(delta)) + sizeField(key) + sizeField(value) + sizeVarint(headers) + headerBytes
	p := binary.AppendVarint(b.records, int64(body))
	p = append(p, 0) // attributes, of which none is in use
	p = binary.AppendVarint(p, tsDelta)
	p = binary.AppendVarint(p, delta)
	p = appendField(p, key)
	p = appendField(p, value)
	b.records = binary.AppendVarint(p, int64(headers))
}

// SetLastOffset makes the batch reach to offset although its last record does
// not, as compaction leaves batches.
func (b *Builder) SetLastOffset(offset int64) { b.end = offset }

// NumRecords is how many records were appended.
func (b *Builder) NumRecords() int { return int(b.count) }

// Size is the batch's size if it is not compressed.
func (b *Builder) Size() int { return HeaderSize + len(b.records) }

// NextOffset is the offset that Append uses next.
func (b *Builder) NextOffset() int64 { return b.next }

// Build appends the batch to dst. A batch without records is only a header,
// which compaction keeps for the sake of a producer's state.
func (b *Builder) Build(dst []byte) ([]byte, error) {
	if b.err != nil {
		return dst, fmt.Errorf("building a batch: %w", b.err)
	}
	last := max(b.next-1, b.end)
	delta := last - b.BaseOffset
	if delta > maxInt32 || delta < 0 {
		return dst, fmt.Errorf("building a batch: last offset %d does not fit to base offset %d", last, b.BaseOffset)
	}
	start := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	codec := b.Codec
	if b.count == 0 || codec == CodecProducer {
		codec = CodecNone
	}
	var err error
	if dst, err = Compress(dst, b.records, codec, b.Level, MagicV2); err != nil {
		return dst[:start], fmt.Errorf("building a batch: %w", err)
	}
	h := dst[start:]
	i := Info{
		Size:             len(h),
		BaseOffset:       b.BaseOffset,
		LastOffsetDelta:  int32(delta),
		NumRecords:       b.count,
		LeaderEpoch:      b.LeaderEpoch,
		BaseTimestamp:    b.baseTimestamp,
		MaxTimestamp:     b.maxTimestamp,
		ProducerID:       b.ProducerID,
		ProducerEpoch:    b.ProducerEpoch,
		BaseSequence:     b.BaseSequence,
		Codec:            codec,
		TimestampType:    b.TimestampType,
		IsTransactional:  b.IsTransactional,
		IsControl:        b.IsControl,
		HasDeleteHorizon: b.DeleteHorizonMs >= 0,
	}
	if b.count == 0 {
		i.BaseTimestamp, i.MaxTimestamp = NoTimestamp, b.MaxTimestampMs
		if b.DeleteHorizonMs >= 0 {
			i.BaseTimestamp = b.DeleteHorizonMs
		}
	}
	if b.TimestampType == LogAppendTime && b.count > 0 {
		i.MaxTimestamp = b.LogAppendTimeMs
	}
	putHeader(h, &i)
	setCRC(h)
	return dst, nil
}

// putHeader writes everything of a v2 header but the checksum. i.Size is the
// size of the whole batch.
func putHeader(h []byte, i *Info) {
	_ = h[HeaderSize-1]
	be.PutUint64(h[posBaseOffset:], uint64(i.BaseOffset))
	be.PutUint32(h[posLength:], uint32(i.Size-LogOverhead))
	be.PutUint32(h[posLeaderEpoch:], uint32(i.LeaderEpoch))
	h[posMagic] = byte(MagicV2)
	attr := uint16(i.Codec) & attrCodecMask
	if i.TimestampType == LogAppendTime {
		attr |= attrLogAppendTime
	}
	if i.IsTransactional {
		attr |= attrTransactional
	}
	if i.IsControl {
		attr |= attrControl
	}
	if i.HasDeleteHorizon {
		attr |= attrDeleteHorizon
	}
	be.PutUint16(h[posAttributes:], attr)
	be.PutUint32(h[posLastOffsetDelta:], uint32(i.LastOffsetDelta))
	be.PutUint64(h[posBaseTimestamp:], uint64(i.BaseTimestamp))
	be.PutUint64(h[posMaxTimestamp:], uint64(i.MaxTimestamp))
	be.PutUint64(h[posProducerID:], uint64(i.ProducerID))
	be.PutUint16(h[posProducerEpoch:], uint16(i.ProducerEpoch))
	be.PutUint32(h[posBaseSequence:], uint32(i.BaseSequence))
	be.PutUint32(h[posRecordCount:], uint32(i.NumRecords))
}

func appendField(dst, f []byte) []byte {
	if f == nil {
		return append(dst, 1) // -1 as a zigzag varint
	}
	dst = binary.AppendVarint(dst, int64(len(f)))
	return append(dst, f...)
}

func sizeField(f []byte) int {
	if f == nil {
		return 1
	}
	return sizeVarint(int32(len(f))) + len(f)
}

func sizeVarint(v int32) int { return sizeVarlong(int64(v)) }

func sizeVarlong(v int64) int {
	return (bits.Len64(uint64(v<<1)^uint64(v>>63)|1) + 6) / 7
}
