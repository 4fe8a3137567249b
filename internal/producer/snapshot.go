package producer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sort"

	"github.com/gregorhq/gregor/internal/batch"
)

// The .snapshot file is a version (2 bytes, 1), a CRC-32C of all that follows it
// (4 bytes), a count (4 bytes) and as many entries of 46 bytes.
const (
	snapshotVersion  = 1
	snapshotCRC      = 2
	snapshotBody     = 6
	snapshotEntries  = 10
	snapshotEntryLen = 46
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrCorruptSnapshot is what every error of DecodeSnapshot is. The log deletes
// such a file and goes on with the one before.
var ErrCorruptSnapshot = errors.New("producer snapshot is corrupt")

// Entry is one producer as snapshots and DescribeProducers show it.
type Entry struct {
	ProducerID int64
	// LastOffset, LastSequence and OffsetDelta are those of the last batch; -1,
	// -1 and 0 when none is known.
	LastOffset   int64
	LastSequence int32
	OffsetDelta  int32
	// Timestamp is that of the last append.
	Timestamp        int64
	CoordinatorEpoch int32
	Epoch            int16
	// CurrentTxnFirstOffset is -1 without an open transaction.
	CurrentTxnFirstOffset int64
}

// Entries returns all producers, ordered by id.
func (s *State) Entries() []Entry {
	all := make([]Entry, 0, len(s.producers))
	for _, e := range s.producers {
		x := Entry{
			ProducerID:            e.producerID,
			LastOffset:            none,
			LastSequence:          batch.NoSequence,
			Timestamp:             e.lastTimestamp,
			CoordinatorEpoch:      e.coordinatorEpoch,
			Epoch:                 e.epoch,
			CurrentTxnFirstOffset: e.txnFirst,
		}
		if e.n > 0 {
			b := &e.batches[e.n-1]
			x.LastOffset, x.LastSequence, x.OffsetDelta = b.LastOffset, b.LastSequence, b.OffsetDelta
		}
		all = append(all, x)
	}
	sort.Slice(all, func(a, b int) bool { return all[a].ProducerID < all[b].ProducerID })
	return all
}

// AppendSnapshot appends the .snapshot file of the state to dst. Its offset is
// EndOffset.
func (s *State) AppendSnapshot(dst []byte) []byte { return AppendSnapshot(dst, s.Entries()) }

// AppendSnapshot appends a .snapshot file to dst.
func AppendSnapshot(dst []byte, entries []Entry) []byte {
	be := binary.BigEndian
	start := len(dst)
	dst = be.AppendUint16(dst, snapshotVersion)
	dst = be.AppendUint32(dst, 0)
	dst = be.AppendUint32(dst, uint32(len(entries)))
	for k := range entries {
		e := &entries[k]
		dst = be.AppendUint64(dst, uint64(e.ProducerID))
		dst = be.AppendUint16(dst, uint16(e.Epoch))
		dst = be.AppendUint32(dst, uint32(e.LastSequence))
		dst = be.AppendUint64(dst, uint64(e.LastOffset))
		dst = be.AppendUint32(dst, uint32(e.OffsetDelta))
		dst = be.AppendUint64(dst, uint64(e.Timestamp))
		dst = be.AppendUint32(dst, uint32(e.CoordinatorEpoch))
		dst = be.AppendUint64(dst, uint64(e.CurrentTxnFirstOffset))
	}
	crc := crc32.Checksum(dst[start+snapshotBody:], castagnoli)
	be.PutUint32(dst[start+snapshotCRC:], crc)
	return dst
}

// DecodeSnapshot reads a .snapshot file.
func DecodeSnapshot(b []byte) ([]Entry, error) {
	be := binary.BigEndian
	if len(b) < snapshotEntries {
		return nil, fmt.Errorf("%w: %d bytes", ErrCorruptSnapshot, len(b))
	}
	if v := int16(be.Uint16(b)); v != snapshotVersion {
		return nil, fmt.Errorf("%w: Snapshot contained an unknown file version %d", ErrCorruptSnapshot, v)
	}
	stored, computed := be.Uint32(b[snapshotCRC:]), crc32.Checksum(b[snapshotBody:], castagnoli)
	if stored != computed {
		return nil, fmt.Errorf("%w: Stored crc: %d. Computed crc: %d", ErrCorruptSnapshot, stored, computed)
	}
	n := int64(int32(be.Uint32(b[snapshotBody:])))
	b = b[snapshotEntries:]
	if n < 0 || n*snapshotEntryLen > int64(len(b)) {
		return nil, fmt.Errorf("%w: %d entries in %d bytes", ErrCorruptSnapshot, n, len(b))
	}
	entries := make([]Entry, n)
	for k := range entries {
		entries[k] = Entry{
			ProducerID:            int64(be.Uint64(b)),
			Epoch:                 int16(be.Uint16(b[8:])),
			LastSequence:          int32(be.Uint32(b[10:])),
			LastOffset:            int64(be.Uint64(b[14:])),
			OffsetDelta:           int32(be.Uint32(b[22:])),
			Timestamp:             int64(be.Uint64(b[26:])),
			CoordinatorEpoch:      int32(be.Uint32(b[34:])),
			CurrentTxnFirstOffset: int64(be.Uint64(b[38:])),
		}
		b = b[snapshotEntryLen:]
	}
	return entries, nil
}

// Load replaces the state with a .snapshot file that was taken at offset.
// Producers that have expired by nowMs are left out. With an error the state is
// as it was.
func (s *State) Load(snapshot []byte, offset, nowMs int64) error {
	entries, err := DecodeSnapshot(snapshot)
	if err != nil {
		return err
	}
	s.Reset(offset)
	for k := range entries {
		x := &entries[k]
		e := newEntry(x.ProducerID)
		e.epoch, e.coordinatorEpoch, e.lastTimestamp = x.Epoch, x.CoordinatorEpoch, x.Timestamp
		if x.CurrentTxnFirstOffset >= 0 {
			e.txnFirst = x.CurrentTxnFirstOffset
		}
		if x.LastOffset >= 0 {
			e.partial, s.partial = true, true
			e.add(&BatchMeta{LastOffset: x.LastOffset, Timestamp: x.Timestamp, LastSequence: x.LastSequence, OffsetDelta: x.OffsetDelta})
		}
		if s.expired(&e, nowMs) {
			continue
		}
		if s.producers == nil {
			s.producers = make(map[int64]*entry, len(entries))
		}
		s.producers[e.producerID] = &e
		if e.txnFirst >= 0 {
			s.ongoing.put(txn{first: e.txnFirst, last: none, producerID: e.producerID})
		}
	}
	return nil
}
