package main

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
)

// firstMs is the timestamp of the first record of every batch: one for both servers, so
// that bytes are comparable, and too young for either to remove records or producers.
var firstMs = time.Now().Add(-time.Hour).UnixMilli()

// records builds a batch of so many records; change may alter it before it is built.
func records(n int, change func(b *batch.Builder)) []byte {
	b := batch.NewBuilder(0)
	if change != nil {
		change(b)
	}
	for i := range n {
		b.Append(firstMs+int64(i), []byte(fmt.Sprint("k", i)), []byte(fmt.Sprint("value ", i)), []batch.RecordHeader{{Key: "h", Value: []byte("x")}})
	}
	out, err := b.Build(nil)
	if err != nil {
		panic(err)
	}
	return out
}

func produce(s *side, v int16, topic string, partition int32, data []byte) *kmsg.ProduceRequest {
	r := kmsg.NewPtrProduceRequest()
	r.Acks, r.TimeoutMillis = -1, timeoutMs
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, s.topicID(topic)
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, data
	t.Partitions = append(t.Partitions, p)
	r.Topics = append(r.Topics, t)
	return r
}

func damaged(data []byte, at int) []byte {
	out := append([]byte(nil), data...)
	out[at] ^= 0x41
	return out
}

// produceRequests write good and bad batches.
func produceRequests(o *oracle) {
	o.make("written", 2)
	o.make("compacted", 1, "cleanup.policy", "compact")
	o.make("appendtime", 1, "message.timestamp.type", "LogAppendTime")
	o.make("small", 1, "max.message.bytes", "200")
	o.make("bounded", 1, "message.timestamp.before.max.ms", "1000")
	good := records(3, nil)
	keyless := func() []byte {
		b := batch.NewBuilder(0)
		b.Append(firstMs, nil, []byte("v"), nil)
		out, _ := b.Build(nil)
		return out
	}()
	for _, c := range []struct {
		name, topic string
		partition   int32
		acks        int16
		data        []byte
	}{
		{"good", "written", 0, -1, good}, {"leader only", "written", 0, 1, good}, {"other acks", "written", 0, 2, good}, {"one record", "written", 1, -1, records(1, nil)},
		{"an unknown partition", "written", 9, -1, good}, {"a negative partition", "written", -1, -1, good}, {"an unknown topic", "never-made", 0, -1, good},
		{"a bad checksum", "written", 0, -1, damaged(good, 17)}, {"a bad record", "written", 0, -1, damaged(good, 70)}, {"an unknown magic", "written", 0, -1, damaged(good, 16)},
		{"no batch", "written", 0, -1, []byte{}}, {"half a batch", "written", 0, -1, good[:40]}, {"two batches", "written", 0, -1, append(append([]byte(nil), good...), good...)},
		{"an offset of its own", "written", 0, -1, records(2, func(b *batch.Builder) { b.BaseOffset = 0; b.LeaderEpoch = 5 })},
		{"no key where compacted", "compacted", 0, -1, keyless}, {"keys where compacted", "compacted", 0, -1, good}, {"append time", "appendtime", 0, -1, good},
		{"too large", "small", 0, -1, records(20, nil)}, {"not too large", "small", 0, -1, records(1, nil)}, {"too old", "bounded", 0, -1, good},
		{"gzip", "written", 1, -1, records(10, func(b *batch.Builder) { b.Codec = 1 })}, {"snappy", "written", 1, -1, records(10, func(b *batch.Builder) { b.Codec = 2 })},
		{"lz4", "written", 1, -1, records(10, func(b *batch.Builder) { b.Codec = 3 })}, {"zstd", "written", 1, -1, records(10, func(b *batch.Builder) { b.Codec = 4 })},
		{"a control batch", "written", 0, -1, records(1, func(b *batch.Builder) { b.IsControl = true; b.ProducerID, b.ProducerEpoch, b.BaseSequence = 1, 0, 0 })},
		{"a transaction's batch without one", "written", 0, -1, records(1, func(b *batch.Builder) {
			b.IsTransactional = true
			b.ProducerID, b.ProducerEpoch, b.BaseSequence = 1, 0, 0
		})},
		{"an internal topic", "__consumer_offsets", 0, -1, good},
	} {
		o.each(0, func(v int16) {
			o.ask(c.name, v, func(s *side) kmsg.Request {
				r := produce(s, v, c.topic, c.partition, c.data)
				r.Acks = c.acks
				return r
			})
		})
	}
	o.each(0, func(v int16) {
		o.ask("a transactional id unknown", v, func(s *side) kmsg.Request {
			r := produce(s, v, "written", 0, good)
			r.TransactionID = str("nobody")
			return r
		})
		if v == o.ranges[0].max { // Apache Kafka gives no answer, so this takes the whole patience
			o.ask("null records", v, func(s *side) kmsg.Request { return produce(s, v, "written", 0, nil) })
		}
		o.ask("nothing", v, func(*side) kmsg.Request {
			r := kmsg.NewPtrProduceRequest()
			r.Acks = -1
			return r
		})
		o.ask("good and bad", v, func(s *side) kmsg.Request {
			r := produce(s, v, "written", 0, good)
			bad := produce(s, v, "written", 7, good)
			r.Topics[0].Partitions = append(r.Topics[0].Partitions, bad.Topics[0].Partitions...)
			return r
		})
		sequences(o, v)
	})
}

