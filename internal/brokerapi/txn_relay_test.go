package brokerapi

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/txn"
)

// farPeers are brokers 2 and 3 as broker 1 reaches them. What they are sent and what they
// answer is the test's.
type farPeers struct {
	mu   sync.Mutex
	shut map[int32]int // so many requests fail; guarded by mu
	sent []farRequest  // guarded by mu
}

type farRequest struct {
	to, relayTo int32 // relayTo is -1 without the mark
	purpose     string
	req         kmsg.Request
}

func (f *farPeers) get(id kafka.NodeID, purpose string) Peer { return farPeer{f, int32(id), purpose} }

// log is what was sent since the last call, in order.
func (f *farPeers) log() []farRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	sent := f.sent
	f.sent = nil
	return sent
}

type farPeer struct {
	f       *farPeers
	id      int32
	purpose string
}

func (p farPeer) Go(req kmsg.Request, done func(kmsg.Response, error)) {
	r := farRequest{to: p.id, relayTo: -1, purpose: p.purpose, req: req}
	var tags *kmsg.Tags
	switch q := req.(type) {
	case *kmsg.WriteTxnMarkersRequest:
		tags = &q.UnknownTags
	case *kmsg.AddPartitionsToTxnRequest:
		tags = &q.UnknownTags
	}
	tags.Each(func(key uint32, v []byte) { r.relayTo = int32(binary.BigEndian.Uint32(v)) })
	p.f.mu.Lock()
	p.f.sent = append(p.f.sent, r)
	shut := p.f.shut[p.id] != 0
	if shut {
		p.f.shut[p.id]--
	}
	p.f.mu.Unlock()
	if shut {
		done(nil, errors.New("nothing comes back"))
		return
	}
	done(granted(req), nil)
}

// granted is the answer of a broker that does all that it is asked.
func granted(req kmsg.Request) kmsg.Response {
	switch q := req.(type) {
	case *kmsg.WriteTxnMarkersRequest:
		op := &markersOp{resp: kmsg.NewPtrWriteTxnMarkersResponse()}
		op.layOut(q)
		return op.resp
	case *kmsg.AddPartitionsToTxnRequest:
		op := &addPartitionsOp{version: addPartitionsBrokers}
		for _, t := range q.Transactions {
			add := &txn.AddPartitions{TransactionalID: t.TransactionalID}
			for _, topic := range t.Topics {
				add.Partitions = appendPartitions(add.Partitions, topic.Topic, topic.Partitions)
			}
			op.adds = append(op.adds, add)
			op.results = append(op.results, func(kafka.TopicPartition) int16 { return 0 })
		}
		return op.response()
	}
	return nil
}

// farKit is a txnKit with the other brokers, and topic far, which broker 2 leads.
func farKit(t *testing.T) (*txnKit, *farPeers) {
	k := newTxnKit(t, 2, nil)
	k.topic("far", 1, []int32{2})
	k.publish()
	f := &farPeers{shut: map[int32]int{}}
	k.api.Peers = f.get
	return k, f
}

// openFar begins a transaction on far, as its leader does for a client of version 2.
func (k *txnKit) openFar(id string) (pid int64, epoch int16) {
	k.t.Helper()
	init := k.c.initTxn(5, id, 60_000)
	wantCode(k.t, "InitProducerId", init.ErrorCode, nil)
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Version = 5
	tx := kmsg.NewAddPartitionsToTxnRequestTransaction()
	tx.TransactionalID, tx.ProducerID, tx.ProducerEpoch = id, init.ProducerID, init.ProducerEpoch
	topic := kmsg.NewAddPartitionsToTxnRequestTransactionTopic()
	topic.Topic, topic.Partitions = "far", []int32{0}
	tx.Topics = append(tx.Topics, topic)
	req.Transactions = append(req.Transactions, tx)
	resp := k.c.do(req).(*kmsg.AddPartitionsToTxnResponse)
	wantCode(k.t, "AddPartitionsToTxn", resp.Transactions[0].Topics[0].Partitions[0].ErrorCode, nil)
	return init.ProducerID, init.ProducerEpoch
}

// TestMarkersGoAroundACutLink: the leader of a partition does not answer, a third broker
// reaches it.
func TestMarkersGoAroundACutLink(t *testing.T) {
	k, f := farKit(t)
	pid, epoch := k.openFar("a")
	f.shut[2] = -1
	wantCode(t, "EndTxn", k.c.endTxn(5, "a", pid, epoch, true).ErrorCode, nil)
	k.becomes("a", txn.CompleteCommit)
	sent := f.log()
	if len(sent) != 2 || sent[0].to != 2 || sent[1].to != 3 || sent[1].relayTo != 2 || sent[1].purpose != PurposeMarkers {
		t.Fatalf("%+v", sent)
	}
}

