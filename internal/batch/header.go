package batch

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Positions in the header of a v2 batch. The first two and the magic are where
// the old formats have them too.
const (
	posBaseOffset      = 0
	posLength          = 8
	posLeaderEpoch     = 12
	posMagic           = 16
	posCRC             = 17
	posAttributes      = 21
	posLastOffsetDelta = 23
	posBaseTimestamp   = 27
	posMaxTimestamp    = 35
	posProducerID      = 43
	posProducerEpoch   = 51
	posBaseSequence    = 53
	posRecordCount     = 57
)

// Bits of the attributes.
const (
	attrCodecMask     = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
	attrDeleteHorizon = 0x40
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// be reads and writes the byte order of everything in Kafka's formats.
var be = binary.BigEndian

// NextSize returns the size of the batch or old message that b begins with. ok
// is false when b holds less than its fixed beginning; the batch itself may
// still reach past the end of b. A length or a magic that no format has is
// CORRUPT_MESSAGE.
func NextSize(b []byte) (size int, ok bool, err error) {
	if len(b) < LogOverhead {
		return 0, false, nil
	}
	n := int32(be.Uint32(b[posLength:]))
	if n < legacyOverheadV0 {
		return 0, false, kafka.CorruptMessage.Errorf("Record size %d is less than the minimum record overhead (%d)", n, legacyOverheadV0)
	}
	if len(b) <= posMagic {
		return 0, false, nil
	}
	magic := int8(b[posMagic])
	if magic < MagicV0 || magic > MagicV2 {
		return 0, false, kafka.CorruptMessage.Errorf("Invalid magic found in record: %d", magic)
	}
	size = LogOverhead + int(n)
	if min := minSize(magic); size < min {
		return 0, false, kafka.CorruptMessage.Errorf("Record batch is corrupt (the size %d is smaller than the minimum allowed overhead %d)", size, min)
	}
	return size, true, nil
}

func minSize(magic int8) int {
	switch magic {
	case MagicV0:
		return LogOverhead + legacyOverheadV0
	case MagicV1:
		return LogOverhead + legacyOverheadV1
	}
	return HeaderSize
}

// Peek reads the header of the batch that b begins with, and nothing after it:
// no checksum is compared and b need not hold the whole batch. PeekSize bytes
// always suffice. For a compressed message of an old format BaseOffset is the
// offset of its last record and NumRecords is 0, because only decompressing it
// tells more.
func Peek(b []byte) (Info, error) {
	var i Info
	size, ok, err := NextSize(b)
	if err != nil {
		return i, err
	}
	if !ok {
		return i, kafka.CorruptMessage.Errorf("batch header is cut off after %d bytes", len(b))
	}
	if int8(b[posMagic]) < MagicV2 {
		return peekLegacy(b, size)
	}
	if len(b) < HeaderSize {
		return i, kafka.CorruptMessage.Errorf("batch header is cut off after %d bytes", len(b))
	}
	parseV2(b, size, &i)
	return i, nil
}

// parseV2 reads a v2 header into i. b holds at least HeaderSize bytes.
func parseV2(b []byte, size int, i *Info) {
	_ = b[HeaderSize-1]
	attr := be.Uint16(b[posAttributes:])
	i.Size = size
	i.Magic = MagicV2
	i.BaseOffset = int64(be.Uint64(b[posBaseOffset:]))
	i.LastOffsetDelta = int32(be.Uint32(b[posLastOffsetDelta:]))
	i.LastOffset = i.BaseOffset + int64(i.LastOffsetDelta)
	i.NumRecords = int32(be.Uint32(b[posRecordCount:]))
	i.LeaderEpoch = int32(be.Uint32(b[posLeaderEpoch:]))
	i.BaseTimestamp = int64(be.Uint64(b[posBaseTimestamp:]))
	i.MaxTimestamp = int64(be.Uint64(b[posMaxTimestamp:]))
	i.ProducerID = int64(be.Uint64(b[posProducerID:]))
	i.ProducerEpoch = int16(be.Uint16(b[posProducerEpoch:]))
	i.BaseSequence = int32(be.Uint32(b[posBaseSequence:]))
	i.CRC = be.Uint32(b[posCRC:])
	i.Codec = Codec(attr & attrCodecMask)
	i.TimestampType = TimestampType(attr & attrLogAppendTime >> 3)
	i.IsTransactional = attr&attrTransactional != 0
	i.IsControl = attr&attrControl != 0
	i.HasDeleteHorizon = attr&attrDeleteHorizon != 0
}

// crcOf computes the checksum of a whole v2 batch.
func crcOf(b []byte) uint32 { return crc32.Checksum(b[posAttributes:], castagnoli) }

// CheckCRC compares the checksum of the whole batch b, of any format, with what it says.
func CheckCRC(b []byte) error {
	info, err := Peek(b)
	if err != nil {
		return err
	}
	crc := uint32(0)
	if info.Magic < MagicV2 {
		crc = crc32.ChecksumIEEE(b[posMagic:])
	} else {
		crc = crcOf(b)
	}
	if crc != info.CRC {
		return kafka.CorruptMessage.Errorf("Record is corrupt (stored crc = %d, computed crc = %d)", info.CRC, crc)
	}
	return nil
}

// setCRC stores the checksum of a whole v2 batch.
func setCRC(b []byte) uint32 {
	crc := crcOf(b)
	be.PutUint32(b[posCRC:], crc)
	return crc
}

// Infos reads the headers of concatenated batches and compares their checksums.
// A batch that the end of in cuts off is left out without an error, as in the
// answer to a Fetch; the valid bytes are those up to the End of the last
// element. At the first batch that is damaged Infos returns what lies before it
// and CORRUPT_MESSAGE.
func Infos(in []byte) ([]Info, error) { return AppendInfos(nil, in) }

// AppendInfos is Infos for a caller that has memory to use again.
func AppendInfos(dst []Info, in []byte) ([]Info, error) {
	for pos := 0; pos < len(in); {
		b := in[pos:]
		size, ok, err := NextSize(b)
		if err != nil {
			return dst, kafka.CorruptMessage.Errorf("batch at byte %d: %w", pos, err)
		}
		if !ok || size > len(b) {
			return dst, nil
		}
		b = b[:size:size]
		dst = append(dst, Info{})
		i := &dst[len(dst)-1]
		if err := readInfo(b, i); err != nil {
			return dst[:len(dst)-1], kafka.CorruptMessage.Errorf("batch at byte %d: %w", pos, err)
		}
		i.Pos = pos
		pos += size
	}
	return dst, nil
}

// readInfo reads and checks one whole batch of any format.
func readInfo(b []byte, i *Info) error {
	if int8(b[posMagic]) < MagicV2 {
		return readLegacyInfo(b, i)
	}
	parseV2(b, len(b), i)
	if crc := crcOf(b); crc != i.CRC {
		return kafka.CorruptMessage.Errorf("Record is corrupt (stored crc = %d, computed crc = %d)", i.CRC, crc)
	}
	if i.LastOffsetDelta < 0 || i.NumRecords < 0 {
		return kafka.CorruptMessage.Errorf("last offset delta %d and record count %d must not be negative", i.LastOffsetDelta, i.NumRecords)
	}
	if i.IsControl {
		i.Control = readControl(b)
	}
	return nil
}
