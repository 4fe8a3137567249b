// Command ledger checks what Apache's verifiable clients say of themselves.
//
//	ledger members [-repeats N] SENT MEMBER...
//
// SENT is what a VerifiableProducer printed, MEMBER what a VerifiableConsumer of one
// group printed (--verbose). Every acknowledged message was received, nothing else
// was, no message more than once but for -repeats of them, each partition's messages
// came to a member in order, and no two members owned a partition at one time.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 || args[0] != "members" {
		return errors.New("usage: ledger members [-repeats N] SENT MEMBER...")
	}
	flags := flag.NewFlagSet("members", flag.ContinueOnError)
	repeats := flags.Int("repeats", 0, "how many messages may have come twice")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() < 2 {
		return errors.New("members wants the producer's file and at least one member's")
	}
	l := ledger{
		sent:  map[place]string{},
		seen:  map[place]int{},
		owner: map[partition][]span{},
	}
	if err := each(flags.Arg(0), l.producer); err != nil {
		return err
	}
	for i, name := range flags.Args()[1:] {
		m := member{id: i, last: map[partition]int64{}, open: map[partition]int64{}, ledger: &l}
		if err := each(name, m.event); err != nil {
			return err
		}
		m.end()
	}
	return l.close(os.Stdout, *repeats)
}

// event is the union of the objects that both programs print.
type event struct {
	Name       string      `json:"name"`
	Timestamp  int64       `json:"timestamp"`
	Topic      string      `json:"topic"`
	Partition  int         `json:"partition"`
	Offset     int64       `json:"offset"`
	Value      string      `json:"value"`
	Success    bool        `json:"success"`
	Error      string      `json:"error"`
	Partitions []partition `json:"partitions"`
}

type partition struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
}

type place struct {
	partition
	offset int64
}

// span is the time, in milliseconds, during which a member held a partition.
type span struct {
	member     int
	begin, end int64
}

type ledger struct {
	sent    map[place]string
	seen    map[place]int
	owner   map[partition][]span
	errors  []error
	refused int
	turns   int
}

func (l *ledger) wrong(format string, args ...any) {
	l.errors = append(l.errors, fmt.Errorf(format, args...))
}

// each calls fn for every object in a file; other lines are the tools' own words.
func each(name string, fn func(event)) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e event
		if line := in.Bytes(); len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &e) != nil {
			continue
		}
		fn(e)
	}
	return in.Err()
}

func (l *ledger) producer(e event) {
	switch e.Name {
	case "producer_send_success":
		l.sent[place{partition{e.Topic, e.Partition}, e.Offset}] = e.Value
	case "producer_send_error":
		l.wrong("a message was refused: %s", e.Value)
	}
}

// member is what one consumer says, in its order.
type member struct {
	*ledger
	id   int
	last map[partition]int64
	open map[partition]int64
	now  int64
}

func (m *member) event(e event) {
	m.now = e.Timestamp
	switch e.Name {
	case "partitions_assigned":
		m.turns++
		for _, p := range e.Partitions {
			m.open[p] = e.Timestamp
			delete(m.last, p)
		}
	case "partitions_revoked":
		for _, p := range e.Partitions {
			m.release(p, e.Timestamp)
		}
	case "record_data":
		m.record(e)
	case "offsets_committed":
		if !e.Success {
			m.refused++
		}
	}
}

func (m *member) record(e event) {
	p := partition{e.Topic, e.Partition}
	at := place{p, e.Offset}
	if value, ok := m.sent[at]; !ok || value != e.Value {
		m.wrong("member %d received %q from %v, where %q was written", m.id, e.Value, at, value)
	}
	if last, ok := m.last[p]; ok && e.Offset <= last {
		m.wrong("member %d received offset %d of %v behind %d", m.id, e.Offset, p, last)
	}
	m.last[p] = e.Offset
	m.seen[at]++
}

func (m *member) release(p partition, now int64) {
	if begin, ok := m.open[p]; ok {
		m.owner[p] = append(m.owner[p], span{m.id, begin, now})
		delete(m.open, p)
	}
}

// end closes what the member still held with its last word.
func (m *member) end() {
	for p := range maps.Clone(m.open) {
		m.release(p, m.now)
	}
}

func (l *ledger) close(out io.Writer, repeats int) error {
	missing, twice := 0, 0
	for at := range l.sent {
		switch n := l.seen[at]; {
		case n == 0:
			missing++
		case n > 1:
			twice += n - 1
		}
	}
	both := l.shared()
	fmt.Fprintf(out, "= %d messages, %d missing, %d twice, %d assignments, %d partitions shared, %d commits refused\n",
		len(l.sent), missing, twice, l.turns, both, l.refused)
	if len(l.sent) == 0 || missing > 0 || twice > repeats || both > 0 {
		l.wrong("the members did not share the messages exactly")
	}
	if len(l.errors) > 10 {
		l.errors = l.errors[:10]
	}
	return errors.Join(l.errors...)
}

// shared counts the times that two members held one partition. Both clocks are the
// machine's, and a member prints after it was told, so touching spans are no sharing.
func (l *ledger) shared() int {
	n := 0
	for p, spans := range l.owner {
		slices.SortFunc(spans, func(a, b span) int { return int(a.begin - b.begin) })
		for i := 1; i < len(spans); i++ {
			if a, b := spans[i-1], spans[i]; a.member != b.member && b.begin < a.end {
				l.wrong("members %d and %d both held %v", a.member, b.member, p)
				n++
			}
		}
	}
	return n
}
