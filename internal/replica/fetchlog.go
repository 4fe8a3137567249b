package replica

import (
	"errors"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/isr"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
)

// errLogChanged says that the log was cut or compacted during a read, which has to begin anew.
var errLogChanged = errors.New("the log changed during a read")

// readLog reads the records, and for ToLastStable which of them were aborted. The index of
// what was read may be gone by then: retention takes a segment with its index away, but moves
// the log start first; a follower may begin anew, which is another generation.
func (part *FetchPart) readLog(l *log.Log, op *FetchOp, maxBytes int, upTo int64, minOne bool) error {
	gen := l.Generation()
	data, err := l.Read(part.FetchOffset, maxBytes, upTo, minOne)
	if err == nil && op.OldFormat {
		data, err = passOver(l, data, maxBytes, upTo, minOne)
	}
	if err != nil {
		return err
	}
	if op.Isolation == ToLastStable && data.Size > 0 {
		part.Aborted, err = l.AbortedTxns(part.FetchOffset, data.NextOffset)
		switch start := l.LogStartOffset(); {
		case err != nil:
		case start > part.FetchOffset:
			err = kafka.OffsetOutOfRange.Errorf("offset %d is below the log start offset %d, which moved meanwhile", part.FetchOffset, start)
		case l.Generation() != gen:
			err = errLogChanged
		}
		if err != nil {
			part.Aborted = nil
			data.Release()
			return err
		}
	}
	part.Data = data
	return nil
}

// Records returns a copy of Data's bytes.
func (part *FetchPart) Records() ([]byte, error) {
	return part.wait.view.log.AppendData(nil, &part.Data)
}

// passOver reads on until the first batch is one that an old message format can show.
// Without that its consumer would ask for the offset of a transaction's end for ever.
func passOver(l *log.Log, data log.Data, maxBytes int, upTo int64, minOne bool) (log.Data, error) {
	for data.Size > 0 {
		raw, err := l.AppendData(nil, &data)
		if err != nil {
			data.Release()
			return log.Data{}, err
		}
		n, next, err := batch.Unconvertible(raw)
		if err != nil || n == 0 {
			return data, nil // of an error the conversion tells
		}
		data.Release()
		if data, err = l.Read(next, maxBytes, upTo, minOne); err != nil {
			return log.Data{}, err
		}
	}
	return data, nil
}

// divergence compares the fetcher's last epoch with this log (KIP-595).
func (part *FetchPart) divergence(l *log.Log, start int64) (bool, error) {
	epoch, end := l.EndOffsetForEpoch(part.LastFetchedEpoch)
	if epoch == kafka.NoEpoch || end == log.NoOffset {
		return false, kafka.OffsetOutOfRange.Errorf("could not determine the end offset of the last fetched epoch %d", part.LastFetchedEpoch)
	}
	if part.FetchOffset < start {
		return false, kafka.OffsetOutOfRange.Errorf("fetch offset %d is below the log start offset %d", part.FetchOffset, start)
	}
	if !isr.Diverges(part.LastFetchedEpoch, part.FetchOffset, epoch, end) {
		return false, nil
	}
	part.DivergingEpoch, part.DivergingEnd = epoch, end
	return true, nil
}
