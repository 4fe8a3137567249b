package rsm

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/vfs"
)

const toyTopic = "__toys"

// toy is a machine that keeps keys and values.
type toy struct {
	state  map[string]string
	events *events
	limit  func() int
}

// events is what machines report, over the life of a kit.
type events struct {
	mu  sync.Mutex
	all []string

	made atomic.Int64 // how many machines there were
	// poison is the offset of a record that does not apply, 0 for none.
	poison atomic.Int64
}

func (e *events) add(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, fmt.Sprintf(format, args...))
}

// since returns what was reported after the first n.
func (e *events) since(n int) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.all[min(n, len(e.all)):], ", ")
}

func (e *events) len() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.all)
}

func (m *toy) Replay(r coord.Record, from coord.Origin) error {
	if p := m.events.poison.Load(); string(r.Key) == "poison" || p != 0 && from.Offset == p {
		return fmt.Errorf("the record at %d is poison", from.Offset)
	}
	if r.Value == nil {
		delete(m.state, string(r.Key))
		return nil
	}
	v := string(r.Value)
	if from.Transactional {
		v = fmt.Sprintf("%s(txn %d.%d)", v, from.ProducerID, from.ProducerEpoch)
	}
	if string(r.Key) == "count" { // shows what is replayed twice
		v = m.state["count"] + v
	}
	m.state[string(r.Key)] = v
	return nil
}

func (m *toy) ReplayTxnEnd(id int64, epoch int16, commit bool) error {
	m.events.add("txn end %d.%d %v", id, epoch, commit)
	return nil
}

func (m *toy) BoundBatches(limit func() int) { m.limit = limit }

func (m *toy) Loaded(int64) coord.Outcome {
	m.events.add("loaded %d", len(m.state))
	return coord.Outcome{}
}

func (m *toy) OnTimer(key string, now int64) coord.Outcome {
	m.events.add("timer %s %d", key, now-epochMs)
	return coord.Outcome{}
}

func (m *toy) Committed(op any, _ int64) coord.Outcome {
	m.events.add("committed %v", op)
	return coord.Outcome{}
}

func (m *toy) AppendFailed(o coord.Outcome, err error, _ int64) coord.Outcome {
	m.events.add("append failed %v %s", o.Op, kafka.CodeOf(err).Name())
	var out coord.Outcome
	for _, r := range o.Replies {
		out.Replies = append(out.Replies, coord.Reply{To: r.To, Err: err})
	}
	return out
}

func (m *toy) Resigned() { m.events.add("resigned") }

const epochMs = 1_700_000_000_000

// toyKit is broker 1 with one coordinator on a memory file system.
type toyKit struct {
	t      *testing.T
	clock  *clock.Virtual
	fault  *vfs.Fault
	m      *replica.Manager
	c      *Coordinator[*toy]
	img    *metadata.Image
	off    int64
	id     kafka.TopicID
	events *events
	// gate, if set, holds new machines up before they load.
	gate    chan struct{}
	effects chan coord.Effect
}

// newToyKit starts the coordinator on one partition with the given replicas, which
// this broker leads. change may alter the configuration.
func newToyKit(t *testing.T, replicas []int32, change func(*CoordinatorConfig[*toy])) *toyKit {
	t.Helper()
	k := &toyKit{t: t, clock: clock.NewVirtual(time.UnixMilli(epochMs)), fault: vfs.NewFault(vfs.NewMem()), img: metadata.Empty(),
		events: new(events), effects: make(chan coord.Effect, 256)}
	if err := k.fault.MkdirAll("/data", 0o755); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := config.Load(map[string]string{
		"process.roles": "broker", "node.id": "1", "controller.quorum.voters": "9@localhost:9999",
		"controller.listener.names": "CONTROLLER", "listeners": "PLAINTEXT://localhost:9092", "log.dirs": "/data",
	})
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	// Nothing is kept in memory, so that loads read files.
	logs, err := log.Open(context.Background(), log.Options{
		FS: k.fault, Clock: k.clock, Logger: quiet, Dirs: []string{"/data"}, NodeID: 1, ClusterID: "c", AllowUnformatted: true, Manual: true, TailBytes: -1,
		TopicConfig: func(string) config.Topic { c, _ := cfg.TopicConfig(nil); return c },
	})
	if err != nil {
		t.Fatal(err)
	}
	w := clock.NewWheel(k.clock)
	w.Start()
	k.m = replica.New(replica.Options{NodeID: 1, Logs: logs, Clock: k.clock, Wheel: w, Config: cfg, Logger: quiet})
	cc := CoordinatorConfig[*toy]{
		Topic: toyTopic, NodeID: 1, Replicas: k.m, Clock: k.clock, Wheel: w, Logger: quiet,
		New: func(int32) *toy {
			if k.gate != nil {
				<-k.gate
			}
			k.events.made.Add(1)
			return &toy{state: map[string]string{}, events: k.events}
		},
		OnEffect:      func(_ int32, _ kafka.LeaderEpoch, e coord.Effect) { k.effects <- e },
		CommitTimeout: 5 * time.Second, LoadBufferSize: 200, Codec: batch.CodecNone,
	}
	if change != nil {
		change(&cc)
	}
	k.c = NewCoordinator(cc)
	t.Cleanup(func() { k.c.Close(); k.m.Close(); _ = logs.Close(1) })
	k.m.Apply(nil, k.img)
	k.c.Apply(nil, k.img)
	k.id = kafka.NewUUID()
	tr := records.NewTopicRecord()
	tr.Name, tr.TopicID = toyTopic, k.id
	pr := records.NewPartitionRecord()
	pr.TopicID, pr.Replicas, pr.ISR, pr.Leader, pr.Directories = k.id, replicas, replicas, 1, make([]kafka.UUID, len(replicas))
	pr.PartitionID, pr.LeaderEpoch, pr.PartitionEpoch = 0, 0, 0
	k.apply(true, tr, pr)
	return k
}

