package txn

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/producer"
)

// world is a coordinator, partitions with the real producer state, and clients, joined
// by a network that delays, reorders, repeats and loses what it carries.
type world struct {
	t       testing.TB
	rng     *rand.Rand
	b       *bench
	epoch   int32 // of the coordinator
	parts   []*part
	clients []*client
	net     []func()
	calls   map[coord.Token]func(coord.Reply)
	guard   producer.Guard // the last that was given
	seen    int            // effects of b.markers that were taken up
	calm    bool
	// version is what coordinator and clients speak: transactions v2, or 1. Without the
	// epoch bump a late EndTxn cannot be told from the next one's (T10), so that clients
	// then send each once and wait.
	version int16
	// wanted are attempts of which the client asked to commit, ended those that it was
	// told are committed, acked the values that were acknowledged, by attempt.
	wanted, ended map[string]bool
	acked         map[string][]string
}

// part is a partition; its log is always replicated.
type part struct {
	tp     kafka.TopicPartition
	state  *producer.State
	log    []entry
	stable int64
}

type entry struct {
	attempt, value string // "" for a marker
	pid            int64
	control        bool
	commit         bool
}

func newWorld(t testing.TB, seed uint64, version int16) *world {
	w := &world{t: t, version: version, rng: rand.New(rand.NewPCG(seed, 1)), b: newBench(), epoch: 1, calls: map[coord.Token]func(coord.Reply){},
		wanted: map[string]bool{}, ended: map[string]bool{}, acked: map[string][]string{}}
	w.b.version = version
	w.b.replied = func(r coord.Reply) {
		if f := w.calls[r.To]; f != nil {
			delete(w.calls, r.To)
			f(r)
		}
	}
	for i := range 3 {
		w.parts = append(w.parts, &part{tp: kafka.TopicPartition{Topic: "t", Partition: int32(i)},
			state: producer.New(producer.Config{ExpirationMs: 1 << 40, MaxTransactionTimeoutMs: 900_000, VerifyTransactions: true})})
	}
	for i := range 2 {
		w.clients = append(w.clients, &client{w: w, id: fmt.Sprint("tid", i)})
	}
	// The first is about to run out of epochs (T5).
	old := &Transaction{ID: "tid0", ProducerID: 50, PreviousProducerID: 50, NextProducerID: -1, ProducerEpoch: lastEpoch - 4, TimeoutMs: 60000, State: Empty, StartMs: -1, LastUpdateMs: w.b.now}
	w.b.log = append(w.b.log, old.record(version))
	if err := w.b.reload(); err != nil {
		t.Fatal(err)
	}
	return w
}

// send carries a message: perhaps twice, perhaps never.
func (w *world) send(f func()) {
	if w.calm || w.rng.IntN(10) > 0 {
		w.net = append(w.net, f)
	}
	if !w.calm && w.rng.IntN(4) == 0 {
		w.net = append(w.net, f)
	}
}

// surely carries a message once, in its time.
func (w *world) surely(f func()) { w.net = append(w.net, f) }

// deliver delivers one message, any.
func (w *world) deliver() bool {
	if len(w.net) == 0 {
		return false
	}
	i := w.rng.IntN(len(w.net))
	f := w.net[i]
	w.net = slices.Delete(w.net, i, i+1)
	f()
	w.takeMarkers()
	return true
}

// call submits an operation to the coordinator.
func (w *world) call(op func(to coord.Token) coord.Outcome, reply func(coord.Reply)) {
	to := w.b.to()
	w.calls[to] = reply
	w.b.apply(op(to))
	w.takeMarkers()
}

// takeMarkers sends the markers that the coordinator asked for.
func (w *world) takeMarkers() {
	for ; w.seen < len(w.b.markers); w.seen++ {
		m, epoch := w.b.markers[w.seen], w.epoch
		for _, tp := range m.Partitions {
			p := w.parts[tp.Partition]
			write := func() {
				err := p.mark(&m, epoch)
				w.surely(func() {
					if w.epoch == epoch {
						w.b.apply(w.b.m.MarkersWritten(w.b.now, &m, []MarkerResult{{Partition: p.tp, Err: err}}))
					}
				})
			}
			w.surely(write)
			// With the epoch of its own that every transaction has, a marker that comes again
			// is harmless. Without, it would end the next transaction; coordinators never
			// write one again once it has succeeded.
			if w.version >= 2 && w.rng.IntN(4) == 0 {
				w.surely(write)
			}
		}
	}
}

