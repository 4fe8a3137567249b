package rsm

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/controller"
	"github.com/gregorhq/gregor/internal/features"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
)

// interleave lets the quorum write two control records of its own before the next n
// batches, after the controller has asked for the next offset: a change of the voters.
func (e *fakeEngine) interleave(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.proposing = func() {
		if n == 0 {
			return
		}
		n--
		e.log = append(e.log, metadata.Batch{BaseOffset: e.end, LastOffset: e.end + 1, Epoch: e.leader.Epoch})
		e.end += 2
	}
}

// committed asks for req, commits whatever is proposed and returns the outcome.
func committed(t *testing.T, c *Controller, e *fakeEngine, req kmsg.Request) outcome {
	t.Helper()
	out := put(c, req)
	synctest.Wait()
	e.commit(t)
	return <-out
}

// A change of the voters is written by the quorum on the goroutine of whoever asks for it.
// When that falls between the decision of an operation and its proposal the operation's
// records stand behind those of the change, which is no reason to give up office.
func TestRecordsOfTheQuorumBetweenDecisionAndProposal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, e := start(t, clock.NewVirtual(time.UnixMilli(1e12)), 0)
		e.interleave(1)
		o := committed(t, c, e, createTopic("a", false))
		if o.err != nil || codeOf(o) != 0 || o.reply.EndOffset != e.NextOffset(1) {
			t.Errorf("the operation: %+v, %v, want the end offset %d", o.reply, o.err, e.NextOffset(1))
		}
		// With nothing under way the loop goes on with the committed image itself.
		var same bool
		e.onDecision(func() { same = c.spec == c.log.Image() })
		if o := committed(t, c, e, createTopic("b", false)); o.err != nil || codeOf(o) != 0 || !same {
			t.Errorf("the next operation: %+v, %v, on the committed image: %v", o.reply, o.err, same)
		}
		e.onDecision(nil)
		if e.mu.Lock(); len(e.resigned) > 0 {
			t.Errorf("resigned from %v", e.resigned)
		}
		e.mu.Unlock()
		if !c.Active() {
			t.Error("not active any more")
		}
	})
}

// The epoch of a registration is above every offset before it. The broker is told the
// same one as the log has, so that it is known by it, and the next incarnation's is higher.
func TestBrokerEpochWhenTheQuorumWritesInBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, e := start(t, clock.NewVirtual(time.UnixMilli(1e12)), 0)
		var epochs []int64
		for incarnation := byte(1); incarnation <= 2; incarnation++ {
			before := e.NextOffset(1)
			e.interleave(1)
			reg := registration(incarnation)
			reg.BrokerID, reg.LogDirs = 2, [][16]byte{{0: 8, 15: 200}}
			o := committed(t, c, e, reg)
			if o.err != nil || o.reply.Response.(*kmsg.BrokerRegistrationResponse).ErrorCode != 0 {
				t.Fatalf("registration: %+v, %v", o.reply.Response, o.err)
			}
			epoch := o.reply.Response.(*kmsg.BrokerRegistrationResponse).BrokerEpoch
			e.mu.Lock()
			last := e.log[len(e.log)-1]
			e.mu.Unlock()
			r := last.Messages[len(last.Messages)-1].(*records.RegisterBrokerRecord)
			if r.BrokerEpoch != epoch || epoch < before || epoch > last.LastOffset {
				t.Errorf("told epoch %d, the record at offset %d has %d; the log ended at %d", epoch, last.LastOffset, r.BrokerEpoch, before)
			}
			epochs = append(epochs, epoch)
			hb := kmsg.NewPtrBrokerHeartbeatRequest()
			hb.SetVersion(1)
			hb.BrokerID, hb.BrokerEpoch, hb.CurrentMetadataOffset = 2, epoch, last.LastOffset
			e.interleave(1)
			hb.WantShutdown = true // so that another incarnation may come at once
			o = committed(t, c, e, hb)
			if h := o.reply.Response.(*kmsg.BrokerHeartbeatResponse); o.err != nil || h.ErrorCode != 0 || !h.IsCaughtUp {
				t.Errorf("heartbeat with epoch %d: %+v, %v", epoch, h, o.err)
			}
		}
		if epochs[1] <= epochs[0] {
			t.Errorf("the epochs of two incarnations are %v", epochs)
		}
	})
}

// ended runs a controller, ends it, and gives its loop's state to the test with an image in
// which transactions are known.
func ended(t *testing.T) (*Controller, *fakeEngine) {
	t.Helper()
	c, e := start(t, clock.NewVirtual(time.UnixMilli(1e12)), 0)
	c.Close()
	img, err := metadata.Empty().With(metadata.Provenance{Offset: e.NextOffset(1) - 1},
		storage.BootstrapRecords(map[string]int16{features.MetadataVersionName: int16(features.DefaultVersion)}))
	if err != nil {
		t.Fatal(err)
	}
	c.epoch, c.spec = 1, img
	return c, e
}

// The batches of one operation need not stand next to each other, not even in a
// transaction.
func TestRecordsOfTheQuorumBetweenBatches(t *testing.T) {
	c, e := ended(t)
	res := controller.Result{Atomic: true}
	for range 2 * maxRecordsPerBatch {
		res.Records = append(res.Records, records.NewNoOpRecord())
	}
	e.interleave(3)
	end, err := c.propose(res)
	if want := e.NextOffset(1); err != nil || end != want || c.spec.EndOffset() != want {
		t.Errorf("end offset %d, %v, the image ends at %d, want %d", end, err, c.spec.EndOffset(), want)
	}
	log := metadata.NewLog(metadata.Empty())
	if _, err := log.Append(e.log...); err != nil {
		t.Fatal(err)
	}
	if _, open := log.InTransaction(); open || log.Image().EndOffset() != end {
		t.Errorf("transaction open: %v, the committed image ends at %d, want %d", open, log.Image().EndOffset(), end)
	}
}

// An offset below the expected one cannot be: less was appended than proposed.
func TestProposalThatEndsTooEarly(t *testing.T) {
	c, e := ended(t)
	spec := c.spec
	e.mu.Lock()
	e.proposing = func() { e.end-- }
	e.mu.Unlock()
	if _, err := c.propose(controller.Result{Records: []records.Message{records.NewNoOpRecord()}}); !errors.Is(err, errPartly) {
		t.Errorf("%v", err)
	}
	if c.spec != spec {
		t.Error("the image has moved")
	}
}
