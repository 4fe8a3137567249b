package log

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/gregorhq/gregor/internal/invariant"
	"github.com/gregorhq/gregor/internal/producer"
)

// openTxns returns the pinned handle of the transaction index, creating the file.
func (l *Log) openTxns(s *segment) (*handle, error) {
	if h := s.txnFile.cached(); h != nil {
		return h, nil
	}
	return l.env.files.open(&s.txnFile, l.path(s.base, suffixTxnIndex), openCreate)
}

// loadTxns reads the transaction index of the active segment into memory; l.mu is
// held. A file that does not exist has no entries.
func (l *Log) loadTxns(s *segment) error {
	if s.txnLoad {
		return nil
	}
	txns, err := l.readTxns(s)
	if err != nil {
		return err
	}
	s.txns.Store(&txns)
	s.txnDone = len(txns)
	s.hasTxns.Store(len(txns) > 0)
	s.txnLoad = true
	return nil
}

// readTxns reads the transaction index of a segment from its file.
func (l *Log) readTxns(s *segment) ([]AbortedTxn, error) {
	f, err := l.env.fs.Open(l.path(s.base, suffixTxnIndex))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if err := readFull(f, b, 0); err != nil {
		return nil, err
	}
	return parseTxnEntries(b, s.base)
}

// addAborted notes transactions that a marker in this append aborted; l.mu is held and
// the segment's index is loaded. Readers see them at once; if the file cannot be written
// now it is tried again with the next one, and at the latest before the segment is sealed
// or flushed.
func (l *Log) addAborted(s *segment, aborted []producer.AbortedTxn) {
	if len(aborted) == 0 {
		return
	}
	invariant.Check(s.txnLoad, "%s: a marker is added to the transaction index of segment %d, which is not loaded", l.tp, s.base)
	var txns []AbortedTxn
	if p := s.txns.Load(); p != nil {
		txns = *p
	}
	for _, t := range aborted {
		txns = append(txns, AbortedTxn(t))
	}
	s.txns.Store(&txns)
	s.hasTxns.Store(true)
	if err := l.flushTxns(s); err != nil {
		l.env.logger.Warn("aborted transactions could not be written yet", "partition", l.tp.String(), "segment", s.base, "error", err)
	}
}

// flushTxns writes the entries that are only in memory; l.mu is held.
func (l *Log) flushTxns(s *segment) error {
	p := s.txns.Load()
	if p == nil || s.txnDone == len(*p) {
		return nil
	}
	f, err := l.openTxns(s)
	if err != nil {
		return l.ioError("opening a transaction index", err)
	}
	defer f.unpin()
	var b []byte
	for _, t := range (*p)[s.txnDone:] {
		b = appendTxnEntry(b, t)
	}
	if s.txnDone == 0 {
		l.dirDirty = true
	}
	if err := writeFull(f, b, int64(s.txnDone)*txnEntrySize); err != nil {
		return l.ioError(fmt.Sprintf("writing the transaction index of segment %d", s.base), err)
	}
	s.txnDone = len(*p)
	s.indexesDirty = true
	return nil
}

// AbortedTxns lists the aborted transactions that overlap [from, upTo), ordered by
// their last offset. Those of a segment that retention takes away meanwhile are not
// listed: who has read its records looks afterwards whether the log start has passed
// from, since the start moves first.
func (l *Log) AbortedTxns(from, upTo int64) ([]AbortedTxn, error) {
	if err := l.Load(); err != nil {
		return nil, err
	}
	for {
		gen := l.gen.Load()
		if gen%2 == 1 {
			l.awaitTruncation()
			continue
		}
		list, err := l.abortedTxns(from, upTo)
		// A segment that was replaced meanwhile has its name taken over by another.
		if l.gen.Load() == gen {
			return list, err
		}
	}
}

func (l *Log) abortedTxns(from, upTo int64) ([]AbortedTxn, error) {
	var list []AbortedTxn
	v := l.view.Load()
	for i := v.floor(from); i < len(v.segs); i++ {
		txns, err := l.txnsOf(v.segs[i])
		if err != nil {
			return nil, err
		}
		for _, t := range txns {
			if t.LastOffset >= from && t.FirstOffset < upTo {
				list = append(list, t)
			}
			if t.LastStableOffset >= upTo {
				return list, nil
			}
		}
	}
	return list, nil
}

// txnsOf returns the entries of a segment.
func (l *Log) txnsOf(s *segment) ([]AbortedTxn, error) {
	if p := s.txns.Load(); p != nil {
		return *p, nil
	}
	if !s.hasTxns.Load() {
		return nil, nil
	}
	txns, err := l.readTxns(s)
	missing := err == nil && len(txns) == 0 && l.holds(s)
	if missing || errors.Is(err, errIndexDamaged) {
		if err = l.repairTxns(s); err == nil {
			txns, err = l.readTxns(s)
		}
	}
	if err != nil {
		return nil, l.ioError(fmt.Sprintf("reading the transaction index of segment %d", s.base), err)
	}
	return txns, nil
}
