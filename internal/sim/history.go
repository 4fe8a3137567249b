package sim

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// place is where a record lies.
type place struct {
	topic     string
	partition int32
	offset    int64
}

// fate is what a writer knows of a record.
type fate uint8

const (
	unknown      fate = iota // sent; it may be stored or not
	acknowledged             // it must be read, once, at the acknowledged place
	aborted                  // it was part of an aborted transaction
)

// written is one record that a writer sent. Its writer and partition order it: seq
// rises by one with every record that a writer sends to one partition.
type written struct {
	value     string
	writer    string
	topic     string
	partition int32
	seq       int
	txn       int // of the writer; 0 for none
	fate      fate
	offset    int64 // where it was acknowledged, -1 when not told
}

// history collects what clients were told. mu guards it.
type history struct {
	mu      sync.Mutex
	sent    map[string]*written
	order   []*written
	held    map[place]string // what an offset was seen to hold
	reads   int
	ghosts  int              // requests of former lives that were answered
	early   map[string]place // what read_committed showed while faults went on
	faults  []string         // what must not happen and did
	commits map[string]*commits
	marks   map[string]*marks
	doubts  []doubt
	leaders map[string]int32  // who was heard of last to lead a partition
	led     map[string]int32  // who led a partition in an epoch
	owners  map[string]string // which member read a partition in a generation
}

// commits is the history of one committed offset.
type commits struct {
	acked, tried int64
}

// doubt is a high watermark that was answered below what had been acknowledged. It is
// wrong if the leader of that epoch, or one before, had acknowledged it; the epoch of the
// record, which tells, is known in the end.
type doubt struct {
	acked place
	epoch int32
	high  int64
}

// marks are how far a partition was seen to go.
type marks struct {
	acked        int64 // one past the last acknowledged offset, transactions excepted
	high, stable int64
	epoch        int32 // the newest leader epoch that answered
}

func newHistory() *history {
	return &history{sent: map[string]*written{}, held: map[place]string{}, early: map[string]place{}, commits: map[string]*commits{}, marks: map[string]*marks{},
		leaders: map[string]int32{}, led: map[string]int32{}, owners: map[string]string{}}
}

// mark is the marks of a partition. Caller holds mu.
func (h *history) mark(topic string, partition int32) *marks {
	key := fmt.Sprintf("%s-%d", topic, partition)
	if h.marks[key] == nil {
		h.marks[key] = &marks{}
	}
	return h.marks[key]
}

// lower is the least that each partition's high watermark must be by now.
func (h *history) lower() map[string]marks {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]marks{}
	for k, m := range h.marks {
		out[k] = *m
	}
	return out
}

// watermarks notes what the leader of an epoch answered to a request that began when the
// marks were at least those of before. A leader that does not know yet that another was
// elected knows less than that one, as in Kafka: clients tell by the epoch (KIP-320).
func (h *history) watermarks(topic string, partition, epoch int32, high, stable int64, before marks) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.mark(topic, partition)
	if epoch < before.epoch {
		return
	}
	m.epoch = max(m.epoch, epoch)
	if high >= 0 && high < before.high {
		h.faultf("high watermark going back: %s-%d is at %d; it was at %d", topic, partition, high, before.high)
	}
	if high >= 0 && high < before.acked {
		h.doubts = append(h.doubts, doubt{place{topic, partition, before.acked - 1}, epoch, high})
	}
	if stable >= 0 && stable < before.stable {
		h.faultf("last stable offset going back: %s-%d is at %d; it was at %d", topic, partition, stable, before.stable)
	}
	m.high, m.stable = max(m.high, high), max(m.stable, stable)
}

func (h *history) send(w *written) *written {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.offset = -1
	h.sent[w.value] = w
	h.order = append(h.order, w)
	return w
}

// settle notes the fate of a record.
func (h *history) settle(w *written, f fate, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.fate, w.offset = f, offset
	if f == acknowledged && w.txn == 0 {
		m := h.mark(w.topic, w.partition)
		m.acked = max(m.acked, offset+1)
	}
}

func (h *history) faultf(format string, args ...any) {
	if len(h.faults) < 20 {
		h.faults = append(h.faults, fmt.Sprintf(format, args...))
	}
}

func (h *history) fault(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faultf(format, args...)
}

// haunted notes that a ghost was answered.
func (h *history) haunted() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ghosts++
}

// see notes that a reader found value at p.
func (h *history) see(p place, value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads++
	if old, ok := h.held[p]; ok && old != value {
		h.faultf("inconsistent offset: %s-%d@%d held %q and holds %q", p.topic, p.partition, p.offset, old, value)
		return
	}
	h.held[p] = value
	if h.sent[value] == nil {
		h.faultf("invented: %s-%d@%d holds %q, which nobody sent", p.topic, p.partition, p.offset, value)
	}
}

