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
		cl.readLife(kc, id, life, acked, offset)
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

// readLife reads the topic up to the last acknowledged record, by its id: to those who ask
// by its name a broker that lags still serves the life before.
func (cl *client) readLife(kc *kgo.Client, id kadm.TopicID, life int, acked map[string]bool, last int64) {
	left := len(acked)
	for next := int64(0); next <= last && !cl.done(); {
		records, err := cl.fetchByID(kc, id, next)
		if err != nil {
			cl.pause(200 * time.Millisecond)
			continue
		}
		for _, r := range records {
			of := 0
			if _, err := fmt.Sscanf(string(r.Value), "%d/", &of); err != nil || of != life {
				cl.h.fault("record of another life: life %d of %s holds %q at %d", life, shortLived, r.Value, r.Offset)
			}
			if acked[string(r.Value)] {
				left--
			}
			if next = r.Offset + 1; r.Offset == last && left > 0 {
				cl.h.fault("lost write: life %d of %s has %d acknowledged records less", life, shortLived, left)
			}
		}
	}
}

// fetchByID asks the leader of partition 0 of a topic for what lies at an offset and behind.
func (cl *client) fetchByID(kc *kgo.Client, id kadm.TopicID, offset int64) ([]*kgo.Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ask := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.TopicID = id
	ask.Topics = append(ask.Topics, topic)
	meta, err := ask.RequestWith(ctx, kc)
	if err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(meta.Topics[0].ErrorCode); err != nil {
		return nil, err
	}
	if len(meta.Topics[0].Partitions) == 0 || meta.Topics[0].Partitions[0].Leader < 0 {
		return nil, kerr.LeaderNotAvailable
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 500, 1, 1<<20
	rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	rt.TopicID, rt.Topic = id, shortLived
	rp.FetchOffset, rp.PartitionMaxBytes = offset, 1<<20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	answer, err := kc.Broker(int(meta.Topics[0].Partitions[0].Leader)).Request(ctx, req)
	if err != nil {
		return nil, err
	}
	resp := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	if len(resp.Topics) == 0 || len(resp.Topics[0].Partitions) == 0 {
		return nil, nil
	}
	p, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: shortLived, Offset: offset}, &resp.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
	return p.Records, p.Err
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
