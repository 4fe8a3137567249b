package rsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/controller"
	"github.com/gregorhq/gregor/internal/features"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
)

// fakeEngine keeps proposals until the test commits them.
type fakeEngine struct {
	quorum.Engine // panics where a test needs more

	mu        sync.Mutex
	changed   *sync.Cond
	leader    quorum.LeaderAndEpoch
	log       []metadata.Batch
	committed int // batches delivered
	end       kafka.Offset
	refuse    error
	resigned  []kafka.LeaderEpoch
	listener  quorum.Listener
	// deciding is called, without the lock, when a decision begins; it is set before
	// anything is asked.
	deciding func()
	// proposing is called, with the lock, before a batch is appended; it is set under it.
	proposing func()
}

func newFakeEngine() *fakeEngine {
	e := &fakeEngine{leader: quorum.LeaderAndEpoch{Leader: kafka.NoNode}}
	e.changed = sync.NewCond(&e.mu)
	return e
}

func (e *fakeEngine) Propose(epoch kafka.LeaderEpoch, recs []records.Message) (kafka.Offset, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refuse != nil {
		return 0, e.refuse
	}
	if e.leader.Epoch != epoch {
		return 0, kafka.NotController
	}
	if e.proposing != nil {
		e.proposing()
	}
	b := metadata.Batch{BaseOffset: e.end, LastOffset: e.end + kafka.Offset(len(recs)) - 1, Epoch: epoch, Messages: recs}
	e.end = b.LastOffset + 1
	e.log = append(e.log, b)
	e.changed.Broadcast()
	return b.LastOffset, nil
}

func (e *fakeEngine) NextOffset(kafka.LeaderEpoch) kafka.Offset {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.end
}

func (e *fakeEngine) KRaftVersion() int16 {
	e.mu.Lock()
	deciding := e.deciding
	e.mu.Unlock()
	if deciding != nil {
		deciding()
	}
	return 0
}

// onDecision sets deciding.
func (e *fakeEngine) onDecision(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deciding = f
}

func (e *fakeEngine) Resign(epoch kafka.LeaderEpoch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.resigned = append(e.resigned, epoch)
	e.changed.Broadcast()
}

// lead makes node 1, or nobody, the leader.
func (e *fakeEngine) lead(node kafka.NodeID, epoch kafka.LeaderEpoch) {
	e.mu.Lock()
	e.leader = quorum.LeaderAndEpoch{Leader: node, Epoch: epoch}
	e.mu.Unlock()
	e.listener.HandleLeaderChange(quorum.LeaderAndEpoch{Leader: node, Epoch: epoch})
}

// awaitBatches blocks until n batches were proposed.
func (e *fakeEngine) awaitBatches(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.log) < n {
		e.changed.Wait()
	}
}

// commit delivers every proposed batch.
func (e *fakeEngine) commit(t *testing.T) {
	t.Helper()
	e.mu.Lock()
	batches := e.log[e.committed:]
	e.committed = len(e.log)
	e.mu.Unlock()
	for _, b := range batches {
		if err := e.listener.HandleCommit(&quorum.Batch{Batch: b}); err != nil {
			t.Fatal(err)
		}
	}
}

// commitOne delivers the next proposed batch.
func (e *fakeEngine) commitOne(t *testing.T) {
	t.Helper()
	e.mu.Lock()
	b := e.log[e.committed]
	e.committed++
	e.mu.Unlock()
	if err := e.listener.HandleCommit(&quorum.Batch{Batch: b}); err != nil {
		t.Fatal(err)
	}
}

func (e *fakeEngine) batches() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.log)
}

// start runs a controller that leads in epoch 1 of a cluster with one broker.
func start(t *testing.T, clk clock.Clock, idle time.Duration) (*Controller, *fakeEngine) {
	t.Helper()
	return startLogging(t, clk, idle, slog.New(slog.DiscardHandler))
}