func (p *part) info(pid int64, epoch int16) batch.Info {
	offset := int64(len(p.log))
	return batch.Info{BaseOffset: offset, LastOffset: offset, NumRecords: 1, ProducerID: pid, ProducerEpoch: epoch, IsTransactional: true, MaxTimestamp: 1}
}

// mark appends a marker, as a log does.
func (p *part) mark(m *WriteMarkers, coordinatorEpoch int32) error {
	i := p.info(m.ProducerID, m.ProducerEpoch)
	i.IsControl, i.BaseSequence = true, -1
	i.Control = batch.Control{Type: batch.ControlAbort, CoordinatorEpoch: coordinatorEpoch, Valid: true}
	if m.Commit {
		i.Control.Type = batch.ControlCommit
	}
	return p.add(&i, batch.OriginCoordinator, m.TransactionVersion, producer.NoGuard, entry{pid: m.ProducerID, control: true, commit: m.Commit})
}

func (p *part) add(i *batch.Info, origin batch.Origin, version int16, guard producer.Guard, e entry) error {
	u, dup, err := p.state.Check([]batch.Info{*i}, origin, version, guard)
	if err != nil || dup != nil {
		return err
	}
	p.log = append(p.log, e)
	p.state.Commit(u, int64(len(p.log)))
	p.state.OnHighWatermark(int64(len(p.log)))
	return nil
}

// add adds a partition to a transaction, or verifies that it is there.
func (w *world) add(a *AddPartitions, reply func(error)) {
	w.call(func(to coord.Token) coord.Outcome { return w.b.m.AddPartitions(w.b.now, to, a) }, func(r coord.Reply) {
		err := r.Err
		if resp, ok := r.Response.(*kmsg.AddPartitionsToTxnResponse); ok {
			if c := kafka.CodeForNum(resp.Transactions[0].Topics[0].Partitions[0].ErrorCode); c != nil {
				err = c
			}
		}
		reply(err)
	})
}

// produce is the door: verify, then append.
func (w *world) produce(p *part, id string, pid int64, epoch int16, seq int32, e entry, reply func(error)) {
	i := p.info(pid, epoch)
	i.BaseSequence = seq
	adds := w.version >= 2
	w.guard++
	guard := p.state.BeginVerification(&i, adds, w.b.now, w.guard)
	appendIt := func() {
		i := p.info(pid, epoch)
		i.BaseSequence = seq
		reply(p.add(&i, batch.OriginClient, -1, guard, e))
	}
	if guard == producer.NoGuard {
		appendIt()
		return
	}
	w.add(&AddPartitions{TransactionalID: id, ProducerID: pid, ProducerEpoch: epoch, Partitions: []kafka.TopicPartition{p.tp}, Version: 5, VerifyOnly: !adds, ClientTransactionVersion: 2}, func(err error) {
		if err != nil {
			reply(err)
			return
		}
		w.surely(appendIt)
	})
}

// client runs one transaction after the other.
type client struct {
	w       *world
	id      string
	pid     int64
	epoch   int16
	attempt string
	count   int
	seqs    [3]int32
	asked   int // the request that is a write without answer
	step    int
	steps   int
	ready   bool
	waiting int // ticks until the client asks again
	request int // which request is being waited for
	commit  bool
	ending  bool
	dirty   bool // a write was given up
	sent    bool // the EndTxn of a client without transactions v2
	added   [3]bool
	target  int
}

// tick lets the client do something if it waits for nothing.
func (c *client) tick() {
	if c.waiting > 0 {
		c.waiting--
		return
	}
	if c.sent {
		return
	}
	late := c.waiting == 0 && c.ready && c.step < c.steps && c.request == c.asked
	c.waiting = 5 + c.w.rng.IntN(20)
	if late && c.w.rng.IntN(3) == 0 {
		// Nobody knows whether the write arrives: only an abort is possible.
		c.steps, c.dirty = c.step, true
		c.ending, c.commit = true, false
		c.w.wanted[c.attempt] = false
	}
	switch {
	case !c.ready:
		c.init()
	case c.step < c.steps:
		c.write()
	default:
		c.end()
	}
}

