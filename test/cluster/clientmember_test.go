package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// startGroups starts what groups need: records to consume, and members of all kinds.
func (cr *crash) startGroups(ctx context.Context, wg *sync.WaitGroup) {
	id := topicID(cr.t, cr.seeds[0], workTopic)
	for range 3 {
		wg.Go(func() { cr.slot(ctx, "raw-classic", classic{}) })
		wg.Go(func() { cr.slot(ctx, "raw-consumer", nextGen{id}) })
	}
	kinds := map[string][]kgo.Opt{
		"eager":       {kgo.Balancers(kgo.RangeBalancer())},
		"cooperative": {kgo.Balancers(kgo.CooperativeStickyBalancer())},
		"static":      {kgo.Balancers(kgo.RangeBalancer())},
		"consumer":    {kgo.Balancers(kgo.RangeBalancer()), kgo.ServerSideBalancer()},
	}
	for _, group := range sortedKeys(kinds) {
		for i := range 2 {
			opts := kinds[group]
			if group == "static" {
				opts = append(opts[:1:1], kgo.InstanceID(fmt.Sprintf("static-%d", i)))
			}
			wg.Go(func() {
				for ctx.Err() == nil {
					cr.consume(ctx, group, opts)
					cr.count("franz-go members", 1)
					pause(ctx, time.Duration(rand.IntN(300))*time.Millisecond)
				}
			})
		}
	}
	wg.Go(func() { cr.produce(ctx, workTopic, workParts) })
	wg.Go(func() { cr.produce(ctx, inTopic, txnParts) })
}

// produce writes records without transaction, idempotent. Those of one partition are
// one producer's: they stay in order.
func (cr *crash) produce(ctx context.Context, topic string, parts int32) {
	cl, err := kgo.NewClient(cr.options(&lifeline{}, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.StopProducerOnDataLossDetected())...)
	if err != nil {
		cr.violation("producer of %s: %v", topic, err)
		return
	}
	defer cl.Close()
	for ctx.Err() == nil {
		for p := range parts {
			value := fmt.Sprintf("%s-%d", topic, cr.serial.Add(1))
			began := cr.now()
			cl.Produce(context.Background(), &kgo.Record{Topic: topic, Partition: p, Value: []byte(value)}, func(r *kgo.Record, err error) {
				x := sentTxn{fmt.Sprintf("%s-%d", topic, p), []sentRecord{{tpName(topic, p), value, r.Offset}}, done}
				if err != nil {
					x.outcome, x.records[0].offset = unknown, -1
					cr.violation("an idempotent record failed: %v", err)
				} else {
					cr.progressed(began, tpName(topic, p))
				}
				cr.sent(x)
			})
		}
		pause(ctx, time.Millisecond+rand.N(cr.pace))
	}
	flush, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := cl.Flush(flush); err != nil {
		cr.violation("records of %s are not acknowledged 20 s after the last kill", topic)
	}
}

// consumer is one franz-go client in a group, and its part of the ownership log. mu
// guards held.
type consumer struct {
	cr    *crash
	group string
	mu    sync.Mutex
	held  map[int32]*hold
}

