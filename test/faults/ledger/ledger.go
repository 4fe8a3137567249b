// Package ledger is what a client wrote down before and after everything that it asked
// of a broker, and the judge of what a broker has after it was started again.
//
// A line is written before a request is sent and another after it was answered, so that
// a kill at any moment leaves a ledger that is right: what stands there as acknowledged
// has to be there, what stands there only as sent may be there, once, and nothing else
// may. What a check found or did not find is written down as well: a record that a
// reader has seen must stay, and one that was not there after a start must not come back.
package ledger

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// outcome is what is known of something that was asked for.
type outcome int8

const (
	open    outcome = iota // asked for, not answered
	present                // acknowledged, or seen by a reader
	absent                 // a reader has seen that it is not there
)

// Log names the partition of one incarnation of a topic.
type Log struct {
	Topic     string // name and id
	Partition int32
}

// record is one value that was sent.
type record struct {
	id      int
	log     Log
	key     string // "" in a log that is not compacted
	null    bool   // a tombstone
	txn     int    // 0 is none
	offset  int64  // known if outcome is present
	outcome outcome
}

// txn is one transaction; it also commits its number as the offset of a group.
type txn struct {
	ending  string // "", "commit", "abort": what was asked for
	outcome outcome
}

// topic is the life of one name.
type topic struct {
	id      string // "" if there is none
	dead    map[string]bool
	pending string // "", "create", "delete"
}

// Ledger is the state that the lines add up to. It belongs to one goroutine.
type Ledger struct {
	records []*record
	byID    map[int]*record
	txns    map[int]*txn
	topics  map[string]*topic
	starts  map[Log][2]int64    // the log start offset that a start had, and that was asked for
	offsets map[string][2]int64 // the committed offset that was acknowledged, and that was asked for
	last    int
}

// New returns an empty ledger.
func New() *Ledger {
	return &Ledger{byID: map[int]*record{}, txns: map[int]*txn{}, topics: map[string]*topic{}, starts: map[Log][2]int64{}, offsets: map[string][2]int64{}}
}

// Read adds up the lines of r.
func Read(r io.Reader) (*Ledger, error) {
	l := New()
	s := bufio.NewScanner(r)
	for s.Scan() {
		if err := l.Apply(s.Text()); err != nil {
			return nil, err
		}
	}
	return l, s.Err()
}

// NextID returns a number that no record and no transaction has.
func (l *Ledger) NextID() int { l.last++; return l.last }

// Acked counts the records that were acknowledged or seen.
func (l *Ledger) Acked() (n int) {
	for _, r := range l.records {
		if r.outcome == present {
			n++
		}
	}
	return n
}

// Topic returns the id under which a topic is known to exist.
func (l *Ledger) Topic(name string) (id string, ok bool) {
	t := l.topics[name]
	if t == nil || t.id == "" {
		return "", false
	}
	return t.id, true
}

// Sending is the line before a record is sent. key is "-" in a log that is not
// compacted, null makes it a tombstone.
func Sending(id int, log Log, key string, null bool, txn int) string {
	return fmt.Sprintf("send %d %s %d %s %v %d", id, log.Topic, log.Partition, key, null, txn)
}

// Apply adds one line.
func (l *Ledger) Apply(line string) error {
	word, _, _ := strings.Cut(line, " ")
	apply := verbs[word]
	if apply == nil {
		return fmt.Errorf("a line of the ledger that nobody writes: %q", line)
	}
	if err := apply(l, line); err != nil {
		return fmt.Errorf("the line %q of the ledger: %w", line, err)
	}
	return nil
}

var verbs = map[string]func(*Ledger, string) error{
	"send": (*Ledger).applySend, "acked": (*Ledger).applyAcked, "absent": (*Ledger).applyAbsent,
	"ending": (*Ledger).applyEnding, "ended": (*Ledger).applyEnded,
	"creating": (*Ledger).applyTopic, "created": (*Ledger).applyTopic, "deleting": (*Ledger).applyTopic, "deleted": (*Ledger).applyTopic,
	"trimming": (*Ledger).applyTrim, "trimmed": (*Ledger).applyTrim,
	"committing": (*Ledger).applyOffset, "committed": (*Ledger).applyOffset,
}

