package batch

import (
	"hash/crc32"

	"github.com/gregorhq/gregor/internal/kafka"
)

// A message of format v0 or v1 is an offset, a length, a CRC-32 of all that
// follows it, magic, attributes, in v1 a timestamp, then key and value, each
// with a length of 4 bytes of which -1 is null. A compressed message is a
// wrapper: its value is compressed messages. Its offset is that of its last
// inner message; in v1 the inner offsets are relative to the first one (KIP-31),
// in v0 they are absolute. With LogAppendTime the wrapper's timestamp holds for
// all (KIP-32).
const (
	legacyOverheadV0 = 14
	legacyOverheadV1 = 22

	legacyPosCRC        = 12
	legacyPosAttributes = 17
	legacyPosTimestamp  = 18
	legacyPosKeyV0      = 18
	legacyPosKeyV1      = 26
)

// legacyMessage is one message, with its offset as it stands in the bytes.
type legacyMessage struct {
	offset     int64
	timestamp  int64
	raw        []byte
	key, value []byte
	magic      int8
	attributes int8
}

func (m *legacyMessage) codec() Codec { return Codec(m.attributes & attrCodecMask) }

// crcOK compares the message with its checksum.
func (m *legacyMessage) crcOK() bool {
	return crc32.ChecksumIEEE(m.raw[posMagic:]) == be.Uint32(m.raw[legacyPosCRC:])
}

// parseLegacy parses the whole message b. It returns a reason when the lengths
// inside do not fit.
func parseLegacy(b []byte, m *legacyMessage) (reason string) {
	if len(b) < LogOverhead+legacyOverheadV0 {
		return "Found invalid message structure"
	}
	m.raw = b
	m.offset = int64(be.Uint64(b))
	m.magic = int8(b[posMagic])
	m.attributes = int8(b[legacyPosAttributes])
	m.timestamp = NoTimestamp
	pos := legacyPosKeyV0
	switch m.magic {
	case MagicV0:
	case MagicV1:
		if len(b) < LogOverhead+legacyOverheadV1 {
			return "Found invalid message structure"
		}
		m.timestamp = int64(be.Uint64(b[legacyPosTimestamp:]))
		pos = legacyPosKeyV1
	default:
		return "message has an unknown magic"
	}
	var ok bool
	if m.key, pos, ok = legacyField(b, pos); !ok {
		return "the message's key does not fit into it"
	}
	if m.value, _, ok = legacyField(b, pos); !ok {
		return "the message's value does not fit into it"
	}
	return ""
}

func legacyField(b []byte, pos int) (field []byte, next int, ok bool) {
	if len(b)-pos < 4 {
		return nil, 0, false
	}
	n := int32(be.Uint32(b[pos:]))
	pos += 4
	if n < 0 {
		return nil, pos, true
	}
	if int(n) > len(b)-pos {
		return nil, 0, false
	}
	return b[pos : pos+int(n) : pos+int(n)], pos + int(n), true
}

// peekLegacy is Peek for the old formats.
func peekLegacy(b []byte, size int) (Info, error) {
	magic := int8(b[posMagic])
	if len(b) < legacyPosKeyV0 || magic == MagicV1 && len(b) < legacyPosKeyV1 {
		return Info{}, kafka.CorruptMessage.Errorf("message header is cut off after %d bytes", len(b))
	}
	i := Info{
		Size:          size,
		Magic:         magic,
		LastOffset:    int64(be.Uint64(b)),
		LeaderEpoch:   NoLeaderEpoch,
		BaseTimestamp: NoTimestamp,
		MaxTimestamp:  NoTimestamp,
		ProducerID:    NoProducerID,
		ProducerEpoch: NoProducerEpoch,
		BaseSequence:  NoSequence,
		CRC:           be.Uint32(b[legacyPosCRC:]),
		Codec:         Codec(b[legacyPosAttributes] & attrCodecMask),
	}
	i.BaseOffset = i.LastOffset
	if magic == MagicV1 {
		i.MaxTimestamp = int64(be.Uint64(b[legacyPosTimestamp:]))
		i.BaseTimestamp = i.MaxTimestamp
		i.TimestampType = TimestampType(b[legacyPosAttributes] & attrLogAppendTime >> 3)
	}
	if i.Codec == CodecNone {
		i.NumRecords = 1
	}
	return i, nil
}

// readLegacyInfo is readInfo for the old formats.
func readLegacyInfo(b []byte, i *Info) error {
	info, err := peekLegacy(b, len(b))
	if err != nil {
		return err
	}
	*i = info
	if crc := crc32.ChecksumIEEE(b[posMagic:]); crc != i.CRC {
		return kafka.CorruptMessage.Errorf("Record is corrupt (stored crc = %d, computed crc = %d)", i.CRC, crc)
	}
	if i.Codec == CodecNone {
		return nil
	}
	var it Iter
	defer it.Close()
	if err := it.reset(b, i, 0); err != nil {
		return err
	}
	var r Record
	var n int32
	for it.Next(&r) {
		if n == 0 {
			i.BaseOffset = r.Offset
		}
		n++
	}
	if err := it.Err(); err != nil {
		return err
	}
	delta := i.LastOffset - i.BaseOffset
	if delta < 0 || delta > maxInt32 {
		return kafka.CorruptMessage.Errorf("message set has offsets from %d to %d", i.BaseOffset, i.LastOffset)
	}
	i.NumRecords, i.LastOffsetDelta = n, int32(delta)
	return nil
}

