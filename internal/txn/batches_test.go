package txn

import (
	"fmt"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

// smallTopic is a bench whose topic takes batches of that many bytes, with n transactional
// ids in a state. Each has a transaction of the number of partitions that parts says.
func smallTopic(t *testing.T, limit, n int, state State, parts func(i int) int) *bench {
	t.Helper()
	b := newBench()
	b.limit = limit
	for i := range n {
		x := &Transaction{ID: fmt.Sprintf("id-%03d", i), ProducerID: int64(i), PreviousProducerID: NoProducerID, NextProducerID: NoProducerID,
			TimeoutMs: 60_000, State: state, StartMs: b.now, LastUpdateMs: b.now}
		for p := range parts(i) {
			x.Partitions = append(x.Partitions, kafka.TopicPartition{Topic: "topic-of-a-transaction", Partition: int32(p)})
		}
		b.log = append(b.log, x.record(2))
	}
	if err := b.reload(); err != nil {
		t.Fatal(err)
	}
	return b
}

// states counts the transactional ids by state.
func (b *bench) states() map[State]int {
	n := map[State]int{}
	for _, t := range b.m.txns {
		n[t.State]++
	}
	return n
}

// TestLateTransactionsFitTheTopicsLimit: many transactions are late at once, with more
// bytes than one batch may have. All are aborted, those without partitions to the end.
func TestLateTransactionsFitTheTopicsLimit(t *testing.T) {
	b := smallTopic(t, 4096, 100, Ongoing, func(i int) int { return i % 2 })
	b.advance(60_001)
	if got := b.states(); got[PrepareAbort] != 50 || got[CompleteAbort] != 50 || len(b.markers) != 50 || b.refused > 0 {
		t.Fatalf("%v, %d markers, %d batches refused", got, len(b.markers), b.refused)
	}
	for i := range b.markers {
		b.apply(b.m.MarkersWritten(b.now, &b.markers[i], []MarkerResult{{Partition: b.markers[i].Partitions[0]}}))
	}
	if got := b.states(); got[CompleteAbort] != 100 {
		t.Errorf("%v", got)
	}
}

// TestDecidedTransactionsWithoutPartitionsFitTheTopicsLimit: a coordinator before this one
// left many that only have to be completed.
func TestDecidedTransactionsWithoutPartitionsFitTheTopicsLimit(t *testing.T) {
	b := smallTopic(t, 4096, 100, PrepareCommit, func(int) int { return 0 })
	b.advance(200)
	if got := b.states(); got[CompleteCommit] != 100 || b.refused > 0 {
		t.Errorf("%v, %d batches refused", got, b.refused)
	}
}

// TestExpiredIDsFitTheTopicsLimit: many transactional ids expire at once.
func TestExpiredIDsFitTheTopicsLimit(t *testing.T) {
	b := smallTopic(t, 4096, 500, CompleteCommit, func(int) int { return 0 })
	b.advance(8 * 86_400_000)
	if b.m.Len() != 0 || b.refused > 0 {
		t.Errorf("%d ids are left, %d batches refused", b.m.Len(), b.refused)
	}
}

// TestLimitIsThatOfNow: the topic's configuration changes while the coordinator runs.
func TestLimitIsThatOfNow(t *testing.T) {
	b := smallTopic(t, 1<<20, 100, Ongoing, func(int) int { return 1 })
	b.limit = 2048
	b.advance(60_001)
	if got := b.states(); got[PrepareAbort] != 100 || b.refused > 0 {
		t.Errorf("%v, %d batches refused", got, b.refused)
	}
}

// TestTransactionLargerThanTheLimitKeepsNobodyBack: the limit was made smaller than records
// that are there. What cannot be written is tried again, the others do not wait for it.
func TestTransactionLargerThanTheLimitKeepsNobodyBack(t *testing.T) {
	b := smallTopic(t, 4096, 100, Ongoing, func(i int) int {
		if i%30 == 0 {
			return 1200
		}
		return 1
	})
	b.advance(62_000)
	if got := b.states(); got[PrepareAbort] != 96 || got[Ongoing] != 4 {
		t.Fatalf("%v", got)
	}
	b.limit = 1 << 20
	b.advance(200)
	if got := b.states(); got[PrepareAbort] != 100 {
		t.Errorf("%v", got)
	}
}

// TestRefusedTombstonesWaitForTheNextRound: while the log takes nothing the expiry is not
// tried in a loop, although there is more than one batch holds.
func TestRefusedTombstonesWaitForTheNextRound(t *testing.T) {
	b := smallTopic(t, 1<<20, 20_000, CompleteCommit, func(int) int { return 0 })
	b.now += 8 * 86_400_000
	b.failing = kafka.NotEnoughReplicas
	b.advance(1000)
	if b.failing != nil {
		t.Fatal("nothing was written")
	}
	if n := b.m.Len(); n != 20_000 {
		t.Fatalf("%d ids are left right after the failure", n)
	}
	b.advance(3_600_000)
	if n := b.m.Len(); n != 0 {
		t.Errorf("%d ids are left after the next round", n)
	}
}
