package rsm

import (
	"fmt"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/replica"
)

// appendOutcome appends the records of an outcome as one batch, replays them, and
// keeps the rest until they are committed. When nothing was appended the machine says
// what the clients are told.
func (s *shard[M]) appendOutcome(o coord.Outcome, nowMs int64) {
	h := &held{op: o.Op, replies: o.Replies, effects: o.Effects}
	for {
		all := o.Records
		if o.Split {
			o.Records = fitting(all, s.maxRecords())
		}
		data, err := s.build(&o, nowMs)
		if err == nil {
			err = s.appendBatch(data, o.Txn, h, nowMs)
		}
		if err != nil {
			o.Records = all
			s.appendFailed(o, err, nowMs)
			return
		}
		if err := s.replay(&o, h.slot.BaseOffset); err != nil {
			// The log has what the machine does not understand: the state is not to be
			// trusted any more.
			s.c.cfg.Logger.Error("a coordinator cannot apply its own records", "partition", s.part.TopicPartition(), "leaderEpoch", s.epoch, "error", err)
			s.state.Store(shardResigned)
			s.mail.poke()
			return
		}
		s.end = h.end
		if o.Records = all[len(o.Records):]; len(o.Records) == 0 {
			break
		}
		// The outcome waits for its last batch, which is committed after the others.
		h = &held{op: h.op, replies: h.replies, effects: h.effects}
	}
	if hw, ok := s.part.CommittedInEpoch(s.epoch); ok && hw >= h.end && len(s.held) == 0 {
		s.commit(h)
		return
	}
	s.hold(h, false)
	s.mail.poke() // the slot may have reported before h was held
}

// maxRecords is how many bytes of records, by their Size, the partition takes in one batch.
func (s *shard[M]) maxRecords() int {
	cfg := s.part.Config()
	return min(cfg.MaxMessageBytes, cfg.SegmentBytes) - batch.HeaderSize
}

// fitting returns as many records from the first on as fit into max bytes, at least one.
func fitting(all []coord.Record, max int) []coord.Record {
	size := 0
	for i, r := range all {
		if size += r.Size(); size > max && i > 0 {
			return all[:i]
		}
	}
	return all
}

// appendFailed passes a refused append on to the machine. When the partition cannot
// be written in this epoch any more, the shard ends.
func (s *shard[M]) appendFailed(o coord.Outcome, err error, nowMs int64) {
	after := s.machine.AppendFailed(o, err, nowMs)
	mustNotAppend(&after)
	s.apply(after, nowMs)
	if _, ok := s.part.CommittedInEpoch(s.epoch); !ok {
		s.state.Store(shardResigned)
		s.mail.poke()
	}
}

// build makes the batch of an outcome.
func (s *shard[M]) build(o *coord.Outcome, nowMs int64) ([]byte, error) {
	b := batch.NewBuilder(0)
	b.Codec = s.c.cfg.Codec
	if t := o.Txn; t != nil {
		b.ProducerID, b.ProducerEpoch, b.IsTransactional = t.ProducerID, t.ProducerEpoch, true
		if t.Marker {
			b.IsControl, b.Codec = true, batch.CodecNone
			key, value := batch.EndTxnMarker(t.Commit, t.CoordinatorEpoch)
			b.Append(nowMs, key, value, nil)
			return b.Build(nil)
		}
	}
	for i, r := range o.Records {
		if !writable(r) {
			s.c.cfg.Logger.Error("a coordinator cannot encode its own records", "partition", s.part.TopicPartition(), "record", i, "keyBytes", len(r.Key))
			return nil, kafka.UnknownServerError.Errorf("record %d of %d for %s cannot be encoded", i, len(o.Records), s.part.TopicPartition())
		}
		b.Append(nowMs, r.Key, r.Value, nil)
	}
	return b.Build(nil)
}

// writable says whether a record could be encoded. Keys and values of coordinators begin
// with a version; an encoder that meets what it has no form for returns an empty one. In
// the log such a record could be of another key, or end every load of the partition.
func writable(r coord.Record) bool {
	return len(r.Key) > 0 && (r.Value == nil || len(r.Value) > 0)
}

// appendBatch appends a batch in the shard's epoch and sets h.end. The slot of h
// reports the commit unless it has happened already.
func (s *shard[M]) appendBatch(data []byte, txn *coord.TxnAppend, h *held, nowMs int64) error {
	a := replica.GetAppender()
	a.Acks, a.Version, a.Origin, a.NowMs, a.Owner = replica.AcksAll, 0, batch.OriginCoordinator, nowMs, s
	a.TransactionVersion, a.Guard = -1, producer.NoGuard
	if txn != nil {
		a.Guard = producer.Guard(txn.Guard)
		if txn.Marker {
			a.TransactionVersion = txn.TransactionVersion
		}
	}
	done := a.AppendInEpoch(s.part, data, s.epoch, &h.slot)
	h.end = h.slot.End()
	var err error
	if done && h.end == 0 {
		// A slot that waits belongs to others, its Err too. One that was stored and has an
		// error is committed in too small an ISR, which is no matter here.
		err = h.slot.Err
		if err == nil {
			err = kafka.UnknownServerError.Errorf("appending to %s: nothing was stored", s.part.TopicPartition())
		}
	}
	a.Finish()
	replica.PutAppender(a)
	return err
}

// replay applies the records of an outcome that was appended at base.
func (s *shard[M]) replay(o *coord.Outcome, base int64) error {
	from := coord.Origin{Offset: base, ProducerID: coord.NoProducerID, ProducerEpoch: -1}
	if t := o.Txn; t != nil {
		if t.Marker {
			return s.machine.ReplayTxnEnd(t.ProducerID, t.ProducerEpoch, t.Commit)
		}
		from.ProducerID, from.ProducerEpoch, from.Transactional = t.ProducerID, t.ProducerEpoch, true
	}
	for i, r := range o.Records {
		if err := s.machine.Replay(r, from); err != nil {
			return fmt.Errorf("record %d of the batch at offset %d: %w", i, base, err)
		}
		from.Offset++
	}
	return nil
}