// apply makes metadata records the broker's image; coordinate says whether the
// coordinator learns of it too.
func (k *toyKit) apply(coordinate bool, msgs ...records.Message) {
	k.t.Helper()
	d := metadata.NewDelta(k.img)
	for _, r := range msgs {
		if err := d.Replay(r); err != nil {
			k.t.Fatal(err)
		}
	}
	k.off += int64(len(msgs))
	k.img = d.Apply(metadata.Provenance{Offset: k.off, Epoch: 1})
	k.m.Apply(d, k.img)
	if coordinate {
		k.c.Apply(d, k.img)
	}
}

// lead changes the leader, which begins a new leader epoch.
func (k *toyKit) lead(id int32, coordinate bool) {
	k.t.Helper()
	c := records.NewPartitionChangeRecord()
	c.TopicID, c.PartitionID, c.Leader = k.id, 0, id
	k.apply(coordinate, c)
}

func (k *toyKit) part() *replica.Partition { return k.m.Get(toyTopic, 0) }

// follow makes the follower 2 fetch from offset, so that it has all before.
func (k *toyKit) follow(offset int64) {
	k.t.Helper()
	done := make(chan struct{})
	op := &replica.FetchOp{Owner: fetched(func() { close(done) }), ReplicaID: 2, BrokerEpoch: -1, MaxBytes: 1, Isolation: replica.ToLogEnd}
	op.Parts = []replica.FetchPart{{P: k.part(), FetchOffset: offset, MaxBytes: 1, CurrentLeaderEpoch: kafka.NoEpoch, LastFetchedEpoch: kafka.NoEpoch}}
	op.Start(k.m)
	<-done
	if err := op.Parts[0].Err; err != nil {
		k.t.Fatal(err)
	}
	op.ReleaseData()
}

type fetched func()

func (f fetched) Fetched(*replica.FetchOp) { f() }

// result is what a client got.
type result struct {
	text string
	err  error
}

// text is a response that carries a string.
func text(s string) kmsg.Response {
	r := kmsg.NewPtrHeartbeatResponse()
	r.UnknownTags.Set(0, []byte(s))
	return r
}

// do submits an operation; the result comes on the channel.
func (k *toyKit) do(op Op[*toy]) <-chan result {
	out := make(chan result, 2)
	k.c.DoPartition(0, op, func(resp kmsg.Response, err error) {
		r := result{err: err}
		if resp != nil {
			resp.(*kmsg.HeartbeatResponse).UnknownTags.Each(func(_ uint32, b []byte) { r.text = string(b) })
		}
		out <- r
	})
	return out
}

func set(key, value string) Op[*toy] {
	return func(m *toy, _ int64, to coord.Token) coord.Outcome {
		return coord.Outcome{
			Records: []coord.Record{{Key: []byte(key), Value: []byte(value)}},
			Replies: []coord.Reply{{To: to, Response: text("set")}},
			Effects: []coord.Effect{key},
			Op:      key,
		}
	}
}

func get(key string, barrier bool) Op[*toy] {
	return func(m *toy, _ int64, to coord.Token) coord.Outcome {
		o := coord.Answer(to, text(m.state[key]))
		o.ReadBarrier = barrier
		return o
	}
}

func park(*toy, int64, coord.Token) coord.Outcome { return coord.Outcome{} }

func timers(ts ...coord.Timer) Op[*toy] {
	return func(_ *toy, _ int64, to coord.Token) coord.Outcome {
		o := coord.Answer(to, text(""))
		o.Timers = ts
		return o
	}
}

// want waits for a result.
func (k *toyKit) want(c <-chan result, text string, code *kafka.Code) {
	k.t.Helper()
	select {
	case r := <-c:
		if r.text != text || kafka.CodeOf(r.err) != code {
			k.t.Fatalf("got %q, %v; want %q, %v", r.text, r.err, text, code)
		}
	case <-time.After(10 * time.Second):
		k.t.Fatalf("no answer; want %q, %v", text, code)
	}
}

// none checks that there is no result yet, after everything submitted was run.
func (k *toyKit) none(c <-chan result) {
	k.t.Helper()
	k.sync()
	select {
	case r := <-c:
		k.t.Fatalf("got %q, %v; want no answer yet", r.text, r.err)
	default:
	}
}

// sync waits until the shard has run everything submitted before.
func (k *toyKit) sync() {
	k.t.Helper()
	k.want(k.do(get("", false)), "", nil)
	k.want(k.do(get("", false)), "", nil)
}

// active waits until the shard serves.
func (k *toyKit) active() {
	k.t.Helper()
	k.answers(nil)
}

// answers waits until the shard answers requests with that code and loads no more.
func (k *toyKit) answers(code *kafka.Code) {
	k.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(100 * time.Microsecond); ; <-tick.C {
		r := <-k.do(get("", false))
		if kafka.CodeOf(r.err) == code {
			return
		}
		if kafka.CodeOf(r.err) != kafka.CoordinatorLoadInProgress || time.Now().After(deadline) {
			k.t.Fatalf("got %v, want %v", r.err, code)
		}
	}
}
