package producer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
)

// TestSteadyPathAllocatesNothing appends as one idempotent producer does.
func TestSteadyPathAllocatesNothing(t *testing.T) {
	s := New(testConfig)
	infos := []batch.Info{{ProducerID: 7, LastOffsetDelta: 9, NumRecords: 10, MaxTimestamp: 5}}
	next := func() {
		i := &infos[0]
		i.LastOffset = i.BaseOffset + 9
		u, dup, err := s.Check(infos, batch.OriginClient, TransactionVersionUnknown, NoGuard)
		if err != nil || dup != nil {
			t.Fatal(dup, err)
		}
		s.Commit(u, i.LastOffset+1)
		i.BaseOffset += 10
		i.BaseSequence = batch.IncrementSequence(i.BaseSequence, 10)
	}
	next()
	if n := testing.AllocsPerRun(100, next); n != 0 {
		t.Errorf("%v allocations an append", n)
	}
	plain := []batch.Info{{ProducerID: batch.NoProducerID}}
	if n := testing.AllocsPerRun(100, func() {
		u, _, _ := s.Check(plain, batch.OriginClient, TransactionVersionUnknown, NoGuard)
		s.Commit(u, 5)
	}); n != 0 {
		t.Errorf("%v allocations an append without a producer", n)
	}
}

// TestManyProducersInOneAppend replicates batches of more producers than are
// found one by one, several batches each.
func TestManyProducersInOneAppend(t *testing.T) {
	s := New(testConfig)
	var infos []batch.Info
	for n := range 60 {
		infos = append(infos, batch.Info{
			ProducerID: int64(n % 20), BaseSequence: int32(n / 20), BaseOffset: int64(n), LastOffset: int64(n),
			NumRecords: 1, MaxTimestamp: int64(n),
		})
	}
	u, _, err := s.Check(infos, batch.OriginReplication, TransactionVersionUnknown, NoGuard)
	if err != nil {
		t.Fatal(err)
	}
	s.Commit(u, 60)
	es := s.Entries()
	if len(es) != 20 {
		t.Fatalf("%d producers", len(es))
	}
	for k, e := range es {
		if e.ProducerID != int64(k) || e.LastSequence != 2 || e.LastOffset != int64(40+k) {
			t.Errorf("%+v", e)
		}
	}
	// The first batch of each is still known.
	first := []batch.Info{infos[3]}
	_, dup, err := s.Check(first, batch.OriginClient, TransactionVersionUnknown, NoGuard)
	if err != nil || dup == nil || dup.FirstOffset() != 3 {
		t.Errorf("%+v %v", dup, err)
	}
}

// TestWholeTransactionsInOneAppend replicates transactions with their markers.
func TestWholeTransactionsInOneAppend(t *testing.T) {
	s := New(testConfig)
	data := func(id, offset int64, seq int32) batch.Info {
		return batch.Info{ProducerID: id, BaseSequence: seq, BaseOffset: offset, LastOffset: offset, NumRecords: 1, IsTransactional: true}
	}
	marker := func(id, offset int64, t batch.ControlType) batch.Info {
		return batch.Info{ProducerID: id, BaseSequence: -1, BaseOffset: offset, LastOffset: offset, NumRecords: 1, IsTransactional: true, IsControl: true, Control: batch.Control{Type: t, Valid: true}}
	}
	infos := []batch.Info{
		data(1, 0, 0), data(2, 1, 0), marker(1, 2, batch.ControlAbort), data(1, 3, 1),
		marker(2, 4, batch.ControlAbort), marker(1, 5, batch.ControlCommit), data(3, 6, 0),
	}
	u, _, err := s.Check(infos, batch.OriginReplication, TransactionVersionUnknown, NoGuard)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Commit(u, 7)
	want := []AbortedTxn{{1, 0, 2, 1}, {2, 1, 4, 3}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("aborted %+v, want %+v", got, want)
	}
	if o, ok := s.FirstUnstableOffset(); !ok || o != 0 {
		t.Errorf("unstable from %d, %v", o, ok)
	}
	s.OnHighWatermark(3)
	if o, _ := s.FirstUnstableOffset(); o != 1 {
		t.Errorf("unstable from %d once the first marker is replicated", o)
	}
	s.OnHighWatermark(7)
	if o, _ := s.FirstUnstableOffset(); o != 6 {
		t.Errorf("unstable from %d, the open transaction", o)
	}
}

