package brokerapi

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// writeTxnMarkers is API key 27, versions 1 and 2: coordinators end transactions in the
// partitions that this broker leads, and administrators abort hanging ones. Version 2
// says under which transaction version, which decides how epochs are compared.
func (a *API) writeTxnMarkers(r *server.Request) {
	var req kmsg.WriteTxnMarkersRequest
	if !decode(r, &req) {
		return
	}
	op := &markersOp{r: r, resp: kmsg.NewPtrWriteTxnMarkersResponse(), pending: 1}
	op.resp.Version = req.Version
	op.layOut(&req)
	if to, ok := a.relayTo(&req.UnknownTags); ok {
		a.relay(r, to, PurposeMarkers, &req, op.fill)
		return
	}
	for i, m := range req.Markers {
		version := int16(0)
		if req.Version >= 2 {
			version = int16(m.TransactionVersion)
		}
		marker := coord.TxnAppend{
			ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, Marker: true, Commit: m.Committed,
			CoordinatorEpoch: m.CoordinatorEpoch, TransactionVersion: version,
		}
		for j, t := range m.Topics {
			for k, p := range t.Partitions {
				place := &op.resp.Markers[i].Topics[j].Partitions[k].ErrorCode
				tps := []kafka.TopicPartition{{Topic: t.Topic, Partition: p}}
				op.slots = append(op.slots, a.appendMarkers(marker, tps, func(_ kafka.TopicPartition, err error) { op.finish(place, err) })...)
			}
		}
	}
	if len(op.slots) > 0 {
		op.timer.Fire = op.expire
		a.Wheel.Schedule(&op.timer, time.Duration(a.Config().RequestTimeoutMs)*time.Millisecond)
		op.wheel = a.Wheel
	}
	op.finish(nil, nil)
}

// markersOp is one request of which markers are being appended.
type markersOp struct {
	r     *server.Request
	slots []*markerSlot
	timer clock.Entry
	wheel *clock.Wheel // nil when no timer was set

	mu      sync.Mutex
	resp    *kmsg.WriteTxnMarkersResponse // guarded by mu
	pending int                           // guarded by mu: the markers, and the handler until it is done
}

// layOut makes the response that the results find their place in.
func (op *markersOp) layOut(req *kmsg.WriteTxnMarkersRequest) {
	for _, m := range req.Markers {
		rm := kmsg.NewWriteTxnMarkersResponseMarker()
		rm.ProducerID = m.ProducerID
		for _, t := range m.Topics {
			rt := kmsg.NewWriteTxnMarkersResponseMarkerTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewWriteTxnMarkersResponseMarkerTopicPartition()
				rp.Partition = p
				rt.Partitions = append(rt.Partitions, rp)
				op.pending++
			}
			rm.Topics = append(rm.Topics, rt)
		}
		op.resp.Markers = append(op.resp.Markers, rm)
	}
}

// fill gives every partition the same result.
func (op *markersOp) fill(code *kafka.Code) kmsg.Response {
	for _, m := range op.resp.Markers {
		for _, t := range m.Topics {
			for k := range t.Partitions {
				t.Partitions[k].ErrorCode = code.Num()
			}
		}
	}
	return op.resp
}

// finish notes one result; the last one answers.
func (op *markersOp) finish(place *int16, err error) {
	op.mu.Lock()
	if place != nil {
		*place = kafka.NumOf(err)
	}
	op.pending--
	last := op.pending == 0
	op.mu.Unlock()
	if !last {
		return
	}
	if op.wheel != nil {
		op.wheel.Cancel(&op.timer)
	}
	op.r.Reply(op.resp)
}

// expire answers REQUEST_TIMED_OUT for markers that are not committed. They stay in the
// log.
func (op *markersOp) expire() {
	for _, s := range op.slots {
		s.Expire()
	}
}
