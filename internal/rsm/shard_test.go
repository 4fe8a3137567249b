package rsm

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

var alone, two = []int32{1}, []int32{1, 2}

// TestOutcomeFollowsTheCommit: replies, effects and Committed come when the high
// watermark has passed the records, in the order of the log; operations in between
// see the state as it will be.
func TestOutcomeFollowsTheCommit(t *testing.T) {
	k := newToyKit(t, two, nil)
	k.active()
	first, second := k.do(set("a", "1")), k.do(set("b", "2"))
	k.none(first)
	k.want(k.do(get("a", false)), "1", nil)
	read := k.do(get("b", true))
	k.none(read)
	k.follow(1)
	k.want(first, "set", nil)
	k.none(second)
	k.none(read)
	k.follow(2)
	k.want(second, "set", nil)
	k.want(read, "2", nil)
	if got := k.events.since(1); got != "committed a, committed b" {
		t.Errorf("events: %s", got)
	}
	if a, b := <-k.effects, <-k.effects; a != "a" || b != "b" {
		t.Errorf("effects %v, %v", a, b)
	}
}

// TestNotesAreLogged: what an outcome notes is in the log, whatever becomes of its records.
func TestNotesAreLogged(t *testing.T) {
	var log strings.Builder // the shard writes before it answers
	k := newToyKit(t, alone, func(c *CoordinatorConfig[*toy]) { c.Notes = slog.New(slog.NewTextHandler(&log, nil)) })
	k.active()
	note := func(op Op[*toy], text string) Op[*toy] {
		return func(m *toy, now int64, to coord.Token) coord.Outcome {
			o := op(m, now, to)
			o.Notes = append(o.Notes, text)
			return o
		}
	}
	k.want(k.do(note(set("a", strings.Repeat("x", 2<<20)), "refused")), "", kafka.MessageTooLarge)
	k.want(k.do(note(get("a", true), "read")), "", nil)
	if out := log.String(); strings.Count(out, "msg=refused") != 1 || strings.Count(out, "msg=read") != 1 {
		t.Errorf("logged: %s", out)
	}
}

// TestReplyAtOnceOnASingleReplica: nothing has to wait where the append is the commit.
func TestReplyAtOnceOnASingleReplica(t *testing.T) {
	k := newToyKit(t, alone, nil)
	k.active()
	k.want(k.do(set("a", "1")), "set", nil)
	k.want(k.do(get("a", true)), "1", nil)
}

// TestAppendFailureLeavesNoTrace: a batch that the log refuses is not replayed; the
// machine says what its client is told, and the shard goes on.
func TestAppendFailureLeavesNoTrace(t *testing.T) {
	k := newToyKit(t, alone, nil)
	k.active()
	k.want(k.do(set("a", strings.Repeat("x", 2<<20))), "", kafka.MessageTooLarge)
	k.want(k.do(get("a", true)), "", nil)
	k.want(k.do(set("a", "1")), "set", nil)
	if got := k.events.since(1); got != "append failed a MESSAGE_TOO_LARGE, committed a" {
		t.Errorf("events: %s", got)
	}
	k.sync() // effects follow the reply
	if n := len(k.effects); n != 1 {
		t.Errorf("%d effects ran", n)
	}
}

// TestRecordsThatCannotBeEncodedAreNotAppended: an encoder leaves a key or value empty
// that it has no form for. Nothing of the outcome reaches the log, and the shard goes on,
// now and after the next load.
func TestRecordsThatCannotBeEncodedAreNotAppended(t *testing.T) {
	k := newToyKit(t, alone, nil)
	k.active()
	good := coord.Record{Key: []byte("a"), Value: []byte("1")}
	for _, bad := range []coord.Record{{}, {Value: []byte("1")}, {Key: []byte{}, Value: []byte("1")}, {Key: []byte("a"), Value: []byte{}}} {
		k.want(k.do(func(_ *toy, _ int64, to coord.Token) coord.Outcome {
			o := coord.Answer(to, text("set"))
			o.Records, o.Op = []coord.Record{good, bad, good}, "bad"
			return o
		}), "", kafka.UnknownServerError)
	}
	if end := k.part().Log().LogEndOffset(); end != 0 {
		t.Errorf("the log ends at %d", end)
	}
	k.want(k.do(get("a", true)), "", nil)
	if got := k.events.since(1); strings.Count(got, "append failed bad UNKNOWN_SERVER_ERROR") != 4 {
		t.Errorf("events: %s", got)
	}
	k.want(k.do(set("a", "1")), "set", nil)
	k.lead(1, true)
	k.active()
	k.want(k.do(get("a", true)), "1", nil)
}

