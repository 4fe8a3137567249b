package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// errMoved tells a member that its group has another coordinator.
var errMoved = errors.New("the group has moved to another coordinator")

// errUndecided tells a member that it does not know what became of its commit.
var errUndecided = errors.New("the commit is undecided")

// errGone tells a member that it is none any more.
var errGone = errors.New("the coordinator does not know the member")

// member is a member of a group that speaks raw requests. It does not retry: each
// commit is sent once.
type member struct {
	cr    *crash
	group string
	id    string
	epoch int32 // generation or member epoch, -1 or 0 before the first
	held  map[int32]*hold
	c     *raw
}

// protocol is what differs between the classic protocol and that of KIP-848.
type protocol interface {
	step(m *member) error // joins or heartbeats once
	leave(m *member) error
	commitVersion() int16
}

func (m *member) request(req kmsg.Request) (kmsg.Response, error) {
	patience := 10 * time.Second
	if m.cr.moving {
		patience = 2 * time.Second // then the coordinator may be another
	}
	m.c.SetDeadline(time.Now().Add(patience))
	resp, err := m.c.do(req)
	if errors.Is(err, os.ErrDeadlineExceeded) && !m.cr.moving {
		m.cr.violation("%s: %s got no answer for 10 s", m.group, kmsg.NameForKey(req.Key()))
	}
	return resp, err
}

// acquire and release move partitions in the ownership log.
func (m *member) acquire(partition int32) {
	now := m.cr.now()
	// One that is answered by a coordinator of the past is not proven to be alive.
	m.held[partition] = &hold{m.group, m.id, partition, m.epoch, m.epoch, now, now, !m.cr.moving}
}

func (m *member) release(partitions ...int32) {
	m.cr.mu.Lock()
	defer m.cr.mu.Unlock()
	for _, p := range partitions {
		if h, ok := m.held[p]; ok {
			m.cr.holds = append(m.cr.holds, *h)
			delete(m.held, p)
		}
	}
}

func (m *member) releaseAll() { m.release(slices.Collect(maps.Keys(m.held))...) }

// alive is told that a request sent at this time was answered as one of a member.
func (m *member) alive(at time.Duration) {
	for _, h := range m.held {
		h.to, h.last = max(h.to, at), max(h.last, m.epoch)
	}
}

// key names the register of one partition of a group.
func key(group string, partition int32) string { return fmt.Sprintf("%s %d", group, partition) }

// prepare makes a commit of the next offset of some held partitions.
func (m *member) prepare(version int16) (*kmsg.OffsetCommitRequest, []commitOp) {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.SetVersion(version)
	req.Group, req.MemberID, req.Generation = m.group, m.id, m.epoch
	rt := kmsg.NewOffsetCommitRequestTopic()
	rt.Topic = workTopic
	var ops []commitOp
	m.cr.mu.Lock()
	defer m.cr.mu.Unlock()
	for _, p := range sortedKeys(m.held) {
		if rand.IntN(3) == 0 {
			continue
		}
		op := commitOp{key: key(m.group, p), id: fmt.Sprintf("r%d", m.cr.serial.Add(1)), outcome: unknown}
		m.cr.counters[op.key]++
		op.offset = m.cr.counters[op.key]
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset, rp.Metadata, rp.LeaderEpoch = p, op.offset, kmsg.StringPtr(op.id), -1
		rt.Partitions = append(rt.Partitions, rp)
		ops = append(ops, op)
	}
	req.Topics = append(req.Topics, rt)
	return req, ops
}

