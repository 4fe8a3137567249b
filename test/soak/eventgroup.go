//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// away is how long the second member stays away; less than the session, so that in every
	// other round its partitions are still those of the dead one when it comes back.
	away           = 8 * time.Second
	groupSession   = 10 * time.Second
	commitInterval = time.Second
	commitLimit    = 3 * time.Second
)

// member is one life of a member of the group that reads events. Its fields belong to the
// goroutine that polls; a rebalance, and what it calls, waits for that to allow it.
type member struct {
	e    *events
	id   int
	line *line
	dead atomic.Bool
}

// group runs the members until ctx ends: one that stays, and one that comes and goes.
func (e *events) group(ctx context.Context, wg *sync.WaitGroup, moveEvery time.Duration, moves *atomic.Int64) {
	wg.Go(func() { (&member{e: e, line: &line{}}).read(ctx, false) })
	wg.Go(func() {
		for id := 1; ctx.Err() == nil; id++ {
			m := &member{e: e, id: id, line: &line{}}
			life, cancel := context.WithTimeout(ctx, moveEvery)
			m.read(life, id%2 == 0)
			cancel()
			moves.Add(1)
			pause(ctx, away)
		}
	})
}

// read is one life; dies says that it ends without a word.
func (m *member) read(ctx context.Context, dies bool) {
	cl, err := m.e.c.client(m.line, kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("events"), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.SessionTimeout(groupSession),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, p map[string][]int32) {
			for _, n := range p["events"] {
				m.e.parts[n].assigned(m.id)
			}
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, cl *kgo.Client, p map[string][]int32) {
			m.commit(cl, p["events"])
			m.forget(p["events"])
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { m.forget(p["events"]) }))
	if err != nil {
		m.e.c.bad.add("a reader of events: %v", err)
		return
	}
	m.poll(ctx, cl)
	if m.id > 0 {
		fmt.Printf("member %d of the group %s with %d partitions\n", m.id, map[bool]string{true: "dies", false: "leaves"}[dies], m.owned())
	}
	if dies {
		m.dead.Store(true)
		m.line.cut()
		now, cancel := context.WithCancel(context.Background())
		cancel()
		cl.AllowRebalance()
		_ = cl.LeaveGroupContext(now) // it cannot; without this, Close tries for half a minute
	}
	cl.CloseAllowingRebalance()
	m.forget(allParts(eventParts))
}

func allParts(n int32) (out []int32) {
	for p := range n {
		out = append(out, p)
	}
	return out
}

// owned is how many partitions it has been given and not been asked to give back.
func (m *member) owned() (n int) {
	for _, p := range m.e.parts {
		if p.owns(m.id) {
			n++
		}
	}
	return n
}

func (m *member) forget(parts []int32) {
	for _, p := range parts {
		m.e.parts[p].revoked(m.id)
	}
}

func (m *member) poll(ctx context.Context, cl *kgo.Client) {
	last := time.Now()
	for ctx.Err() == nil {
		short, cancel := context.WithTimeout(ctx, commitInterval)
		f := cl.PollRecords(short, 5000)
		cancel()
		f.EachError(func(_ string, p int32, err error) {
			if serious(err) {
				m.e.c.bad.add("events-%d: member %d: %v", p, m.id, err)
			}
		})
		if m.id > 0 {
			m.e.moved.Add(uint64(f.NumRecords()))
		}
		f.EachRecord(func(r *kgo.Record) {
			if m.e.parts[r.Partition].take(m.id, r.Offset, r.Value) {
				m.e.flows[r.Partition].read.Add(int64(len(r.Value)))
			}
		})
		if time.Since(last) >= commitInterval {
			m.commit(cl, allParts(eventParts))
			last = time.Now()
		}
		cl.AllowRebalance()
	}
}

// commit commits how far the member is on some partitions, and tells the checkers what
// came of it.
func (m *member) commit(cl *kgo.Client, parts []int32) {
	if m.dead.Load() {
		return
	}
	offsets := map[int32]kgo.EpochOffset{}
	for _, p := range parts {
		if at, ok := m.e.parts[p].toCommit(m.id); ok {
			offsets[p] = kgo.EpochOffset{Epoch: -1, Offset: at}
			m.e.parts[p].committing(at)
		}
	}
	if len(offsets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitLimit)
	defer cancel()
	cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{"events": offsets},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			if err != nil {
				return
			}
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					if p.ErrorCode == 0 {
						m.e.parts[p.Partition].committed(offsets[p.Partition].Offset)
					}
				}
			}
		})
}