// TestSplitOutcome: work that may be split goes into as many batches as it takes; its
// outcome follows the last one.
func TestSplitOutcome(t *testing.T) {
	k := newToyKit(t, two, nil)
	k.active()
	many := func(split bool) Op[*toy] {
		return func(_ *toy, _ int64, to coord.Token) coord.Outcome {
			o := coord.Answer(to, text("set"))
			o.Split, o.Op = split, "many"
			for i := range 5 {
				o.Records = append(o.Records, coord.Record{Key: fmt.Append(nil, "k", i), Value: make([]byte, 400<<10)})
			}
			return o
		}
	}
	k.want(k.do(many(false)), "", kafka.MessageTooLarge)
	if end := k.part().Log().LogEndOffset(); end != 0 {
		t.Fatalf("the log ends at %d", end)
	}
	held := k.do(many(true))
	k.none(held)
	if end := k.part().Log().LogEndOffset(); end != 5 {
		t.Fatalf("the log ends at %d", end)
	}
	k.follow(4)
	k.none(held)
	k.follow(5)
	k.want(held, "set", nil)
	if got := k.events.since(1); got != "append failed many MESSAGE_TOO_LARGE, committed many" {
		t.Errorf("events: %s", got)
	}
}

// TestMachineFillsABatch: a machine learns how much one batch takes, and of a change of it
// while it runs. So much is taken, and little more is not.
func TestMachineFillsABatch(t *testing.T) {
	k := newToyKit(t, alone, nil)
	k.active()
	fill := func(more int) Op[*toy] {
		return func(m *toy, _ int64, to coord.Token) coord.Outcome {
			o := coord.Answer(to, text(fmt.Sprint(m.limit())))
			for left := m.limit(); left > 0; {
				r := coord.Record{Key: []byte("k"), Value: make([]byte, 1)}
				if left < 200 {
					r.Value = make([]byte, max(1, left-r.Size()+1+more))
				}
				o.Records = append(o.Records, r)
				left -= r.Size()
			}
			return o
		}
	}
	for _, limit := range []string{"1048588", "4096", "2048"} {
		c := records.NewConfigRecord()
		c.ResourceType, c.ResourceName, c.Name, c.Value = 2, toyTopic, "max.message.bytes", &limit
		k.apply(true, c)
		n, _ := strconv.Atoi(limit)
		k.want(k.do(fill(0)), strconv.Itoa(n-batch.HeaderSize), nil)
		k.want(k.do(fill(n)), "", kafka.MessageTooLarge)
	}
}

// TestFailedDiskEndsTheShard: when the log cannot be written any more, the client
// learns why and everybody else that this is no coordinator.
func TestFailedDiskEndsTheShard(t *testing.T) {
	k := newToyKit(t, alone, nil)
	k.active()
	parked := k.do(park)
	k.fault.Add(vfs.Rule{Op: vfs.OpWrite, Path: "*.log", Times: -1, Err: errors.New("the disk is gone")})
	k.fault.Add(vfs.Rule{Op: vfs.OpTruncate, Path: "*.log", Times: -1, Err: errors.New("the disk is gone")})
	k.want(k.do(set("a", "1")), "", kafka.KafkaStorageError)
	k.m.DirFailed("/data")
	k.m.Close() // waits for the directory's end
	k.want(k.do(get("a", true)), "", kafka.NotCoordinator)
	k.want(parked, "", kafka.NotCoordinator)
}