func (l *Ledger) applySend(line string) error {
	r := &record{}
	if _, err := fmt.Sscanf(line, "send %d %s %d %s %t %d", &r.id, &r.log.Topic, &r.log.Partition, &r.key, &r.null, &r.txn); err != nil {
		return err
	}
	if l.byID[r.id] != nil {
		return fmt.Errorf("record %d is sent twice", r.id)
	}
	if r.txn > 0 && l.txns[r.txn] == nil {
		l.txns[r.txn] = &txn{}
	}
	r.key = strings.TrimPrefix(r.key, "-")
	l.records, l.byID[r.id] = append(l.records, r), r
	l.last = max(l.last, r.id, r.txn)
	return nil
}

// applyAcked says that a record is at an offset, by its acknowledgement or by a reader.
func (l *Ledger) applyAcked(line string) error {
	var id int
	var offset int64
	if _, err := fmt.Sscanf(line, "acked %d %d", &id, &offset); err != nil {
		return err
	}
	r := l.byID[id]
	if r == nil {
		return fmt.Errorf("record %d was not sent", id)
	}
	r.outcome, r.offset = present, offset
	return nil
}

func (l *Ledger) applyAbsent(line string) error {
	var id int
	if _, err := fmt.Sscanf(line, "absent %d", &id); err != nil {
		return err
	}
	r := l.byID[id]
	if r == nil {
		return fmt.Errorf("record %d was not sent", id)
	}
	r.outcome = absent
	return nil
}

func (l *Ledger) applyEnding(line string) error {
	var id int
	var how string
	if _, err := fmt.Sscanf(line, "ending %d %s", &id, &how); err != nil {
		return err
	}
	l.txn(id).ending = how
	return nil
}

// applyEnded says how a transaction ended: present is committed, absent aborted.
func (l *Ledger) applyEnded(line string) error {
	var id int
	var how string
	if _, err := fmt.Sscanf(line, "ended %d %s", &id, &how); err != nil {
		return err
	}
	l.txn(id).outcome = map[string]outcome{"commit": present, "abort": absent}[how]
	return nil
}

func (l *Ledger) txn(id int) *txn {
	if l.txns[id] == nil {
		l.txns[id] = &txn{}
	}
	l.last = max(l.last, id)
	return l.txns[id]
}

func (l *Ledger) applyTopic(line string) error {
	words := strings.Fields(line)
	if len(words) < 2 || words[0] == "created" && len(words) < 3 {
		return io.ErrUnexpectedEOF
	}
	t := l.topics[words[1]]
	if t == nil {
		t = &topic{dead: map[string]bool{}}
		l.topics[words[1]] = t
	}
	switch words[0] {
	case "creating":
		t.pending = "create"
	case "created":
		t.pending, t.id = "", words[2]
	case "deleting":
		t.pending = "delete"
	case "deleted":
		if t.id != "" {
			t.dead[t.id] = true
		}
		t.pending, t.id = "", ""
	}
	return nil
}

func (l *Ledger) applyTrim(line string) error {
	var verb string
	var log Log
	var offset int64
	if _, err := fmt.Sscanf(line, "%s %s %d %d", &verb, &log.Topic, &log.Partition, &offset); err != nil {
		return err
	}
	l.starts[log] = advance(l.starts[log], offset, verb == "trimmed")
	return nil
}

func (l *Ledger) applyOffset(line string) error {
	var verb, group string
	var offset int64
	if _, err := fmt.Sscanf(line, "%s %s %d", &verb, &group, &offset); err != nil {
		return err
	}
	l.last = max(l.last, int(offset))
	l.offsets[group] = advance(l.offsets[group], offset, verb == "committed")
	return nil
}

// advance raises what was asked for, and also what was acknowledged.
func advance(x [2]int64, offset int64, acked bool) [2]int64 {
	x[1] = max(x[1], offset)
	if acked {
		x[0] = max(x[0], offset)
	}
	return x
}

// of returns the records of one log by id.
func (l *Ledger) of(log Log) (list []*record) {
	for _, r := range l.records {
		if r.log == log {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *record) int { return cmp.Compare(a.id, b.id) })
	return list
}

// Offsets returns the offsets of the records of a log that are known to be there.
func (l *Ledger) Offsets(log Log) (offsets []int64) {
	for _, r := range l.of(log) {
		if r.outcome == present {
			offsets = append(offsets, r.offset)
		}
	}
	return offsets
}
