package brokerapi

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/fetchsession"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/vfs"
)

// fullProduce is a request that uses every field of the version.
func fullProduce(version int16) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, -1, 1234
	if version >= produceTxnID {
		id := "txn"
		req.TransactionID = &id
	}
	for i := range 2 {
		t := kmsg.NewProduceRequestTopic()
		if version >= produceTopicIDs {
			t.TopicID = [16]byte{byte(i), 7}
		} else {
			t.Topic = string(rune('a' + i))
		}
		for n := range int32(3) {
			p := kmsg.NewProduceRequestTopicPartition()
			p.Partition = n
			p.Records = bytes.Repeat([]byte{byte(n)}, 10*int(n))
			if version >= produceFlexible {
				p.UnknownTags.Set(9, []byte("x"))
			}
			t.Partitions = append(t.Partitions, p)
		}
		if version >= produceFlexible {
			t.UnknownTags.Set(3, nil)
		}
		req.Topics = append(req.Topics, t)
	}
	if version >= produceFlexible {
		req.UnknownTags.Set(200, []byte("tag"))
	}
	return req
}

// sameProduce compares what the hand-written decoder read with what kmsg read.
func sameProduce(t *testing.T, op *produceOp, req *kmsg.ProduceRequest) {
	t.Helper()
	if op.acks != req.Acks || op.timeoutMs != req.TimeoutMillis || !reflect.DeepEqual(op.txnID, req.TransactionID) || len(op.topics) != len(req.Topics) {
		t.Fatalf("v%d: got %+v", req.Version, op)
	}
	for i, topic := range op.topics {
		want := req.Topics[i]
		if topic.name != want.Topic || topic.id != want.TopicID || topic.end-topic.first != len(want.Partitions) {
			t.Fatalf("v%d topic %d: got %+v", req.Version, i, topic)
		}
		for j, part := range op.parts[topic.first:topic.end] {
			if part.partition != want.Partitions[j].Partition || !bytes.Equal(part.records, want.Partitions[j].Records) {
				t.Fatalf("v%d topic %d partition %d: got %d, %x", req.Version, i, j, part.partition, part.records)
			}
		}
	}
}

func TestDecodeProduceAgreesWithKmsg(t *testing.T) {
	for v := int16(0); v <= 13; v++ {
		req := fullProduce(v)
		body := req.AppendTo(nil)
		var op produceOp
		if err := op.decodeProduce(v, body); err != nil {
			t.Fatalf("v%d: %v", v, err)
		}
		sameProduce(t, &op, req)
		for n := range body {
			var short produceOp
			if err := short.decodeProduce(v, body[:n]); err == nil {
				t.Fatalf("v%d: %d of %d bytes were taken for a whole request", v, n, len(body))
			}
		}
	}
}

func FuzzDecodeProduce(f *testing.F) {
	for v := int16(0); v <= 13; v++ {
		f.Add(v, fullProduce(v).AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, v int16, body []byte) {
		if v < 0 || v > 13 || len(body) > 1<<12 {
			return
		}
		var op produceOp
		if op.decodeProduce(v, body) != nil {
			return
		}
		req := kmsg.NewPtrProduceRequest()
		req.Version = v
		if err := req.ReadFrom(body); err != nil {
			t.Fatalf("v%d: only the hand-written decoder takes %x: %v", v, body, err)
		}
		sameProduce(t, &op, req)
	})
}

