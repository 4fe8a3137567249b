package house

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Positions in the fixed part that every format of batches shares, and where what
// the checksums cover begins.
const (
	upToMagic      = 17
	magicPosition  = 16
	legacyCovered  = 16
	v2Covered      = 21
	legacyOverhead = 14
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var snapshotName = regexp.MustCompile(`^(\d{20})-(\d{10})\.checkpoint$`)

// log prints a segment or a snapshot of the metadata log.
func (d *dumper) log(name string) error {
	if err := d.logTitle(name); err != nil {
		return err
	}
	f, size, err := d.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	end := min(size, d.maxBytes)
	last := int64(-1)
	valid, err := walkBatches(f, 0, end, func(pos int64, raw []byte) error {
		info, err := batch.Peek(raw)
		if err != nil {
			return err
		}
		d.batchLine(&info, pos, raw)
		if d.deep {
			last, err = d.records(name, raw, last)
		}
		return err
	})
	if err != nil {
		return err
	}
	if valid < end && d.maxBytes == unlimited {
		fmt.Fprintf(d.out, "Found %d invalid bytes at the end of %s\n", end-valid, filepath.Base(name))
	}
	return nil
}

func (d *dumper) logTitle(name string) error {
	file := filepath.Base(name)
	if filepath.Ext(file) == ".log" {
		base, err := baseOffset(name)
		if err == nil {
			fmt.Fprintf(d.out, "Log starting offset: %d\n", base)
		}
		return err
	}
	if file == "bootstrap.checkpoint" {
		fmt.Fprintln(d.out, "KRaft bootstrap snapshot")
		return nil
	}
	m := snapshotName.FindStringSubmatch(file)
	if m == nil {
		return fmt.Errorf("the name is not that of a snapshot")
	}
	offset, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return err
	}
	epoch, err := strconv.ParseInt(m[2], 10, 32)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "Snapshot end offset: %d, epoch: %d\n", offset, epoch)
	return nil
}

// walkBatches calls fn with every batch that lies whole in [from, end) and returns
// where the last one ends. raw is valid during the call only.
func walkBatches(f vfs.File, from, end int64, fn func(pos int64, raw []byte) error) (int64, error) {
	var head [upToMagic]byte
	var buf []byte
	pos := from
	for pos < end-upToMagic {
		if err := readAll(f, head[:], pos); err != nil {
			return pos, err
		}
		n := int64(int32(binary.BigEndian.Uint32(head[8:])))
		if n < legacyOverhead {
			return pos, fmt.Errorf("Found record size %d smaller than minimum record overhead (%d) in file %s.", n, legacyOverhead, f.Name())
		}
		size := batch.LogOverhead + n
		if pos > end-size {
			return pos, nil
		}
		// size is what the file holds, so the memory is bounded by it.
		buf = slices.Grow(buf[:0], int(size))[:size]
		if err := readAll(f, buf, pos); err != nil {
			return pos, err
		}
		if err := fn(pos, buf); err != nil {
			return pos, fmt.Errorf("the batch at position %d: %w", pos, err)
		}
		pos += size
	}
	return pos, nil
}

