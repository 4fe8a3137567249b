package brokerapi

import (
	"fmt"
	"math/rand"
	"reflect"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/txn"
	"github.com/gregorhq/gregor/internal/vfs"
)

// kill ends the broker as kill -9 does and starts it again.
func (k *txnKit) kill(rng *rand.Rand) {
	k.t.Helper()
	disk := k.fs.(*vfs.Mem).Crash(rng, vfs.ProcessKill)
	k.api.Transactions.Close()
	k.groups.Close()
	k.stop()
	k.fs = disk
	k.open()
	k.reps.Apply(nil, k.img.Load())
	k.ready()
}

// TestBrokerIsKilledBetweenEveryTwoStepsOfATransaction (traps.md T11): the broker that
// leads everything dies after any step of a committed and an aborted transaction, with
// the answer to that step received or lost. Nothing is forgotten, done twice or left
// open.
func TestBrokerIsKilledBetweenEveryTwoStepsOfATransaction(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	steps := 1
	for at := 0; at < steps; at++ {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("step=%d/lost=%v", at, lost), func(t *testing.T) {
				k := newTxnKit(t, 2, nil)
				var pid int64
				var epoch, next int16
				write := func(partition int32, value string) {
					got := k.c.produceTxn(12, "tid", partition, rec{pid: pid, epoch: epoch}, value)
					wantCode(t, "Produce", got.ErrorCode, nil)
				}
				end := func(commit bool) {
					eventually(t, "EndTxn is answered", func() bool {
						e := k.c.endTxn(5, "tid", pid, epoch, commit)
						if e.ErrorCode == kafka.ConcurrentTransactions.Num() {
							return false
						}
						wantCode(t, "EndTxn", e.ErrorCode, nil)
						next = e.ProducerEpoch
						return true
					})
				}
				run := []func(){
					func() { p := k.c.initTxn(5, "tid", 60000); pid, epoch = p.ProducerID, p.ProducerEpoch },
					func() { write(0, "a") },
					func() { write(1, "b") },
					func() { end(true) },
					func() { k.becomes("tid", txn.CompleteCommit); epoch = next },
					func() { write(0, "x") },
					func() { write(1, "y") },
					func() { end(false) },
					func() { k.becomes("tid", txn.CompleteAbort) },
				}
				steps = len(run)
				for i, step := range run {
					step()
					if i == at {
						k.kill(rng)
						if lost {
							step()
						}
					}
				}
				for p, want := range []string{"a", "b"} {
					v, lso := k.committed(int32(p))
					// A marker may be written twice, by the coordinator before and after.
					if !reflect.DeepEqual(v, []string{want}) || lso < 4 {
						t.Errorf("partition %d: %q, last stable offset %d", p, v, lso)
					}
					if ps := k.producers(int32(p)); len(ps) != 1 || ps[0].CurrentTxnStartOffset != -1 {
						t.Errorf("partition %d: %+v", p, ps)
					}
				}
			})
		}
	}
	if steps < 9 {
		t.Errorf("%d steps", steps)
	}
}

// TestDecidedTransactionIsFinishedAfterAKill (traps.md T11): the commit is answered while
// no marker can be written, for the partition has another leader, and the broker dies. The
// coordinator that follows writes the marker.
func TestDecidedTransactionIsFinishedAfterAKill(t *testing.T) {
	k := newTxnKit(t, 2, nil)
	p := k.c.initTxn(5, "tid", 60000)
	wantCode(t, "Produce", k.c.produceTxn(12, "tid", 0, rec{pid: p.ProducerID}, "a").ErrorCode, nil)
	lead := func(id int32) {
		k.change(k.img.Load().Topic("t").ID, 0, func(c *records.PartitionChangeRecord) { c.Leader = id })
		k.publish()
	}
	lead(2)
	wantCode(t, "EndTxn", k.c.endTxn(5, "tid", p.ProducerID, 0, true).ErrorCode, nil)
	if d := k.c.describeTxn("tid"); d.State != txn.PrepareCommit.String() {
		t.Fatalf("%+v", d)
	}
	k.kill(rand.New(rand.NewSource(1)))
	lead(1)
	k.clock.Advance(markerRetry)
	k.becomes("tid", txn.CompleteCommit)
	if v, lso := k.committed(0); !reflect.DeepEqual(v, []string{"a"}) || lso != 2 {
		t.Errorf("%q, last stable offset %d", v, lso)
	}
}
