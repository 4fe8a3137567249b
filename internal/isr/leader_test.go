package isr

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

func TestCheckEpochFencesOldAndRefusesNew(t *testing.T) {
	for _, c := range []struct {
		ours, theirs int32
		want         error
	}{
		{5, kafka.NoEpoch, nil}, {5, 5, nil}, {5, 4, kafka.FencedLeaderEpoch}, {5, 6, kafka.UnknownLeaderEpoch},
		{0, 0, nil}, {kafka.NoEpoch, 0, kafka.UnknownLeaderEpoch},
	} {
		if err := CheckEpoch(c.ours, c.theirs); !errors.Is(err, c.want) {
			t.Errorf("ours %d, theirs %d: %v, want %v", c.ours, c.theirs, err, c.want)
		}
	}
}

func TestDiverges(t *testing.T) {
	for _, c := range []struct {
		lastFetched int32
		offset      int64
		epoch       int32
		end         int64
		want        bool
	}{
		{3, 10, 3, 20, false}, // within our epoch 3
		{3, 20, 3, 20, false}, // at its end
		{3, 21, 3, 20, true},  // beyond what we have of it
		{3, 10, 2, 8, true},   // we have no epoch 3
		{0, 1, 0, 1, false},
	} {
		if got := Diverges(c.lastFetched, c.offset, c.epoch, c.end); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

// world lets TestCommittedRecordsAreOnTheMaximalISR decide which brokers are eligible.
type world map[int32]int64

func (w world) Eligible(id int32) (int64, bool) { e, ok := w[id]; return e, ok }

// TestCommittedRecordsAreOnTheMaximalISR drives a leader with three followers at
// random and checks the promises that the rest of the broker builds on.
func TestCommittedRecordsAreOnTheMaximalISR(t *testing.T) {
	for seed := uint64(0); seed < 200; seed++ {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := world{1: 10, 2: 20, 3: 30, 4: 40}
		l := NewLeader(1, 0, 0, 0, 100)
		version, now, end, hw := int32(0), int64(0), int64(0), int64(0)
		l.Update(Assignment{MinISR: 2, LeaderEpoch: 1, Replicas: []int32{1, 2, 3, 4}, ISR: []int32{1, 2, 3, 4}}, 0, now, w)
		at := map[int32]int64{}
		// owed are the members of all ISRs since the image that was taken last.
		owed := map[int32]bool{2: true, 3: true, 4: true}
		for range 300 {
			now += rng.Int64N(30)
			id := int32(2 + rng.IntN(3))
			switch rng.IntN(9) {
			case 0, 1:
				end += 1 + rng.Int64N(5)
				l.LocalEnd(end, end, now, w)
			case 2, 3, 4:
				at[id] = min(end, at[id]+rng.Int64N(8))
				if _, err := l.Fetched(Fetch{Replica: id, BrokerEpoch: int64(id) * 10, Offset: at[id], LeaderEnd: end, NowMs: now}, w); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			case 5:
				l.Expand(id, 10, w)
			case 6:
				l.Shrink(now, 10)
			case 7:
				p := l.Pending()
				if p == nil {
					break
				}
				if rng.IntN(3) == 0 {
					l.Rejected(p, kafka.IneligibleReplica)
					break
				}
				version++
				var isr []int32
				for _, m := range p.ISR {
					isr = append(isr, m.ID)
				}
				l.Committed(p, isr, 1, version, now, w)
				for _, id := range isr {
					owed[id] = true
				}
			case 8:
				isr := slices.Clone(l.ISR())
				l.Update(Assignment{MinISR: 2, LeaderEpoch: 1, PartitionEpoch: version, Replicas: []int32{1, 2, 3, 4}, ISR: isr}, end, now, w)
				clear(owed)
				for _, id := range isr {
					owed[id] = true
				}
			}
			if l.HighWatermark() < hw || l.HighWatermark() > end {
				t.Fatalf("seed %d: high watermark %d after %d, log end %d", seed, l.HighWatermark(), hw, end)
			}
			if l.HighWatermark() > hw {
				if len(l.ISR()) < 2 {
					t.Fatalf("seed %d: high watermark rose under min ISR", seed)
				}
				for m := range owed {
					if f := l.Follower(m); f != nil && f.EndOffset < l.HighWatermark() {
						t.Fatalf("seed %d: replica %d ends at %d, high watermark %d, ISR %v", seed, m, f.EndOffset, l.HighWatermark(), l.ISR())
					}
				}
				if p := l.Pending(); p != nil && p.Added != NoNode && l.Follower(p.Added).EndOffset < l.HighWatermark() {
					t.Fatalf("seed %d: proposed member %d is below the high watermark", seed, p.Added)
				}
			}
			hw = l.HighWatermark()
		}
	}
}
