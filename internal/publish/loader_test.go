package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// spy is a publisher that notes what it is given.
type spy struct {
	name    string
	loader  **Loader
	mu      *sync.Mutex
	events  *[]string
	updates []Update
}

func (s *spy) Name() string { return s.name }

func (s *spy) Publish(u Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	visible := (*s.loader).Current().Offset
	*s.events = append(*s.events, fmt.Sprintf("%s %d->%d visible %d", s.name, u.Old.Offset, u.New.Offset, visible))
	s.updates = append(s.updates, u)
}

func topic(name string, id byte) records.Message {
	r := records.NewTopicRecord()
	r.Name, r.TopicID = name, kafka.UUID{15: id}
	return r
}

func batchAt(base kafka.Offset, msgs ...records.Message) *quorum.Batch {
	last := base + kafka.Offset(max(len(msgs), 1)) - 1
	return &quorum.Batch{Batch: metadata.Batch{BaseOffset: base, LastOffset: last, Epoch: 1, Messages: msgs}, SizeBytes: 100}
}

func wait(t *testing.T, l *Loader, end kafka.Offset) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := l.WaitFor(ctx, end); err != nil {
		t.Fatal(err)
	}
}

func newSpied(t *testing.T) (*Loader, *spy, *[]string) {
	t.Helper()
	var l *Loader
	var mu sync.Mutex
	events := &[]string{}
	a, b := &spy{name: "a", loader: &l, mu: &mu, events: events}, &spy{name: "b", loader: &l, mu: &mu, events: events}
	l = New(slog.New(slog.DiscardHandler), func(err error) { t.Error(err) }, a, b)
	return l, a, events
}

func TestNothingIsPublishedBeforeALeaderIsKnown(t *testing.T) {
	l, a, events := newSpied(t)
	// Everything is in the queue before the loader runs, so the steps are known.
	send := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	send(l.HandleCommit(batchAt(0)))
	send(l.HandleCommit(batchAt(1, topic("x", 1), topic("y", 2))))
	l.HandleLeaderChange(quorum.LeaderAndEpoch{Leader: kafka.NoNode, Epoch: 1})
	l.HandleLeaderChange(quorum.LeaderAndEpoch{Leader: 1, Epoch: 1})
	send(l.HandleCommit(batchAt(3, topic("z", 3))))
	l.Start()
	defer l.Close()
	wait(t, l, 4)
	want := []string{"a -1->2 visible -1", "b -1->2 visible -1", "a 2->3 visible 2", "b 2->3 visible 2"}
	if !slices.Equal(*events, want) {
		t.Errorf("events %q, want %q", *events, want)
	}
	if first := a.updates[0]; first.Delta != nil || !first.Snapshot || first.New.Topic("y") == nil {
		t.Errorf("first update %+v", first)
	}
	if second := a.updates[1]; second.Delta == nil || second.Snapshot || second.Bytes != 100 || second.Leader.Leader != 1 {
		t.Errorf("second update %+v", second)
	}
	if l.Leader() != (quorum.LeaderAndEpoch{Leader: 1, Epoch: 1}) {
		t.Errorf("leader %+v", l.Leader())
	}
}

