package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupSpec is a group of many members, each with a connection of its own, that
// subscribe to the same topics.
type groupSpec struct {
	addr       string
	group      string
	topics     []string
	partitions int // a topic
	members    int
	consumer   bool // KIP-848, else the classic protocol
}

// standing is what a member believes of itself.
type standing struct {
	epoch    int32 // of the generation or of the member
	members  int   // in the generation, as its leader was told; 0 where it is not known
	assigned int   // partitions
	settled  bool  // it has nothing to give up and waits for nothing
}

// crowd is a running group. mu guards the table of standings.
type crowd struct {
	spec groupSpec
	ctx  context.Context
	stop context.CancelCauseFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	now   map[int]standing
	leave map[int]chan struct{}
}

func newCrowd(ctx context.Context, s groupSpec) *crowd {
	c := &crowd{spec: s, now: map[int]standing{}, leave: map[int]chan struct{}{}}
	c.ctx, c.stop = context.WithCancelCause(ctx)
	return c
}

// join starts members from..to-1.
func (c *crowd) join(from, to int) {
	for i := from; i < to; i++ {
		leave := make(chan struct{})
		c.mu.Lock()
		c.leave[i] = leave
		c.now[i] = standing{}
		c.mu.Unlock()
		c.wg.Add(1)
		go func() {
			defer c.wg.Done()
			m := &member{crowd: c, index: i, leave: leave}
			if err := m.run(); err != nil && c.ctx.Err() == nil {
				c.stop(fmt.Errorf("member %d: %w", i, err))
			}
		}()
	}
}

// part makes members from..to-1 leave the group; they are forgotten at once.
func (c *crowd) part(from, to int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := from; i < to; i++ {
		close(c.leave[i])
		delete(c.leave, i)
		delete(c.now, i)
	}
}

func (c *crowd) set(i int, leave chan struct{}, s standing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leave[i] == leave {
		c.now[i] = s
	}
}

// stable says whether all members are in one generation with all partitions, evenly
// dealt: members of a KIP-848 group may agree on an epoch that is not the newest.
func (c *crowd) stable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	assigned, epoch := 0, int32(-1)
	least := len(c.spec.topics) * c.spec.partitions / max(len(c.now), 1)
	for _, s := range c.now {
		if s.assigned < least || s.assigned > least+1 {
			return false
		}
		if !s.settled || s.epoch <= 0 || (epoch >= 0 && s.epoch != epoch) || (s.members > 0 && s.members != len(c.now)) {
			return false
		}
		epoch = s.epoch
		assigned += s.assigned
	}
	return assigned == len(c.spec.topics)*c.spec.partitions
}

// settle waits until the group is stable. It looks every few milliseconds: looking
// at a thousand members whenever one of them moves would cost more than the group.
func (c *crowd) settle(limit time.Duration) error {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(limit); !c.stable(); {
		select {
		case <-look.C:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not stable within %v: %s", c.spec.group, limit, c.summary())
		}
	}
	return nil
}

// summary counts members by what they believe.
func (c *crowd) summary() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	epochs := map[int32]int{}
	assigned, settled := 0, 0
	for _, s := range c.now {
		epochs[s.epoch]++
		assigned += s.assigned
		if s.settled {
			settled++
		}
	}
	return fmt.Sprintf("%d members, %d settled, %d partitions, members by epoch %v", len(c.now), settled, assigned, epochs)
}

func (c *crowd) close() {
	c.stop(errors.New("done"))
	c.wg.Wait()
}

// member is one consumer of a group, without the consuming.
type member struct {
	crowd *crowd
	index int
	leave chan struct{}
	conn  *peer
	id    string
	epoch int32
}

const (
	requestLimit     = 3 * time.Minute
	sessionTimeoutMs = 45_000 // of Kafka's clients
	heartbeatEvery   = 3 * time.Second
)

func (m *member) run() error {
	var err error
	if m.conn, err = dialPeer(m.crowd.spec.addr, fmt.Sprintf("member-%d", m.index)); err != nil {
		return err
	}
	defer m.conn.close()
	stop := context.AfterFunc(m.crowd.ctx, m.conn.close)
	defer stop()
	if m.crowd.spec.consumer {
		return m.runConsumer()
	}
	return m.runClassic()
}

// wait waits for the next heartbeat; false means that the member has to go.
func (m *member) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-m.leave:
	case <-m.crowd.ctx.Done():
	}
	return false
}

func (m *member) is(code int16, errs ...*kerr.Error) bool {
	for _, e := range errs {
		if code == e.Code {
			return true
		}
	}
	return false
}

// runConsumer is a member of a KIP-848 group. It acknowledges what it is told at once,
// as a consumer without records in hand does.
func (m *member) runConsumer() error {
	s := m.crowd.spec
	m.id = fmt.Sprintf("%s-%d-%d", s.group, m.index, time.Now().UnixNano())
	var owned []kmsg.ConsumerGroupHeartbeatRequestTopic
	assigned := 0
	first, again := true, true
	for {
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.SetVersion(1)
		req.Group, req.MemberID, req.MemberEpoch = s.group, m.id, m.epoch
		if first {
			req.RebalanceTimeoutMillis = 300_000
			req.SubscribedTopicNames = s.topics
			req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		} else if again {
			req.Topics = owned
		}
		kresp, err := m.conn.do(req, requestLimit)
		if err != nil {
			return err
		}
		resp := kresp.(*kmsg.ConsumerGroupHeartbeatResponse)
		switch {
		case m.is(resp.ErrorCode, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator):
			if !m.wait(50 * time.Millisecond) {
				return nil
			}
			continue
		case resp.ErrorCode != 0:
			return fmt.Errorf("heartbeat: %w", kerr.ErrorForCode(resp.ErrorCode))
		}
		again = resp.MemberEpoch != m.epoch
		first, m.epoch = false, resp.MemberEpoch
		if resp.Assignment != nil {
			owned, assigned, again = owned[:0], 0, true
			for _, t := range resp.Assignment.Topics {
				rt := kmsg.NewConsumerGroupHeartbeatRequestTopic()
				rt.TopicID, rt.Partitions = t.TopicID, t.Partitions
				owned = append(owned, rt)
				assigned += len(t.Partitions)
			}
			if owned == nil {
				owned = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
			}
		}
		m.crowd.set(m.index, m.leave, standing{epoch: m.epoch, assigned: assigned, settled: !again})
		if again {
			continue
		}
		if !m.wait(time.Duration(resp.HeartbeatIntervalMillis) * time.Millisecond) {
			return m.leaveConsumer()
		}
	}
}

func (m *member) leaveConsumer() error {
	if m.crowd.ctx.Err() != nil {
		return nil
	}
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.SetVersion(1)
	req.Group, req.MemberID, req.MemberEpoch = m.crowd.spec.group, m.id, -1
	_, err := m.conn.do(req, requestLimit)
	return err
}