func startLogging(t *testing.T, clk clock.Clock, idle time.Duration, logger *slog.Logger) (*Controller, *fakeEngine) {
	t.Helper()
	e := newFakeEngine()
	cfg := config.Default(map[string]string{
		"process.roles": "broker,controller", "node.id": "1", "controller.quorum.voters": "1@localhost:9093",
		"listeners": "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093", "controller.listener.names": "CONTROLLER",
	})
	c := New(Config{
		Machine: controller.Config{NodeID: 1, ClusterID: "test", Static: cfg, QuorumNodes: []int32{1},
			Bootstrap: storage.BootstrapRecords(map[string]int16{features.MetadataVersionName: int16(features.DefaultVersion)})},
		Engine: e, Clock: clk, Logger: logger, MaxIdleInterval: idle,
	})
	e.listener = c
	c.Start()
	t.Cleanup(c.Close)
	e.lead(1, 1)
	if err := c.WaitActive(context.Background()); err != nil {
		t.Fatal(err)
	}
	e.awaitBatches(1) // the bootstrap records
	e.commit(t)
	out := ask(c, registration(1))
	e.awaitBatches(2)
	e.commit(t)
	r := <-out
	if r.err != nil || r.reply.Response.(*kmsg.BrokerRegistrationResponse).ErrorCode != 0 {
		t.Fatalf("registration: %+v, %v", r.reply.Response, r.err)
	}
	hb := kmsg.NewPtrBrokerHeartbeatRequest()
	hb.SetVersion(1)
	hb.BrokerID, hb.BrokerEpoch, hb.CurrentMetadataOffset = 1, r.reply.Response.(*kmsg.BrokerRegistrationResponse).BrokerEpoch, 1000
	out = ask(c, hb)
	e.awaitBatches(3)
	e.commit(t)
	if r := <-out; r.err != nil || r.reply.Response.(*kmsg.BrokerHeartbeatResponse).IsFenced {
		t.Fatalf("heartbeat: %+v, %v", r.reply.Response, r.err)
	}
	return c, e
}

func registration(incarnation byte) *kmsg.BrokerRegistrationRequest {
	reg := kmsg.NewPtrBrokerRegistrationRequest()
	reg.SetVersion(4)
	reg.BrokerID, reg.ClusterID, reg.IncarnationID = 1, "test", kafka.UUID{incarnation}
	l := kmsg.NewBrokerRegistrationRequestListener()
	l.Name, l.Host, l.Port = "PLAINTEXT", "localhost", 9092
	reg.Listeners = append(reg.Listeners, l)
	reg.LogDirs = [][16]byte{{0: 9, 15: 200}}
	for _, f := range metadata.SupportedFeatures() {
		k := kmsg.NewBrokerRegistrationRequestFeature()
		k.Name, k.MinSupportedVersion, k.MaxSupportedVersion = f.Name, f.Min, f.Max
		reg.Features = append(reg.Features, k)
	}
	return reg
}

func ask(c *Controller, req kmsg.Request) <-chan outcome {
	ch := make(chan outcome, 1)
	go func() {
		reply, err := c.Do(context.Background(), "User:test", req)
		ch <- outcome{reply, err}
	}()
	return ch
}

// put puts a request into the mailbox and returns at once, so that the order of
// several is known.
func put(c *Controller, req kmsg.Request) <-chan outcome {
	op := &operation{req: req, done: make(chan outcome, 1)}
	c.room <- struct{}{}
	c.mailbox.Put(event{op: op})
	return op.done
}

func createTopic(name string, validateOnly bool) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(7)
	req.TimeoutMillis, req.ValidateOnly = 10_000, validateOnly
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, 1, 1
	req.Topics = append(req.Topics, t)
	return req
}

func codeOf(o outcome) int16 {
	return o.reply.Response.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode
}