// TestResignAnswersEverybody: parked clients, records that wait for their commit, and
// who comes later get NOT_COORDINATOR; timers end.
func TestResignAnswersEverybody(t *testing.T) {
	k := newToyKit(t, two, nil)
	k.active()
	parked, held, read := k.do(park), k.do(set("a", "1")), k.do(get("a", true))
	k.want(k.do(timers(coord.Timer{Key: "x", AtMs: epochMs + 10})), "", nil)
	k.lead(2, true)
	for _, c := range []<-chan result{parked, held, read, k.do(get("a", false))} {
		k.want(c, "", kafka.NotCoordinator)
	}
	k.clock.Advance(time.Second)
	k.c.Close()
	if got := k.events.since(1); got != "resigned" {
		t.Errorf("events: %s", got)
	}
}

// TestWatermarkOfAFollowerCommitsNothing (KAFKA-20634): the broker has lost the
// leadership, its high watermark passes over the offsets of its own records, and the
// coordinator has not been told yet.
func TestWatermarkOfAFollowerCommitsNothing(t *testing.T) {
	k := newToyKit(t, two, nil)
	k.active()
	held := k.do(set("a", "1"))
	k.sync()
	k.lead(2, false)
	k.part().Log().UpdateHighWatermark(1)
	k.want(held, "", kafka.NotCoordinator)
}

// TestNoAppendInAnotherEpoch: a shard whose epoch is over appends nothing, although the
// broker leads again.
func TestNoAppendInAnotherEpoch(t *testing.T) {
	k := newToyKit(t, two, nil)
	k.active()
	k.lead(2, false)
	k.lead(1, false)
	k.want(k.do(set("a", "1")), "", kafka.NotLeaderOrFollower)
	if end := k.part().Log().LogEndOffset(); end != 0 {
		t.Errorf("the log ends at %d", end)
	}
	k.want(k.do(get("a", true)), "", kafka.NotCoordinator)
	k.lead(2, true)
	k.lead(1, true)
	k.active()
	k.none(k.do(set("a", "1")))
}

// TestCommitTimeout: a client is told in time; the machine still learns of the commit.
func TestCommitTimeout(t *testing.T) {
	k := newToyKit(t, two, nil)
	k.active()
	first := k.do(set("a", "1"))
	k.sync()
	k.clock.Advance(3 * time.Second)
	second := k.do(set("b", "2"))
	k.none(first)
	k.clock.Advance(2 * time.Second)
	k.want(first, "", kafka.RequestTimedOut)
	k.none(second)
	k.clock.Advance(3 * time.Second)
	k.want(second, "", kafka.RequestTimedOut)
	k.follow(2)
	k.sync()
	if got := k.events.since(1); got != "committed a, committed b" {
		t.Errorf("events: %s", got)
	}
	k.clock.Advance(time.Minute)
	third := k.do(set("c", "3"))
	k.none(third)
	k.follow(3)
	k.want(third, "set", nil)
}

// TestReadsThatTimedOutAreForgotten: while the high watermark stands still clients ask
// again and again. What waits stays what it was, and goes on when the watermark does.
func TestReadsThatTimedOutAreForgotten(t *testing.T) {
	k := newToyKit(t, two, nil)
	k.active()
	held := func() (n int) {
		t.Helper()
		s := k.c.routes.Load().shards[0]
		k.want(k.do(func(_ *toy, _ int64, to coord.Token) coord.Outcome {
			n = len(s.held)
			return coord.Answer(to, text(""))
		}), "", nil)
		return n
	}
	ask := func() {
		t.Helper()
		var all []<-chan result
		for range 100 {
			all = append(all, k.do(get("a", true)))
		}
		k.none(all[0])
		if n := held(); n < 100 {
			t.Fatalf("%d outcomes are held, of 100 reads", n)
		}
		k.clock.Advance(5 * time.Second)
		for _, c := range all {
			k.want(c, "", kafka.RequestTimedOut)
		}
	}
	first := k.do(set("a", "1"))
	k.none(first)
	for range 3 {
		ask()
		if n := held(); n != 1 {
			t.Fatalf("%d outcomes are held, the append is one", n)
		}
	}
	k.want(first, "", kafka.RequestTimedOut)
	// Those that come a little later stay for as much longer.
	var early, later []<-chan result
	for range 10 {
		early = append(early, k.do(get("a", true)))
	}
	k.none(early[9])
	k.clock.Advance(3 * time.Second)
	for range 3 {
		later = append(later, k.do(get("a", true)))
	}
	k.none(later[2])
	k.clock.Advance(2 * time.Second)
	for _, c := range early {
		k.want(c, "", kafka.RequestTimedOut)
	}
	k.none(later[0])
	k.clock.Advance(3 * time.Second)
	for _, c := range later {
		k.want(c, "", kafka.RequestTimedOut)
	}
	if n := held(); n != 1 {
		t.Fatalf("%d outcomes are held, the append is one", n)
	}
	late := k.do(get("a", true))
	k.none(late)
	k.follow(1)
	k.want(late, "1", nil)
	if n := held(); n != 0 || !strings.HasSuffix(k.events.since(0), "committed a") {
		t.Fatalf("%d outcomes are held behind the watermark; events %s", n, k.events.since(0))
	}
	// In a new epoch no append of its own tells of the commit: one of the reads does.
	k.none(k.do(set("b", "2")))
	k.lead(1, true)
	k.active()
	for range 3 {
		ask()
		if n := held(); n != 1 {
			t.Fatalf("%d outcomes are held, one read tells of the commit", n)
		}
	}
	late = k.do(get("b", true))
	k.none(late)
	k.follow(2)
	k.want(late, "2", nil)
	if n := held(); n != 0 {
		t.Fatalf("%d outcomes are held behind the watermark", n)
	}
}