// send sends a prepared commit and writes down, in ops too, what became of it.
func (m *member) send(req *kmsg.OffsetCommitRequest, ops []commitOp) error {
	if len(ops) == 0 {
		return nil
	}
	start := m.cr.now()
	resp, err := m.request(req)
	end := m.cr.now()
	if errors.Is(err, os.ErrDeadlineExceeded) || err != nil && m.cr.moving {
		end = never
	}
	codes := map[int32]int16{}
	if err == nil {
		for _, p := range resp.(*kmsg.OffsetCommitResponse).Topics[0].Partitions {
			codes[p.Partition] = p.ErrorCode
		}
	}
	m.cr.mu.Lock()
	defer m.cr.mu.Unlock()
	for i, op := range ops {
		op.start, op.end = start, end
		if err == nil {
			switch code := codes[req.Topics[0].Partitions[i].Partition]; code {
			case 0:
				op.outcome = done
				m.alive(start)
			case kerr.IllegalGeneration.Code, kerr.UnknownMemberID.Code, kerr.RebalanceInProgress.Code,
				kerr.CoordinatorLoadInProgress.Code, kerr.FencedMemberEpoch.Code, kerr.StaleMemberEpoch.Code:
				op.outcome = refused
			default:
				op.end = never
			}
		}
		ops[i] = op
		m.cr.commits = append(m.cr.commits, op)
		// What may still happen must not happen after a later commit: the member gives up
		// its place, and with the next generation the coordinator refuses the old commit.
		if op.end == never && m.cr.moving && err == nil {
			err = errUndecided
		}
	}
	if err != nil && m.cr.moving {
		m.id, m.epoch = "", -1
	}
	return err
}

// slot keeps one place of a group filled: members live for a while, leave or die, and
// are followed by the next.
func (cr *crash) slot(ctx context.Context, group string, p protocol) {
	for ctx.Err() == nil {
		m := &member{cr: cr, group: group, epoch: -1, held: map[int32]*hold{}}
		cr.live(ctx, m, p, cr.now()+time.Duration(200+rand.IntN(3000))*time.Millisecond)
		if m.c != nil {
			m.c.Close()
		}
		cr.count("raw members", 1)
		pause(ctx, time.Duration(rand.IntN(500))*time.Millisecond)
	}
}

func (cr *crash) live(ctx context.Context, m *member, p protocol, until time.Duration) {
	for ctx.Err() == nil && cr.now() < until {
		if m.c == nil {
			c, err := cr.coordinator(ctx, m.group)
			if err != nil {
				pause(ctx, 5*time.Millisecond)
				continue
			}
			m.c = c
		}
		err := p.step(m)
		if err == nil && rand.IntN(3) > 0 {
			err = m.send(m.prepare(p.commitVersion()))
		}
		switch {
		case errors.Is(err, errGone):
			m.releaseAll()
		case err != nil:
			if m.epoch < 0 {
				m.releaseAll()
			}
			m.c.Close()
			m.c = nil
		}
		pause(ctx, time.Duration(5+rand.IntN(30))*time.Millisecond)
	}
	cr.end(ctx, m, p)
}

// end lets a member leave, or die. In both cases its ghost tries a commit that was
// prepared while it was alive: behind a leave it must be refused, and later it must be
// refused if the partition has gone to another, whose offsets are larger by then.
func (cr *crash) end(ctx context.Context, m *member, p protocol) {
	req, ops := m.prepare(p.commitVersion())
	left := false
	if m.c != nil && rand.IntN(2) == 0 {
		left = p.leave(m) == nil
	}
	m.releaseAll()
	if !left {
		pause(ctx, time.Duration(rand.IntN(2500))*time.Millisecond)
	}
	if len(ops) == 0 || ctx.Err() != nil {
		return
	}
	if m.c != nil {
		m.c.Close()
	}
	var err error
	if m.c, err = cr.coordinator(ctx, m.group); err != nil {
		return
	}
	_ = m.send(req, ops)
	cr.mu.Lock()
	defer cr.mu.Unlock()
	for _, op := range ops {
		// A coordinator of the past may have answered the leave; this is another one.
		if left && op.outcome == done && !m.cr.moving {
			cr.bad = append(cr.bad, fmt.Sprintf("%s: %s committed offset %d after its leave had been acknowledged", m.group, m.id, op.offset))
		}
	}
	cr.counts["commits by ghosts"] += len(ops)
}
