package ledger

import (
	"fmt"
	"maps"
	"slices"
)

// Seen is what a broker has, as its readers see it.
type Seen struct {
	Topics  map[string]string // id by name
	Logs    map[Log]Reading
	Offsets map[string]int64 // committed offset by group; -1 or nothing is none
}

// Reading is one log from its start to its end.
type Reading struct {
	Start     int64
	Compacted bool
	All       []Value // read_uncommitted
	Committed []Value // read_committed
}

// Value is one record that was read; ID is 0 if its value is not one that a client
// makes.
type Value struct {
	ID     int
	Offset int64
	Key    string
	Null   bool
}

// Verdict is the outcome of a check.
type Verdict struct {
	Bad   []string // what must not be
	Foul  []string // those of Bad that not even a disk that lies accounts for
	Lines []string // what is now known; to be appended to the ledger
	// Lost are the acknowledged records that are missing, by log. They are in Bad
	// unless they are of a log of which the disk lost a write. Gaps are the logs of
	// those that go on behind what is missing.
	Lost map[Log][]int
	Gaps []Log
}

// judge collects a verdict.
type judge struct {
	*Ledger
	seen  Seen
	short map[Log]bool
	v     Verdict
}

func (j *judge) bad(format string, args ...any) {
	j.v.Bad = append(j.v.Bad, fmt.Sprintf(format, args...))
}
func (j *judge) known(format string, args ...any) {
	j.v.Lines = append(j.v.Lines, fmt.Sprintf(format, args...))
}

// Check compares what was seen after a start with what was written down. short names
// the logs of which the disk lost a write. txnGroup is the
// group whose offset transactions commit.
func (l *Ledger) Check(seen Seen, txnGroup string, short map[Log]bool) Verdict {
	j := &judge{Ledger: l, seen: seen, short: short, v: Verdict{Lost: map[Log][]int{}}}
	j.topics()
	j.txns(txnGroup)
	for _, log := range sortedLogs(seen.Logs) {
		if reading := seen.Logs[log]; reading.Compacted {
			j.compacted(log, reading)
		} else {
			j.log(log, reading)
		}
	}
	j.offsets(txnGroup)
	return j.v
}

func sortedLogs(m map[Log]Reading) []Log {
	return slices.SortedFunc(maps.Keys(m), func(a, b Log) int {
		if a.Topic != b.Topic {
			if a.Topic < b.Topic {
				return -1
			}
			return 1
		}
		return int(a.Partition - b.Partition)
	})
}

// topics holds the names that exist against those that should.
func (j *judge) topics() {
	for _, name := range slices.Sorted(maps.Keys(j.Ledger.topics)) {
		t := j.Ledger.topics[name]
		id, exists := j.seen.Topics[name]
		switch {
		case exists && t.dead[id]:
			j.bad("topic %s is back with the id %s of a deleted one", name, id)
		case exists && t.id == "" && t.pending != "create":
			j.bad("topic %s exists, its deletion was acknowledged", name)
		case exists && t.id != "" && id != t.id:
			j.bad("topic %s has the id %s, was created with %s", name, id, t.id)
		case !exists && t.id != "" && t.pending != "delete":
			j.bad("topic %s is gone, its creation was acknowledged", name)
		case exists:
			j.known("created %s %s", name, id)
		default:
			j.known("deleted %s", name)
		}
	}
	for name := range j.seen.Topics {
		if j.Ledger.topics[name] == nil {
			j.bad("topic %s exists, nobody created it", name)
		}
	}
}

