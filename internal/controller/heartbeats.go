package controller

import (
	"math"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// session is what the controller remembers of one broker's heartbeats.
type session struct {
	epoch     int64
	contactMs int64 // last heartbeat, or the start of the grace period; -1 before
	// metadataOffset is the newest record that the broker has applied.
	metadataOffset kafka.Offset
	// registeredAt is the offset of the broker's registration; a broker that has
	// not applied it must stay fenced.
	registeredAt kafka.Offset
	// shutdownAt is the offset that every active broker must have applied before
	// this one may stop, so that clients find the new leaders; -1 when it is not
	// shutting down.
	shutdownAt kafka.Offset
	// fenceAtMs is when the broker is fenced at the earliest, if its session has run out.
	fenceAtMs int64
}

// fenceAgainMs is how long the fencing of a broker may wait to be in the image before it is
// proposed once more.
const fenceAgainMs = 500

// shuttingDown says whether the broker's shutdown is under way. A session alone does not say it:
// the records that began it may not have been taken, while leadership is handed over and that
// fails, or while too much waits for its commit. Until the image shows them the broker serves on.
func (s *session) shuttingDown(b *metadata.Broker) bool {
	return b.InControlledShutdown && s.shutdownAt >= 0
}

// sessions holds one session a broker.
type sessions struct {
	timeoutMs int64
	byID      map[int32]*session
}

func newSessions(timeoutMs int64) sessions {
	return sessions{timeoutMs: timeoutMs, byID: map[int32]*session{}}
}

// of returns the session of a registered broker, a new one for an incarnation that
// was not heard of in this term.
func (s *sessions) of(b *metadata.Broker) *session {
	e := s.byID[b.ID]
	if e == nil || e.epoch != b.Epoch {
		e = &session{epoch: b.Epoch, contactMs: -1, metadataOffset: -1, registeredAt: b.Epoch, shutdownAt: -1}
		s.byID[b.ID] = e
	}
	return e
}

// valid says whether the broker was heard of within the session timeout.
func (s *sessions) valid(b *metadata.Broker, nowMs int64) bool {
	e := s.byID[b.ID]
	return e != nil && e.epoch == b.Epoch && e.contactMs >= 0 && !s.expired(e, nowMs)
}

func (s *sessions) expired(e *session, nowMs int64) bool { return nowMs > e.contactMs+s.timeoutMs }

// brokerState is what a broker may do, as its heartbeats and the controller have
// arranged it.
type brokerState int

const (
	brokerFenced brokerState = iota
	brokerUnfenced
	brokerInControlledShutdown
	brokerShutdownNow
)

// heartbeat decides BrokerHeartbeat: it keeps the session alive and moves the
// broker between fenced, unfenced and shutting down.
func (d *decision) heartbeat(req *kmsg.BrokerHeartbeatRequest, resp *kmsg.BrokerHeartbeatResponse) Result {
	if err := d.checkEpoch(req.BrokerID, req.BrokerEpoch); err != nil {
		return Result{Reply: fail(req, resp, err)}
	}
	b := d.img.Broker(req.BrokerID)
	s := d.sessions.of(b)
	s.contactMs = d.in.NowMs
	current := brokerUnfenced
	switch {
	case b.Fenced:
		current = brokerFenced
	case s.shuttingDown(b):
		current = brokerInControlledShutdown
	}
	next := d.nextState(b, s, current, req)
	// Who shuts down and leads still asks again: what moved its leaders was not taken.
	change := next != current || next == brokerInControlledShutdown && d.leads(b.ID)
	if change {
		d.changeState(b, next)
	} else {
		d.reportedDirectories(b, req)
	}
	s.metadataOffset = req.CurrentMetadataOffset
	switch next {
	case brokerInControlledShutdown:
		if change {
			s.shutdownAt = d.in.NextOffset + kafka.Offset(len(d.records)) - 1
		}
	case brokerShutdownNow:
		// The broker is gone by its own will: its next incarnation need not wait for
		// the session to run out.
		delete(d.sessions.byID, b.ID)
	case brokerFenced:
		s.shutdownAt = -1
	}
	resp.IsCaughtUp = req.CurrentMetadataOffset >= s.registeredAt
	resp.IsFenced = next == brokerFenced || next == brokerShutdownNow
	resp.ShouldShutdown = next == brokerShutdownNow
	return d.result(resp, false)
}

func (d *decision) nextState(b *metadata.Broker, s *session, current brokerState, req *kmsg.BrokerHeartbeatRequest) brokerState {
	switch current {
	case brokerFenced:
		switch {
		case req.WantShutdown:
			return brokerShutdownNow
		case !req.WantFence && !b.InControlledShutdown && req.CurrentMetadataOffset >= s.registeredAt:
			// Who once said that it shuts down does not serve again in this incarnation.
			return brokerUnfenced
		}
		return brokerFenced
	case brokerUnfenced:
		switch {
		case req.WantFence && req.WantShutdown:
			return brokerShutdownNow
		case req.WantFence:
			return brokerFenced
		case req.WantShutdown && d.leads(b.ID):
			return brokerInControlledShutdown
		case req.WantShutdown:
			return brokerShutdownNow
		}
		return brokerUnfenced
	}
	if d.leads(b.ID) || s.shutdownAt > d.lowestActiveOffset() {
		return brokerInControlledShutdown
	}
	return brokerShutdownNow
}

// lowestActiveOffset is the offset that every active broker has applied.
func (d *decision) lowestActiveOffset() kafka.Offset {
	lowest := kafka.Offset(math.MaxInt64)
	for _, b := range d.img.Brokers() {
		if s := d.sessions.of(b); !b.Fenced && !s.shuttingDown(b) {
			lowest = min(lowest, s.metadataOffset)
		}
	}
	return lowest
}

// changeState adds the records that bring the broker into its next state.
func (d *decision) changeState(b *metadata.Broker, next brokerState) {
	switch next {
	case brokerFenced, brokerShutdownNow:
		if !b.Fenced {
			d.fence(b)
		}
	case brokerUnfenced:
		r := brokerChangeRecord(b, 0)
		r.Fenced = -1
		d.add(r)
		d.changePartitions(brokerChange{remove: metadata.NoLeader, add: b.ID, unclean: metadata.NoLeader},
			func(p *metadata.Partition) bool { return !p.HasLeader() })
	case brokerInControlledShutdown:
		if !b.InControlledShutdown {
			r := brokerChangeRecord(b, 1)
			r.InControlledShutdown = 1
			d.add(r)
		}
		d.removeFromISRs(b.ID)
	}
}

// fence takes the broker out of every ISR and then fences it.
func (d *decision) fence(b *metadata.Broker) {
	d.removeFromISRs(b.ID)
	r := brokerChangeRecord(b, 0)
	r.Fenced = 1
	d.add(r)
}

func brokerChangeRecord(b *metadata.Broker, version int16) *records.BrokerRegistrationChangeRecord {
	r := records.NewBrokerRegistrationChangeRecord()
	r.Version, r.BrokerID, r.BrokerEpoch = version, b.ID, b.Epoch
	return r
}