// TestTimers: a timer comes once, at its last time; a cancelled one does not.
// stepped is a clock of which the wall time was set back.
type stepped struct {
	*clock.Virtual
	back atomic.Int64 // in ms
}

func (c *stepped) Now() time.Time {
	return c.Virtual.Now().Add(-time.Duration(c.back.Load()) * time.Millisecond)
}

// TestTimersGoOnWhenTheWallClockIsSetBack (traps.md G3): sessions end when they should,
// and who waits for a commit is told in time.
func TestTimersGoOnWhenTheWallClockIsSetBack(t *testing.T) {
	var wall *stepped
	k := newToyKit(t, []int32{1, 2}, func(c *CoordinatorConfig[*toy]) {
		wall = &stepped{Virtual: c.Clock.(*clock.Virtual)}
		c.Clock = wall
	})
	k.active()
	at := func(key string, ms int64) coord.Timer { return coord.Timer{Key: key, AtMs: epochMs + ms} }
	k.want(k.do(timers(at("session", 50), at("moved", 60))), "", nil)
	waiting := k.do(set("a", "1"))
	wall.back.Store(time.Hour.Milliseconds())
	k.want(k.do(timers(coord.Timer{Key: "moved", AtMs: epochMs - time.Hour.Milliseconds() + 70})), "", nil)
	n := k.events.len()
	k.clock.Advance(65 * time.Millisecond)
	k.sync()
	if got := k.events.since(n); !strings.HasPrefix(got, "timer session") || strings.Contains(got, "moved") {
		t.Errorf("events: %q", got)
	}
	k.clock.Advance(10 * time.Millisecond)
	k.sync()
	if got := k.events.since(n); !strings.Contains(got, "timer moved") {
		t.Errorf("events: %q", got)
	}
	k.clock.Advance(5 * time.Second)
	k.want(waiting, "", kafka.RequestTimedOut)
}

func TestTimers(t *testing.T) {
	k := newToyKit(t, alone, nil)
	k.active()
	at := func(key string, ms int64) coord.Timer { return coord.Timer{Key: key, AtMs: epochMs + ms} }
	k.want(k.do(timers(at("late", 50), at("moved", 10), at("gone", 20), at("early", 5), at("past", -5))), "", nil)
	k.want(k.do(timers(at("moved", 30), coord.Timer{Key: "gone", Cancel: true}, coord.Timer{Key: "unknown", Cancel: true})), "", nil)
	for range 60 {
		k.clock.Advance(time.Millisecond)
		k.sync()
	}
	if got := k.events.since(1); got != "timer past 1, timer early 5, timer moved 30, timer late 50" && got != "timer past 0, timer early 5, timer moved 30, timer late 50" {
		t.Errorf("events: %s", got)
	}
	// A firing that is in the mailbox when the timer is cancelled or moved is stale.
	n := k.events.len()
	hold, entered := make(chan struct{}), make(chan struct{})
	k.want(k.do(timers(at("a", 70), at("b", 70))), "", nil)
	k.do(func(*toy, int64, coord.Token) coord.Outcome {
		close(entered)
		<-hold
		return coord.Outcome{Timers: []coord.Timer{{Key: "a", Cancel: true}, at("b", 100)}}
	})
	<-entered
	k.clock.Advance(20 * time.Millisecond)
	close(hold)
	k.sync()
	k.clock.Advance(40 * time.Millisecond)
	k.sync()
	if got := k.events.since(n); !strings.HasPrefix(got, "timer b 1") || strings.Contains(got, ",") {
		t.Errorf("events: %s", got)
	}
}

