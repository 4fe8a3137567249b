//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/broker"
	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/test/faults/ledger"
)

// The topics of the script.
const (
	plainTopic   = "plain"   // in small segments, trimmed
	syncedTopic  = "synced"  // flush.messages=1
	txnTopic     = "txns"    // written in transactions only
	compactTopic = "compact" // compacted all the time
	mayflyTopic  = "mayfly"  // deleted and created again
	offsetsOf    = plainTopic
)

type spec struct {
	name       string
	partitions int32
	configs    map[string]string
}

var specs = []spec{
	{plainTopic, 3, map[string]string{"internal.segment.bytes": "900", "index.interval.bytes": "200"}},
	{syncedTopic, 1, map[string]string{"internal.segment.bytes": "1200", "flush.messages": "1"}},
	{txnTopic, 2, map[string]string{"internal.segment.bytes": "1000", "index.interval.bytes": "200"}},
	{compactTopic, 1, map[string]string{"internal.segment.bytes": "700", "cleanup.policy": "compact", "delete.retention.ms": "0", "min.cleanable.dirty.ratio": "0"}},
	{mayflyTopic, 1, map[string]string{"internal.segment.bytes": "600"}},
}

// live runs the script until its end, or until the broker can no more.
func (lf *life) live(b *broker.Broker, steps int) {
	for range steps {
		select {
		case <-b.Done():
			fmt.Fprintln(os.Stderr, "life: the broker ended:", b.Err())
			return
		default:
		}
		if lf.down >= 4 {
			return
		}
		if !lf.makeTopics() {
			continue
		}
		lf.step()
	}
}

// makeTopics creates what is missing.
func (lf *life) makeTopics() bool {
	ok := true
	for _, s := range specs {
		if _, exists := lf.ledger.Topic(s.name); !exists && lf.create(s) != nil {
			ok = false
		}
	}
	return ok
}

func (lf *life) step() {
	switch k := lf.rng.IntN(20); {
	case k < 5:
		lf.produce(lf.log(plainTopic, int32(lf.rng.IntN(3))), nil)
	case k < 7:
		lf.produce(lf.log(syncedTopic, 0), nil)
	case k < 10:
		lf.transact()
	case k < 13:
		keys := []string{}
		for range 1 + lf.rng.IntN(3) {
			keys = append(keys, fmt.Sprintf("k%d", lf.rng.IntN(6)))
		}
		lf.produce(lf.log(compactTopic, 0), keys)
	case k < 15:
		lf.commit()
	case k < 16:
		lf.trim()
	case k < 17:
		lf.recreate()
	case k < 19:
		lf.produce(lf.log(mayflyTopic, 0), nil)
	default:
		// What the broker does by the clock.
		time.Sleep(40 * time.Millisecond)
	}
}

// log names the log of a topic that exists.
func (lf *life) log(name string, partition int32) ledger.Log {
	id, _ := lf.ledger.Topic(name)
	return ledger.Log{Topic: id, Partition: partition}
}

func (lf *life) create(s spec) error {
	lf.write("creating " + s.name)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(callLimit.Milliseconds())
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = s.name, s.partitions, 1
	for k, v := range s.configs {
		t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: k, Value: &v})
	}
	req.Topics = []kmsg.CreateTopicsRequestTopic{t}
	resp, err := ask(lf, lf.cl, req, func(r *kmsg.CreateTopicsResponse) int16 { return r.Topics[0].ErrorCode })
	if err != nil {
		return err
	}
	lf.write(fmt.Sprintf("created %s %s.%s", s.name, s.name, hex(resp.Topics[0].TopicID)))
	return nil
}

// recreate deletes a topic; the next step makes it anew.
func (lf *life) recreate() {
	name := mayflyTopic
	lf.write("deleting " + name)
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = int32(callLimit.Milliseconds())
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.Topic = &name
	req.Topics, req.TopicNames = []kmsg.DeleteTopicsRequestTopic{t}, []string{name}
	_, err := ask(lf, lf.cl, req, func(r *kmsg.DeleteTopicsResponse) int16 { return r.Topics[0].ErrorCode })
	if err == nil {
		lf.write("deleted " + name)
	}
}

