package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/vfs"
)

// inspectedSegment is one segment of an inspectedLog.
type inspectedSegment struct {
	base, size int64
	next       int64 // one past the last offset that was read, -1 if that is not known
}

// inspectedLog is a partition that an inspector looks at.
type inspectedLog struct {
	x            *inspector
	name, folder string
	tp           kafka.TopicPartition
	point, start int64
	compacted    bool // by the cleaner's checkpoint
	worst        Verdict

	segs      []inspectedSegment
	snapshots []int64
	indexes   map[string]bool
	table     *epochTable // nil if there is none to compare with
	batches   int64
}

func (p *inspectedLog) say(v Verdict, check, file, detail, action string) {
	p.worst = max(p.worst, v)
	p.x.say(v, check, filepath.Join(p.name, file), detail, action)
}

func (p *inspectedLog) summary() string {
	if len(p.segs) == 0 {
		return "no segments"
	}
	last := p.segs[len(p.segs)-1]
	read := fmt.Sprintf("%d batches whole and valid", p.batches)
	if p.x.o.Quick {
		read = fmt.Sprintf("%d batches at its end whole and valid", p.batches)
	}
	return fmt.Sprintf("%d segments, offsets %d to %d, %s", len(p.segs), max(p.start, p.segs[0].base), last.next, read)
}

// note takes down a file of the folder.
func (p *inspectedLog) note(e fs.DirEntry) {
	name := e.Name()
	base, suffix, ok := parseOffsetName(name)
	switch {
	case strings.HasSuffix(name, suffixDeleted):
		p.say(Warn, "leftover", name, "marked as deleted", "The next start removes it.")
	case strings.HasSuffix(name, suffixCleaned):
		p.say(Warn, "leftover", name, "a compaction that did not end", "The next start removes it.")
	case strings.HasSuffix(name, suffixSwap):
		p.say(Warn, "leftover", name, "a compaction whose segments were being put in place", "The next start completes or undoes it.")
	case !ok || e.IsDir():
	case suffix == suffixLog:
		info, err := follow(p.x.fs, p.folder, e)
		if err != nil {
			p.say(Fail, "segment", name, err.Error(), "The directory goes offline at the next start.")
			return
		}
		p.segs = append(p.segs, inspectedSegment{base: base, size: info.Size(), next: -1})
	case suffix == suffixSnapshot:
		p.snapshots = append(p.snapshots, base)
	case suffix == suffixIndex, suffix == suffixTimeIndex, suffix == suffixTxnIndex:
		if p.indexes == nil {
			p.indexes = map[string]bool{}
		}
		p.indexes[name] = true
	}
}

// metadata checks partition.metadata.
func (p *inspectedLog) metadata() {
	data, err := vfs.ReadFile(p.x.fs, filepath.Join(p.folder, filePartitionMetadata))
	if errors.Is(err, fs.ErrNotExist) {
		p.say(Warn, "topic id", filePartitionMetadata, "the file is missing", "It is written when the cluster names the topic's id.")
		return
	}
	var id kafka.TopicID
	if err == nil {
		id, err = parsePartitionMetadata(data)
	}
	if err != nil {
		p.say(Fail, "topic id", filePartitionMetadata, err.Error(), "The partition cannot be used until the file is repaired or removed.")
		return
	}
	if other, ok := p.x.ids[p.tp.Topic]; ok && other != id {
		p.say(Fail, "topic id", filePartitionMetadata, fmt.Sprintf("topic id %s, another partition of the topic has %s", id, other), "The one that the cluster does not know is taken for a stray.")
	}
	p.x.ids[p.tp.Topic] = id
}

// epochs reads leader-epoch-checkpoint.
func (p *inspectedLog) epochs() {
	data, err := vfs.ReadFile(p.x.fs, filepath.Join(p.folder, fileLeaderEpochs))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var entries []EpochEntry
	if err == nil {
		entries, err = parseEpochs(data)
	}
	if err != nil {
		p.say(Warn, "leader epochs", fileLeaderEpochs, err.Error(), "They are read again from the batches.")
		return
	}
	p.table = &epochTable{entries}
}