// sequences are those of an idempotent producer: in order, again, with gaps, fenced.
func sequences(o *oracle, v int16) {
	pid := int64(4000) + int64(v)
	for _, c := range []struct {
		name  string
		epoch int16
		seq   int32
		n     int
	}{{"first", 0, 0, 2}, {"second", 0, 2, 2}, {"second again", 0, 2, 2}, {"first again", 0, 0, 2}, {"a gap", 0, 9, 1}, {"part of one", 0, 2, 1}, {"a new epoch in the middle", 1, 5, 1},
		{"a new epoch", 1, 0, 1}, {"an old epoch", 0, 4, 1}, {"no sequence", 1, -1, 1}} {
		o.ask("sequences, "+c.name, v, func(s *side) kmsg.Request {
			return produce(s, v, "written", 1, records(c.n, func(b *batch.Builder) { b.ProducerID, b.ProducerEpoch, b.BaseSequence = pid, c.epoch, c.seq }))
		})
	}
}

// fetchRequests read what the produce requests wrote.
func fetchRequests(o *oracle) {
	for _, c := range []struct {
		name, topic string
		partition   int32
		offset      int64
		epoch       int32
		bytes       int32
		isolation   int8
		replica     int32
	}{
		{"from the start", "written", 0, 0, -1, 1 << 20, 0, -1}, {"read committed", "written", 0, 0, -1, 1 << 20, 1, -1}, {"beyond the end, committed", "written", 0, 1 << 40, -1, 1 << 20, 1, -1}, {"an unknown partition, committed", "written", 9, 0, -1, 1 << 20, 1, -1}, {"from the middle of a batch", "written", 0, 1, -1, 1 << 20, 0, -1},
		{"few bytes", "written", 0, 0, -1, 1, 0, -1}, {"no bytes", "written", 0, 0, -1, 0, 0, -1}, {"beyond the end", "written", 0, 1 << 40, -1, 1 << 20, 0, -1}, {"a negative offset", "written", 0, -3, -1, 1 << 20, 0, -1},
		{"an unknown partition", "written", 9, 0, -1, 1 << 20, 0, -1}, {"an unknown topic", "never-made", 0, 0, -1, 1 << 20, 0, -1}, {"the leader's epoch", "written", 0, 0, 0, 1 << 20, 0, -1},
		{"a newer epoch", "written", 0, 0, 9, 1 << 20, 0, -1}, {"compressed", "written", 1, 0, -1, 1 << 20, 0, -1}, {"compacted", "compacted", 0, 0, -1, 1 << 20, 0, -1}, {"a replica that is none", "written", 0, 0, -1, 1 << 20, 0, 5}, {"the debugging consumer", "written", 0, 0, -1, 1 << 20, 0, -2},
	} {
		o.each(1, func(v int16) {
			o.ask(c.name, v, func(s *side) kmsg.Request {
				return fetch(s, v, c.topic, c.partition, func(r *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) {
					p.FetchOffset, p.CurrentLeaderEpoch, p.PartitionMaxBytes = c.offset, c.epoch, c.bytes
					r.IsolationLevel, r.ReplicaID = c.isolation, c.replica
					if v >= 15 { // before that the tag is an error of its own
						r.ReplicaState.ID = c.replica
					}
				})
			})
		})
	}
	o.each(1, func(v int16) {
		if v < 7 {
			return
		}
		o.ask("an unknown session", v, func(s *side) kmsg.Request {
			return fetch(s, v, "written", 0, func(r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { r.SessionID, r.SessionEpoch = 12345, 3 })
		})
		a := o.ask("a new session", v, func(s *side) kmsg.Request {
			return fetch(s, v, "written", 0, func(r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { r.SessionEpoch = 0 })
		})
		for i, x := range a {
			if x.err == nil {
				o.sides[i].kept["session"] = x.resp.(*kmsg.FetchResponse).SessionID
			}
		}
		next := func(name string, epoch int32, change func(s *side, r *kmsg.FetchRequest)) {
			o.ask("session, "+name, v, func(s *side) kmsg.Request {
				r := fetch(s, v, "written", 0, nil)
				r.Topics = nil
				r.SessionID, _ = s.kept["session"].(int32)
				r.SessionEpoch = epoch
				if change != nil {
					change(s, r)
				}
				return r
			})
		}
		next("nothing new", 1, nil)
		next("another partition", 2, func(s *side, r *kmsg.FetchRequest) { r.Topics = fetch(s, v, "written", 1, nil).Topics })
		next("one forgotten", 3, func(s *side, r *kmsg.FetchRequest) {
			f := kmsg.NewFetchRequestForgottenTopic()
			f.Topic, f.TopicID, f.Partitions = "written", s.topicID("written"), []int32{0}
			r.ForgottenTopics = append(r.ForgottenTopics, f)
		})
		next("an epoch left out", 9, nil)
		next("closed", -1, nil)
		next("after its end", 5, nil)
	})
	epochs(o)
}

func fetch(s *side, v int16, topic string, partition int32, change func(r *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition)) *kmsg.FetchRequest {
	r := kmsg.NewPtrFetchRequest()
	r.ReplicaID, r.MaxWaitMillis, r.MinBytes, r.MaxBytes, r.SessionEpoch = -1, 50, 1, 1<<20, -1
	r.ReplicaState.ID = -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic, s.topicID(topic)
	if v >= 13 && topic == "never-made" {
		t.TopicID = [16]byte{1, 1}
	}
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LastFetchedEpoch, p.LogStartOffset = partition, 1<<20, -1, -1, -1
	if change != nil {
		change(r, &p)
	}
	t.Partitions = append(t.Partitions, p)
	r.Topics = append(r.Topics, t)
	return r
}

func epochs(o *oracle) {
	for _, c := range []struct {
		name, topic    string
		partition      int32
		current, asked int32
	}{{"epoch 0", "written", 0, -1, 0}, {"epoch 5", "written", 0, -1, 5}, {"no epoch", "written", 0, -1, -1}, {"fenced by a newer one", "written", 0, 7, 0}, {"an unknown partition", "written", 9, -1, 0}, {"an unknown topic", "never-made", 0, -1, 0}} {
		o.each(23, func(v int16) {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrOffsetForLeaderEpochRequest()
				r.ReplicaID = -1
				t := kmsg.NewOffsetForLeaderEpochRequestTopic()
				t.Topic = c.topic
				p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
				p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = c.partition, c.current, c.asked
				t.Partitions = append(t.Partitions, p)
				r.Topics = append(r.Topics, t)
				return r
			})
		})
	}
}

