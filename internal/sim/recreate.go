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

// shortLived is the topic that is deleted and made again.
const shortLived = "r"

// recreate makes a topic, fills it, reads it, and deletes it, again and again: nothing of
// one life may be seen in the next.
func (cl *client) recreate() error {
	for life := 1; !cl.done(); life++ {
		if err := cl.liveOnce(life); err != nil {
			return err
		}
		cl.pause(500 * time.Millisecond)
	}
	return nil
}

// again calls f until it succeeds or the client is to end, which is false.
func (cl *client) again(f func(ctx context.Context) error) bool {
	for !cl.done() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := f(ctx)
		cancel()
		if err == nil {
			return true
		}
		cl.pause(200 * time.Millisecond)
	}
	return false
}

func (cl *client) liveOnce(life int) error {
	kc, err := cl.connect(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.RecordDeliveryTimeout(20*time.Second))
	if err != nil {
		return err
	}
	defer cl.shut(kc)
	adm := kadm.NewClient(kc)
	var id kadm.TopicID
	if !cl.again(func(ctx context.Context) error {
		r, err := adm.CreateTopic(ctx, 1, int16(min(3, cl.c.brokers)), nil, shortLived)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return err
		}
		if id = r.ID; id != (kadm.TopicID{}) {
			return nil
		}
		ts, err := adm.ListTopics(ctx, shortLived)
		if err != nil {
			return err
		}
		// A broker that lags may still tell of the life before, and the deletion of that
		// would leave this one to be taken for the next.
		if id = ts[shortLived].ID; id == cl.lived {
			return kerr.UnknownTopicID
		}
		return ts[shortLived].Err
	}) {
		return nil
	}
	group := cl.name
	if life > 1 && !cl.forgotten(adm, group, life) {
		return nil
	}
	if !cl.knowProducerID(kc) {
		return nil
	}
	acked := map[string]bool{}
	var offset int64
	for k := range 1 + cl.rng.Intn(8) {
		kc.Produce(context.Background(), &kgo.Record{Topic: shortLived, Value: fmt.Appendf(nil, "%d/%d", life, k)}, func(r *kgo.Record, err error) {
			if err == nil {
				acked[string(r.Value)], offset = true, r.Offset
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	_ = kc.Flush(ctx) // what was not acknowledged is not expected
	cancel()
	if len(acked) > 0 {
		cl.readLife(life, acked, offset)
	}
	commit := kadm.Offsets{}
	commit.AddOffset(shortLived, 0, offset, -1)
	ctx, cancel = context.WithTimeout(context.Background(), 10*time.Second)
	_, _ = adm.CommitOffsets(ctx, group, commit) // whether it is there or not, it goes with the topic
	cancel()
	cl.remove(kc, id)
	return nil
}

// forgetting is how long the offsets of a deleted topic may be seen by those who can
// reach the coordinator: it learns of the deletion with the metadata, and may be cut off
// from the controller for a while.
const forgetting = 20 * time.Second

// forgotten waits until the group has no offset of the former life. It returns false when
// nobody could be asked.
func (cl *client) forgotten(adm *kadm.Client, group string, life int) bool {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		rs, err := adm.FetchOffsets(ctx, group)
		cancel()
		late := time.Since(cl.deleted) > forgetting
		if err == nil {
			o, ok := rs.Lookup(shortLived, 0)
			switch {
			case !ok || o.Err == nil && o.At < 0:
				return true
			case o.Err == nil && late:
				cl.h.fault("offset of a deleted topic: %s has %d in life %d of %s", group, o.At, life, shortLived)
				return true
			}
		}
		if late {
			return false
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// readLife reads the topic up to the last acknowledged record.
func (cl *client) readLife(life int, acked map[string]bool, last int64) {
	kc, err := cl.connect(kgo.FetchMaxWait(500*time.Millisecond), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{shortLived: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		return
	}
	defer cl.shut(kc)
	left := len(acked)
	for at := int64(-1); at < last && !cl.done(); {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		fs := kc.PollFetches(ctx)
		cancel()
		fs.EachRecord(func(r *kgo.Record) {
			of := 0
			if _, err := fmt.Sscanf(string(r.Value), "%d/", &of); err != nil || of != life {
				cl.h.fault("record of another life: life %d of %s holds %q at %d", life, r.Topic, r.Value, r.Offset)
			}
			if acked[string(r.Value)] {
				left--
			}
			if at = r.Offset; at == last && left > 0 {
				cl.h.fault("lost write: life %d of %s has %d acknowledged records less", life, r.Topic, left)
			}
		})
	}
}

// remove deletes the topic by its id: a request that arrives late must not hit the next.
func (cl *client) remove(kc *kgo.Client, id kadm.TopicID) {
	cl.again(func(ctx context.Context) error {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TimeoutMillis = 5000
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.TopicID = id
		req.Topics = append(req.Topics, t)
		resp, err := req.RequestWith(ctx, kc)
		if err != nil {
			return err
		}
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
		if errors.Is(err, kerr.UnknownTopicID) {
			err = nil
		}
		if err == nil {
			cl.deleted, cl.lived = time.Now(), id
		}
		return err
	})
}