// segment checks segment i with its indexes.
func (p *inspectedLog) segment(i int) {
	s := &p.segs[i]
	defer p.x.advance(s.size)
	last := i == len(p.segs)-1
	if p.x.o.Quick && !last {
		s.next = p.segs[i+1].base
		for _, suffix := range segmentSuffixes {
			delete(p.indexes, offsetName(s.base)+suffix)
		}
		return
	}
	file := offsetName(s.base) + suffixLog
	f, err := p.x.fs.Open(filepath.Join(p.folder, file))
	if err != nil {
		p.say(Fail, "segment", file, err.Error(), "The directory goes offline at the next start.")
		return
	}
	defer f.Close()
	w := segmentWalk{p: p, base: s.base, next: s.base, offsets: p.offsetEntries(s), maxTs: NoTimestamp, lastTime: NoTimestamp}
	w.times, err = p.timeEntries(s)
	timesUnusable := err
	if n := len(w.offsets); p.x.o.Quick && n > 0 {
		w.from = int64(uint32(w.offsets[n-1]))
		w.offsets = w.offsets[n-1:]
	}
	end, damaged, err := scanBatches(f, w.from, s.size, w.batches)
	if err != nil && !damagedBytes(err) {
		p.say(Fail, "segment", file, err.Error(), "The directory goes offline when the broker reads there.")
		return
	}
	if damaged == nil {
		damaged = err
	}
	if s.next = w.next; w.from > 0 && w.next == s.base {
		s.next = -1
	}
	if damaged != nil {
		p.damaged(file, s, last, end, damaged)
	} else {
		w.indexes(last, timesUnusable)
	}
	if w.wrongEpoch {
		p.say(Warn, "leader epochs", fileLeaderEpochs, "batches of segment "+offsetName(s.base)+" have leader epochs that the file does not say", "A follower may be told a wrong place to truncate to; remove the file to have it made from the batches.")
	}
	p.txnEntries(s)
}

// segmentWalk compares the batches of a segment with what the partition's other files
// say of them, as they come by.
type segmentWalk struct {
	p          *inspectedLog
	base, from int64 // from is the position of the first batch that is looked at
	next       int64
	maxTs      int64

	offsets []uint64    // entries that no batch was met for yet
	times   []timeEntry // the same
	// lastTime is the timestamp of the last entry that a batch was met for.
	lastTime int64

	wrongIndex, wrongTime, wrongEpoch bool
}

func (w *segmentWalk) batches(infos []batch.Info) error {
	for k := range infos {
		b := &infos[k]
		if err := inSegment(b, w.base, w.next); err != nil {
			return err
		}
		w.next, w.maxTs = b.LastOffset+1, max(w.maxTs, b.MaxTimestamp)
		w.p.batches++
		for len(w.offsets) > 0 && int64(uint32(w.offsets[0])) < int64(b.Pos) {
			w.offsets, w.wrongIndex = w.offsets[1:], true
		}
		if len(w.offsets) > 0 && int64(uint32(w.offsets[0])) == int64(b.Pos) {
			w.wrongIndex = w.wrongIndex || w.base+int64(w.offsets[0]>>32) != b.LastOffset
			w.offsets = w.offsets[1:]
		}
		for len(w.times) > 0 && w.base+w.times[0].rel < b.BaseOffset {
			w.times, w.wrongTime = w.times[1:], w.wrongTime || w.from == 0
		}
		if len(w.times) > 0 && w.base+w.times[0].rel <= b.LastOffset {
			w.wrongTime = w.wrongTime || w.times[0].ts != b.MaxTimestamp
			w.lastTime, w.times = w.times[0].ts, w.times[1:]
		}
		if t := w.p.table; t != nil && b.Magic >= batch.MagicV2 && b.BaseOffset >= w.p.start && t.at(b.BaseOffset) != b.LeaderEpoch {
			w.wrongEpoch = true
		}
	}
	return nil
}