// produce sends one batch of an idempotent producer. An error is followed by the same
// batch once more; then the outcome is unknown and the producer begins anew.
func (lf *life) produce(log ledger.Log, keys []string) {
	if !lf.pid.ready {
		var err error
		if lf.pid, err = lf.init(""); err != nil {
			return
		}
		lf.seqs = map[ledger.Log]int32{}
	}
	ids, b := lf.batch(log, keys, 0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence = lf.pid.id, lf.pid.epoch, lf.seqs[log]
	var base int64
	var err error
	for range 2 {
		if base, err = lf.send(log, b, nil); err == nil || errors.Is(err, kerr.UnknownTopicOrPartition) {
			break
		}
	}
	if err != nil {
		lf.pid.ready = false
		return
	}
	lf.seqs[log] += int32(len(ids))
	lf.acked(ids, base)
}

func (lf *life) acked(ids []int, base int64) {
	for i, id := range ids {
		lf.write(fmt.Sprintf("acked %d %d", id, base+int64(i)))
	}
}

// batch makes a batch and writes down that it is going to be sent.
func (lf *life) batch(log ledger.Log, keys []string, txn int) (ids []int, b *batch.Builder) {
	b = batch.NewBuilder(0)
	b.Codec = []batch.Codec{batch.CodecNone, batch.CodecNone, batch.CodecLZ4, batch.CodecZstd}[lf.rng.IntN(4)]
	n := 1 + lf.rng.IntN(3)
	if keys != nil {
		n = len(keys)
	}
	for i := range n {
		id := lf.ledger.NextID()
		ids = append(ids, id)
		key, word := []byte(nil), "-"
		if keys != nil {
			key, word = []byte(keys[i]), keys[i]
		}
		value, headers := []byte(valueOf(id)), []batch.RecordHeader(nil)
		null := keys != nil && lf.rng.IntN(5) == 0
		if null {
			value, headers = nil, []batch.RecordHeader{{Key: "id", Value: fmt.Appendf(nil, "%d.", id)}}
		}
		lf.write(ledger.Sending(id, log, word, null, txn))
		b.Append(time.Now().UnixMilli(), key, value, headers)
	}
	return ids, b
}

// send produces one batch and returns its base offset.
func (lf *life) send(log ledger.Log, b *batch.Builder, txnID *string) (int64, error) {
	data, err := b.Build(nil)
	if err != nil {
		panic(err)
	}
	req := kmsg.NewPtrProduceRequest()
	req.TransactionID, req.Acks, req.TimeoutMillis = txnID, -1, int32(callLimit.Milliseconds())
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = log.Partition, data
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID, t.Partitions = topicOf(log), idOf(log), []kmsg.ProduceRequestTopicPartition{p}
	req.Topics = []kmsg.ProduceRequestTopic{t}
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	for {
		kresp, err := lf.br.Request(ctx, req)
		if err != nil {
			return 0, lf.note(err)
		}
		got := kresp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		err = kerr.ErrorForCode(got.ErrorCode)
		if isYoung(err) && ctx.Err() == nil {
			time.Sleep(2 * time.Millisecond)
			continue
		}
		if err == nil {
			lf.down = 0
			return got.BaseOffset, nil
		}
		return 0, lf.note(fmt.Errorf("producing to %v: %w", log, err))
	}
}

// transact runs one transaction over two partitions and a group's offset.
func (lf *life) transact() {
	if !lf.txnal.ready {
		var err error
		if lf.txnal, err = lf.init(txnID); err != nil {
			return
		}
	}
	if err := lf.transaction(); err != nil {
		lf.txnal.ready = false
	}
}

func (lf *life) transaction() error {
	number, id := lf.ledger.NextID(), txnID
	lf.write(fmt.Sprintf("ending %d nothing", number))
	seqs := map[int32]int32{} // every transaction has an epoch of its own, in which numbers begin at 0
	for range 1 + lf.rng.IntN(3) {
		log := lf.log(txnTopic, int32(lf.rng.IntN(2)))
		ids, b := lf.batch(log, nil, number)
		b.ProducerID, b.ProducerEpoch, b.IsTransactional, b.BaseSequence = lf.txnal.id, lf.txnal.epoch, true, seqs[log.Partition]
		base, err := lf.send(log, b, &id)
		if err != nil {
			return err
		}
		seqs[log.Partition] += int32(len(ids))
		lf.acked(ids, base)
	}
	if err := lf.commitInTxn(number); err != nil {
		return err
	}
	how := []string{"commit", "commit", "abort"}[lf.rng.IntN(3)]
	lf.write(fmt.Sprintf("ending %d %s", number, how))
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = txnID, lf.txnal.id, lf.txnal.epoch, how == "commit"
	resp, err := ask(lf, lf.cl, req, func(r *kmsg.EndTxnResponse) int16 { return r.ErrorCode })
	if err != nil {
		return err
	}
	lf.write(fmt.Sprintf("ended %d %s", number, how))
	lf.txnal = producer{resp.ProducerID, resp.ProducerEpoch, true}
	return nil
}

// commitInTxn makes the transaction's number the offset of the group.
func (lf *life) commitInTxn(number int) error {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = txnID, txnGroup, lf.txnal.id, lf.txnal.epoch
	req.Generation = -1
	t := kmsg.NewTxnOffsetCommitRequestTopic()
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch = 0, int64(number), -1
	t.Topic, t.Partitions = offsetsOf, []kmsg.TxnOffsetCommitRequestTopicPartition{p}
	req.Topics = []kmsg.TxnOffsetCommitRequestTopic{t}
	_, err := ask(lf, lf.cl, req, func(r *kmsg.TxnOffsetCommitResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
	return err
}

// commit moves a group's offset on.
func (lf *life) commit() {
	offset := int64(lf.ledger.NextID())
	lf.write(fmt.Sprintf("committing %s %d", plainGroup, offset))
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = plainGroup, -1
	t := kmsg.NewOffsetCommitRequestTopic()
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch = 0, offset, -1
	t.Topic, t.Partitions = offsetsOf, []kmsg.OffsetCommitRequestTopicPartition{p}
	req.Topics = []kmsg.OffsetCommitRequestTopic{t}
	if _, err := ask(lf, lf.cl, req, func(r *kmsg.OffsetCommitResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode }); err == nil {
		lf.write(fmt.Sprintf("committed %s %d", plainGroup, offset))
	}
}

// trim deletes the first half of what was acknowledged in one partition.
func (lf *life) trim() {
	log := lf.log(plainTopic, int32(lf.rng.IntN(3)))
	offsets := lf.ledger.Offsets(log)
	if len(offsets) < 4 {
		return
	}
	slices.Sort(offsets)
	to := offsets[len(offsets)/2]
	lf.write(fmt.Sprintf("trimming %s %d %d", log.Topic, log.Partition, to))
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = int32(callLimit.Milliseconds())
	t := kmsg.NewDeleteRecordsRequestTopic()
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = log.Partition, to
	t.Topic, t.Partitions = plainTopic, []kmsg.DeleteRecordsRequestTopicPartition{p}
	req.Topics = []kmsg.DeleteRecordsRequestTopic{t}
	// As in Apache Kafka the new start is on disk with the next checkpoint; until then a
	// kill brings deleted records back.
	ask(lf, lf.br, req, func(r *kmsg.DeleteRecordsResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
}
