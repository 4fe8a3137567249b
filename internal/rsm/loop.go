package rsm

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/gregorhq/gregor/internal/controller"
	"github.com/gregorhq/gregor/internal/features"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/records"
)

// Bounds of one batch of the metadata log.
const (
	maxRecordsPerBatch = 10_000
	maxBytesPerBatch   = 4 << 20
)

// eventsPerRound bounds the events that are handled before the timer gets its turn.
const eventsPerRound = 1024

// run is the loop.
func (c *Controller) run() {
	defer close(c.done)
	defer c.mailbox.Close()
	defer c.deactivate()
	t := c.cfg.Clock.NewTimer(math.MaxInt64)
	defer t.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-c.mailbox.Ready():
			c.drain()
		case <-t.C():
			c.onTimer()
		}
		t.Reset(c.untilTimer())
	}
}

// drain handles what is in the mailbox already, so that the timer is set once for
// many events.
func (c *Controller) drain() {
	for range eventsPerRound {
		select {
		case <-c.stop: // whatever waits
			return
		default:
		}
		ev, ok := c.mailbox.Next()
		if !ok {
			return
		}
		c.handle(ev)
	}
}

func (c *Controller) handle(ev event) {
	switch {
	case ev.op != nil:
		<-c.room
		begin := c.since()
		c.metrics.QueueTimes.Observe(int64(begin - ev.op.at))
		c.handleOperation(ev.op)
		c.metrics.ProcessingTimes.Observe(int64(c.since() - begin))
	case ev.batch != nil:
		c.handleBatch(ev.batch)
	case ev.snapshot != nil:
		if _, err := c.log.LoadSnapshot(ev.snapshot.at, ev.snapshot.recs); err != nil {
			c.stopForGood(fmt.Errorf("loading the metadata snapshot at offset %d: %w", ev.snapshot.at.Offset, err))
		}
	case ev.leader != nil:
		c.handleLeader(*ev.leader)
	}
}

// stopForGood reports that the committed log could not be applied. What this node
// holds is not the cluster's state any more, so it must not go on.
func (c *Controller) stopForGood(err error) {
	if c.fatal {
		return
	}
	c.fatal = true
	c.deactivate()
	c.cfg.Logger.Error("the controller cannot apply the metadata log", "error", err)
	if c.cfg.OnFatal != nil {
		c.cfg.OnFatal(err)
	}
}

// handleBatch applies one committed batch and answers who waited for it.
func (c *Controller) handleBatch(b *quorum.Batch) {
	if c.fatal {
		return
	}
	if _, err := c.log.Append(b.Batch); err != nil {
		c.stopForGood(fmt.Errorf("metadata batch at offset %d: %w", b.BaseOffset, err))
		return
	}
	n := 0
	for n < len(c.parked) && c.parked[n].end <= b.LastOffset+1 {
		p := &c.parked[n]
		c.metrics.CommitTimes.Observe(int64(c.since() - p.at))
		if p.op != nil {
			p.op.done <- outcome{reply: p.reply}
		}
		n++
	}
	c.parked = c.parked[n:]
	if len(c.parked) == 0 {
		c.parked = nil
	}
	if _, open := c.log.InTransaction(); c.epoch != kafka.NoEpoch && !open && c.spec.Offset == b.LastOffset {
		// Nothing is under way: the committed image is the speculative one.
		c.spec = c.log.Image()
	}
}

// handleLeader activates or deactivates.
func (c *Controller) handleLeader(l quorum.LeaderAndEpoch) {
	if c.epoch == l.Epoch && l.Leader == c.nodeID() || c.fatal {
		return
	}
	c.deactivate()
	if l.Leader != c.nodeID() {
		return
	}
	c.epoch = l.Epoch
	c.machine = newMachine(c)
	// Provenance moves to the end of the committed log even when an open transaction
	// holds the image back, so that what follows is counted from there.
	c.spec = c.log.Image()
	_, open := c.log.InTransaction()
	c.cfg.Logger.Info("becoming the active controller", "epoch", l.Epoch, "offset", c.spec.Offset)
	res, err := c.machine.Activate(c.input(), open)
	if err == nil {
		_, err = c.propose(res)
	}
	if err != nil {
		c.cfg.Logger.Error("the controller could not be activated", "epoch", l.Epoch, "error", err)
		c.resign()
		return
	}
	c.lastWriteMs = c.elapsedMs()
	c.setActive(true)
}