func readAll(f io.ReaderAt, b []byte, pos int64) error {
	n, err := f.ReadAt(b, pos)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func timestampType(magic int8, t batch.TimestampType) string {
	switch {
	case magic == batch.MagicV0:
		return "NoTimestampType"
	case t == batch.LogAppendTime:
		return "LogAppendTime"
	}
	return "CreateTime"
}

func checksum(magic int8, raw []byte) uint32 {
	if magic < batch.MagicV2 {
		return crc32.ChecksumIEEE(raw[legacyCovered:])
	}
	return crc32.Checksum(raw[v2Covered:], castagnoli)
}

func (d *dumper) batchLine(i *batch.Info, pos int64, raw []byte) {
	if i.Magic >= batch.MagicV2 {
		fmt.Fprintf(d.out, "baseOffset: %d lastOffset: %d count: %d baseSequence: %d lastSequence: %d producerId: %d producerEpoch: %d partitionLeaderEpoch: %d isTransactional: %t isControl: %t deleteHorizonMs: %s",
			i.BaseOffset, i.LastOffset, i.NumRecords, i.BaseSequence, i.LastSequence(), i.ProducerID, i.ProducerEpoch, i.LeaderEpoch,
			i.IsTransactional, i.IsControl, optional(i.BaseTimestamp, i.HasDeleteHorizon))
	} else {
		fmt.Fprintf(d.out, "offset: %d", i.LastOffset)
	}
	fmt.Fprintf(d.out, " position: %d %s: %d size: %d magic: %d compresscodec: %s crc: %d isvalid: %t\n",
		pos, timestampType(i.Magic, i.TimestampType), i.MaxTimestamp, i.Size, i.Magic, i.Codec, i.CRC, i.CRC == checksum(i.Magic, raw))
}

// records prints the records of one batch. last is the offset before it; the
// result is the offset of its last record.
func (d *dumper) records(name string, raw []byte, last int64) (int64, error) {
	var it batch.Iter
	defer it.Close()
	if err := it.Reset(raw, 0); err != nil {
		return last, err
	}
	info := it.Info()
	sums, err := legacyChecksums(raw, info)
	if err != nil {
		return last, err
	}
	var r batch.Record
	for n := 0; it.Next(&r); n++ {
		if r.Offset != last+1 {
			d.nonConsecutive.add(name, pair{last, r.Offset})
		}
		last = r.Offset
		if !d.skipMetadata {
			d.recordMetadata(info, &r)
			if n < len(sums) {
				fmt.Fprintf(d.out, " isValid: %t crc: %d", sums[n].valid, sums[n].crc)
			}
			if info.IsControl {
				if err := d.controlRecord(&r); err != nil {
					return last, err
				}
			}
		}
		if d.contents && !info.IsControl {
			if err := d.recordContents(&r); err != nil {
				return last, err
			}
		}
		fmt.Fprintln(d.out)
	}
	return last, it.Err()
}

func (d *dumper) recordMetadata(i *batch.Info, r *batch.Record) {
	fmt.Fprintf(d.out, "| offset: %d %s: %d keySize: %d valueSize: %d", r.Offset, timestampType(i.Magic, i.TimestampType), r.Timestamp, length(r.Key), length(r.Value))
	if i.Magic < batch.MagicV2 {
		return
	}
	keys := make([]string, 0, r.NumHeaders)
	for _, h := range r.Headers() {
		keys = append(keys, javaString([]byte(h.Key)))
	}
	fmt.Fprintf(d.out, " sequence: %d headerKeys: [%s]", r.Sequence, strings.Join(keys, ","))
}

// length is the size of a field, -1 for null.
func length(b []byte) int {
	if b == nil {
		return -1
	}
	return len(b)
}

func (d *dumper) recordContents(r *batch.Record) error {
	prefix := " "
	if d.skipMetadata {
		prefix = "| "
	}
	key, value, err := d.parser(r)
	if err != nil {
		return err
	}
	if key != nil {
		fmt.Fprintf(d.out, "%skey: %s", prefix, *key)
		prefix = " "
	}
	if value != nil {
		fmt.Fprintf(d.out, "%spayload: %s", prefix, *value)
	}
	return nil
}

// controlTitles begin the lines of the quorum's control records.
var controlTitles = map[batch.ControlType]string{
	batch.ControlLeaderChange: "LeaderChange:", batch.ControlSnapshotHeader: "SnapshotHeader", batch.ControlSnapshotFooter: "SnapshotFooter",
	batch.ControlKRaftVersion: "KRaftVersion", batch.ControlKRaftVoters: "KRaftVoters",
}

func (d *dumper) controlRecord(r *batch.Record) error {
	t, ok := batch.ParseControlKey(r.Key)
	if !ok {
		return fmt.Errorf("Invalid value size found for end control record key. Must have at least 4 bytes, but found only %d", len(r.Key))
	}
	switch t {
	case batch.ControlAbort, batch.ControlCommit:
		c := batch.ParseControl(r.Key, r.Value)
		if !c.Valid {
			return fmt.Errorf("the transaction marker at offset %d cannot be read", r.Offset)
		}
		name := "COMMIT"
		if t == batch.ControlAbort {
			name = "ABORT"
		}
		fmt.Fprintf(d.out, " endTxnMarker: %s coordinatorEpoch: %d", name, c.CoordinatorEpoch)
		return nil
	}
	title, ok := controlTitles[t]
	if !ok {
		fmt.Fprintf(d.out, " controlType: UNKNOWN(%d)", t)
		return nil
	}
	m, err := records.DecodeControl(r.Key, r.Value)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, " %s %s", title, m.AppendJSON(nil))
	return nil
}

// messageSum is the checksum of one message of an old format.
type messageSum struct {
	crc   uint32
	valid bool
}

// legacyChecksums are those of the messages in a batch of an old format, in order;
// nil for a batch of format v2, whose records have none.
func legacyChecksums(raw []byte, i *batch.Info) ([]messageSum, error) {
	if i.Magic >= batch.MagicV2 {
		return nil, nil
	}
	if i.Codec == batch.CodecNone {
		return []messageSum{{i.CRC, i.CRC == checksum(i.Magic, raw)}}, nil
	}
	pos := legacyCovered + 2 // magic and attributes
	if i.Magic == batch.MagicV1 {
		pos += 8
	}
	for field := 0; ; field++ { // the key, which is null, then the value
		if len(raw)-pos < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		n := int(int32(binary.BigEndian.Uint32(raw[pos:])))
		pos += 4
		if n > len(raw)-pos {
			return nil, io.ErrUnexpectedEOF
		}
		if field == 1 {
			raw = raw[pos : pos+max(n, 0)]
			break
		}
		pos += max(n, 0)
	}
	inner, err := batch.Decompress(nil, raw, i.Codec, i.Magic, batch.DefaultMaxDecompressedBytes)
	if err != nil {
		return nil, err
	}
	var sums []messageSum
	for len(inner) > 0 {
		m, err := batch.Peek(inner)
		if err != nil || m.Magic >= batch.MagicV2 || m.Size > len(inner) {
			break // the walk over the records tells what is wrong
		}
		sums = append(sums, messageSum{m.CRC, m.CRC == checksum(m.Magic, inner[:m.Size])})
		inner = inner[m.Size:]
	}
	return sums, nil
}