// txns decides every transaction that is open: committed if a reader of committed
// records sees anything of it. That it is seen whole is for log to say.
func (j *judge) txns(group string) {
	visible := map[int]bool{}
	for _, reading := range j.seen.Logs {
		for _, v := range reading.Committed {
			if r := j.byID[v.ID]; r != nil {
				visible[r.txn] = true
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(j.Ledger.txns)) {
		t := j.Ledger.txns[id]
		if t.outcome != open {
			continue
		}
		how := "abort"
		if visible[id] || j.seen.Offsets[group] == int64(id) {
			how = "commit"
			if t.ending != "commit" {
				j.bad("transaction %d was committed, nobody asked for it", id)
			}
		}
		j.known("ended %d %s", id, how)
		t.outcome = map[string]outcome{"commit": present, "abort": absent}[how]
	}
}

// byValue checks what is true of every reading: offsets grow, every value was sent to
// this log, none is there twice, none comes back.
func (j *judge) byValue(log Log, what string, values []Value) map[int]Value {
	found := map[int]Value{}
	next := int64(0)
	bad := len(j.v.Bad)
	defer func() { j.v.Foul = append(j.v.Foul, j.v.Bad[bad:]...) }()
	for _, v := range values {
		r := j.byID[v.ID]
		switch {
		case v.Offset < next:
			j.bad("%v %s: offset %d after %d", log, what, v.Offset, next-1)
		case r == nil || r.log != log || r.key != v.Key || r.null != v.Null:
			j.bad("%v %s: offset %d has a record (%d, key %q) that nobody sent there", log, what, v.Offset, v.ID, v.Key)
		case found[v.ID].ID != 0:
			j.bad("%v %s: record %d is at %d and at %d", log, what, v.ID, found[v.ID].Offset, v.Offset)
		case r.outcome == absent:
			j.bad("%v %s: record %d is at %d, it had not been there", log, what, v.ID, v.Offset)
		case r.outcome == present && r.offset != v.Offset:
			j.bad("%v %s: record %d is at %d, was acknowledged at %d", log, what, v.ID, v.Offset, r.offset)
		}
		next = max(next, v.Offset+1)
		found[v.ID] = v
	}
	return found
}

// log checks a log that keeps everything from its start on.
func (j *judge) log(log Log, reading Reading) {
	trim := j.starts[log]
	if reading.Start < trim[0] || reading.Start > max(trim[1], 0) {
		j.bad("%v begins at %d, had begun at %d, asked for %d", log, reading.Start, trim[0], trim[1])
	}
	if reading.Start > trim[0] {
		j.known("trimmed %s %d %d", log.Topic, log.Partition, reading.Start)
	}
	all, committed := j.byValue(log, "uncommitted", reading.All), j.byValue(log, "committed", reading.Committed)
	var missing []*record
	for _, r := range j.of(log) {
		v, there := all[r.id]
		trimmed := r.outcome == present && r.offset < reading.Start
		switch {
		case r.outcome == present && !there && !trimmed:
			missing = append(missing, r)
			continue
		case r.outcome == open && there:
			j.known("acked %d %d", r.id, v.Offset)
		case r.outcome == open:
			j.known("absent %d", r.id)
		}
		_, visible := committed[r.id]
		switch wanted := r.txn == 0 || j.Ledger.txns[r.txn].outcome == present; {
		case trimmed:
		case visible && !wanted:
			j.bad("%v: record %d of the aborted transaction %d is read", log, r.id, r.txn)
		case wanted && !visible && (there || r.txn > 0 && r.outcome == present):
			j.bad("%v: record %d is not read by a reader of committed records (transaction %d)", log, r.id, r.txn)
		}
	}
	j.lost(log, reading, missing)
}

// lost judges acknowledged records that are not there.
func (j *judge) lost(log Log, reading Reading, missing []*record) {
	gap := false
	for _, r := range missing {
		j.v.Lost[log] = append(j.v.Lost[log], r.id)
		if !j.short[log] {
			j.bad("%v: record %d, acknowledged at %d, is lost", log, r.id, r.offset)
			continue
		}
		j.known("absent %d", r.id)
		gap = gap || slices.ContainsFunc(reading.All, func(v Value) bool { return v.Offset > r.offset })
	}
	if gap {
		j.v.Gaps = append(j.v.Gaps, log)
	}
}

// compacted checks a log of which the last record of a key stays: a key has the value
// that was acknowledged last, or a later one that was not acknowledged.
func (j *judge) compacted(log Log, reading Reading) {
	if reading.Start != 0 {
		j.bad("%v begins at %d", log, reading.Start)
	}
	found := j.byValue(log, "uncommitted", reading.All)
	last := map[string]int{} // the newest record of a key that must be covered
	attempts := map[string][]*record{}
	for _, r := range j.of(log) {
		attempts[r.key] = append(attempts[r.key], r)
		if r.outcome == present {
			last[r.key] = r.id
		}
		if v, there := found[r.id]; r.outcome == open && there {
			j.known("acked %d %d", r.id, v.Offset)
			last[r.key] = r.id
		}
	}
	newest := map[string]int{}
	for _, v := range reading.All {
		newest[v.Key] = v.ID
	}
	for _, key := range slices.Sorted(maps.Keys(attempts)) {
		j.compactedKey(log, key, attempts[key], newest[key], last[key])
	}
}

// compactedKey checks one key: found is the record that a reader ends with, 0 if there
// is none, last the one that must not be older.
func (j *judge) compactedKey(log Log, key string, attempts []*record, found, last int) {
	gone := false // a tombstone that may have been removed accounts for a key without a record
	for _, r := range attempts {
		if r.id >= last && r.null && r.outcome != absent {
			gone = true
		}
		if r.outcome == open && r.id > found && found != 0 {
			j.known("absent %d", r.id)
		}
	}
	if found >= last || found == 0 && gone {
		return
	}
	j.v.Lost[log] = append(j.v.Lost[log], last)
	if !j.short[log] {
		j.bad("%v: key %q has record %d (0 is none), acknowledged was %d", log, key, found, last)
		return
	}
	for _, r := range attempts {
		if r.id > found && r.outcome != absent {
			j.known("absent %d", r.id)
		}
	}
}

// offsets checks what groups have committed.
func (j *judge) offsets(txnGroup string) {
	for _, group := range slices.Sorted(maps.Keys(j.Ledger.offsets)) {
		x := j.Ledger.offsets[group]
		got, ok := j.seen.Offsets[group]
		if !ok {
			got = -1
		}
		if x[0] == 0 && got < 0 {
			continue
		}
		if got < x[0] || got > x[1] {
			j.bad("group %s has committed %d, acknowledged was %d, asked for %d", group, got, x[0], x[1])
			continue
		}
		j.known("committed %s %d", group, got)
	}
	want := int64(-1)
	for id, t := range j.Ledger.txns {
		if t.outcome == present {
			want = max(want, int64(id))
		}
	}
	if got, ok := j.seen.Offsets[txnGroup]; (ok && got != want || !ok && want >= 0) && txnGroup != "" {
		j.bad("group %s has offset %d, the last committed transaction is %d", txnGroup, got, want)
	}
}