// indexes says what is wrong with the indexes of a segment that is whole. The last time
// index entry of the active one may be missing: it is written when the segment is closed.
func (w *segmentWalk) indexes(last bool, timesUnusable error) {
	const rebuilt = "It is built again when it is used."
	if w.wrongIndex || len(w.offsets) > 0 {
		w.p.say(Warn, "offset index", offsetName(w.base)+suffixIndex, "an entry does not match the batch that it points to", rebuilt)
	}
	switch {
	case timesUnusable != nil:
	case w.wrongTime || len(w.times) > 0:
		timesUnusable = errors.New("an entry does not match the batch that it speaks of")
	case !last && w.maxTs >= 0 && w.lastTime != w.maxTs:
		timesUnusable = fmt.Errorf("its last entry is not the segment's largest timestamp %d", w.maxTs)
	}
	if timesUnusable != nil {
		w.p.say(Warn, "time index", offsetName(w.base)+suffixTimeIndex, timesUnusable.Error(), rebuilt)
	}
}

// damaged says what comes of bytes that are no batch.
func (p *inspectedLog) damaged(file string, s *inspectedSegment, last bool, pos int64, cause error) {
	detail := fmt.Sprintf("byte %d of %d: %v", pos, s.size, cause)
	switch {
	case last && s.next >= max(p.point, 0) && !p.x.clean:
		p.say(Warn, "segment", file, detail, fmt.Sprintf("The next start cuts off the last %d bytes; the log then ends at offset %d.", s.size-pos, s.next))
	case last && !p.x.clean:
		p.say(Fail, "segment", file, detail, fmt.Sprintf("The next start cuts off the last %d bytes, though records up to offset %d were durable; the log then ends at offset %d.", s.size-pos, p.point, s.next))
	case !p.x.clean && s.next >= max(p.point, 0):
		p.say(Fail, "segment", file, detail, fmt.Sprintf("The next start cuts the log there and removes the segments behind; it then ends at offset %d.", s.next))
	default:
		p.say(Fail, "segment", file, detail, "Readers get CORRUPT_MESSAGE from there to the end of the segment; the broker puts the bytes of another replica in its place if there is one.")
	}
}

// offsetEntries reads an offset index; nil if it is of no use.
func (p *inspectedLog) offsetEntries(s *inspectedSegment) []uint64 {
	name := offsetName(s.base) + suffixIndex
	if !p.indexes[name] {
		if s.size > 0 {
			p.say(Warn, "offset index", name, "the file is missing", "It is built again when it is used.")
		}
		return nil
	}
	delete(p.indexes, name)
	b, err := vfs.ReadFile(p.x.fs, filepath.Join(p.folder, name))
	if err == nil && len(b)%offsetEntrySize != 0 {
		err = fmt.Errorf("%d bytes, no multiple of %d", len(b), offsetEntrySize)
	}
	var entries []uint64
	for ; err == nil && len(b) > 0; b = b[offsetEntrySize:] {
		e := binary.BigEndian.Uint64(b)
		if uint32(e) == 0 {
			break // the file may be preallocated with zeros
		}
		if n := len(entries); n > 0 && (e>>32 <= entries[n-1]>>32 || uint32(e) <= uint32(entries[n-1])) || int64(uint32(e)) >= s.size {
			err = fmt.Errorf("entry %d does not fit", len(entries))
			break
		}
		entries = append(entries, e)
	}
	if err != nil {
		p.say(Warn, "offset index", name, err.Error(), "It is built again when it is used.")
		return nil
	}
	return entries
}

