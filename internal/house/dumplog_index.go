package house

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sort"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Sizes of entries; see docs/formats.
const (
	offsetEntrySize = 8
	timeEntrySize   = 12
	txnEntrySize    = 34
)

// sortUnique orders the pairs of each file and keeps the last one of each number.
func (f *findings) sortUnique(less func(a, b int64) bool) {
	for name, pairs := range f.pairs {
		sort.SliceStable(pairs, func(i, j int) bool { return less(pairs[i].a, pairs[j].a) })
		kept := pairs[:0]
		for _, p := range pairs {
			if n := len(kept); n > 0 && kept[n-1].a == p.a {
				kept[n-1] = p
				continue
			}
			kept = append(kept, p)
		}
		f.pairs[name] = kept
	}
}

func (d *dumper) offsetIndex(name string) error {
	base, err := baseOffset(name)
	if err != nil {
		return err
	}
	log, logSize, err := d.open(sibling(name, ".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	b, err := vfs.ReadFile(d.fs, name)
	if err != nil {
		return err
	}
	entry := func(i int) (offset, pos int64) {
		e := b[i*offsetEntrySize:]
		return base + int64(int32(binary.BigEndian.Uint32(e))), int64(int32(binary.BigEndian.Uint32(e[4:])))
	}
	n := len(b) / offsetEntrySize
	if n == 0 {
		fmt.Fprintf(d.out, "%s is empty.\n", name)
		return nil
	}
	if d.sanityOnly {
		if err := d.indexSanity(name, "index", int64(len(b)), offsetEntrySize); err != nil {
			return err
		}
		if last, _ := entry(n - 1); last < base {
			return fmt.Errorf("Corrupt index found, index file %s has non-zero size but the last offset is %d which is less than the base offset %d", absolute(name), last, base)
		}
		fmt.Fprintf(d.out, "%s passed sanity check.\n", name)
		return nil
	}
	for i := 0; i < n; i++ {
		offset, pos := entry(i)
		if offset == base && i > 0 {
			return nil // the zeros that the file is preallocated with
		}
		found, err := lastOffsetAt(log, pos, min(logSize, pos+d.maxMessageSize))
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if found != offset {
			d.indexMismatches.add(name, pair{offset, found})
		}
		if !d.verifyOnly {
			fmt.Fprintf(d.out, "offset: %d position: %d\n", offset, pos)
		}
	}
	return nil
}

func absolute(name string) string {
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}

func (d *dumper) indexSanity(name, what string, size int64, entry int64) error {
	if size%entry != 0 {
		return fmt.Errorf("%s file %s is corrupt, found %d bytes which is neither positive nor a multiple of %d", what, absolute(name), size, entry)
	}
	return nil
}

// lastOffsetAt is the last offset of the batch at pos, which must lie whole before
// end.
func lastOffsetAt(log vfs.File, pos, end int64) (int64, error) {
	if pos < 0 || pos > end {
		return 0, fmt.Errorf("Slice from position %d exceeds end position of %s", pos, log.Name())
	}
	head := make([]byte, min(batch.PeekSize, end-pos))
	if err := readAll(log, head, pos); err != nil {
		return 0, err
	}
	info, err := batch.Peek(head)
	if err != nil {
		return 0, fmt.Errorf("no batch at position %d of %s: %w", pos, log.Name(), err)
	}
	if int64(info.Size) > end-pos {
		return 0, fmt.Errorf("no whole batch at position %d of %s", pos, log.Name())
	}
	return info.LastOffset, nil
}

// placed is a batch of a log.
type placed struct {
	last, pos int64
	size      int64
}

// placeBatches lists the batches of a log.
func placeBatches(log vfs.File, size int64) (all []placed, err error) {
	_, err = walkBatches(log, 0, size, func(pos int64, raw []byte) error {
		info, err := batch.Peek(raw)
		all = append(all, placed{info.LastOffset, pos, int64(info.Size)})
		return err
	})
	return all, err
}

func (d *dumper) timeIndex(name string) error {
	base, err := baseOffset(name)
	if err != nil {
		return err
	}
	log, logSize, err := d.open(sibling(name, ".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	b, err := vfs.ReadFile(d.fs, name)
	if err != nil {
		return err
	}
	entry := func(i int) (stamp, offset int64) {
		e := b[i*timeEntrySize:]
		return int64(binary.BigEndian.Uint64(e)), base + int64(int32(binary.BigEndian.Uint32(e[8:])))
	}
	n := len(b) / timeEntrySize
	if d.sanityOnly {
		if err := timeSanity(name, base, n, entry); err != nil {
			return err
		}
		if err := d.indexSanity(name, "Time index", int64(len(b)), timeEntrySize); err != nil {
			return err
		}
		fmt.Fprintf(d.out, "%s passed sanity check.\n", name)
		return nil
	}
	if n == 0 {
		return nil
	}
	batches, err := placeBatches(log, logSize)
	if err != nil {
		return err
	}
	before := batch.NoTimestamp
	for i := 0; i < n; i++ {
		stamp, offset := entry(i)
		if offset == base && i > 0 {
			return nil // the zeros that the file is preallocated with
		}
		if err := d.checkTime(name, log, batches, stamp, offset, before); err != nil {
			return err
		}
		if !d.verifyOnly {
			fmt.Fprintf(d.out, "timestamp: %d offset: %d\n", stamp, offset)
		}
		before = stamp
	}
	return nil
}

func timeSanity(name string, base int64, n int, entry func(int) (int64, int64)) error {
	if n == 0 {
		return nil
	}
	stamp, offset := entry(n - 1)
	if first, _ := entry(0); stamp < first {
		return fmt.Errorf("Corrupt time index found, time index file (%s) has non-zero size but the last timestamp is %d which is less than the first timestamp %d", absolute(name), stamp, first)
	}
	if offset < base {
		return fmt.Errorf("Corrupt time index found, time index file (%s) has non-zero size but the last offset is %d which is less than the first offset %d", absolute(name), offset, base)
	}
	return nil
}

// checkTime compares an entry of a time index with the batch that it points to.
func (d *dumper) checkTime(name string, log vfs.File, batches []placed, stamp, offset, before int64) error {
	i := sort.Search(len(batches), func(i int) bool { return batches[i].last >= offset })
	if i == len(batches) {
		d.timeNotFound.add(name, pair{offset, -1})
		return nil
	}
	if batches[i].last != offset {
		d.timeNotFound.add(name, pair{offset, batches[i].last})
		return nil
	}
	raw := make([]byte, batches[i].size)
	if err := readAll(log, raw, batches[i].pos); err != nil {
		return err
	}
	newest, err := maxTimestamp(raw)
	if err != nil {
		return fmt.Errorf("the batch at position %d of %s: %w", batches[i].pos, log.Name(), err)
	}
	if newest != stamp {
		d.timeMismatches.add(name, pair{stamp, newest})
	}
	if before >= stamp {
		d.timeOrder.add(name, pair{stamp, before})
	}
	return nil
}

// maxTimestamp is the largest timestamp of a batch's records, read one by one.
func maxTimestamp(raw []byte) (int64, error) {
	var it batch.Iter
	defer it.Close()
	if err := it.Reset(raw, 0); err != nil {
		return 0, err
	}
	newest := batch.NoTimestamp
	var r batch.Record
	for it.Next(&r) {
		newest = max(newest, r.Timestamp)
	}
	return newest, it.Err()
}

func (d *dumper) producerSnapshot(name string) error {
	b, err := vfs.ReadFile(d.fs, name)
	if err != nil {
		return err
	}
	entries, err := producer.DecodeSnapshot(b)
	if err != nil {
		if err := d.out.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(d.errOut, err)
		return nil
	}
	for _, e := range entries {
		fmt.Fprintf(d.out, "producerId: %d producerEpoch: %d coordinatorEpoch: %d currentTxnFirstOffset: %s lastTimestamp: %d",
			e.ProducerID, e.Epoch, e.CoordinatorEpoch, optional(e.CurrentTxnFirstOffset, e.CurrentTxnFirstOffset >= 0), e.Timestamp)
		if e.LastOffset >= 0 {
			fmt.Fprintf(d.out, " firstSequence: %d lastSequence: %d lastOffset: %d offsetDelta: %d timestamp: %d",
				batch.DecrementSequence(e.LastSequence, e.OffsetDelta), e.LastSequence, e.LastOffset, e.OffsetDelta, e.Timestamp)
		}
		fmt.Fprintln(d.out)
	}
	return nil
}

func (d *dumper) txnIndex(name string) error {
	if _, err := baseOffset(name); err != nil {
		return err
	}
	b, err := vfs.ReadFile(d.fs, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a segment without aborted transactions has no such file
	}
	if err != nil {
		return err
	}
	for ; len(b) >= txnEntrySize; b = b[txnEntrySize:] {
		version := int8(b[0]) // the tool has always looked at the first byte only
		if version > 0 {
			return fmt.Errorf("Unexpected aborted transaction version %d in transaction index %s, current version is 0", version, absolute(name))
		}
		at := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[i:])) }
		fmt.Fprintf(d.out, "version: %d producerId: %d firstOffset: %d lastOffset: %d lastStableOffset: %d\n", version, at(2), at(10), at(18), at(26))
	}
	return nil
}