// assigned is called with the outcome of a rebalance: what the member has by now, it
// has in this epoch. A static member is the same one when it comes back under a new
// member id.
func (c *consumer) assigned(_ context.Context, cl *kgo.Client, m map[string][]int32) {
	id, epoch := cl.GroupMetadata()
	if instance, ok := cl.OptValue(kgo.InstanceID).(string); ok && instance != "" {
		id = instance
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.held {
		if h.member == id {
			h.last = max(h.last, epoch)
		}
	}
	for _, p := range m[workTopic] {
		c.held[p] = &hold{group: c.group, member: id, partition: p, first: epoch, last: epoch, from: c.cr.now()}
	}
}

// gone ends holds, in the epoch of the last assignment. The one that the client names
// now may be that of a JoinGroup that was not followed by an assignment; a coordinator
// that is killed then forgets it, and the next one gives it again.
func (c *consumer) gone(parts []int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range parts {
		h := c.held[p]
		if h == nil {
			continue
		}
		h.to = c.cr.now()
		delete(c.held, p)
		c.cr.mu.Lock()
		c.cr.holds = append(c.cr.holds, *h)
		c.cr.mu.Unlock()
	}
}

// consume is the life of one member: it reads, commits what it has read, and in the end
// leaves or dies.
func (cr *crash) consume(ctx context.Context, group string, kind []kgo.Opt) {
	c := &consumer{cr: cr, group: group, held: map[int32]*hold{}}
	line := &lifeline{}
	cl, err := kgo.NewClient(cr.options(line, append([]kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(workTopic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.SessionTimeout(time.Second), kgo.RebalanceTimeout(time.Second), kgo.HeartbeatInterval(40 * time.Millisecond),
		kgo.OnPartitionsAssigned(c.assigned),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { c.gone(m[workTopic]) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { c.gone(m[workTopic]) }),
	}, kind...)...)...)
	if err != nil {
		cr.violation("member of %s: %v", group, err)
		return
	}
	for end := cr.now() + time.Duration(300+rand.IntN(3500))*time.Millisecond; ctx.Err() == nil && cr.now() < end; {
		poll, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		f := cl.PollRecords(poll, 200)
		cancel()
		cr.commit(ctx, cl, group, f)
		cl.AllowRebalance()
		if cr.outOfRange(f) {
			break
		}
	}
	if rand.IntN(2) == 0 {
		leave, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		_ = cl.LeaveGroupContext(leave) // what it could not say, the session timeout does
		cancel()
	}
	c.mu.Lock()
	held := slices.Collect(maps.Keys(c.held))
	c.mu.Unlock()
	c.gone(held)
	line.sever()
	cl.CloseAllowingRebalance()
}

// outOfRange says whether a leader did not know an offset. One of the past does not know
// those that the next one has given; a client that trusts it would begin anew and commit
// what is committed already. A new one in its place asks again who leads.
func (cr *crash) outOfRange(f kgo.Fetches) (out bool) {
	f.EachError(func(topic string, p int32, err error) {
		if !errors.Is(err, kerr.OffsetOutOfRange) {
			return
		}
		out = true
		if !cr.moving {
			cr.violation("%s-%d: %v", topic, p, err)
		}
		cr.count("offsets that a leader of the past did not know", 1)
	})
	return out
}

// commit commits what was polled, with metadata that tells each commit from the others.
func (cr *crash) commit(ctx context.Context, cl *kgo.Client, group string, f kgo.Fetches) {
	offsets := map[int32]kgo.EpochOffset{}
	ids := map[int32]string{}
	cr.mu.Lock()
	f.EachRecord(func(r *kgo.Record) {
		k := key(group, r.Partition)
		if cr.polled[k] == nil {
			cr.polled[k] = map[int64]bool{}
		}
		cr.polled[k][r.Offset] = true
		offsets[r.Partition] = kgo.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset + 1}
	})
	cr.mu.Unlock()
	if len(offsets) == 0 {
		return
	}
	limit, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	withIDs := kgo.PreCommitFnContext(limit, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				p := &req.Topics[i].Partitions[j]
				ids[p.Partition] = fmt.Sprintf("f%d", cr.serial.Add(1))
				p.Metadata = kmsg.StringPtr(ids[p.Partition])
			}
		}
		return nil
	})
	start := cr.now()
	codes := map[int32]int16{}
	cl.CommitOffsetsSync(withIDs, map[string]map[int32]kgo.EpochOffset{workTopic: offsets},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			if err != nil || resp == nil {
				return
			}
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					codes[p.Partition] = p.ErrorCode
				}
			}
		})
	end := cr.now()
	cr.mu.Lock()
	defer cr.mu.Unlock()
	for p, id := range ids {
		// The client may have sent it more than once: an error says nothing about the first.
		op := commitOp{key(group, p), id, offsets[p].Offset, start, never, unknown}
		if code, ok := codes[p]; ok && code == 0 {
			op.end, op.outcome = end, done
		}
		cr.commits = append(cr.commits, op)
	}
}

// checkDelivered says which records below a committed offset no member was ever given.
func checkDelivered(polled map[string]map[int64]bool, reads []readOp) (bad []string) {
	committed := map[string]int64{}
	for _, r := range reads {
		committed[r.key] = max(committed[r.key], r.offset)
	}
	for _, k := range sortedKeys(polled) {
		for o := range committed[k] {
			if !polled[k][o] {
				bad = append(bad, fmt.Sprintf("%s: offset %d was committed, record %d was given to nobody", k, committed[k], o))
				break
			}
		}
	}
	return bad
}
