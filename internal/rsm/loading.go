package rsm

import (
	"errors"
	"fmt"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
)

// MaxLoading bounds the shards of one coordinator that read their logs at a time.
const MaxLoading = 4

// errResigned ends a load whose result nobody wants any more.
var errResigned = errors.New("the leadership of the partition was lost while its log was read")

// load replays the partition's log from its start to its end. It goes up to the log
// end and not only to the high watermark: what a former leader wrote and did not see
// committed is in the log that this leader replicates from now on, so it will be
// committed, or this leader will be none. Until it is, read barriers wait for it.
func (s *shard[M]) load() error {
	l := s.part.Log()
	if l == nil {
		return kafka.KafkaStorageError
	}
	if err := l.Load(); err != nil {
		return err
	}
	end := l.LogEndOffset()
	for at := l.LogStartOffset(); at < end; {
		if s.mail.isClosed() {
			return errResigned
		}
		next, err := s.loadSome(l, at, end)
		if err != nil && l.Moved() {
			// The replica has moved to another directory of this broker: the rest is there.
			if now := s.part.SettledLog(); now != nil && now != l {
				l = now
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("loading %s from offset %d: %w", s.part.TopicPartition(), at, err)
		}
		if next <= at {
			break
		}
		at = next
	}
	s.end = end
	return nil
}

// loadSome replays the batches of one read and returns where to go on.
func (s *shard[M]) loadSome(l *log.Log, at, end int64) (next int64, err error) {
	data, err := l.Read(at, s.c.cfg.LoadBufferSize, end, true)
	if err != nil {
		return 0, err
	}
	next = data.NextOffset
	buf, err := l.AppendData(nil, &data)
	data.Release()
	if err != nil {
		return 0, err
	}
	infos, err := batch.Infos(buf)
	if err != nil {
		return 0, err
	}
	if n := len(infos); n == 0 && len(buf) > 0 || n > 0 && infos[n-1].End() != len(buf) {
		return 0, kafka.CorruptMessage.Errorf("a batch is cut off")
	}
	for i := range infos {
		if err := s.replayBatch(buf[infos[i].Pos:infos[i].End()], &infos[i], at); err != nil {
			return 0, err
		}
	}
	return next, nil
}

// replayBatch applies one batch of the log. Records below from are before the log
// start: the batch that holds the log start may begin earlier.
func (s *shard[M]) replayBatch(b []byte, info *batch.Info, from int64) error {
	if info.IsControl {
		return s.replayControl(info)
	}
	var it batch.Iter
	defer it.Close()
	if err := it.Reset(b, 0); err != nil {
		return err
	}
	var r batch.Record
	for it.Next(&r) {
		if r.Offset < from {
			continue
		}
		origin := coord.Origin{Offset: r.Offset, ProducerID: info.ProducerID, ProducerEpoch: info.ProducerEpoch, Transactional: info.IsTransactional}
		if err := s.machine.Replay(own(r.Key, r.Value), origin); err != nil {
			return fmt.Errorf("record at offset %d: %w", r.Offset, err)
		}
	}
	return it.Err()
}

// replayControl applies the end of a transaction. Other control records mean nothing
// to a coordinator.
func (s *shard[M]) replayControl(info *batch.Info) error {
	if !info.Control.Valid || info.Control.Type != batch.ControlCommit && info.Control.Type != batch.ControlAbort {
		return nil
	}
	return s.machine.ReplayTxnEnd(info.ProducerID, info.ProducerEpoch, info.Control.Type == batch.ControlCommit)
}

// own copies a record out of the memory that it was read into, so that a machine may
// keep parts of it.
func own(key, value []byte) coord.Record {
	b := make([]byte, 0, len(key)+len(value))
	b = append(append(b, key...), value...)
	var r coord.Record
	if key != nil {
		r.Key = b[:len(key):len(key)]
	}
	if value != nil {
		r.Value = b[len(key):len(b):len(b)]
	}
	return r
}