// listOffsetRequests look up offsets by time and by their special values, and delete.
func listOffsetRequests(o *oracle) {
	for _, c := range []struct {
		name, topic string
		partition   int32
		at          int64
		epoch       int32
		isolation   int8
	}{{"earliest", "written", 0, -2, -1, 0}, {"latest", "written", 0, -1, -1, 0}, {"latest, committed", "written", 0, -1, -1, 1}, {"largest timestamp", "written", 0, -3, -1, 0}, {"earliest local", "written", 0, -4, -1, 0},
		{"latest tiered", "written", 0, -5, -1, 0}, {"earliest pending upload", "written", 0, -6, -1, 0}, {"an unknown special value", "written", 0, -9, -1, 0}, {"by time", "written", 0, firstMs + 1, -1, 0}, {"before all", "written", 0, 5, -1, 0},
		{"after all", "written", 0, firstMs * 2, -1, 0}, {"a newer epoch", "written", 0, -1, 9, 0}, {"the epoch", "written", 0, -1, 0, 0}, {"an unknown partition", "written", 9, -1, -1, 0}, {"an unknown topic", "never-made", 0, -1, -1, 0}, {"compressed by time", "written", 1, firstMs + 5, -1, 0}} {
		o.each(2, func(v int16) {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrListOffsetsRequest()
				r.ReplicaID, r.IsolationLevel, r.TimeoutMillis = -1, c.isolation, timeoutMs
				t := kmsg.NewListOffsetsRequestTopic()
				t.Topic = c.topic
				p := kmsg.NewListOffsetsRequestTopicPartition()
				p.Partition, p.CurrentLeaderEpoch, p.Timestamp, p.MaxNumOffsets = c.partition, c.epoch, c.at, 1
				t.Partitions = append(t.Partitions, p)
				r.Topics = append(r.Topics, t)
				return r
			})
		})
	}
	for _, c := range []struct {
		name, topic string
		partition   int32
		to          int64
	}{{"a little", "written", 0, 2}, {"again", "written", 0, 2}, {"backwards", "written", 0, 1}, {"beyond the end", "written", 0, 1 << 40}, {"negative", "written", 0, -7}, {"an unknown partition", "written", 9, 0}, {"an unknown topic", "never-made", 0, 0},
		{"where compacted", "compacted", 0, 1}, {"all", "appendtime", 0, -1}} {
		o.each(21, func(v int16) {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrDeleteRecordsRequest()
				r.TimeoutMillis = timeoutMs
				t := kmsg.NewDeleteRecordsRequestTopic()
				t.Topic = c.topic
				p := kmsg.NewDeleteRecordsRequestTopicPartition()
				p.Partition, p.Offset = c.partition, c.to
				t.Partitions = append(t.Partitions, p)
				r.Topics = append(r.Topics, t)
				return r
			})
		})
	}
	for _, c := range []struct {
		name, topic string
		parts       []int32
	}{{"one", "written", []int32{0, 1}}, {"an unknown partition", "written", []int32{9}}, {"an unknown topic", "never-made", []int32{0}}} {
		o.each(61, func(v int16) {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrDescribeProducersRequest()
				t := kmsg.NewDescribeProducersRequestTopic()
				t.Topic, t.Partitions = c.topic, c.parts
				r.Topics = append(r.Topics, t)
				return r
			})
		})
		o.each(35, func(v int16) {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrDescribeLogDirsRequest()
				t := kmsg.NewDescribeLogDirsRequestTopic()
				t.Topic, t.Partitions = c.topic, c.parts
				r.Topics = append(r.Topics, t)
				return r
			})
		})
	}
}