func TestTransactionsBecomeVisibleTogether(t *testing.T) {
	l, _, _ := newSpied(t)
	l.Start()
	defer l.Close()
	l.HandleLeaderChange(quorum.LeaderAndEpoch{Leader: 1, Epoch: 1})
	for _, b := range []*quorum.Batch{
		batchAt(0, topic("before", 1)),
		batchAt(1, records.NewBeginTransactionRecord(), topic("inside", 2)),
		batchAt(3, topic("inside2", 3)),
	} {
		if err := l.HandleCommit(b); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, l, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.WaitFor(ctx, 4); !errors.Is(err, kafka.RequestTimedOut) {
		t.Errorf("an open transaction is visible: %v", err)
	}
	if err := l.HandleCommit(batchAt(4, records.NewEndTransactionRecord())); err != nil {
		t.Fatal(err)
	}
	wait(t, l, 5)
	if img := l.Current(); img.Topic("inside") == nil || img.Topic("inside2") == nil {
		t.Error("the transaction's topics are not there")
	}
}

func TestRecordsThatDoNotApplyAreFatal(t *testing.T) {
	fatal := make(chan error, 1)
	l := New(slog.New(slog.DiscardHandler), func(err error) { fatal <- err })
	l.Start()
	defer l.Close()
	r := records.NewRemoveTopicRecord()
	r.TopicID = kafka.UUID{1}
	if err := l.HandleCommit(batchAt(0, r)); err != nil {
		t.Fatal(err)
	}
	if err := <-fatal; err == nil {
		t.Error("no error")
	}
	if err := l.WaitFor(context.Background(), 1); !errors.Is(err, errEnded) {
		t.Errorf("a loader that has ended tells who waits %v", err)
	}
}

func TestSnapshotReplacesTheImage(t *testing.T) {
	fsys := vfs.NewMem()
	id := storage.SnapshotID{EndOffset: 50, Epoch: 3}
	w, err := storage.CreateSnapshot(fsys, "/", id, storage.SnapshotHeader{LastContainedLogTimeMs: 9}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(topic("from-snapshot", 1)); err != nil {
		t.Fatal(err)
	}
	if err := w.Freeze(); err != nil {
		t.Fatal(err)
	}
	l, a, _ := newSpied(t)
	l.Start()
	defer l.Close()
	l.HandleLeaderChange(quorum.LeaderAndEpoch{Leader: 1, Epoch: 1})
	if err := l.HandleCommit(batchAt(0, topic("gone", 7))); err != nil {
		t.Fatal(err)
	}
	r, err := storage.OpenSnapshot(fsys, "/", id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := l.HandleSnapshot(r); err != nil {
		t.Fatal(err)
	}
	wait(t, l, 50)
	img := l.Current()
	if img.Topic("gone") != nil || img.Topic("from-snapshot") == nil || img.Epoch != 3 || img.TimestampMs != 9 {
		t.Errorf("image %+v", img.Provenance)
	}
	if last := a.updates[len(a.updates)-1]; !last.Snapshot {
		t.Error("the update does not say that it is a snapshot")
	}
}

// snapshotEngine is the part of an engine that Snapshots uses.
type snapshotEngine struct {
	quorum.Engine
	fsys vfs.FS
	done chan storage.SnapshotID
}

func (e *snapshotEngine) CreateSnapshot(id storage.SnapshotID, ms int64) (*storage.SnapshotWriter, error) {
	return storage.CreateSnapshot(e.fsys, "/", id, storage.SnapshotHeader{LastContainedLogTimeMs: ms}, 1)
}

func (e *snapshotEngine) SnapshotDone(id storage.SnapshotID) { e.done <- id }

func TestSnapshotsByBytesAndTime(t *testing.T) {
	e := &snapshotEngine{fsys: vfs.NewMem(), done: make(chan storage.SnapshotID, 1)}
	clk := clock.NewVirtual(time.UnixMilli(1e12))
	s := NewSnapshots(e, clk, slog.New(slog.DiscardHandler), 250, time.Hour)
	l := New(slog.New(slog.DiscardHandler), func(err error) { t.Error(err) }, s)
	l.Start()
	defer l.Close()
	l.HandleLeaderChange(quorum.LeaderAndEpoch{Leader: 1, Epoch: 1})
	at := kafka.Offset(0)
	commit := func() {
		t.Helper()
		if err := l.HandleCommit(batchAt(at, topic(fmt.Sprint("t", at), byte(at+1)))); err != nil {
			t.Fatal(err)
		}
		at++
		wait(t, l, at)
	}
	none := func(when string) {
		t.Helper()
		select {
		case id := <-e.done:
			t.Fatalf("snapshot %s %s", id, when)
		default:
		}
	}
	commit()
	commit()
	none("after 200 bytes")
	commit()
	if id := <-e.done; id.EndOffset != 3 {
		t.Errorf("snapshot %s after three batches", id)
	}
	r, err := storage.OpenSnapshot(e.fsys, "/", storage.SnapshotID{EndOffset: 3, Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if recs, err := r.ReadAll(); err != nil || len(recs) != 3 {
		t.Errorf("%d records, %v", len(recs), err)
	}
	s.mu.Lock()
	for s.busy {
		s.written.Wait()
	}
	s.mu.Unlock()
	clk.Advance(time.Hour)
	commit()
	if id := <-e.done; id.EndOffset != 4 {
		t.Errorf("snapshot %s after an hour", id)
	}
	s.Close()
	clk.Advance(2 * time.Hour)
	commit()
	none("after Close")
}

// A state that the gate refuses is kept back, with all that comes after it, until one
// passes; that one is published as a whole.
func TestGateKeepsBackOldStates(t *testing.T) {
	l, a, _ := newSpied(t)
	l.Gate = func(img *metadata.Image) bool { return img.Topic("now") != nil }
	l.Start()
	defer l.Close()
	l.HandleLeaderChange(quorum.LeaderAndEpoch{Leader: 1, Epoch: 1})
	for _, b := range []*quorum.Batch{batchAt(0, topic("old", 1)), batchAt(1, topic("now", 2)), batchAt(2, topic("later", 3))} {
		if err := l.HandleCommit(b); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, l, 3)
	first := a.updates[0]
	if first.Delta != nil || first.New.Topic("old") == nil || first.New.Topic("now") == nil {
		t.Errorf("first update %+v", first)
	}
}
