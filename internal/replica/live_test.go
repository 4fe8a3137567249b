package replica

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/fetchsession"
	"github.com/gregorhq/gregor/internal/kafka"
)

// liveDoor serves fetches with sessions and waits, as the broker's door does.
type liveDoor struct {
	mu    sync.Mutex
	cache *fetchsession.Cache
	named []int // partitions that each incremental request named
}

// livePeer joins two nodes whose fetchers run by themselves.
type livePeer struct{ to *tnode }

func (p *livePeer) Close() error { return nil }

func (p *livePeer) Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	switch r := req.(type) {
	case *kmsg.FetchRequest:
		return p.to.fetch(ctx, r)
	case *kmsg.ListOffsetsRequest:
		return p.to.listOffsets(r), nil
	}
	return nil, fmt.Errorf("unexpected %T", req)
}

// awaited is a fetch that somebody waits for.
type awaited chan struct{}

func (a awaited) Fetched(*FetchOp) { close(a) }

// begin applies the request to its session and lists what is to be read.
func (d *liveDoor) begin(r *kmsg.FetchRequest) (list []fetchsession.Entry, s *fetchsession.Session, code *kafka.Code) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cache == nil {
		d.cache = fetchsession.NewCache(100, 120_000, 0, 1000, rand.New(rand.NewPCG(1, 2)))
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			list = append(list, fetchsession.Entry{Key: fetchsession.Key{TopicID: t.TopicID, Partition: p.Partition}, Params: fetchsession.Params{
				FetchOffset: p.FetchOffset, LogStartOffset: p.LogStartOffset, MaxBytes: p.PartitionMaxBytes,
				CurrentLeaderEpoch: p.CurrentLeaderEpoch, LastFetchedEpoch: p.LastFetchedEpoch}})
		}
	}
	if fetchsession.IsFull(r.SessionEpoch) {
		d.cache.Remove(r.SessionID)
		return list, nil, nil
	}
	d.named = append(d.named, len(list))
	var forget []fetchsession.Key
	for _, t := range r.ForgottenTopics {
		for _, p := range t.Partitions {
			forget = append(forget, fetchsession.Key{TopicID: t.TopicID, Partition: p})
		}
	}
	s, code = d.cache.Begin(0, r.SessionID, r.SessionEpoch, true, list, forget)
	list = nil
	if s != nil {
		for p := s.First(); p != nil; p = s.Next(p) {
			list = append(list, p.Entry)
		}
	}
	return list, s, code
}