// awaits wraps what the client does with an answer: it takes the first to its current
// request, if it is not lost.
func (c *client) awaits(f func(error, kmsg.Response)) func(kmsg.Response, error) {
	n := c.request
	return func(resp kmsg.Response, err error) {
		send := c.w.send
		if c.sent {
			send = c.w.surely
		}
		send(func() {
			if c.request == n {
				c.request++
				c.waiting = 0
				f(err, resp)
			}
		})
	}
}

func (c *client) init() {
	c.request++
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionalID, req.TransactionTimeoutMillis = 5, &c.id, 5000
	done := c.awaits(func(err error, resp kmsg.Response) {
		if err == nil {
			r := resp.(*kmsg.InitProducerIDResponse)
			c.pid, c.epoch, c.ready, c.seqs = r.ProducerID, r.ProducerEpoch, true, [3]int32{}
			c.begin()
		}
	})
	c.w.send(func() {
		c.w.call(func(to coord.Token) coord.Outcome { return c.w.b.m.InitProducerID(c.w.b.now, to, req) }, func(r coord.Reply) { done(r.Response, r.Err) })
	})
}

func (c *client) begin() {
	c.count++
	c.attempt = fmt.Sprint(c.id, "/", c.count)
	c.step, c.steps, c.ending, c.dirty, c.added = 0, 1+c.w.rng.IntN(3), false, false, [3]bool{}
	if c.w.version >= 2 {
		c.seqs = [3]int32{}
	}
	c.target = c.w.rng.IntN(3)
}

func (c *client) write() {
	c.request++
	w, p, attempt := c.w, c.w.parts[c.target], c.attempt
	if target := c.target; w.version < 2 && !c.added[target] {
		a := &AddPartitions{TransactionalID: c.id, ProducerID: c.pid, ProducerEpoch: c.epoch, Partitions: []kafka.TopicPartition{p.tp}, Version: 3}
		done := c.awaits(func(err error, _ kmsg.Response) {
			switch kafka.CodeOf(err) {
			case nil:
				c.added[target] = true
			case kafka.ConcurrentTransactions, kafka.CoordinatorNotAvailable, kafka.NotCoordinator:
				c.waiting = 3
			default:
				c.ready = false
			}
		})
		w.send(func() { w.add(a, func(err error) { done(nil, err) }) })
		return
	}
	c.asked = c.request
	pid, epoch, seq, id := c.pid, c.epoch, c.seqs[c.target], c.id
	value := fmt.Sprint(attempt, "/", c.step)
	done := c.awaits(func(err error, _ kmsg.Response) {
		switch kafka.CodeOf(err) {
		case nil:
			w.acked[attempt] = append(w.acked[attempt], value)
			c.seqs[c.target]++
			c.step++
			c.target = w.rng.IntN(3)
		case kafka.ConcurrentTransactions, kafka.CoordinatorNotAvailable, kafka.NotCoordinator:
			c.waiting = 3
		default:
			c.ready = false
		}
	})
	w.send(func() {
		w.produce(p, id, pid, epoch, seq, entry{attempt: attempt, value: value, pid: pid}, func(err error) { done(nil, err) })
	})
}

func (c *client) end() {
	c.request++
	w, attempt := c.w, c.attempt
	if !c.ending {
		c.ending, c.commit = true, w.rng.IntN(2) == 0
		w.wanted[attempt] = c.commit
	}
	req := kmsg.NewPtrEndTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = 5, c.id, c.pid, c.epoch, c.commit
	send := w.send
	if w.version < 2 {
		req.Version, c.sent, send = 4, true, w.surely
	}
	done := c.awaits(func(err error, resp kmsg.Response) {
		c.sent = false
		switch kafka.CodeOf(err) {
		case nil:
			r := resp.(*kmsg.EndTxnResponse)
			w.ended[attempt] = w.ended[attempt] || req.Commit
			if w.version < 2 && c.dirty {
				c.ready = false // the sequence numbers are unknown
				return
			}
			if w.version >= 2 {
				c.pid, c.epoch = r.ProducerID, r.ProducerEpoch
			}
			c.begin()
		case kafka.ConcurrentTransactions, kafka.CoordinatorNotAvailable, kafka.NotCoordinator:
			c.waiting = 3
		default:
			c.ready = false
		}
	})
	send(func() {
		w.call(func(to coord.Token) coord.Outcome { return w.b.m.EndTxn(w.b.now, to, req) }, func(r coord.Reply) { done(r.Response, r.Err) })
	})
}