// timeEntries reads a time index; the error is what is wrong with it.
func (p *inspectedLog) timeEntries(s *inspectedSegment) ([]timeEntry, error) {
	name := offsetName(s.base) + suffixTimeIndex
	if !p.indexes[name] {
		if s.size == 0 {
			return nil, nil
		}
		return nil, errors.New("the file is missing")
	}
	delete(p.indexes, name)
	f, err := p.x.fs.Open(filepath.Join(p.folder, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := readTimeEntries(f)
	if errors.Is(err, errIndexDamaged) {
		return nil, errors.New("its entries do not grow")
	}
	return entries, err
}

// txnEntries checks a transaction index.
func (p *inspectedLog) txnEntries(s *inspectedSegment) {
	name := offsetName(s.base) + suffixTxnIndex
	if !p.indexes[name] {
		return
	}
	delete(p.indexes, name)
	b, err := vfs.ReadFile(p.x.fs, filepath.Join(p.folder, name))
	if err == nil {
		_, err = parseTxnEntries(b, s.base)
	}
	if err != nil {
		p.say(Warn, "transaction index", name, err.Error(), "It is built again when it is used.")
	}
}

// ends compares the segments with each other and with the checkpoints.
func (p *inspectedLog) ends() {
	for i := range p.segs {
		s := &p.segs[i]
		if i+1 == len(p.segs) || s.next < 0 {
			continue
		}
		file, next := offsetName(s.base)+suffixLog, p.segs[i+1].base
		switch {
		case s.next > next:
			p.say(Fail, "segments", file, fmt.Sprintf("it ends at offset %d, the next segment begins at %d", s.next, next), "Readers may see records twice; remove the segment that does not belong there.")
		case s.next < next && !p.compacted && next > p.start:
			p.say(Warn, "segments", file, fmt.Sprintf("it ends at offset %d, the next segment begins at %d", s.next, next), "Only a compacted topic may have such a gap. After a stop that was not clean, and behind the recovery point, it is taken for a loss and the segments behind it are removed.")
		}
	}
	left := make([]string, 0, len(p.indexes))
	for name := range p.indexes {
		left = append(left, name)
	}
	slices.Sort(left)
	for _, name := range left {
		p.say(Warn, "leftover", name, "an index without a segment", "The next start removes it.")
	}
	if len(p.segs) == 0 {
		p.say(Warn, "segments", "", "there is none", fmt.Sprintf("The next start begins an empty log at offset %d.", p.start))
		return
	}
	end := p.segs[len(p.segs)-1].next
	if end < 0 {
		return
	}
	switch {
	case p.start > end:
		p.say(Fail, "offsets", "", fmt.Sprintf("the log ends at offset %d, below its start %d", end, p.start), "The next start removes all segments and begins at the start.")
	case p.point > end:
		p.say(Fail, "offsets", "", fmt.Sprintf("the log ends at offset %d, but records up to %d were durable", end, p.point), "What is missing is lost unless another replica has it.")
	case p.x.marks[p.tp] > end && p.x.folders[p.tp] == p.name:
		p.say(Warn, "offsets", "", fmt.Sprintf("the log ends at offset %d, below its high watermark %d", end, p.x.marks[p.tp]), "Records that others had too are fetched again from them.")
	}
}

// producers checks the producer snapshots.
func (p *inspectedLog) producers() {
	for _, offset := range p.snapshots {
		name := offsetName(offset) + suffixSnapshot
		b, err := vfs.ReadFile(p.x.fs, filepath.Join(p.folder, name))
		if err == nil {
			_, err = producer.DecodeSnapshot(b)
		}
		if err != nil {
			p.say(Warn, "producers", name, err.Error(), "It is removed, and the state is made from an older one and the batches.")
			continue
		}
		if n := len(p.segs); n > 0 && p.segs[n-1].next >= 0 && offset > p.segs[n-1].next {
			p.say(Warn, "producers", name, "it lies beyond the end of the log", "It is removed.")
		}
	}
}