func TestReplyWaitsForTheCommit(t *testing.T) {
	c, e := start(t, clock.NewVirtual(time.UnixMilli(1e12)), 0)
	before := e.batches()
	first := put(c, createTopic("a", false))
	e.awaitBatches(before + 1)
	// The second sees the first, which is not committed: it exists already.
	second := put(c, createTopic("a", false))
	third := put(c, createTopic("b", false))
	e.awaitBatches(before + 2)
	select {
	case o := <-first:
		t.Fatalf("answered before the commit: %+v, %v", o.reply, o.err)
	case o := <-second:
		t.Fatalf("a reply that rests on what is not committed: %+v, %v", o.reply, o.err)
	default:
	}
	e.commitOne(t)
	o := <-first
	if o.err != nil || codeOf(o) != 0 || o.reply.EndOffset == 0 {
		t.Errorf("first: %+v, %v", o.reply, o.err)
	}
	// The loop answers a request that it does not know at once, so what was in the
	// mailbox before has been handled.
	<-put(c, kmsg.NewPtrFetchRequest())
	select {
	case o := <-third:
		t.Fatalf("answered by another's commit: %+v, %v", o.reply, o.err)
	default:
	}
	e.commit(t)
	if o := <-second; o.err != nil || codeOf(o) != kafka.TopicAlreadyExists.Num() || o.reply.EndOffset == 0 {
		t.Errorf("second: %+v, %v", o.reply, o.err)
	}
	if o := <-third; o.err != nil || codeOf(o) != 0 {
		t.Errorf("third: %+v, %v", o.reply, o.err)
	}
}

func TestLostLeadershipFailsWhoWaits(t *testing.T) {
	c, e := start(t, clock.NewVirtual(time.UnixMilli(1e12)), 0)
	before := e.batches()
	out := ask(c, createTopic("lost", false))
	e.awaitBatches(before + 1)
	e.lead(kafka.NoNode, 1)
	if o := <-out; !errors.Is(o.err, kafka.NotController) {
		t.Errorf("%+v, %v", o.reply, o.err)
	}
	if o := <-ask(c, createTopic("x", false)); !errors.Is(o.err, kafka.NotController) {
		t.Errorf("a stand-by answered %+v, %v", o.reply, o.err)
	}
	if c.Active() {
		t.Error("active without leadership")
	}
	// The proposal is lost; the next term does not know of it.
	e.mu.Lock()
	e.log, e.end = e.log[:before], e.log[before].BaseOffset
	e.mu.Unlock()
	e.lead(1, 2)
	if err := c.WaitActive(context.Background()); err != nil {
		t.Fatal(err)
	}
	at := e.batches()
	out = ask(c, createTopic("lost", false))
	e.awaitBatches(at + 1)
	e.commit(t)
	if o := <-out; o.err != nil || codeOf(o) != 0 {
		t.Errorf("in the next term: %+v, %v", o.reply, o.err)
	}
}

func TestRefusedProposalLeavesNothingBehind(t *testing.T) {
	c, e := start(t, clock.NewVirtual(time.UnixMilli(1e12)), 0)
	e.mu.Lock()
	e.refuse = kafka.RecordListTooLarge
	e.mu.Unlock()
	if o := <-ask(c, createTopic("a", false)); !errors.Is(o.err, kafka.RecordListTooLarge) {
		t.Fatalf("%+v, %v", o.reply, o.err)
	}
	e.mu.Lock()
	e.refuse = nil
	e.mu.Unlock()
	before := e.batches()
	out := ask(c, createTopic("a", false))
	e.awaitBatches(before + 1)
	e.commit(t)
	if o := <-out; o.err != nil || codeOf(o) != 0 {
		t.Errorf("the refused topic is in the image: %+v, %v", o.reply, o.err)
	}
}