// TestMailboxIsBounded: who comes when too many wait is told to come again.
func TestMailboxIsBounded(t *testing.T) {
	k := newToyKit(t, alone, nil)
	k.active()
	hold, entered := make(chan struct{}), make(chan struct{})
	k.do(func(*toy, int64, coord.Token) coord.Outcome {
		close(entered)
		<-hold
		return coord.Outcome{}
	})
	<-entered
	var last <-chan result
	for range CoordinatorMailbox {
		last = k.do(get("", false))
	}
	k.want(k.do(get("", false)), "", kafka.CoordinatorNotAvailable)
	// The broker's own work is not refused.
	k.c.Post(0, 0, set("a", "1"))
	close(hold)
	k.want(last, "", nil)
	k.want(k.do(get("a", true)), "1", nil)
}

// TestPostReachesOnlyItsEpoch: the result of an effect of a former epoch is dropped.
func TestPostReachesOnlyItsEpoch(t *testing.T) {
	k := newToyKit(t, alone, nil)
	k.active()
	k.c.Post(0, 7, set("a", "1"))
	k.c.Post(3, 0, set("a", "1"))
	k.want(k.do(get("a", true)), "", nil)
}

// TestTransactionsReachTheLog: a transactional batch carries its producer, a marker
// ends it, and both are replayed as they are loaded later.
func TestTransactionsReachTheLog(t *testing.T) {
	k := newToyKit(t, alone, nil)
	k.active()
	txn := coord.TxnAppend{ProducerID: 7, ProducerEpoch: 2}
	k.want(k.do(func(_ *toy, _ int64, to coord.Token) coord.Outcome {
		o := coord.Answer(to, text("pending"))
		o.Txn, o.Records = &txn, []coord.Record{{Key: []byte("a"), Value: []byte("1")}}
		return o
	}), "pending", nil)
	if p, _ := k.part().Log().ActiveProducers(); len(p) != 1 || p[0].ProducerID != 7 {
		t.Fatalf("producers %v", p)
	}
	if lso := k.part().Log().LastStableOffset(); lso != 0 {
		t.Errorf("last stable offset %d", lso)
	}
	k.want(k.do(func(_ *toy, _ int64, to coord.Token) coord.Outcome {
		o := coord.Answer(to, text("ended"))
		o.Txn = &coord.TxnAppend{ProducerID: 7, ProducerEpoch: 2, Marker: true, Commit: true, CoordinatorEpoch: 4}
		return o
	}), "ended", nil)
	if lso := k.part().Log().LastStableOffset(); lso != 2 {
		t.Errorf("last stable offset %d", lso)
	}
	k.lead(1, true)
	k.active()
	k.want(k.do(get("a", true)), "1(txn 7.2)", nil)
	if got := k.events.since(1); strings.Count(got, "txn end 7.2 true") != 2 {
		t.Errorf("events: %s", got)
	}
}

// TestRecordsThatDoNotApplyEndTheShard: a state that is not what the log says must not
// be served.
func TestRecordsThatDoNotApplyEndTheShard(t *testing.T) {
	k := newToyKit(t, alone, nil)
	k.active()
	k.want(k.do(set("poison", "1")), "", kafka.NotCoordinator)
	k.want(k.do(get("poison", false)), "", kafka.NotCoordinator)
	made := k.events.made.Load()
	k.lead(1, true) // nor can it be loaded
	for k.events.made.Load() == made {
		runtime.Gosched()
	}
	k.want(k.do(get("poison", false)), "", kafka.CoordinatorLoadInProgress)
}