// seeCommitted notes that a reader of committed records found value at p.
func (h *history) seeCommitted(p place, value string) {
	h.see(p, value)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.early[value] = p
}

// tryCommit and commitAcked frame the commit of an offset; fetched is what a fetch that
// began after both found.
func (h *history) tryCommit(key string, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.commits[key]
	if c == nil {
		c = &commits{acked: -1, tried: -1}
		h.commits[key] = c
	}
	c.tried = max(c.tried, offset)
}

func (h *history) commitAcked(key string, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commits[key].acked = max(h.commits[key].acked, offset)
}

func (h *history) fetched(key string, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.commits[key]; c != nil && (offset < c.acked || offset > c.tried) {
		h.faultf("commit going back: %s is %d; %d was acknowledged and %d the last that was tried", key, offset, c.acked, c.tried)
	}
}

// committed is what was acknowledged, 0 for nothing.
func (h *history) committed(key string) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.commits[key]; c != nil {
		return max(c.acked, 0)
	}
	return 0
}

// leads notes what a client was told of the leader of a partition.
func (h *history) leads(partition string, epoch, leader int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leaders[partition] = leader
	if leader < 0 || epoch < 0 {
		return
	}
	key := fmt.Sprintf("%s in epoch %d", partition, epoch)
	if old, ok := h.led[key]; ok && old != leader {
		h.faultf("two leaders in an epoch: %s is led by %d, and was by %d", key, leader, old)
	}
	h.led[key] = leader
}

// leader is one of those that lead something, by any number.
func (h *history) leader(n int) int32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.leaders) == 0 {
		return -1
	}
	keys := slices.Sorted(maps.Keys(h.leaders))
	return h.leaders[keys[n%len(keys)]]
}

// owns notes that a member read a partition in a generation.
func (h *history) owns(what, member string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old, ok := h.owners[what]; ok && old != member {
		h.faultf("two owners: %s is read by %s and by %s", what, old, member)
	}
	h.owners[what] = member
}

// final is what lies in the partitions at the end, in the order of offsets: all
// records, and those that read_committed shows.
type final struct {
	all, committed map[string][]place
	epochs         map[place]int32 // the leader epoch of every record
}

// check compares what writers were told with what is there.
func (h *history) check(f final) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	type line struct {
		writer, topic string
		partition     int32
	}
	last := map[line]*written{}
	whole := map[string][2]int{} // transaction -> records read, records not read
	for _, w := range h.order {
		all, committed := f.all[w.value], f.committed[w.value]
		switch {
		case len(all) > 1:
			h.faultf("duplicate: %q lies at %v", w.value, all)
		case w.fate == acknowledged && len(committed) == 0:
			h.faultf("lost write: %q was acknowledged at %s-%d@%d", w.value, w.topic, w.partition, w.offset)
		case w.fate == acknowledged && w.offset >= 0 && committed[0].offset != w.offset:
			h.faultf("moved: %q was acknowledged at offset %d and lies at %d", w.value, w.offset, committed[0].offset)
		case w.fate == aborted && len(committed) > 0:
			h.faultf("aborted read: %q lies at %v", w.value, committed)
		}
		if p, ok := h.early[w.value]; ok && len(committed) == 0 {
			h.faultf("read too early: read_committed showed %q at %v, and does not in the end", w.value, p)
		}
		if w.txn > 0 {
			key := fmt.Sprint(w.writer, "#", w.txn)
			n := whole[key]
			if len(committed) > 0 {
				n[0]++
			} else {
				n[1]++
			}
			whole[key] = n
		}
		if len(all) == 0 {
			continue
		}
		l := line{w.writer, w.topic, w.partition}
		if before := last[l]; before != nil && f.all[before.value][0].offset > all[0].offset {
			h.faultf("reordered: %q lies at %d, behind %q at %d", before.value, f.all[before.value][0].offset, w.value, all[0].offset)
		}
		last[l] = w
	}
	for _, d := range h.doubts {
		if e, ok := f.epochs[d.acked]; ok && e <= d.epoch {
			h.faultf("high watermark going back: %s-%d is at %d in epoch %d; offset %d was acknowledged in epoch %d", d.acked.topic, d.acked.partition, d.high, d.epoch, d.acked.offset, e)
		}
	}
	for p, value := range h.held {
		if !slices.Contains(f.all[value], p) {
			h.faultf("vanished: %q was read at %s-%d@%d and is not there in the end", value, p.topic, p.partition, p.offset)
		}
	}
	keys := make([]string, 0, len(whole))
	for k := range whole {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if n := whole[k]; n[0] > 0 && n[1] > 0 {
			h.faultf("torn transaction: %s shows %d records and hides %d", k, n[0], n[1])
		}
	}
	return slices.Clone(h.faults)
}