// deactivate drops the speculative image and fails whoever waits.
func (c *Controller) deactivate() {
	c.setActive(false)
	c.epoch, c.machine, c.spec = kafka.NoEpoch, nil, nil
	for _, p := range c.parked {
		if p.op != nil {
			p.op.done <- outcome{err: errNotActive}
		}
	}
	c.parked = nil
}

// resign gives up a term in which the controller cannot go on. The committed log
// decides what of its proposals counts.
func (c *Controller) resign() {
	epoch := c.epoch
	c.deactivate()
	c.cfg.Engine.Resign(epoch)
}

func (c *Controller) nodeID() kafka.NodeID { return kafka.NodeID(c.cfg.Machine.NodeID) }
func (c *Controller) nowMs() int64         { return c.cfg.Clock.Now().UnixMilli() }

// elapsedMs is what sessions and intervals go by: a wall clock that is set back would
// keep dead brokers alive, one that is set ahead would fence all of them at once.
func (c *Controller) elapsedMs() int64 { return c.cfg.Clock.Since(c.began).Milliseconds() }

func (c *Controller) input() controller.Input {
	return controller.Input{Image: c.spec, NowMs: c.elapsedMs(), NextOffset: c.cfg.Engine.NextOffset(c.epoch), KRaftVersion: c.cfg.Engine.KRaftVersion()}
}

// handleOperation decides one request.
func (c *Controller) handleOperation(op *operation) {
	if c.epoch == kafka.NoEpoch {
		op.done <- outcome{err: errNotActive}
		return
	}
	res, err := c.machine.Handle(c.input(), op.req)
	if err != nil {
		op.done <- outcome{err: err}
		return
	}
	end, err := c.proposeAll(res)
	if err != nil {
		op.done <- outcome{err: err}
		c.afterFailedPropose(err)
		return
	}
	if end == 0 && len(c.parked) > 0 {
		// It read what is not committed yet, so it waits for that.
		end = c.parked[len(c.parked)-1].end
	}
	reply := Reply{Response: res.Reply, EndOffset: end}
	if end == 0 {
		op.done <- outcome{reply: reply}
		return
	}
	c.parked = append(c.parked, parked{end: end, op: op, reply: reply, at: c.since()})
}

// proposeAll proposes the records of a result, and the change of kraft.version that
// the quorum itself writes. That comes first: when the quorum refuses, nothing of
// the operation happens.
func (c *Controller) proposeAll(res controller.Result) (kafka.Offset, error) {
	if res.UpgradeKRaftVersion <= 0 {
		return c.propose(res)
	}
	last, err := c.cfg.Engine.UpgradeKRaftVersion(c.epoch, res.UpgradeKRaftVersion)
	if err != nil {
		return 0, err
	}
	end, err := c.propose(res)
	if err != nil {
		return 0, fmt.Errorf("%w: kraft.version was upgraded: %w", errPartly, err)
	}
	return max(end, last+1), nil
}

// errPartly marks an operation of which some batches were proposed and others not.
var errPartly = errors.New("only a part of the records was proposed")

// afterFailedPropose brings the controller back to a state that is known: a part
// of an operation must not stay in the speculative image.
func (c *Controller) afterFailedPropose(err error) {
	if errors.Is(err, errPartly) {
		c.cfg.Logger.Error("an operation was proposed in part", "epoch", c.epoch, "error", err)
		c.resign()
		return
	}
	if errors.Is(err, kafka.NotController) {
		c.deactivate()
	}
}

// propose appends the records of a result and moves the speculative image past
// them. It returns the end offset, 0 when there are no records. When it fails
// without errPartly nothing was proposed and the image is what it was.
func (c *Controller) propose(res controller.Result) (kafka.Offset, error) {
	if len(res.Records) == 0 {
		return 0, nil
	}
	batches, err := c.split(res)
	if err != nil {
		return 0, err
	}
	at := metadata.Provenance{Offset: c.cfg.Engine.NextOffset(c.epoch) - 1, Epoch: c.epoch, TimestampMs: c.nowMs()}
	for _, b := range batches {
		at.Offset += kafka.Offset(len(b))
	}
	next, err := c.spec.With(at, withoutBrackets(res.Records))
	if err != nil {
		return 0, fmt.Errorf("the controller's own records do not apply: %w", err)
	}
	var last kafka.Offset
	for i, b := range batches {
		if last, err = c.cfg.Engine.Propose(c.epoch, b); err != nil {
			if i > 0 {
				err = fmt.Errorf("%w: %w", errPartly, err)
			}
			return 0, err
		}
	}
	if last < at.Offset {
		return 0, fmt.Errorf("%w: the last record is at offset %d, expected at %d", errPartly, last, at.Offset)
	}
	if last > at.Offset {
		// The quorum has written records of its own before or between the batches, for a
		// change of the voters. No image depends on them, and what was decided knew its
		// offsets as lower bounds only.
		at.Offset = last
		if next, err = next.With(at, nil); err != nil {
			return 0, fmt.Errorf("%w: moving the image to offset %d: %w", errPartly, last, err)
		}
	}
	c.spec, c.lastWriteMs = next, c.elapsedMs()
	return last + 1, nil
}

