package brokerapi

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/server"
)

// adminClientID is the client id that may write to internal topics.
const adminClientID = "__admin_client"

// produceOp is one Produce request. While the handler runs it belongs to the
// connection's reader; once appends wait, to whoever completes the last of them.
type produceOp struct {
	api       *API
	req       *server.Request
	version   int16
	acks      int16
	timeoutMs int32
	txnID     *string
	topics    []produceTopic
	parts     []producePart
	nodes     []int32
	buf       []byte

	// pending counts the appends that wait, and the handler until it is done.
	pending atomic.Int32
	timer   clock.Entry
	timed   bool
	// holds counts who may still touch the op: the request, and the timer once it is
	// scheduled.
	holds atomic.Int32
}

// Limits of what a pooled produceOp keeps.
const (
	maxPooledParts = 1024
	maxPooledBuf   = 64 << 10
)

var produceOps = sync.Pool{New: func() any { return new(produceOp) }}

// produce is API key 0, versions 0 to 13. Stage 1 appends to every partition in
// turn; a request whose records have to wait, for replicas or for a flush, is
// answered by whoever brings the last of them what it waits for.
func (a *API) produce(r *server.Request) {
	op := produceOps.Get().(*produceOp)
	op.api, op.req, op.version = a, r, r.Header.Version
	op.holds.Store(1)
	op.pending.Store(1)
	op.timed = false
	if err := op.decodeProduce(op.version, r.Body); err != nil {
		r.CloseConn(fmt.Errorf("Produce v%d: %w", op.version, err))
		op.recycle()
		return
	}
	ap := replica.GetAppender()
	op.append(ap)
	if op.pending.Load() > 1 {
		// Somebody answers later: let go of the frame, and of its strings.
		op.detach()
		op.timed = true
		op.holds.Add(1)
		if op.timer.Fire == nil {
			op.timer.Fire = op.expire
		}
		a.Wheel.Schedule(&op.timer, time.Duration(op.timeoutMs)*time.Millisecond)
	}
	op.done()
	// The producer is answered before the consumers that its records woke.
	ap.Finish()
	replica.PutAppender(ap)
}

// append appends every partition's records.
func (op *produceOp) append(ap *replica.Appender) {
	if code := op.refused(); code != nil {
		op.failAll(code)
		return
	}
	ap.Acks, ap.Version, ap.Origin, ap.Owner = op.acks, op.version, batch.OriginClient, op
	ap.TransactionVersion, ap.Guard = -1, producer.NoGuard
	ap.NowMs = op.api.Clock.Now().UnixMilli()
	internal := op.req.Header.ClientIDString() == adminClientID
	if op.txnID != nil {
		op.verify(ap.NowMs)
	}
	for i := range op.topics {
		t := &op.topics[i]
		for j := t.first; j < t.end; j++ {
			part := &op.parts[j]
			p, err := op.find(t, part)
			if err == nil && !internal && kafka.InternalTopic(p.TopicPartition().Topic) {
				err = kafka.InvalidTopicException.Errorf("Cannot append to internal topic %s", p.TopicPartition().Topic)
			}
			if err != nil {
				part.fail(err)
				continue
			}
			part.p = p
			if op.version >= produceTxnID && oldFormat(part.records) {
				part.fail(kafka.InvalidRecord)
				continue
			}
			if part.txnErr != nil {
				part.fail(part.txnErr)
				continue
			}
			ap.Guard = part.guard
			op.pending.Add(1)
			if ap.Append(p, part.records, &part.slot) {
				op.pending.Add(-1)
			}
		}
	}
}

// refused says why no partition of the request is looked at, nil when they are.
func (op *produceOp) refused() *kafka.Code {
	var id int64
	var epoch int16
	seen := false
	for i := range op.parts {
		rec := op.parts[i].records
		if !transactional(rec) {
			continue
		}
		if op.txnID == nil {
			return kafka.TransactionalIDAuthorizationFailed
		}
		info, err := batch.Peek(rec)
		if err != nil {
			continue // refused with its partition
		}
		if seen && (info.ProducerID != id || info.ProducerEpoch != epoch) {
			return kafka.InvalidProducerIDMapping
		}
		seen, id, epoch = true, info.ProducerID, info.ProducerEpoch
	}
	if op.acks < replica.AcksAll || op.acks > replica.AcksLeader {
		return kafka.InvalidRequiredAcks
	}
	return nil
}

