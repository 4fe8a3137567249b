package batch

import (
	"encoding/binary"
)

// RetainOptions say what compaction may do to one batch.
type RetainOptions struct {
	// KeepEmpty keeps the header when no record stays: the batch's last offset or
	// sequence number is still needed.
	KeepEmpty bool
	// DropAll says that no record stays, so that none is looked at.
	DropAll bool
	// HorizonMs is the delete horizon for a batch that gets its first one, because a
	// tombstone stays in it or because of SetHorizon (KIP-534).
	HorizonMs int64
	// SetHorizon marks a transaction marker whose transaction has no records left.
	SetHorizon bool
	// MaxDecompressedBytes bounds what the batch may decompress to, as Iter.Reset does; 0
	// or less means DefaultMaxDecompressedBytes.
	MaxDecompressedBytes int
}

// Retained says what stayed of a batch.
type Retained struct {
	// Read and Kept count records. A batch that was dropped without looking at its
	// records counts none as read.
	Read, Kept int
	// Verbatim says that the bytes are those of the input.
	Verbatim bool
}

// Retainer rewrites batches for compaction: some records go, the others keep their
// offsets, timestamps and bytes, and the batch keeps its first and last offset, its
// producer and its codec. It belongs to one goroutine and keeps its memory.
type Retainer struct {
	it      Iter
	records []byte
	rebased []byte
	chunk   [retainChunk]Record
	marks   [retainChunk]bool
	all     []bool // marks of all records of an old format
}

// retainChunk is how many records are asked about at once: enough for the caller to
// look them up side by side, few enough not to matter in memory.
const retainChunk = 256

// Keep sets stays[i] for each of recs.
type Keep func(recs []Record, stays []bool)

// Close gives back what the Retainer holds of the last batch.
func (t *Retainer) Close() { t.it.Close() }

// Retain appends to dst what stays of the batch that b is. keep gets all records in
// order, some at a time, and sets for each whether it stays; it must not hold on to
// them. Nothing is appended when nothing stays. A batch of an old format becomes one
// of format v2, as in Apache Kafka, since the old ones cannot carry a delete horizon.
func (t *Retainer) Retain(dst, b []byte, info *Info, o RetainOptions, keep Keep) ([]byte, Retained, error) {
	if o.DropAll {
		return t.empty(dst, b, info, o, Retained{})
	}
	if err := t.it.Reset(b, o.MaxDecompressedBytes); err != nil {
		return dst, Retained{}, err
	}
	defer t.it.Close()
	if info.Magic < MagicV2 {
		return t.legacy(dst, b, info, o, keep)
	}
	return t.v2(dst, b, info, o, keep)
}

// empty appends only the header, if it is to stay.
func (t *Retainer) empty(dst, b []byte, info *Info, o RetainOptions, r Retained) ([]byte, Retained, error) {
	if !o.KeepEmpty {
		return dst, r, nil
	}
	if info.Magic == MagicV2 && info.NumRecords == 0 && len(b) == HeaderSize {
		r.Verbatim = true
		return append(dst, b...), r, nil
	}
	h := *info
	if h.Magic < MagicV2 {
		h.BaseOffset, h.LastOffsetDelta = h.LastOffset, 0
		h.TimestampType = CreateTime
	}
	h.Size, h.NumRecords, h.BaseTimestamp = HeaderSize, 0, NoTimestamp
	h.Codec, h.HasDeleteHorizon = CodecNone, false
	start := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	putHeader(dst[start:], &h)
	setCRC(dst[start:])
	return dst, r, nil
}

// ask reads the next records and has them marked; pos is where the first one lies.
func (t *Retainer) ask(keep Keep) (recs []Record, stays []bool, pos int) {
	n, pos := 0, t.it.pos
	for n < retainChunk && t.it.Next(&t.chunk[n]) {
		n++
	}
	recs, stays = t.chunk[:n], t.marks[:n]
	if n > 0 {
		keep(recs, stays)
	}
	return recs, stays, pos
}