func TestMarkerErrors(t *testing.T) {
	s := New(testConfig)
	m := batch.Info{ProducerID: 1, BaseSequence: -1, NumRecords: 1, IsTransactional: true, IsControl: true, Control: batch.Control{Type: batch.ControlCommit, Valid: true}}
	if _, _, err := s.Check([]batch.Info{m}, batch.OriginCoordinator, TransactionVersionUnknown, NoGuard); !errors.Is(err, errVersion) {
		t.Errorf("without a version: %v", err)
	}
	m.Control.Valid = false
	if _, _, err := s.Check([]batch.Info{m}, batch.OriginCoordinator, 1, NoGuard); !errors.Is(err, kafka.InvalidRecord) {
		t.Errorf("no marker: %v", err)
	}
	m.Control = batch.Control{Type: batch.ControlLeaderChange, Valid: true}
	if _, _, err := s.Check([]batch.Info{m}, batch.OriginReplication, TransactionVersionUnknown, NoGuard); !errors.Is(err, kafka.InvalidRecord) {
		t.Errorf("another control record: %v", err)
	}
}

// TestMarkerAtLargestEpoch: a transaction at the largest epoch can be ended.
func TestMarkerAtLargestEpoch(t *testing.T) {
	s := New(Config{ExpirationMs: 1000})
	d := []batch.Info{{ProducerID: 1, ProducerEpoch: math.MaxInt16, NumRecords: 1, IsTransactional: true}}
	u, _, err := s.Check(d, batch.OriginClient, TransactionVersionUnknown, NoGuard)
	if err != nil {
		t.Fatal(err)
	}
	s.Commit(u, 1)
	m := []batch.Info{{ProducerID: 1, ProducerEpoch: math.MaxInt16, BaseOffset: 1, LastOffset: 1, BaseSequence: -1, NumRecords: 1, IsTransactional: true, IsControl: true, Control: batch.Control{Type: batch.ControlCommit, Valid: true}}}
	if _, _, err := s.Check(m, batch.OriginCoordinator, TransactionVersion2, NoGuard); err != nil {
		t.Errorf("%v", err)
	}
}

func TestSnapshotRefusesDamage(t *testing.T) {
	good := AppendSnapshot(nil, []Entry{{ProducerID: 1, LastOffset: 5, LastSequence: 4, Timestamp: 1000, CurrentTxnFirstOffset: -1}})
	for k := range good {
		bad := bytes.Clone(good)
		bad[k] ^= 0x10
		if _, err := DecodeSnapshot(bad); !errors.Is(err, ErrCorruptSnapshot) {
			t.Errorf("byte %d damaged: %v", k, err)
		}
	}
	for n := range good {
		if _, err := DecodeSnapshot(good[:n]); !errors.Is(err, ErrCorruptSnapshot) {
			t.Errorf("cut off at %d: %v", n, err)
		}
	}
	s := New(testConfig)
	if err := s.Load(good, 6, 1000); err != nil || s.Len() != 1 || s.EndOffset() != 6 {
		t.Fatalf("%v %d %d", err, s.Len(), s.EndOffset())
	}
	if err := s.Load(good[:9], 9, 0); err == nil || s.Len() != 1 || s.EndOffset() != 6 {
		t.Errorf("a bad snapshot changed the state: %v", err)
	}
	if err := s.Load(good, 6, 1000+testConfig.ExpirationMs); err != nil || s.Len() != 0 {
		t.Errorf("an expired producer was loaded: %v", err)
	}
}

// FuzzDecodeSnapshot takes what follows the checksum, so that the checksum does
// not stand in the way.
func FuzzDecodeSnapshot(f *testing.F) {
	f.Add(AppendSnapshot(nil, nil)[snapshotBody:])
	f.Add(AppendSnapshot(nil, []Entry{{ProducerID: 1, LastOffset: 5, OffsetDelta: 9, CurrentTxnFirstOffset: 2}, {ProducerID: 2}})[snapshotBody:])
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff, 1, 2, 3})
	f.Fuzz(func(t *testing.T, body []byte) {
		b := binary.BigEndian.AppendUint16(nil, snapshotVersion)
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
		b = append(b, body...)
		es, err := DecodeSnapshot(b)
		if err != nil {
			return
		}
		if again := AppendSnapshot(nil, es); !bytes.HasPrefix(b[snapshotBody:], again[snapshotBody:]) {
			t.Fatalf("%x became %x", b, again)
		}
		s := New(testConfig)
		if err := s.Load(b, 0, 0); err != nil {
			t.Fatal(err)
		}
		// Whatever was loaded, the state can be worked with.
		i := batch.Info{ProducerID: 1, BaseSequence: 10, NumRecords: 1}
		if u, _, err := s.Check([]batch.Info{i}, batch.OriginReplication, TransactionVersionUnknown, NoGuard); err == nil {
			s.Commit(u, 1)
		}
		s.AppendSnapshot(nil)
	})
}