// check looks at what a read-committed consumer can see.
func (w *world) check() {
	visible := map[string]int{}
	some := map[string]bool{}
	for _, p := range w.parts {
		stable := int64(len(p.log))
		if u, ok := p.state.FirstUnstableOffset(); ok {
			stable = u
		}
		if stable < p.stable {
			w.t.Fatalf("%s: the last stable offset went from %d to %d", p.tp, p.stable, stable)
		}
		p.stable = stable
		open := map[int64][]entry{}
		for _, e := range p.log[:stable] {
			if !e.control {
				open[e.pid] = append(open[e.pid], e)
				continue
			}
			for _, v := range open[e.pid] {
				if e.commit {
					visible[v.value]++
					some[v.attempt] = true
				}
			}
			delete(open, e.pid)
		}
	}
	for v, n := range visible {
		if n > 1 {
			w.t.Fatalf("%s can be read %d times", v, n)
		}
	}
	for attempt := range some {
		if !w.wanted[attempt] {
			w.t.Fatalf("%s was not committed and can be read", attempt)
		}
	}
	if !w.calm {
		return
	}
	for attempt := range w.ended {
		if w.ended[attempt] {
			some[attempt] = true
		}
	}
	for attempt := range some {
		for _, v := range w.acked[attempt] {
			if visible[v] == 0 {
				w.t.Fatalf("%s is committed and %s cannot be read", attempt, v)
			}
		}
	}
}

// run lets chaos reign for a while, then waits until all is settled.
func (w *world) run() (transactions int) {
	for range 1500 {
		for _, c := range w.clients {
			c.tick()
		}
		for range 1 + w.rng.IntN(3) {
			w.deliver()
		}
		switch w.rng.IntN(60) {
		case 0:
			w.b.stalled = true
		case 1, 2:
			w.b.stalled = false
			w.b.settle()
		case 3:
			w.b.failing = kafka.NotEnoughReplicas
		case 4:
			w.b.advance(w.rng.Int64N(3000))
		case 5:
			if w.rng.IntN(3) == 0 {
				w.fail()
			}
		default:
			w.b.advance(w.rng.Int64N(20))
		}
		w.takeMarkers()
		w.check()
	}
	w.b.stalled, w.b.failing = false, nil
	w.b.settle()
	w.takeMarkers()
	for _, c := range w.clients {
		c.waiting = 1 << 30
	}
	for range 5 {
		for w.deliver() {
		}
		w.b.advance(20_000)
		w.takeMarkers()
	}
	for w.deliver() {
	}
	w.calm = true
	w.check()
	for _, p := range w.parts {
		if at, open := p.state.FirstUndecidedOffset(); open {
			w.t.Fatalf("%s: a transaction hangs at offset %d", p.tp, at)
		}
	}
	for id, t := range w.b.m.txns {
		if !t.State.idle() {
			w.t.Fatalf("%s is still %s", id, t.State)
		}
	}
	return len(w.ended)
}

// fail is a change of coordinator.
func (w *world) fail() {
	w.epoch++
	w.calls = map[coord.Token]func(coord.Reply){}
	if err := w.b.reload(); err != nil {
		w.t.Fatal(err)
	}
	for _, c := range w.clients {
		if c.sent {
			c.sent, c.ready = false, false // the answer is lost
			c.request++
		}
	}
}

// TestChaos: whatever the network does, no transaction hangs, the last stable offset
// never goes back, no aborted value can be read and no transaction in part (T5, T9 to
// T12).
func TestChaos(t *testing.T) {
	for _, version := range []int16{1, 2} {
		total := 0
		for seed := range uint64(12) {
			w := newWorld(t, seed, version)
			total += w.run()
			if t.Failed() {
				t.Fatalf("version %d, seed %d", version, seed)
			}
		}
		t.Logf("version %d: %d transactions ended", version, total)
		if total < 100 {
			t.Errorf("version %d: only %d transactions ended", version, total)
		}
	}
}