// withoutBrackets leaves out the records that begin and end transactions: the
// speculative image shows what will be when all of it is committed.
func withoutBrackets(recs []records.Message) []records.Message {
	out := make([]records.Message, 0, len(recs))
	for _, m := range recs {
		switch m.(type) {
		case *records.BeginTransactionRecord, *records.EndTransactionRecord, *records.AbortTransactionRecord:
		default:
			out = append(out, m)
		}
	}
	return out
}

// split cuts records into batches. What must become visible together and does not
// fit one batch goes into a metadata transaction (KIP-868).
func (c *Controller) split(res controller.Result) ([][]records.Message, error) {
	batches, err := cut(res.Records)
	if err != nil || len(batches) == 1 || !res.Atomic {
		return batches, err
	}
	if mv, ok := c.spec.MetadataVersion(); !ok || int16(mv) < int16(features.V36IV1) {
		return nil, kafka.RecordListTooLarge.Errorf("%d records must be committed together, more than one batch holds", len(res.Records))
	}
	begin := records.NewBeginTransactionRecord()
	name := "operation"
	begin.Name = &name
	all := make([]records.Message, 0, len(res.Records)+2)
	all = append(all, begin)
	all = append(all, res.Records...)
	return cut(append(all, records.NewEndTransactionRecord()))
}

// frameBytes is the most that the frame of a record takes before its body.
const frameBytes = 7

// cut splits records by number and size, and refuses those that cannot be written.
func cut(recs []records.Message) ([][]records.Message, error) {
	var out [][]records.Message
	var buf []byte
	start, size := 0, 0
	for i, r := range recs {
		var err error
		if buf, err = r.AppendTo(buf[:0]); err != nil {
			return nil, kafka.UnknownServerError.Errorf("%s: %w", r.SchemaName(), err)
		}
		if i > start && (i-start >= maxRecordsPerBatch || size+len(buf)+frameBytes > maxBytesPerBatch) {
			out = append(out, recs[start:i])
			start, size = i, 0
		}
		size += len(buf) + frameBytes
	}
	return append(out, recs[start:]), nil
}

// untilTimer is how long the loop may sleep.
func (c *Controller) untilTimer() time.Duration {
	if c.epoch == kafka.NoEpoch {
		return math.MaxInt64
	}
	next := c.machine.NextTickMs(c.spec)
	if c.cfg.MaxIdleInterval > 0 {
		next = min(next, c.lastWriteMs+c.cfg.MaxIdleInterval.Milliseconds())
	}
	ms := max(next-c.elapsedMs(), 0)
	if ms > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(ms) * time.Millisecond
}

// onTimer does what time asks for.
func (c *Controller) onTimer() {
	if c.epoch == kafka.NoEpoch {
		return
	}
	now := c.elapsedMs()
	if c.machine.NextTickMs(c.spec) <= now {
		c.timed(c.machine.Tick(c.input()))
	}
	if c.epoch == kafka.NoEpoch || c.cfg.MaxIdleInterval <= 0 {
		return
	}
	if now >= c.lastWriteMs+c.cfg.MaxIdleInterval.Milliseconds() {
		c.timed(controller.Result{Records: []records.Message{records.NewNoOpRecord()}})
		c.lastWriteMs = now
	}
}

// timed proposes what no request asked for.
func (c *Controller) timed(res controller.Result) {
	end, err := c.propose(res)
	if err != nil {
		if errors.Is(err, kafka.RequestTimedOut) || errors.Is(err, kafka.NotController) {
			// Leadership is handed over, or too much waits for its commit: nobody has to act.
			c.cfg.Logger.Info("a timed task of the controller has to wait", "epoch", c.epoch, "error", err)
		} else {
			c.cfg.Logger.Error("a timed task of the controller failed", "epoch", c.epoch, "error", err)
		}
		c.afterFailedPropose(err)
		return
	}
	if end > 0 {
		c.parked = append(c.parked, parked{end: end, at: c.since()})
	}
}