func (n *tnode) fetch(ctx context.Context, r *kmsg.FetchRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = 17
	list, s, code := n.door.begin(r)
	if code != nil {
		resp.ErrorCode = code.Num()
		return resp, nil
	}
	done := make(awaited)
	op := &FetchOp{Owner: done, ReplicaID: r.ReplicaState.ID, BrokerEpoch: r.ReplicaState.Epoch, MinBytes: int(r.MinBytes), MaxBytes: int(r.MaxBytes),
		MaxWait: time.Duration(r.MaxWaitMillis) * time.Millisecond, Isolation: ToLogEnd, OnlyLeader: true}
	for _, e := range list {
		part := FetchPart{FetchOffset: e.FetchOffset, FollowerLogStart: e.LogStartOffset, MaxBytes: int(e.MaxBytes),
			CurrentLeaderEpoch: e.CurrentLeaderEpoch, LastFetchedEpoch: e.LastFetchedEpoch}
		if part.P = n.m.GetByID(e.TopicID, e.Partition); part.P == nil {
			part.Err = kafka.UnknownTopicID
		}
		op.Parts = append(op.Parts, part)
	}
	op.Start(n.m)
	select {
	case <-done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer op.ReleaseData()
	n.door.answer(n.c.t, r, resp, op, list, s)
	return resp, nil
}

// answer fills the response with what the session has not told yet.
func (d *liveDoor) answer(t testing.TB, r *kmsg.FetchRequest, resp *kmsg.FetchResponse, op *FetchOp, list []fetchsession.Entry, s *fetchsession.Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var results []fetchsession.Result
	parts := map[fetchsession.Key]*fetchsession.Partition{}
	if s != nil {
		resp.SessionID = s.ID
		for p := s.First(); p != nil; p = s.Next(p) {
			parts[p.Key] = p
		}
	}
	for i := range op.Parts {
		part := &op.Parts[i]
		res := fetchsession.Result{HighWatermark: part.HighWatermark, LogStartOffset: part.LogStartOffset, RecordsSize: part.Data.Size,
			Failed: part.Err != nil, Diverging: part.DivergingEpoch >= 0}
		results = append(results, res)
		if s != nil && !s.Responded(parts[list[i].Key], res) {
			continue
		}
		rt := kmsg.NewFetchResponseTopic()
		rt.TopicID = list[i].TopicID
		rp := kmsg.NewFetchResponseTopicPartition()
		rp.Partition, rp.ErrorCode = list[i].Partition, kafka.NumOf(part.Err)
		rp.HighWatermark, rp.LogStartOffset = part.HighWatermark, part.LogStartOffset
		rp.DivergingEpoch.Epoch, rp.DivergingEpoch.EndOffset = part.DivergingEpoch, part.DivergingEnd
		rp.RecordBatches = readAll(t, part.Data)
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
	}
	if r.SessionEpoch == fetchsession.InitialEpoch {
		resp.SessionID = d.cache.Create(0, true, true, list, make([]string, len(list)), results)
	}
}

// alive starts two nodes that run by themselves.
func alive(t *testing.T, props map[string]string, ids ...int32) *cluster {
	c := newCluster(t)
	c.live = true
	c.props["log.message.timestamp.after.max.ms"] = "9223372036854775807" // a bubble begins in the year 2000
	for k, v := range props {
		c.props[k] = v
	}
	for _, id := range ids {
		n := &tnode{c: c, id: id, fs: newDisk(t)}
		c.nodes[id] = n
		n.start()
	}
	return c
}

// acknowledged waits for an acks=all append and says how long it took.
func (c *cluster) acknowledged(topic string, index int32, value string) time.Duration {
	c.t.Helper()
	begin := time.Now()
	c.mu.Lock()
	n := c.nodes[c.truth.Partition(topic, index).Leader]
	c.mu.Unlock()
	var a Appender
	done := make(slotDone)
	s := new(AppendSlot)
	a.Acks, a.Version, a.NowMs, a.Owner = AcksAll, 9, n.m.clock.Now().UnixMilli(), done
	if !a.Append(n.m.Get(topic, index), records1(value), s) {
		a.Finish()
		<-done
	}
	if s.Err != nil {
		c.t.Fatal(s.Err)
	}
	return time.Since(begin)
}

type slotDone chan struct{}

func (d slotDone) Appended(*AppendSlot) { close(d) }

// TestNewPartitionDoesNotWaitForAParkedFetch: while the follower's fetch is parked at the
// leader, partitions that come to the same leader are replicated at once.
func TestNewPartitionDoesNotWaitForAParkedFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := alive(t, nil, 1, 2)
		c.topic("a", 1, 1, 2)
		c.catchUp()
		c.acknowledged("a", 0, "x")
		for round := range 10 {
			time.Sleep(30 * time.Millisecond) // a fetch is parked by now
			name := fmt.Sprint("b", round)
			c.topic(name, 1, 1, 2)
			c.catchUp()
			if d := c.acknowledged(name, 0, "y"); d > 50*time.Millisecond {
				t.Errorf("round %d: acknowledged after %v", round, d)
			}
		}
		c.close()
	})
}

func (c *cluster) close() {
	for _, n := range c.nodes {
		n.halt()
	}
}

// TestIdlePartitionsAreNotNamed: an incremental request names what has moved.
func TestIdlePartitionsAreNotNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := alive(t, nil, 1, 2)
		c.topic("idle", 60, 1, 1)
		c.topic("a", 1, 1, 2)
		idle := c.topic("many", 40, 1, 2)
		var none []int32
		for i := range int32(40) {
			if c.truth.TopicByID(idle).Partition(i).Leader != 1 {
				c.elect("many", i, 1)
			}
			none = append(none, i)
		}
		c.catchUp()
		time.Sleep(2 * time.Second)
		door := &c.nodes[1].door
		door.mu.Lock()
		door.named = nil
		door.mu.Unlock()
		for i := range 20 {
			c.acknowledged("a", 0, fmt.Sprint(i))
		}
		time.Sleep(2 * time.Second)
		door.mu.Lock()
		total, requests := 0, len(door.named)
		for _, n := range door.named {
			total += n
		}
		door.mu.Unlock()
		if requests < 20 || total > 2*20+2 {
			t.Errorf("%d requests named %d partitions of %d", requests, total, len(none)+1)
		}
		for _, i := range none {
			if !c.truth.Partition("many", i).InISR(2) {
				t.Errorf("many-%d has lost its follower", i)
			}
		}
		c.close()
	})
}