func TestEncodeProduceAgreesWithKmsg(t *testing.T) {
	api := &API{Image: newKit(t, nil).img.Load}
	for v := int16(0); v <= 13; v++ {
		op := produceOp{api: api}
		if err := op.decodeProduce(v, fullProduce(v).AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		for i := range op.parts {
			op.parts[i].slot = replica.AppendSlot{BaseOffset: int64(i), LogAppendTime: int64(i) * 10, LogStartOffset: int64(i) / 2}
		}
		bad := &op.parts[1]
		bad.slot.Err = kafka.InvalidRecord.Errorf("why")
		bad.slot.RecordErrors = &batch.RecordErrors{Errors: []batch.RecordError{{BatchIndex: 3, Message: "bad"}}}
		op.parts[2].slot.Err = kafka.NotEnoughReplicas
		op.parts[2].message = "who"
		op.parts[4].slot.Err = kafka.NotLeaderOrFollower
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = v
		if err := resp.ReadFrom(op.encodeProduce(nil, v, nil)); err != nil {
			t.Fatalf("v%d: %v", v, err)
		}
		for i, topic := range resp.Topics {
			for j, p := range topic.Partitions {
				n := i*3 + j
				s := op.parts[n].slot
				if p.Partition != int32(j) || p.BaseOffset != s.BaseOffset || p.ErrorCode != kafka.NumOf(s.Err) {
					t.Fatalf("v%d partition %d: %+v", v, n, p)
				}
				if v >= 2 && p.LogAppendTime != s.LogAppendTime || v >= 5 && p.LogStartOffset != s.LogStartOffset {
					t.Fatalf("v%d partition %d: %+v", v, n, p)
				}
				if v >= 8 && n == 1 && (len(p.ErrorRecords) != 1 || p.ErrorRecords[0].RelativeOffset != 3 || *p.ErrorRecords[0].ErrorMessage != "bad" || *p.ErrorMessage != "why") {
					t.Fatalf("v%d: record errors %+v", v, p)
				}
				if v >= 8 && n == 2 && (p.ErrorMessage == nil || *p.ErrorMessage != "who") {
					t.Fatalf("v%d: message %v", v, p.ErrorMessage)
				}
			}
		}
	}
}

func fullFetch(version int16) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes = version, 11, 22
	if version >= fetchMaxBytes {
		req.MaxBytes = 33
	}
	if version >= fetchIsolation {
		req.IsolationLevel = 1
	}
	if version >= fetchSessions {
		req.SessionID, req.SessionEpoch = 44, 55
		forgotten := kmsg.NewFetchRequestForgottenTopic()
		forgotten.Partitions = []int32{7, 8}
		if version >= fetchTopicIDs {
			forgotten.TopicID = [16]byte{9}
		} else {
			forgotten.Topic = "gone"
		}
		req.ForgottenTopics = append(req.ForgottenTopics, forgotten)
	}
	if version >= fetchReplicaState {
		req.ReplicaState.ID, req.ReplicaState.Epoch = 3, 77
	} else {
		req.ReplicaID = 3
	}
	if version >= fetchRack {
		req.Rack = "r1"
	}
	for i := range 2 {
		t := kmsg.NewFetchRequestTopic()
		if version >= fetchTopicIDs {
			t.TopicID = [16]byte{byte(i), 7}
		} else {
			t.Topic = string(rune('a' + i))
		}
		for n := range int32(2) {
			p := kmsg.NewFetchRequestTopicPartition()
			p.Partition, p.FetchOffset, p.PartitionMaxBytes = n, int64(n)*100, 1000
			if version >= fetchLeaderEpoch {
				p.CurrentLeaderEpoch = 5
			}
			if version >= fetchFlexible {
				p.LastFetchedEpoch = 4
			}
			if version >= fetchLogStart {
				p.LogStartOffset = 3
			}
			if version >= 17 {
				p.ReplicaDirectoryID = [16]byte{1}
			}
			if version >= 18 {
				p.HighWatermark = 12
			}
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

func sameFetch(t *testing.T, op *fetchOp, req *kmsg.FetchRequest) {
	t.Helper()
	q := op.q
	id, epoch := req.ReplicaID, int64(-1)
	if req.Version >= fetchReplicaState {
		id, epoch = req.ReplicaState.ID, req.ReplicaState.Epoch
	}
	want := fetchRequest{
		replicaID: id, replicaEpoch: epoch, maxWaitMs: req.MaxWaitMillis, minBytes: req.MinBytes, maxBytes: req.MaxBytes,
		isolation: req.IsolationLevel, sessionID: req.SessionID, sessionEpoch: req.SessionEpoch, rack: req.Rack,
	}
	if q != want {
		t.Fatalf("v%d: got %+v, want %+v", req.Version, q, want)
	}
	var entries []fetchsession.Entry
	for _, topic := range req.Topics {
		for _, p := range topic.Partitions {
			entries = append(entries, fetchsession.Entry{
				Key: fetchsession.Key{Topic: topic.Topic, TopicID: topic.TopicID, Partition: p.Partition},
				Params: fetchsession.Params{
					FetchOffset: p.FetchOffset, LogStartOffset: p.LogStartOffset, MaxBytes: p.PartitionMaxBytes,
					CurrentLeaderEpoch: p.CurrentLeaderEpoch, LastFetchedEpoch: p.LastFetchedEpoch,
				},
			})
		}
	}
	var forget []fetchsession.Key
	for _, topic := range req.ForgottenTopics {
		for _, n := range topic.Partitions {
			forget = append(forget, fetchsession.Key{Topic: topic.Topic, TopicID: topic.TopicID, Partition: n})
		}
	}
	if !reflect.DeepEqual(op.entries, entries) || !reflect.DeepEqual(op.forget, forget) {
		t.Fatalf("v%d: got %+v forget %+v, want %+v forget %+v", req.Version, op.entries, op.forget, entries, forget)
	}
}

func TestDecodeFetchAgreesWithKmsg(t *testing.T) {
	for v := int16(0); v <= 18; v++ {
		req := fullFetch(v)
		body := req.AppendTo(nil)
		var op fetchOp
		if err := op.decodeFetch(v, body); err != nil {
			t.Fatalf("v%d: %v", v, err)
		}
		sameFetch(t, &op, req)
		for n := range body {
			var short fetchOp
			if err := short.decodeFetch(v, body[:n]); err == nil {
				t.Fatalf("v%d: %d of %d bytes were taken for a whole request", v, n, len(body))
			}
		}
	}
}

func FuzzDecodeFetch(f *testing.F) {
	for v := int16(0); v <= 18; v++ {
		f.Add(v, fullFetch(v).AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, v int16, body []byte) {
		if v < 0 || v > 18 || len(body) > 1<<12 {
			return
		}
		var op fetchOp
		if op.decodeFetch(v, body) != nil {
			return
		}
		req := kmsg.NewPtrFetchRequest()
		req.Version = v
		if err := req.ReadFrom(body); err != nil {
			// kmsg also reads the tagged fields that only controllers look at.
			return
		}
		sameFetch(t, &op, req)
	})
}

func TestEncodeFetchAgreesWithKmsg(t *testing.T) {
	k := newKit(t, nil)
	for v := int16(0); v <= 18; v++ {
		op := fetchOp{api: k.api, version: v}
		if err := op.decodeFetch(v, fullFetch(v).AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		op.keepNames()
		op.f.Isolation = replica.ToLastStable
		for i := range op.f.Parts {
			part := &op.f.Parts[i]
			part.HighWatermark, part.LastStableOffset, part.LogStartOffset = int64(i)+10, int64(i)+5, int64(i)
			part.DivergingEpoch, part.Preferred = kafka.NoEpoch, replica.NoReplica
		}
		op.f.Parts[0].Preferred = 7
		op.f.Parts[0].Data = log.Data{Size: 5, Spans: []vfs.Span{memSpan([]byte("he")), memSpan([]byte("llo"))}}
		op.f.Parts[0].Aborted = []log.AbortedTxn{{ProducerID: 1, FirstOffset: 2}}
		op.f.Parts[1].DivergingEpoch, op.f.Parts[1].DivergingEnd = 6, 66
		op.items[2].keep = false
		op.f.Parts[3].Data = log.Data{Size: 3, Spans: []vfs.Span{memSpan([]byte("abc"))}}
		op.encodeFetch(v, nil, 99)
		body := append([]byte(nil), op.gather()...)
		for _, s := range op.spans {
			body = append(body, s.B...)
		}
		resp := kmsg.NewPtrFetchResponse()
		resp.Version = v
		if err := resp.ReadFrom(body); err != nil {
			t.Fatalf("v%d: %v", v, err)
		}
		if v >= fetchSessions && resp.SessionID != 99 {
			t.Fatalf("v%d: session %d", v, resp.SessionID)
		}
		if len(resp.Topics) != 2 || len(resp.Topics[0].Partitions) != 2 || len(resp.Topics[1].Partitions) != 1 {
			t.Fatalf("v%d: %+v", v, resp.Topics)
		}
		a, b, c := resp.Topics[0].Partitions[0], resp.Topics[0].Partitions[1], resp.Topics[1].Partitions[0]
		if string(a.RecordBatches) != "hello" || len(b.RecordBatches) != 0 || string(c.RecordBatches) != "abc" {
			t.Fatalf("v%d: records %q %q %q", v, a.RecordBatches, b.RecordBatches, c.RecordBatches)
		}
		if a.HighWatermark != 10 || c.HighWatermark != 13 || v >= 4 && (a.LastStableOffset != 5 || len(a.AbortedTransactions) != 1) || v >= 5 && c.LogStartOffset != 3 {
			t.Fatalf("v%d: %+v", v, resp.Topics)
		}
		if v >= 12 && (b.DivergingEpoch.Epoch != 6 || b.DivergingEpoch.EndOffset != 66 || a.DivergingEpoch.Epoch != -1) {
			t.Fatalf("v%d: diverging %+v", v, b.DivergingEpoch)
		}
		if v >= 11 && (a.PreferredReadReplica != 7 || b.PreferredReadReplica != replica.NoReplica) {
			t.Fatalf("v%d: preferred read replicas %d, %d", v, a.PreferredReadReplica, b.PreferredReadReplica)
		}
	}
}

// TestPartitionBombs is trap N2: many partitions in few bytes are refused before they
// cost memory.
func TestPartitionBombs(t *testing.T) {
	req := produceReq(12, "t", kafka.TopicID{}, 0, 1, nil)
	req.Topics[0].Partitions = make([]kmsg.ProduceRequestTopicPartition, 100_000)
	body := req.AppendTo(nil)
	var op produceOp
	if err := op.decodeProduce(12, body); err == nil || cap(op.parts) > 50_000 {
		t.Errorf("%d partitions in %d bytes: %v", cap(op.parts), len(body), err)
	}
	req.Topics = make([]kmsg.ProduceRequestTopic, 300_000)
	body = req.AppendTo(nil)
	op = produceOp{}
	if err := op.decodeProduce(12, body); err == nil || cap(op.topics) > 100_000 {
		t.Errorf("%d topics in %d bytes: %v", cap(op.topics), len(body), err)
	}
	f := fetchReq("t", 0)
	f.Version = 0
	f.Topics[0].Partitions = make([]kmsg.FetchRequestTopicPartition, maxFetchPartitions+1)
	var fop fetchOp
	if err := fop.decodeFetch(0, f.AppendTo(nil)); err == nil {
		t.Errorf("%d partitions were taken", len(fop.entries))
	}
}
