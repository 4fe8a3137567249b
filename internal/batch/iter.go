package batch

import (
	"math"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Iter walks the records of one batch of any format without allocating one. It
// belongs to one goroutine. The zero Iter is ready for Reset; Close gives back
// the buffer of a compressed batch.
type Iter struct {
	info    Info
	payload []byte
	buf     *buffer
	pos     int
	index   int32
	logTime bool
	err     error
	// outer is a message of an old format, inner the one that Next read last,
	// innerBase what its offset is relative to.
	outer, inner legacyMessage
	innerBase    int64
	// sameMagic makes an inner message of another format than the outer one an
	// error, which wrongMagic then tells. Consumers do not mind them.
	sameMagic, wrongMagic bool
}

// Reset begins with the batch that b begins with, of which b must hold all
// bytes. It compares no checksum. A compressed batch is decompressed into a
// pooled buffer, to at most maxDecompressed bytes (0 or less means
// DefaultMaxDecompressedBytes), more if compaction made it larger.
func (it *Iter) Reset(b []byte, maxDecompressed int) error {
	it.Close()
	info, err := Peek(b)
	if err == nil && info.Size > len(b) {
		err = kafka.CorruptMessage.Errorf("batch of %d bytes is cut off after %d", info.Size, len(b))
	}
	if err == nil {
		err = it.reset(b[:info.Size:info.Size], &info, maxDecompressed)
	}
	it.err = err
	return err
}

func (it *Iter) reset(b []byte, info *Info, maxDecompressed int) error {
	if maxDecompressed <= 0 {
		maxDecompressed = DefaultMaxDecompressedBytes
	}
	it.info = *info
	if info.Magic < MagicV2 {
		return it.resetLegacy(b, maxDecompressed)
	}
	if info.NumRecords < 0 {
		return kafka.InvalidRecord.Errorf("Found invalid record count %d in magic v%d batch", info.NumRecords, info.Magic)
	}
	it.logTime = info.TimestampType == LogAppendTime
	it.payload = b[HeaderSize:]
	if info.Codec != CodecNone && info.NumRecords > 0 {
		buf, err := decompressPooled(it.payload, info.Codec, MagicV2, maxDecompressed+horizonRoom(info, maxDecompressed))
		if err != nil {
			return err
		}
		it.buf, it.payload = buf, buf.b
	}
	return nil
}

const (
	// minRecordSize is the size of a record of format v2 without key, value and headers.
	minRecordSize = 7
	// horizonGrowth is by how much a record may grow with a delete horizon: its timestamp
	// is then told from that, which takes nine bytes more at most and may lengthen the
	// record's length by one.
	horizonGrowth = 10
)

// horizonRoom is how far beyond max a batch may reach that compaction gave a delete
// horizon: it was bounded before, and has to be readable after. The number of records is
// believed only as far as so many can have been within max, so that a header which lies
// gets at most one and a half times max on top.
func horizonRoom(info *Info, max int) int {
	if !info.HasDeleteHorizon {
		return 0
	}
	room := int64(min(int(info.NumRecords), max/minRecordSize)) * horizonGrowth
	return int(min(room, int64(math.MaxInt-max)))
}

// Info is the header of the batch.
func (it *Iter) Info() *Info { return &it.info }

// Next reads the next record into r. It returns false at the end of the batch
// and at the first record that is malformed; Err tells which.
func (it *Iter) Next(r *Record) bool {
	if it.err != nil {
		return false
	}
	if it.info.Magic < MagicV2 {
		return it.nextLegacy(r)
	}
	if it.index >= it.info.NumRecords {
		return false
	}
	b := it.payload[it.pos:]
	var raw rawRecord
	size, reason := parseRecord(b, &raw)
	if reason == "" && it.index+1 == it.info.NumRecords && size != len(b) {
		reason = "Incorrect declared batch size, records still remaining in file"
	}
	if reason != "" {
		it.err = malformed(it.index, reason)
		return false
	}
	r.Offset = it.info.BaseOffset + int64(raw.offsetDelta)
	r.Timestamp = it.info.BaseTimestamp + raw.tsDelta
	if it.logTime {
		r.Timestamp = it.info.MaxTimestamp
	}
	r.Sequence = NoSequence
	if it.info.BaseSequence >= 0 {
		r.Sequence = IncrementSequence(it.info.BaseSequence, raw.offsetDelta)
	}
	r.Attributes = raw.attributes
	r.Key = field(b, raw.keyPos, raw.keyLen)
	r.Value = field(b, raw.valuePos, raw.valueLen)
	r.NumHeaders = raw.headers
	r.headers = b[raw.headersPos:size]
	r.Size = size
	it.pos += size
	it.index++
	return true
}

// Err is why the walk ended before the last record, or nil.
func (it *Iter) Err() error { return it.err }

// Close gives back what the iterator holds. Records that it returned must not be
// used any more. The iterator may be reset again.
func (it *Iter) Close() {
	if it.buf != nil {
		it.buf.release()
	}
	*it = Iter{}
}
