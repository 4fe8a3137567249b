package replica

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/cleaner"
	"github.com/gregorhq/gregor/internal/log"
)

// keyed appends a record, or with an empty value a tombstone.
func (k *dirsKit) keyed(p *Partition, key, value string) {
	k.t.Helper()
	b := batch.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence = -1, -1, -1
	var v []byte
	if value != "" {
		v = []byte(value)
	}
	b.Append(1_700_000_000_000, []byte(key), v, nil)
	data, err := b.Build(nil)
	if err != nil {
		k.t.Fatal(err)
	}
	var s AppendSlot
	a := Appender{Acks: AcksLeader, Version: 9, NowMs: k.m.nowMs(), Owner: new(recorder)}
	if !a.Append(p, data, &s) || s.Err != nil {
		k.t.Fatalf("append: %v", s.Err)
	}
	a.Finish()
}

// compact runs a cleaner as a broker would over some hours, with producers at work.
func (k *dirsKit) compact(p *Partition) {
	k.t.Helper()
	c := cleaner.New(cleaner.Options{Logs: k.logs.Logs, Clock: k.clock, Logger: slog.New(slog.DiscardHandler),
		Config:  cleaner.Config{Enable: true, Threads: 1, DedupeBufferSize: 1 << 20, LoadFactor: 0.9, IOBufferSize: 1 << 20, IOMaxBytesPerSecond: 1e300, BackoffMs: 1000},
		HashKey: [2]uint64{1, 2}})
	defer c.Close()
	for range 3 {
		k.fillPart(p, 1100) // closes a segment
		k.clock.Advance(time.Hour)
		for range 3 {
			c.RunOnce(context.Background(), 0)
		}
	}
}

// TestResumedMoveKeepsCompactionAway: the copy that a crash left has a key's value and not
// its tombstone. Compaction of the current log must not remove both before the move goes
// on, or the key would live for ever in the new place.
func TestResumedMoveKeepsCompactionAway(t *testing.T) {
	k := newDirsKit(t, map[string]string{"log.cleanup.policy": "compact", "log.segment.bytes": "1048576",
		"log.cleaner.delete.retention.ms": "0", "log.cleaner.min.cleanable.ratio": "0"})
	p := k.topicIn("t", k.dir("/a"))
	k.keyed(p, "gone", "deleted value")
	k.fillPart(p, 1500)
	k.keyed(p, "gone", "")
	k.fillPart(p, 1100)
	if err := k.m.AlterLogDir(p.tp, "/b"); err != nil {
		t.Fatal(err)
	}
	k.m.mover.turn()
	if end := k.logs.Future(p.tp).LogEndOffset(); end == 0 || end > 1501 {
		t.Fatalf("the copy ends at %d", end)
	}
	k.restart(nil)
	p = k.m.Get("t", 0)
	if round, err := p.Log().BeginCleaning(1 << 20); !errors.Is(err, log.ErrCleaningAborted) {
		t.Errorf("a round begins before the move's first turn: %v", err)
		round.End()
	}
	k.compact(p)
	k.turns()
	k.tell()
	k.turns()
	if dirOf(p) != "/b" {
		t.Fatalf("in %s", dirOf(p))
	}
	k.compact(p)
	if l := p.Log(); l.Moving() || slices.Contains(slices.Collect(maps.Values(values(t, l))), "deleted value") {
		t.Fatalf("moving %v, or the deleted key is back", l.Moving())
	}
}