func TestDoGivesUpWithItsContext(t *testing.T) {
	c, e := start(t, clock.NewVirtual(time.UnixMilli(1e12)), 0)
	ctx, cancel := context.WithCancel(context.Background())
	before := e.batches()
	done := make(chan error, 1)
	go func() {
		_, err := c.Do(ctx, "User:test", createTopic("a", false))
		done <- err
	}()
	e.awaitBatches(before + 1)
	cancel()
	if err := <-done; !errors.Is(err, kafka.RequestTimedOut) {
		t.Errorf("%v", err)
	}
	if _, err := c.Do(context.Background(), "User:test", kmsg.NewPtrFetchRequest()); !errors.Is(err, kafka.UnsupportedVersion) {
		t.Errorf("a request that is not the controller's: %v", err)
	}
	c.Close()
	if _, err := c.Do(context.Background(), "User:test", createTopic("b", false)); !errors.Is(err, kafka.NotController) {
		t.Errorf("after Close: %v", err)
	}
}

// steppedClock is a clock whose wall time is ahead by step; differences do not know.
type steppedClock struct {
	*clock.Virtual
	step atomic.Int64
}

func (s *steppedClock) Now() time.Time { return s.Virtual.Now().Add(time.Duration(s.step.Load())) }

func (s *steppedClock) Since(t time.Time) time.Duration { return s.Virtual.Since(t) }

// Sessions of brokers go by the time that passes, not by the wall clock.
func TestSessionsHeedNoStepOfTheWallClock(t *testing.T) {
	clk := &steppedClock{Virtual: clock.NewVirtual(time.UnixMilli(1_000_000))}
	c, _ := start(t, clk, 0)
	clk.step.Store(int64(time.Hour))
	r := <-ask(c, registration(2))
	if code := r.reply.Response.(*kmsg.BrokerRegistrationResponse).ErrorCode; r.err != nil || kafka.CodeForNum(code) != kafka.DuplicateBrokerRegistration {
		t.Errorf("a second broker took the place of one whose session lives: code %d, %v", code, r.err)
	}
}

// In a bubble, since a clock must not be advanced while the loop sets its timer: what it
// sets then counts from the later time, and nobody advances the clock that far.
func TestNoOpRecordsOnlyWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clk := clock.NewVirtual(time.UnixMilli(1e12))
		_, e := start(t, clk, 500*time.Millisecond)
		before := e.batches()
		for i := range 3 {
			synctest.Wait()
			clk.Advance(499 * time.Millisecond)
			synctest.Wait()
			if n := e.batches(); n != before+i {
				t.Fatalf("%d batches before the idle time is over, want %d", n, before+i)
			}
			clk.Advance(time.Millisecond)
			e.awaitBatches(before + i + 1)
			e.mu.Lock()
			last := e.log[len(e.log)-1]
			e.mu.Unlock()
			if _, ok := last.Messages[0].(*records.NoOpRecord); !ok || len(last.Messages) != 1 {
				t.Fatalf("batch %d is %T", i, last.Messages[0])
			}
			e.commit(t)
		}
	})
}

// levels hands on the level of everything that is logged.
type levels struct {
	slog.Handler
	seen chan slog.Level
}

func (l levels) Enabled(context.Context, slog.Level) bool { return true }
func (l levels) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "timed task") {
		l.seen <- r.Level
	}
	return nil
}

// TestTimedTasksThatHaveToWaitAreNoErrors: a controller that hands its leadership over, as
// each does that is stopped, takes no more records. Nobody has to act on that.
func TestTimedTasksThatHaveToWaitAreNoErrors(t *testing.T) {
	for want, refuse := range map[slog.Level]error{slog.LevelInfo: kafka.RequestTimedOut, slog.LevelError: errors.New("broken")} {
		synctest.Test(t, func(t *testing.T) {
			clk := clock.NewVirtual(time.UnixMilli(1e12))
			seen := make(chan slog.Level, 10)
			_, e := startLogging(t, clk, 500*time.Millisecond, slog.New(levels{slog.DiscardHandler, seen}))
			e.mu.Lock()
			e.refuse = refuse
			e.mu.Unlock()
			synctest.Wait()
			clk.Advance(500 * time.Millisecond)
			if got := <-seen; got != want {
				t.Errorf("%v is logged at level %v, want %v", refuse, got, want)
			}
		})
	}
}