// model is what must hold of one producer, said in another way: everything that
// was ever accepted, in order.
type model struct {
	epoch int16
	next  int32
	// accepted are the batches of the current epoch.
	accepted []batch.Info
}

// FuzzModel drives one partition with the raw batches of a few producers, repeats
// among them, with crashes between check and commit and reloads from snapshots,
// and compares with the model: nothing twice, nothing out of order, duplicates
// get their own offsets.
func FuzzModel(f *testing.F) {
	for seed := range int64(4) {
		f.Add(seed, uint16(300))
	}
	f.Fuzz(func(t *testing.T, seed int64, steps uint16) {
		r := rand.New(rand.NewSource(seed))
		s := New(Config{ExpirationMs: math.MaxInt64})
		models := map[int64]*model{}
		end := int64(0)
		for range min(int(steps), 1000) {
			id := r.Int63n(3)
			m := models[id]
			if m == nil {
				m = &model{next: []int32{0, math.MaxInt32 - 3}[r.Intn(2)]}
			}
			i := batch.Info{ProducerID: id, ProducerEpoch: m.epoch, BaseSequence: m.next, LastOffsetDelta: r.Int31n(4)}
			switch r.Intn(8) {
			case 0: // a retry of any batch
				if len(m.accepted) > 0 {
					i = m.accepted[r.Intn(len(m.accepted))]
				}
			case 1:
				i.BaseSequence = batch.IncrementSequence(i.BaseSequence, 1+r.Int31n(3))
			case 2:
				i.ProducerEpoch++
				i.BaseSequence = r.Int31n(2)
			case 3:
				snapshot := s.AppendSnapshot(nil)
				if err := s.Load(snapshot, end, 0); err != nil {
					t.Fatal(err)
				}
				for _, m := range models {
					if n := len(m.accepted); n > 1 {
						m.accepted = m.accepted[n-1:]
					}
				}
				continue
			}
			i.NumRecords = i.LastOffsetDelta + 1
			i.BaseOffset, i.LastOffset = end, end+int64(i.LastOffsetDelta)
			u, dup, err := s.Check([]batch.Info{i}, batch.OriginClient, TransactionVersionUnknown, NoGuard)
			wantDup := m.find(&i)
			switch {
			case wantDup != nil:
				if err != nil || dup == nil || dup.FirstOffset() != wantDup.BaseOffset || dup.LastOffset != wantDup.LastOffset {
					t.Fatalf("%+v is a duplicate of %+v: %+v %v", i, wantDup, dup, err)
				}
			case m.mayAppend(&i):
				if err != nil || dup != nil {
					t.Fatalf("%+v in %+v: %+v %v", i, m, dup, err)
				}
				if r.Intn(10) == 0 {
					continue // the write failed
				}
				s.Commit(u, i.LastOffset+1)
				end = i.LastOffset + 1
				m.accept(i)
				models[id] = m
			default:
				if err == nil {
					t.Fatalf("%+v was let into %+v, dup %+v", i, m, dup)
				}
			}
		}
	})
}

func (m *model) find(i *batch.Info) *batch.Info {
	if i.ProducerEpoch != m.epoch {
		return nil
	}
	from := max(0, len(m.accepted)-5)
	for k := from; k < len(m.accepted); k++ {
		if a := &m.accepted[k]; a.BaseSequence == i.BaseSequence && a.LastOffsetDelta == i.LastOffsetDelta {
			return a
		}
	}
	return nil
}

func (m *model) mayAppend(i *batch.Info) bool {
	switch {
	case len(m.accepted) == 0:
		return true // not known yet
	case i.ProducerEpoch == m.epoch:
		return i.BaseSequence == m.next
	}
	return i.ProducerEpoch > m.epoch && i.BaseSequence == 0
}

func (m *model) accept(i batch.Info) {
	if i.ProducerEpoch != m.epoch {
		m.epoch, m.accepted = i.ProducerEpoch, nil
	}
	m.accepted = append(m.accepted, i)
	m.next = batch.IncrementSequence(i.LastSequence(), 1)
}
