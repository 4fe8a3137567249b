package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (cl *client) commitOffset(ctx context.Context, kc *kgo.Client, n int64) error {
	os := kadm.Offsets{}
	os.AddOffset(cl.topic, 0, n, -1)
	rs, err := kadm.NewClient(kc).CommitOffsets(ctx, cl.name, os)
	if err != nil {
		return err
	}
	return rs.Error()
}

// fetchOffset is the committed offset, 0 for none.
func (cl *client) fetchOffset(ctx context.Context, kc *kgo.Client) (int64, error) {
	rs, err := kadm.NewClient(kc).FetchOffsets(ctx, cl.name)
	if err != nil {
		return 0, err
	}
	if err := rs.Error(); err != nil {
		return 0, err
	}
	if o, ok := rs.Lookup(cl.topic, 0); ok {
		return o.At, nil
	}
	return 0, nil
}

// tail reads everything below the high watermark while the faults happen. What it was
// shown once must be there at the end, at the same place.
func (cl *client) tail() error { return cl.follow(kgo.ReadUncommitted(), cl.h.see) }

// tailCommitted reads committed records only: nothing that it is shown may be aborted
// later.
func (cl *client) tailCommitted() error { return cl.follow(kgo.ReadCommitted(), cl.h.seeCommitted) }

func (cl *client) follow(isolation kgo.IsolationLevel, see func(place, string)) error {
	kc, err := cl.connect(kgo.FetchIsolationLevel(isolation), kgo.ConsumeTopics(cl.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(500*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.shut(kc)
	next := map[int32]int64{}
	for !cl.done() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		fs := kc.PollFetches(ctx)
		cancel()
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset < next[r.Partition] {
				cl.h.fault("a reader went back: %s-%d from %d to %d", r.Topic, r.Partition, next[r.Partition], r.Offset)
			}
			next[r.Partition] = r.Offset + 1
			see(place{r.Topic, r.Partition, r.Offset}, string(r.Value))
		})
	}
	return nil
}

// watch asks who leads, and the leaders for their watermarks.
func (cl *client) watch() error {
	kc, err := cl.connect()
	if err != nil {
		return err
	}
	defer cl.shut(kc)
	for !cl.done() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		cl.askLeaders(ctx, kc)
		cl.askEnds(ctx, kc, 0, func(p kmsg.ListOffsetsResponseTopicPartition, before marks) {
			cl.h.watermarks(cl.topic, p.Partition, p.LeaderEpoch, p.Offset, -1, before)
		})
		cl.askEnds(ctx, kc, 1, func(p kmsg.ListOffsetsResponseTopicPartition, before marks) {
			cl.h.watermarks(cl.topic, p.Partition, p.LeaderEpoch, -1, p.Offset, before)
		})
		cancel()
		cl.pause(200 * time.Millisecond)
	}
	return nil
}

func (cl *client) askLeaders(ctx context.Context, kc *kgo.Client) {
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, kc)
	if err != nil {
		return
	}
	cl.h.leads("the quorum", -1, resp.ControllerID)
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if t.Topic != nil && *t.Topic != shortLived {
				cl.h.leads(fmt.Sprintf("%s-%d", *t.Topic, p.Partition), p.LeaderEpoch, p.Leader)
			}
		}
	}
}

// askEnds lists the ends of all partitions at an isolation level.
func (cl *client) askEnds(ctx context.Context, kc *kgo.Client, isolation int8, note func(p kmsg.ListOffsetsResponseTopicPartition, before marks)) {
	before := cl.h.lower()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, isolation
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = cl.topic
	for i := range cl.parts {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.Timestamp = i, -1, -1
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	for _, shard := range kc.RequestSharded(ctx, req) {
		resp, ok := shard.Resp.(*kmsg.ListOffsetsResponse)
		if shard.Err != nil || !ok {
			continue
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode == 0 {
					note(p, before[fmt.Sprintf("%s-%d", t.Topic, p.Partition)])
				}
			}
		}
	}
}

// readAll reads every partition from its start to the end that it has when the read
// begins. epochs, unless it is nil, gets the leader epochs of the records.
func (cl *client) readAll(ctx context.Context, committed bool, epochs map[place]int32) (map[string][]place, error) {
	isolation := kgo.ReadUncommitted()
	if committed {
		isolation = kgo.ReadCommitted()
	}
	kc, err := cl.connect(kgo.FetchIsolationLevel(isolation), kgo.KeepControlRecords(), kgo.FetchMaxWait(500*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer cl.shut(kc)
	adm := kadm.NewClient(kc)
	ends, err := adm.ListEndOffsets(ctx, cl.topic)
	for err = errors.Join(err, ends.Error()); err != nil; err = errors.Join(err, ends.Error()) {
		// A leader that is new knows its high watermark only when followers have fetched, and
		// leadership may just go to the preferred replica.
		if !kerr.IsRetriable(err) || ctx.Err() != nil {
			return nil, fmt.Errorf("listing the ends of %s: %w", cl.topic, err)
		}
		time.Sleep(50 * time.Millisecond)
		ends, err = adm.ListEndOffsets(ctx, cl.topic)
	}
	parts := map[int32]kgo.Offset{}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		parts[o.Partition] = kgo.NewOffset().AtStart()
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	kc.AddConsumePartitions(map[string]map[int32]kgo.Offset{cl.topic: parts})
	out := map[string][]place{}
	at := map[int32]int64{}
	for len(left) > 0 {
		fs := kc.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("reading %s to its ends %v, came to %v: %w", cl.topic, left, at, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			// A control record ends what it hides: every partition ends with a record.
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			at[r.Partition] = r.Offset + 1
			if r.Attrs.IsControl() {
				return
			}
			p := place{r.Topic, r.Partition, r.Offset}
			cl.h.see(p, string(r.Value))
			if epochs != nil {
				epochs[p] = r.LeaderEpoch
			}
			out[string(r.Value)] = append(out[string(r.Value)], p)
		})
	}
	return out, nil
}