func TestBatchesThatDoNotApplyAreFatal(t *testing.T) {
	fatal := make(chan error, 1)
	e := newFakeEngine()
	c := New(Config{Engine: e, Clock: clock.Real(), Logger: slog.New(slog.DiscardHandler), OnFatal: func(err error) { fatal <- err }})
	e.listener = c
	c.Start()
	defer c.Close()
	r := records.NewRemoveTopicRecord()
	r.TopicID = kafka.UUID{7}
	if err := c.HandleCommit(&quorum.Batch{Batch: metadata.Batch{Messages: []records.Message{r}}}); err != nil {
		t.Fatal(err)
	}
	if err := <-fatal; err == nil {
		t.Error("no error")
	}
}

func TestCut(t *testing.T) {
	var recs []records.Message
	for i := range 2*maxRecordsPerBatch + 1 {
		r := records.NewTopicRecord()
		r.Name = fmt.Sprint(i)
		recs = append(recs, r)
	}
	var sizes []int
	n := 0
	batches, err := cut(recs)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		sizes = append(sizes, len(b))
		for _, m := range b {
			if m != recs[n] {
				t.Fatalf("record %d is out of order", n)
			}
			n++
		}
	}
	if n != len(recs) || !slices.Equal(sizes, []int{maxRecordsPerBatch, maxRecordsPerBatch, 1}) {
		t.Errorf("%d records in batches of %v", n, sizes)
	}
	big := records.NewPartitionRecord()
	big.Replicas = make([]int32, maxBytesPerBatch/8+1)
	if got, err := cut([]records.Message{big, big, big}); err != nil || len(got) != 3 {
		t.Errorf("%d batches of large records, %v", len(got), err)
	}
}

// TestRecordsThatCannotBeWrittenAreNotProposed: Kafka's readers refuse longer strings.
func TestRecordsThatCannotBeWrittenAreNotProposed(t *testing.T) {
	c, e := start(t, clock.NewVirtual(time.UnixMilli(1e12)), 0)
	c.Close() // the loop's state belongs to the test now
	c.spec = metadata.Empty()
	spec, before := c.spec, e.batches()
	long := records.NewConfigRecord()
	text := strings.Repeat("x", 32768)
	long.Value = &text
	for _, recs := range [][]records.Message{{long}, {records.NewNoOpRecord(), long}} {
		if end, err := c.propose(controller.Result{Records: recs}); end != 0 || kafka.CodeOf(err) != kafka.UnknownServerError {
			t.Errorf("%d records: %d, %v", len(recs), end, err)
		}
	}
	if c.spec != spec || e.batches() != before {
		t.Error("something was proposed")
	}
}

// Records that must be committed together and do not fit one batch go between the
// brackets of a transaction.
func TestLargeAtomicResultsBecomeTransactions(t *testing.T) {
	c, e := start(t, clock.NewVirtual(time.UnixMilli(1e12)), 0)
	c.Close() // the loop's state belongs to the test now
	_ = e
	img, err := metadata.Empty().With(metadata.Provenance{}, storage.BootstrapRecords(map[string]int16{features.MetadataVersionName: int16(features.DefaultVersion)}))
	if err != nil {
		t.Fatal(err)
	}
	c.spec = img
	recs := make([]records.Message, maxRecordsPerBatch+5)
	for i := range recs {
		recs[i] = records.NewNoOpRecord()
	}
	for _, atomic := range []bool{false, true} {
		batches, err := c.split(controller.Result{Records: recs, Atomic: atomic})
		if err != nil {
			t.Fatal(err)
		}
		first, last := batches[0][0], batches[len(batches)-1]
		_, begins := first.(*records.BeginTransactionRecord)
		_, ends := last[len(last)-1].(*records.EndTransactionRecord)
		if begins != atomic || ends != atomic || len(batches) != 2 {
			t.Errorf("atomic %v: %d batches, begin %v, end %v", atomic, len(batches), begins, ends)
		}
	}
}
