package monitor

import (
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/metadata"
)

// TestUncleanElectionsAreCounted (R10): a leader that may lack records is counted as
// such once, an eligible one (KIP-966) as that, others as elections only.
func TestUncleanElectionsAreCounted(t *testing.T) {
	part := func(leader int32, recovery int8, elr ...int32) *metadata.Partition {
		return &metadata.Partition{Replicas: []int32{1, 2, 3}, ISR: []int32{1}, ELR: elr, Leader: leader, LeaderRecoveryState: recovery}
	}
	const ok, lossy = metadata.LeaderRecovered, metadata.LeaderRecovering
	var e Elections
	for _, c := range []struct{ old, now *metadata.Partition }{
		{part(1, ok), part(1, ok)},                 // the ISR changed
		{part(1, ok), part(metadata.NoLeader, ok)}, // nobody leads
		{part(metadata.NoLeader, ok), part(1, ok)},
		{part(1, ok), part(2, ok)},
		{part(metadata.NoLeader, ok, 2), part(2, ok)},
		{part(metadata.NoLeader, ok), part(3, lossy)},
		{part(3, lossy), part(3, ok)},    // it has recovered
		{part(3, lossy), part(1, lossy)}, // still the same loss
	} {
		e.count(c.old, c.now)
	}
	if e.elections.Load() != 5 || e.unclean.Load() != 1 || e.eligible.Load() != 1 {
		t.Errorf("%d elections, %d unclean, %d of eligible replicas", e.elections.Load(), e.unclean.Load(), e.eligible.Load())
	}
}

// TestCountsOutliveMachines: a machine that begins anew counts from 0, the sum goes on.
func TestCountsOutliveMachines(t *testing.T) {
	var a accumulated
	for _, c := range []struct {
		partition int32
		commits   int64
	}{{0, 10}, {1, 5}, {0, 30}, {0, 4}, {0, 6}, {1, 5}} {
		a.add(c.partition, group.Counts{OffsetCommits: c.commits})
	}
	if a.total.OffsetCommits != 41 {
		t.Errorf("%d commits, want 41", a.total.OffsetCommits)
	}
}

// TestIdleIsWhatIsLeftOfTheProcessors over the time between two looks.
func TestIdleIsWhatIsLeftOfTheProcessors(t *testing.T) {
	var i idle
	at := time.Unix(100, 0)
	i.update(time.Hour, at)
	if i.share != 1 {
		t.Errorf("at first %v", i.share)
	}
	i.update(time.Hour, at.Add(10*time.Second))
	if i.share != 1 {
		t.Errorf("without work %v", i.share)
	}
	i.update(time.Hour+1000*time.Second, at.Add(20*time.Second))
	if i.share != 0 {
		t.Errorf("with more work than there are processors %v", i.share)
	}
}
