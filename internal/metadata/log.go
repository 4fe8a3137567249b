package metadata

import (
	"fmt"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// Change is one step from an image to the next.
type Change struct {
	Old, New *Image
	Delta    *Delta
}

// Batch is one committed batch of the metadata log. A control batch has no
// Messages and still moves the offset.
type Batch struct {
	BaseOffset  kafka.Offset
	LastOffset  kafka.Offset
	Epoch       kafka.LeaderEpoch
	TimestampMs int64
	Messages    []records.Message
}

// Log applies the committed metadata log to an image. Records between
// BeginTransactionRecord and EndTransactionRecord become visible together, and
// those before AbortTransactionRecord never (KIP-866). It belongs to one
// goroutine.
//
// Invariant: delta holds what was replayed since image and is visible at the next
// step; held, when a transaction is open, holds what waits for its end on top.
type Log struct {
	image *Image
	delta *Delta
	seen  Provenance // of the last record replayed

	open  bool
	begin kafka.Offset
	// held are the records of the open transaction. They are checked against the
	// state when the transaction ends.
	held []records.Message
}

// NewLog starts from an image, for example Empty.
func NewLog(img *Image) *Log { return &Log{image: img, delta: NewDelta(img), seen: img.Provenance} }

// Image is the image after the last step.
func (l *Log) Image() *Image { return l.image }

// InTransaction says whether a transaction is open, and the offset of the record
// that began it.
func (l *Log) InTransaction() (begin kafka.Offset, open bool) { return l.begin, l.open }

// Append applies batches in order and returns the step they make. While a
// transaction is open the image stays where it was before the transaction, and
// the result is nil when nothing before it changed the offset. After an error the
// Log must be thrown away.
func (l *Log) Append(batches ...Batch) (*Change, error) {
	for i := range batches {
		if err := l.replayBatch(&batches[i]); err != nil {
			return nil, err
		}
	}
	p := l.seen
	if l.open {
		p.Offset = l.begin - 1
	}
	if p.Offset <= l.image.Offset {
		return nil, nil
	}
	return l.step(p), nil
}

// step makes the delta visible.
func (l *Log) step(p Provenance) *Change {
	c := &Change{Old: l.image, Delta: l.delta}
	c.New = l.delta.Apply(p)
	l.image = c.New
	l.delta = NewDelta(c.New)
	return c
}

func (l *Log) replayBatch(b *Batch) error {
	l.seen.Epoch, l.seen.TimestampMs = b.Epoch, b.TimestampMs
	for i, m := range b.Messages {
		offset := b.BaseOffset + kafka.Offset(i)
		if err := l.replay(m, offset); err != nil {
			return fmt.Errorf("metadata record %s at offset %d: %w", m.SchemaName(), offset, err)
		}
		l.seen.Offset = offset
	}
	l.seen.Offset = b.LastOffset
	return nil
}

func (l *Log) replay(m records.Message, offset kafka.Offset) error {
	switch m.(type) {
	case *records.BeginTransactionRecord:
		if l.open {
			return fmt.Errorf("a transaction is open since offset %d", l.begin)
		}
		l.open, l.begin = true, offset
		return nil
	case *records.EndTransactionRecord, *records.AbortTransactionRecord:
		return l.endTransaction(m)
	}
	if l.open {
		l.held = append(l.held, m)
		return nil
	}
	return l.delta.Replay(m)
}

func (l *Log) endTransaction(end records.Message) error {
	if !l.open {
		return fmt.Errorf("no transaction is open")
	}
	held := l.held
	l.open, l.held = false, nil
	if _, abort := end.(*records.AbortTransactionRecord); abort {
		return nil
	}
	for _, m := range held {
		if err := l.delta.Replay(m); err != nil {
			return fmt.Errorf("%s of the transaction begun at offset %d: %w", m.SchemaName(), l.begin, err)
		}
	}
	return nil
}

// LoadSnapshot replaces the state by a snapshot's records and returns the step.
func (l *Log) LoadSnapshot(p Provenance, msgs []records.Message) (*Change, error) {
	d := NewSnapshotDelta(l.image)
	for i, m := range msgs {
		if err := d.Replay(m); err != nil {
			return nil, fmt.Errorf("snapshot at offset %d: record %d, %s: %w", p.EndOffset(), i, m.SchemaName(), err)
		}
	}
	c := &Change{Old: l.image, New: d.Apply(p), Delta: d}
	*l = *NewLog(c.New)
	return c, nil
}
