package group

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts answer into them")

// idPrefix is what the generated member ids of a world begin with; scripts write # for it.
const idPrefix = "00000000-0000-4000-8000-0000000000"

// world is a machine with the part of the runtime that it needs: a log, a clock, timers.
type world struct {
	t       testing.TB
	cfg     Config
	m       *Machine
	now     int64
	img     *metadata.Image
	configs map[string]string
	random  byte
	token   coord.Token
	log     []logged
	timers  map[string]int64
	hold    bool  // batches are appended and not committed
	fail    error // the next append fails with it
	waiting []coord.Outcome
	out     []string
	silent  bool
	replies func(coord.Reply)
	notes   bool // notes are printed
}

type logged struct {
	rec  coord.Record
	from coord.Origin
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, cfg: DefaultConfig(), now: 1000, timers: map[string]int64{}, img: metadata.Empty()}
	w.cfg.Random = func() [16]byte {
		w.random++
		return [16]byte{15: w.random}
	}
	w.cfg.Image = func() *metadata.Image { return w.img }
	w.cfg.GroupConfig = func(string) map[string]string { return w.configs }
	w.addTopic("t", 1, 4)
	w.start()
	return w
}

func (w *world) start() {
	w.m = New(w.cfg)
	for _, l := range w.log {
		if err := w.m.Replay(l.rec, l.from); err != nil {
			w.t.Fatal(err)
		}
	}
	w.timers = map[string]int64{}
	w.waiting = nil
	w.apply(w.m.Loaded(w.now))
}

func topicUUID(id byte) kafka.UUID { return kafka.UUID{0: 1, 15: id} }

func (w *world) addTopic(name string, id byte, parts int32) {
	msgs := []records.Message{&records.TopicRecord{Name: name, TopicID: topicUUID(id)}}
	for i := range parts {
		p := records.NewPartitionRecord()
		p.PartitionID, p.TopicID, p.Replicas, p.ISR, p.Leader = i, topicUUID(id), []int32{1}, []int32{1}, 1
		msgs = append(msgs, p)
	}
	w.change(msgs)
}

func (w *world) change(msgs []records.Message) {
	img, err := w.img.With(metadata.Provenance{Offset: w.img.Offset + int64(len(msgs))}, msgs)
	if err != nil {
		w.t.Fatal(err)
	}
	w.img = img
}

func (w *world) printf(format string, args ...any) {
	if !w.silent {
		w.out = append(w.out, strings.ReplaceAll(fmt.Sprintf(format, args...), idPrefix, "#"))
	}
}

// apply does with an outcome what the runtime does.
func (w *world) apply(o coord.Outcome) {
	for _, text := range o.Notes {
		if w.notes {
			w.printf("note %s", text)
		}
	}
	for _, t := range o.Timers {
		if t.Cancel {
			if _, ok := w.timers[t.Key]; ok {
				w.printf("cancel %s", timerName(t.Key))
			}
			delete(w.timers, t.Key)
			continue
		}
		if t.Key != expirationKey {
			w.printf("timer %s +%d", timerName(t.Key), t.AtMs-w.now)
		}
		w.timers[t.Key] = t.AtMs
	}
	if slices.ContainsFunc(o.Records, func(r coord.Record) bool { return len(r.Key) == 0 || r.Value != nil && len(r.Value) == 0 }) {
		w.fail = kafka.UnknownServerError // it could not be encoded
	}
	if len(o.Records) > 0 && w.fail != nil {
		err := w.fail
		w.fail = nil
		w.printf("append fails: %v", err)
		undo := w.m.AppendFailed(o, err, w.now)
		if len(undo.Records) > 0 {
			w.t.Fatal("AppendFailed appends")
		}
		w.apply(undo)
		return
	}
	for _, r := range o.Records {
		from := coord.Origin{Offset: int64(len(w.log)), ProducerID: coord.NoProducerID}
		if o.Txn != nil {
			from.ProducerID, from.ProducerEpoch, from.Transactional = o.Txn.ProducerID, o.Txn.ProducerEpoch, true
			w.printf("in transaction of %d/%d", o.Txn.ProducerID, o.Txn.ProducerEpoch)
		}
		w.printf("record %s", recordString(w.t, r))
		w.log = append(w.log, logged{r, from})
		if err := w.m.Replay(r, from); err != nil {
			w.t.Fatal(err)
		}
	}
	if w.hold && (len(o.Records) > 0 || o.ReadBarrier && len(w.waiting) > 0) {
		w.waiting = append(w.waiting, o)
		return
	}
	w.commit(o)
}

func (w *world) commit(o coord.Outcome) {
	if len(o.Records) > 0 && o.Op != nil {
		w.apply(w.m.Committed(o.Op, w.now))
	}
	for _, r := range o.Replies {
		w.printf("reply %d %s", r.To, replyString(r))
		if w.replies != nil {
			w.replies(r)
		}
	}
}