// TestMarkersWithoutEpochBumpTakeNoDetour: with transactions v1 a marker that comes late
// would end the next transaction.
func TestMarkersWithoutEpochBumpTakeNoDetour(t *testing.T) {
	k, f := farKit(t)
	init := k.c.initTxn(4, "a", 60_000)
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = 3, "a", init.ProducerID, init.ProducerEpoch
	topic := kmsg.NewAddPartitionsToTxnRequestTopic()
	topic.Topic, topic.Partitions = "far", []int32{0}
	req.Topics = append(req.Topics, topic)
	wantCode(t, "AddPartitionsToTxn", k.c.do(req).(*kmsg.AddPartitionsToTxnResponse).Topics[0].Partitions[0].ErrorCode, nil)
	f.shut[2] = 1
	wantCode(t, "EndTxn", k.c.endTxn(4, "a", init.ProducerID, init.ProducerEpoch, true).ErrorCode, nil)
	eventually(t, "the marker is tried", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.sent) > 0 })
	eventually(t, "the second attempt is due", func() bool { k.clock.Advance(time.Second); f.mu.Lock(); defer f.mu.Unlock(); return len(f.sent) > 1 })
	k.becomes("a", txn.CompleteCommit)
	if sent := f.log(); slices.ContainsFunc(sent, func(r farRequest) bool { return r.to != 2 || r.relayTo != -1 }) || len(sent) != 2 {
		t.Fatalf("%+v", sent)
	}
}

// TestVerificationGoesAroundACutLink: a producer writes to this broker, and the
// coordinator of its transaction is out of reach.
func TestVerificationGoesAroundACutLink(t *testing.T) {
	k, f := farKit(t)
	init := k.c.initTxn(5, "a", 60_000)
	k.change(k.img.Load().Topic(kafka.TransactionTopic).ID, 0, func(r *records.PartitionChangeRecord) { r.Leader = 2 })
	f.shut[2] = -1
	p := k.c.produceTxn(12, "a", 0, rec{pid: init.ProducerID, epoch: init.ProducerEpoch}, "x")
	wantCode(t, "Produce", p.ErrorCode, nil)
	sent := f.log()
	if len(sent) != 2 || sent[0].to != 2 || sent[1].to != 3 || sent[1].relayTo != 2 || sent[1].purpose != PurposeVerification {
		t.Fatalf("%+v", sent)
	}
	// Nobody reaches it: the producer is told to try again.
	f.shut[3] = -1
	p = k.c.produceTxn(12, "a", 1, rec{pid: init.ProducerID, epoch: init.ProducerEpoch}, "x")
	wantCode(t, "Produce", p.ErrorCode, kafka.NotEnoughReplicas)
}

// TestBystanderPassesOn: a request with the mark goes to the broker that it names,
// without the mark, and what that says comes back.
func TestBystanderPassesOn(t *testing.T) {
	k, f := farKit(t)
	mark := binary.BigEndian.AppendUint32(nil, 2)
	markers := func() int16 {
		req := kmsg.NewPtrWriteTxnMarkersRequest()
		req.Version = 2
		m := kmsg.NewWriteTxnMarkersRequestMarker()
		m.TransactionVersion = 2
		topic := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
		topic.Topic, topic.Partitions = "far", []int32{0}
		m.Topics = append(m.Topics, topic)
		req.Markers = append(req.Markers, m)
		req.UnknownTags.Set(relayTag, mark)
		return k.c.do(req).(*kmsg.WriteTxnMarkersResponse).Markers[0].Topics[0].Partitions[0].ErrorCode
	}
	wantCode(t, "WriteTxnMarkers", markers(), nil)
	add := func() *kmsg.AddPartitionsToTxnResponse {
		req := kmsg.NewPtrAddPartitionsToTxnRequest()
		req.Version = 5
		tx := kmsg.NewAddPartitionsToTxnRequestTransaction()
		tx.TransactionalID = "elsewhere"
		topic := kmsg.NewAddPartitionsToTxnRequestTransactionTopic()
		topic.Topic, topic.Partitions = "t", []int32{0}
		tx.Topics = append(tx.Topics, topic)
		req.Transactions = append(req.Transactions, tx)
		req.UnknownTags.Set(relayTag, mark)
		return k.c.do(req).(*kmsg.AddPartitionsToTxnResponse)
	}
	if resp := add(); resp.ErrorCode != 0 || len(resp.Transactions) != 1 || resp.Transactions[0].Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatalf("%+v", resp)
	}
	sent := f.log()
	if len(sent) != 2 || slices.ContainsFunc(sent, func(r farRequest) bool { return r.to != 2 || r.relayTo != -1 }) {
		t.Fatalf("%+v", sent)
	}
	f.shut[2] = -1
	wantCode(t, "WriteTxnMarkers", markers(), kafka.NetworkException)
	wantCode(t, "AddPartitionsToTxn", add().ErrorCode, kafka.NetworkException)
	// There is no such broker, and no connection is kept for it.
	f.log()
	mark = binary.BigEndian.AppendUint32(nil, 4711)
	wantCode(t, "WriteTxnMarkers", markers(), kafka.NetworkException)
	wantCode(t, "AddPartitionsToTxn", add().ErrorCode, kafka.NetworkException)
	if sent := f.log(); len(sent) != 0 {
		t.Fatalf("%+v", sent)
	}
	// What names this broker is for this broker, which has no replica.
	f.log()
	mark = binary.BigEndian.AppendUint32(nil, 1)
	wantCode(t, "WriteTxnMarkers", markers(), kafka.UnknownTopicOrPartition)
	if sent := f.log(); len(sent) != 0 {
		t.Fatalf("%+v", sent)
	}
}
