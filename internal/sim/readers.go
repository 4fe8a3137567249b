package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
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
	defer kc.Close()
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

// watch asks leaders for their watermarks.
func (cl *client) watch() error {
	kc, err := cl.connect()
	if err != nil {
		return err
	}
	defer kc.Close()
	adm := kadm.NewClient(kc)
	ask := func(list func(context.Context, ...string) (kadm.ListedOffsets, error), note func(o kadm.ListedOffset, before marks)) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		before := cl.h.lower()
		ends, err := list(ctx, cl.topic)
		if err != nil {
			return
		}
		ends.Each(func(o kadm.ListedOffset) {
			if o.Err == nil {
				note(o, before[fmt.Sprintf("%s-%d", cl.topic, o.Partition)])
			}
		})
	}
	for !cl.done() {
		ask(adm.ListEndOffsets, func(o kadm.ListedOffset, before marks) {
			cl.h.watermarks(cl.topic, o.Partition, o.LeaderEpoch, o.Offset, -1, before)
		})
		ask(adm.ListCommittedOffsets, func(o kadm.ListedOffset, before marks) {
			cl.h.watermarks(cl.topic, o.Partition, o.LeaderEpoch, -1, o.Offset, before)
		})
		cl.pause(300 * time.Millisecond)
	}
	return nil
}

// readAll reads every partition from its start to the end that it has when the read
// begins.
func (cl *client) readAll(ctx context.Context, committed bool) (map[string][]place, error) {
	isolation := kgo.ReadUncommitted()
	if committed {
		isolation = kgo.ReadCommitted()
	}
	kc, err := cl.connect(kgo.FetchIsolationLevel(isolation), kgo.KeepControlRecords(), kgo.FetchMaxWait(500*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer kc.Close()
	adm := kadm.NewClient(kc)
	ends, err := adm.ListEndOffsets(ctx, cl.topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return nil, fmt.Errorf("listing the ends of %s: %w", cl.topic, err)
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
			out[string(r.Value)] = append(out[string(r.Value)], p)
		})
	}
	return out, nil
}