// release commits what was held back.
func (w *world) release() {
	w.hold = false
	for len(w.waiting) > 0 {
		o := w.waiting[0]
		w.waiting = w.waiting[1:]
		w.commit(o)
	}
}

// advance moves the clock and fires the timers that come due, in their order.
func (w *world) advance(ms int64) {
	end := w.now + ms
	for {
		var key string
		for _, k := range slices.Sorted(maps.Keys(w.timers)) {
			if w.timers[k] <= end && (key == "" || w.timers[k] < w.timers[key]) {
				key = k
			}
		}
		if key == "" {
			break
		}
		w.now = max(w.now, w.timers[key])
		delete(w.timers, key)
		if key != expirationKey {
			w.printf("fires %s", timerName(key))
		}
		w.apply(w.m.OnTimer(key, w.now))
	}
	w.now = end
}

func (w *world) next() coord.Token {
	w.token++
	return w.token
}

func timerName(key string) string {
	kind, group, member := parseTimerKey(key)
	return strings.TrimSuffix(kind+"/"+group+"/"+member, "/")
}

func recordString(t testing.TB, r coord.Record) string {
	key, err := records.DecodeCoordinatorKey(r.Key)
	if err != nil {
		t.Fatal(err)
	}
	s := strings.TrimSuffix(key.SchemaName(), "Key") + " " + string(key.AppendJSON(nil))
	if r.Value == nil {
		return s + " removed"
	}
	v, err := records.DecodeCoordinatorValue(key.APIKey(), r.Value)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s v%d %s", s, v.RecordVersion(), v.AppendJSON(nil))
}

func codeName(num int16) string {
	if c := kafka.CodeForNum(num); c != nil {
		return c.Name()
	}
	return "ok"
}

func deref(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

// args are the words of a script line: name=value, or bare values in order. A value x*3
// stands for xxx.
type args struct {
	named map[string]string
	words []string
}

func parseArgs(fields []string) args {
	a := args{named: map[string]string{}}
	for _, f := range fields {
		f = strings.ReplaceAll(f, "#", idPrefix)
		if k, v, ok := strings.Cut(f, "="); ok {
			if s, times, ok := strings.Cut(v, "*"); ok {
				if n, err := strconv.Atoi(times); err == nil {
					v = strings.Repeat(s, n)
				}
			}
			a.named[k] = v
		} else {
			a.words = append(a.words, f)
		}
	}
	return a
}

func (a args) str(name, def string) string {
	if v, ok := a.named[name]; ok {
		return v
	}
	return def
}

func (a args) opt(name string) *string {
	if v, ok := a.named[name]; ok {
		return &v
	}
	return nil
}

func (a args) num(name string, def int64) int64 {
	v, ok := a.named[name]
	if !ok {
		return def
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func (a args) list(name, def string) []string {
	v := a.str(name, def)
	if v == "" {
		return []string{}
	}
	return strings.Split(v, ",")
}

// subscription is the embedded metadata of a consumer that subscribes to topics, and has
// partitions topic:partition,partition of one.
func subscription(topics []string, have string) []byte {
	s := kmsg.NewConsumerMemberMetadata()
	s.Topics = topics
	if topic, parts, ok := strings.Cut(have, ":"); ok {
		s.Version = 1
		o := kmsg.NewConsumerMemberMetadataOwnedPartition()
		o.Topic, o.Partitions = topic, partitionList(parts)
		s.OwnedPartitions = append(s.OwnedPartitions, o)
	}
	return s.AppendTo(nil)
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { runScript(t, f) })
	}
}

// runScript runs the commands of a file. A command is a line; what it does stands
// indented below it.
func runScript(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.out = nil
	var got strings.Builder
	for _, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		got.WriteString(line + "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if fields[0] == "new" {
			w = newWorld(t)
		} else {
			w.command(fields[0], parseArgs(fields[1:]))
		}
		for _, o := range w.out {
			got.WriteString("  " + o + "\n")
		}
		w.out = nil
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	compareLines(t, string(text), got.String())
}

func compareLines(t *testing.T, want, got string) {
	w, g := strings.Split(strings.TrimRight(want, "\n"), "\n"), strings.Split(strings.TrimRight(got, "\n"), "\n")
	for i := range max(len(w), len(g)) {
		a, b := "(end)", "(end)"
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			t.Fatalf("line %d:\n want %s\n got  %s", i+1, a, b)
		}
	}
}

func errString(err error) string {
	var c *kafka.Code
	if errors.As(err, &c) {
		return c.Name()
	}
	return err.Error()
}

func assignmentString(b []byte) string {
	r := kbin.Reader{Src: b}
	if r.Int16(); !r.Ok() || len(b) < 6 {
		return string(b)
	}
	var a kmsg.ConsumerMemberAssignment
	if err := a.ReadFrom(b); err != nil {
		return string(b)
	}
	var all []string
	for _, t := range a.Topics {
		all = append(all, fmt.Sprintf("%s:%v", t.Topic, t.Partitions))
	}
	return strings.Join(all, ",")
}