// resetLegacy begins with the message b.
func (it *Iter) resetLegacy(b []byte, maxDecompressed int) error {
	reason := parseLegacy(b, &it.outer)
	if reason != "" {
		return kafka.CorruptMessage.Errorf("%s", reason)
	}
	if it.info.Codec == CodecNone {
		return nil
	}
	if it.info.Codec > CodecLZ4 {
		return kafka.InvalidRecord.Errorf("Invalid wrapper compressionType found in legacy deep record iterator %d", it.info.Magic)
	}
	if it.outer.value == nil {
		return kafka.InvalidRecord.Errorf("Found invalid compressed record set with null value (magic = %d)", it.info.Magic)
	}
	buf, err := decompressPooled(it.outer.value, it.info.Codec, it.info.Magic, maxDecompressed)
	if err != nil {
		return err
	}
	it.buf, it.payload = buf, buf.b
	last, n, err := lastInnerOffset(buf.b)
	if err != nil {
		return err
	}
	if n == 0 {
		return kafka.InvalidRecord.Errorf("Found invalid compressed record set with no inner records")
	}
	// Some producers left the wrapper's offset at 0.
	if it.info.Magic == MagicV1 && it.info.LastOffset != 0 {
		if it.info.LastOffset < last {
			return kafka.InvalidRecord.Errorf("Found invalid wrapper offset in compressed v1 message set, wrapper offset '%d' is less than the last inner message offset '%d' and it is not zero.", it.info.LastOffset, last)
		}
		it.innerBase = it.info.LastOffset - last
	}
	return nil
}

// lastInnerOffset is the offset of the last message of a decompressed set, as it
// stands there, and how many messages there are.
func lastInnerOffset(b []byte) (last int64, n int, err error) {
	for len(b) > 0 {
		m, rest, err := cutInner(b)
		if err != nil {
			return 0, 0, err
		}
		if m == nil {
			break
		}
		last = int64(be.Uint64(m))
		n++
		b = rest
	}
	return last, n, nil
}

// cutInner cuts the first message off a decompressed set. It returns nil when
// what remains is less than a message, which ends the set.
func cutInner(b []byte) (message, rest []byte, err error) {
	if len(b) < LogOverhead {
		return nil, nil, nil
	}
	n := int32(be.Uint32(b[posLength:]))
	if n < legacyOverheadV0 {
		return nil, nil, kafka.CorruptMessage.Errorf("Record size is less than the minimum record overhead (%d)", legacyOverheadV0)
	}
	if int(n) > len(b)-LogOverhead {
		return nil, nil, nil
	}
	end := LogOverhead + int(n)
	return b[:end:end], b[end:], nil
}

// nextLegacy is Next for the old formats. It leaves the message in it.inner, for
// those who look closer.
func (it *Iter) nextLegacy(r *Record) bool {
	if it.info.Codec == CodecNone {
		if it.index > 0 {
			return false
		}
		it.inner = it.outer
		it.legacyRecord(r, it.outer.offset, it.outer.timestamp)
		return true
	}
	raw, rest, err := cutInner(it.payload[it.pos:])
	if err != nil || raw == nil {
		it.err = err
		return false
	}
	if raw[legacyPosAttributes]&attrCodecMask != 0 {
		it.err = kafka.InvalidRecord.Errorf("Inner messages must not be compressed")
		return false
	}
	if int8(raw[posMagic]) != it.info.Magic && it.sameMagic {
		it.wrongMagic = true
		it.err = malformed(it.index, "its magic does not match the outer magic")
		return false
	}
	// The outer checksum says nothing of what a producer compressed.
	if crc := crc32.ChecksumIEEE(raw[posMagic:]); crc != be.Uint32(raw[legacyPosCRC:]) {
		it.err = kafka.CorruptMessage.Errorf("Record is corrupt (stored crc = %d, computed crc = %d)", be.Uint32(raw[legacyPosCRC:]), crc)
		return false
	}
	if reason := parseLegacy(raw, &it.inner); reason != "" {
		it.err = malformed(it.index, reason)
		return false
	}
	offset, timestamp := it.inner.offset, it.inner.timestamp
	if it.info.Magic == MagicV1 {
		offset += it.innerBase
	}
	if it.inner.magic == MagicV1 && it.info.TimestampType == LogAppendTime {
		timestamp = it.info.MaxTimestamp
	}
	it.legacyRecord(r, offset, timestamp)
	it.pos = len(it.payload) - len(rest)
	return true
}

func (it *Iter) legacyRecord(r *Record, offset, timestamp int64) {
	*r = Record{
		Offset:     offset,
		Timestamp:  timestamp,
		Sequence:   NoSequence,
		Attributes: it.inner.attributes,
		Key:        it.inner.key,
		Value:      it.inner.value,
		Size:       len(it.inner.raw),
	}
	it.index++
}

// appendLegacy appends one message. compressed values are not compressed here.
func appendLegacy(dst []byte, magic int8, offset, timestamp int64, codec Codec, tt TimestampType, key, value []byte) []byte {
	start := len(dst)
	dst = be.AppendUint64(dst, uint64(offset))
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0) // length and checksum, below
	attributes := byte(codec)
	if magic == MagicV1 && tt == LogAppendTime {
		attributes |= attrLogAppendTime
	}
	dst = append(dst, byte(magic), attributes)
	if magic == MagicV1 {
		dst = be.AppendUint64(dst, uint64(timestamp))
	}
	dst = appendLegacyField(dst, key)
	dst = appendLegacyField(dst, value)
	m := dst[start:]
	be.PutUint32(m[posLength:], uint32(len(m)-LogOverhead))
	be.PutUint32(m[legacyPosCRC:], crc32.ChecksumIEEE(m[posMagic:]))
	return dst
}

func appendLegacyField(dst, f []byte) []byte {
	if f == nil {
		return append(dst, 0xff, 0xff, 0xff, 0xff)
	}
	dst = be.AppendUint32(dst, uint32(len(f)))
	return append(dst, f...)
}