// transactional looks for the bit in the attributes of a v2 batch; validation comes
// later and refuses more than one batch.
func transactional(records []byte) bool {
	return len(records) >= batch.HeaderSize && records[16] == byte(batch.MagicV2) && records[22]&0x10 != 0
}

// oldFormat says whether the records are messages of a format older than v2, which
// only old versions of the request may carry.
func oldFormat(records []byte) bool {
	return len(records) > 16 && records[16] < byte(batch.MagicV2)
}

// find resolves a partition, with the error that clients of this version know.
func (op *produceOp) find(t *produceTopic, part *producePart) (*replica.Partition, error) {
	m := op.api.Replicas
	if op.version >= produceTopicIDs {
		if p := m.GetByID(t.id, part.partition); p != nil {
			return p, nil
		}
		return m.FindByID(op.api.Image(), t.id, part.partition)
	}
	if p := m.Get(t.name, part.partition); p != nil {
		return p, nil
	}
	return m.Find(op.api.Image(), t.name, part.partition)
}

func (part *producePart) fail(err error) {
	part.slot = replica.AppendSlot{Err: err, BaseOffset: -1, LogAppendTime: -1, LogStartOffset: -1}
}

func (op *produceOp) failAll(code *kafka.Code) {
	for i := range op.parts {
		op.parts[i].fail(code)
	}
}

// detach copies what the answer needs from the request's body and releases it.
func (op *produceOp) detach() {
	for i := range op.topics {
		if t := &op.topics[i]; t.name != "" {
			t.name = op.api.stable(t.name)
		}
	}
	for i := range op.parts {
		op.parts[i].records = nil
	}
	op.txnID = nil
	op.req.ReleaseBody()
}

// Appended is called for each append that had to wait.
func (op *produceOp) Appended(*replica.AppendSlot) { op.done() }

// done takes one off what is awaited, and answers with the last.
func (op *produceOp) done() {
	if op.pending.Add(-1) > 0 {
		return
	}
	if op.timed && op.api.Wheel.Cancel(&op.timer) {
		op.holds.Add(-1)
	}
	op.reply()
	op.recycle()
}

// expire is the deadline of a request that waits.
func (op *produceOp) expire() {
	for i := range op.parts {
		op.parts[i].slot.Expire()
	}
	op.recycle()
}

func (op *produceOp) reply() {
	r := op.req
	op.countErrors()
	if op.acks == replica.AcksNone {
		for i := range op.parts {
			if err := op.parts[i].slot.Err; err != nil {
				// Without a response, closing the connection is how the producer learns of it.
				r.CloseConn(fmt.Errorf("produce with acks=0 to partition %d: %w", op.parts[i].partition, err))
				return
			}
		}
		r.NoReply()
		return
	}
	op.buf = op.encodeProduce(op.buf[:0], op.version, r.Listener)
	r.ReplyRaw(op.buf)
}

// countErrors notes the partitions' error codes for the metrics.
func (op *produceOp) countErrors() {
	ok := 0
	for i := range op.parts {
		if err := op.parts[i].slot.Err; err != nil {
			op.req.CountErrors(kafka.NumOf(err), 1)
		} else {
			ok++
		}
	}
	op.req.CountErrors(0, ok)
}

// recycle gives up one hold; the last one puts the op back.
func (op *produceOp) recycle() {
	if op.holds.Add(-1) > 0 {
		return
	}
	if max(cap(op.parts), cap(op.topics), cap(op.nodes)) > maxPooledParts || cap(op.buf) > maxPooledBuf {
		return
	}
	clear(op.parts)
	clear(op.topics)
	op.parts, op.topics, op.nodes = op.parts[:0], op.topics[:0], op.nodes[:0]
	op.req, op.txnID, op.api = nil, nil, nil
	produceOps.Put(op)
}
