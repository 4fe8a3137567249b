package brokerapi

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/server"
)

// deleteOp is one DeleteRecords request; it is answered when every live replica of
// every partition starts at or after the offset asked for.
type deleteOp struct {
	api     *API
	req     *server.Request
	resp    kmsg.DeleteRecordsResponse
	slots   []replica.DeleteSlot
	pending atomic.Int32
	timer   clock.Entry
}

// deleteRecords is API key 21, versions 0 to 2.
func (a *API) deleteRecords(r *server.Request) {
	var req kmsg.DeleteRecordsRequest
	if err := r.Decode(&req); err != nil {
		r.CloseConn(fmt.Errorf("DeleteRecords v%d: %w", r.Header.Version, err))
		return
	}
	op := &deleteOp{api: a, req: r, resp: kmsg.DeleteRecordsResponse{Version: req.Version}}
	n := 0
	for i := range req.Topics {
		n += len(req.Topics[i].Partitions)
	}
	op.slots = make([]replica.DeleteSlot, n)
	op.pending.Store(1)
	img := a.Image()
	waits := false
	s := op.slots
	for i := range req.Topics {
		t := &req.Topics[i]
		rt := kmsg.DeleteRecordsResponseTopic{Topic: t.Topic}
		for j := range t.Partitions {
			slot := &s[0]
			s = s[1:]
			slot.Owner, slot.LowWatermark = op, -1
			p, err := a.Replicas.Find(img, t.Topic, t.Partitions[j].Partition)
			switch {
			case err != nil:
				slot.Err = err
			case kafka.InternalTopic(t.Topic):
				slot.Err = kafka.InvalidTopicException.Errorf("Cannot delete records of internal topic %s", t.Topic)
			default:
				op.pending.Add(1)
				if p.DeleteRecords(t.Partitions[j].Offset, slot) {
					op.pending.Add(-1)
				} else {
					waits = true
				}
			}
			rt.Partitions = append(rt.Partitions, kmsg.DeleteRecordsResponseTopicPartition{Partition: t.Partitions[j].Partition})
		}
		op.resp.Topics = append(op.resp.Topics, rt)
	}
	if waits {
		r.ReleaseBody()
		op.timer.Fire = op.expire
		a.Wheel.Schedule(&op.timer, time.Duration(req.TimeoutMillis)*time.Millisecond)
	}
	op.done()
}

// Deleted is called for each partition that had to wait.
func (op *deleteOp) Deleted(*replica.DeleteSlot) { op.done() }

func (op *deleteOp) done() {
	if op.pending.Add(-1) > 0 {
		return
	}
	op.api.Wheel.Cancel(&op.timer)
	s := op.slots
	for i := range op.resp.Topics {
		parts := op.resp.Topics[i].Partitions
		for j := range parts {
			parts[j].ErrorCode = kafka.NumOf(s[0].Err)
			parts[j].LowWatermark = s[0].LowWatermark
			if s[0].Err != nil {
				parts[j].LowWatermark = -1
			}
			s = s[1:]
		}
	}
	op.req.Reply(&op.resp)
}

func (op *deleteOp) expire() {
	for i := range op.slots {
		op.slots[i].Expire()
	}
}