// TestErrorOfOnePartitionDoesNotSlowOthers: the leader does not know one of the
// partitions yet; the others are acknowledged as ever, and it comes in by itself.
func TestErrorOfOnePartitionDoesNotSlowOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := alive(t, nil, 1, 2)
		c.topic("a", 1, 1, 2)
		c.catchUp()
		c.topic("late", 1, 1, 2)
		c.nodes[2].catchUp()
		for i := range 50 {
			if d := c.acknowledged("a", 0, fmt.Sprint(i)); d > 20*time.Millisecond {
				t.Errorf("acknowledged after %v", d)
			}
			time.Sleep(10 * time.Millisecond)
		}
		c.nodes[1].catchUp()
		begin := time.Now()
		c.acknowledged("late", 0, "x")
		if d := time.Since(begin); d > 2*time.Second {
			t.Errorf("came in after %v", d)
		}
		c.close()
	})
}

// TestDelayedPartitionDoesNotWaitForAParkedFetch: a partition that the leader did not
// know at first is asked for again when its delay is over, though the fetch of the others
// could be parked for longer.
func TestDelayedPartitionDoesNotWaitForAParkedFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := alive(t, nil, 1, 2)
		c.topic("a", 1, 1, 2)
		c.nodes[1].catchUp()
		c.topic("late", 1, 1, 2)
		c.nodes[2].catchUp()
		time.Sleep(5 * time.Millisecond)
		c.nodes[1].catchUp()
		if d := c.acknowledged("late", 0, "x"); d > 50*time.Millisecond {
			t.Errorf("acknowledged after %v", d)
		}
		c.close()
	})
}

// TestThrottledReplicaKeepsToItsRate: a replica outside of the ISR is held to the rate by
// the follower or the leader, one in the ISR is not.
func TestThrottledReplicaKeepsToItsRate(t *testing.T) {
	for _, side := range []string{"leader", "follower"} {
		t.Run(side, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := alive(t, map[string]string{"replica.fetch.max.bytes": "2000"}, 1, 2)
				c.configure("t", side+".replication.throttled.replicas", "*")
				c.topic("t", 1, 1, 2)
				c.catchUp()
				c.nodes[2].halt()
				c.fence(2)
				c.catchUp()
				value := string(make([]byte, 900))
				for range 100 {
					c.produce("t", value)
				}
				_ = c.nodes[2].logs.Close(1)
				c.nodes[2].fs = newDisk(t)
				cfg := *c.nodes[1].m.config
				cfg.LeaderReplicationThrottledRate, cfg.FollowerReplicationThrottledRate = 10_000, 10_000
				c.nodes[1].m.Reconfigure(&cfg)
				// It fetches as soon as it runs, so it begins with the rates.
				c.props["leader.replication.throttled.rate"], c.props["follower.replication.throttled.rate"] = "10000", "10000"
				begin := time.Now()
				c.nodes[2].start()
				c.mu.Lock()
				c.catchUp()
				c.mu.Unlock()
				for c.nodes[2].log("t", 0).LogEndOffset() < 100 && time.Since(begin) < time.Minute {
					time.Sleep(100 * time.Millisecond)
				}
				// 97 KB at 10 KB/s; a window of eleven samples may pass at first.
				if d := time.Since(begin); d < 5*time.Second || d > 15*time.Second {
					t.Errorf("97 KB at 10 KB/s took %v", d)
				}
				time.Sleep(3 * time.Second)
				c.mu.Lock()
				if !c.truth.Partition("t", 0).InISR(2) {
					t.Error("never in sync")
				}
				c.catchUp()
				c.mu.Unlock()
				for range 30 {
					if d := c.acknowledged("t", 0, value); d > 20*time.Millisecond {
						t.Fatalf("a replica in the ISR is throttled: %v", d)
					}
				}
				c.close()
			})
		})
	}
}