// v2 is Retain for format v2. The records that stay are copied as they lie there:
// what they say is relative to the base offset and the base timestamp, which stay.
func (t *Retainer) v2(dst, b []byte, info *Info, o RetainOptions, keep Keep) ([]byte, Retained, error) {
	it := &t.it
	t.records = t.records[:0]
	var n Retained
	maxTs, tombstone := NoTimestamp, false
	for {
		recs, stays, pos := t.ask(keep)
		if len(recs) == 0 {
			break
		}
		for i := range recs {
			r := &recs[i]
			from := pos
			pos += r.Size
			n.Read++
			if !stays[i] {
				if n.Kept == n.Read-1 {
					t.records = append(t.records, it.payload[:from]...)
				}
				continue
			}
			if n.Kept < n.Read-1 {
				t.records = append(t.records, it.payload[from:pos]...)
			}
			n.Kept++
			maxTs = max(maxTs, r.Timestamp)
			tombstone = tombstone || r.Value == nil
		}
	}
	if err := it.Err(); err != nil {
		return dst, n, err
	}
	if n.Kept == 0 {
		return t.empty(dst, b, info, o, n)
	}
	set := (o.SetHorizon || tombstone) && !info.HasDeleteHorizon && o.HorizonMs >= 0
	if n.Kept == n.Read && !set {
		n.Verbatim = true
		return append(dst, b...), n, nil
	}
	records := t.records
	if n.Kept == n.Read {
		records = it.payload
	}
	h := *info
	h.NumRecords = int32(n.Kept)
	if h.TimestampType == CreateTime {
		h.MaxTimestamp = maxTs
	}
	if set {
		t.rebased = rebase(t.rebased[:0], records, h.BaseTimestamp-o.HorizonMs)
		records, h.BaseTimestamp, h.HasDeleteHorizon = t.rebased, o.HorizonMs, true
	}
	start := len(dst)
	dst, err := Compress(append(dst, make([]byte, HeaderSize)...), records, h.Codec, 0, MagicV2)
	if err != nil {
		return dst[:start], n, err
	}
	h.Size = len(dst) - start
	putHeader(dst[start:], &h)
	setCRC(dst[start:])
	return dst, n, nil
}

// rebase appends records that were parsed before, with diff added to every
// timestamp's difference to the base.
func rebase(dst, records []byte, diff int64) []byte {
	for len(records) > 0 {
		var r rawRecord
		size, reason := parseRecord(records, &r)
		if reason != "" {
			return dst // unreachable: the iterator parsed it
		}
		_, w := varint(records)
		_, tw := varlong(records[w+1:])
		rest := records[w+1+tw : size]
		ts := r.tsDelta + diff
		dst = binary.AppendVarint(dst, int64(1+sizeVarlong(ts)+len(rest)))
		dst = append(dst, records[w])
		dst = binary.AppendVarint(dst, ts)
		dst = append(dst, rest...)
		records = records[size:]
	}
	return dst
}

// legacy is Retain for the old formats.
func (t *Retainer) legacy(dst, b []byte, info *Info, o RetainOptions, keep Keep) ([]byte, Retained, error) {
	it := &t.it
	t.all = t.all[:0]
	var n Retained
	first, tombstone := int64(0), false
	for {
		recs, stays, _ := t.ask(keep)
		if len(recs) == 0 {
			break
		}
		for i := range recs {
			n.Read++
			t.all = append(t.all, stays[i])
			if !stays[i] {
				continue
			}
			if n.Kept == 0 {
				first = recs[i].Offset
			}
			n.Kept++
			tombstone = tombstone || recs[i].Value == nil
		}
	}
	if err := it.Err(); err != nil {
		return dst, n, err
	}
	if n.Kept == 0 {
		return t.empty(dst, b, info, o, n)
	}
	nb := NewBuilder(first)
	nb.Codec, nb.TimestampType, nb.LogAppendTimeMs = info.Codec, info.TimestampType, info.MaxTimestamp
	if tombstone {
		nb.DeleteHorizonMs = o.HorizonMs
	}
	if err := it.Reset(b, o.MaxDecompressedBytes); err != nil {
		return dst, n, err
	}
	var r Record
	for i := 0; it.Next(&r); i++ {
		if t.all[i] {
			nb.AppendRecord(r.Offset, &r)
		}
	}
	if err := it.Err(); err != nil {
		return dst, n, err
	}
	dst, err := nb.Build(dst)
	return dst, n, err
}
