package log

import (
	"fmt"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestMarkerIsAppendedOrRefused: an append that fails has published nothing. Whoever is told
// of a failure does not look for a new log end.
func TestMarkerIsAppendedOrRefused(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpOpen, vfs.OpSize, vfs.OpRead} {
		t.Run(op.String(), func(t *testing.T) {
			fault := vfs.NewFault(vfs.NewMem())
			r := newRig(t, fault).open()
			l := r.create()
			begin := func(pid int64) {
				if _, err := r.appendRaw(l, 3, batch.OriginCoordinator, produce(t, pid, 0, true, 1, "x")); err != nil {
					t.Fatal(err)
				}
			}
			begin(1)
			r.marker(l, 1, false)
			begin(2)
			// As a segment whose transaction index was not read yet.
			act := l.view.Load().active()
			act.txnLoad = false
			act.txns.Store(nil)
			fault.Add(vfs.Rule{Op: op, Path: "*" + suffixTxnIndex, Err: errENOSPC})
			end := l.LogEndOffset()
			a := batch.Appended{Data: markerOf(t, 2, false)}
			a.Infos = mustInfos(t, a.Data)
			_, err := l.AppendWith(&a, AppendOptions{LeaderEpoch: 3, Origin: batch.OriginCoordinator, NowMs: 1, TransactionVersion: 1})
			if kafka.CodeOf(err) != kafka.KafkaStorageError {
				t.Fatalf("the fault is not noticed: %v", err)
			}
			if now := l.LogEndOffset(); now != end {
				t.Fatalf("the append failed, and the log end went from %d to %d", end, now)
			}
			r.marker(l, 2, false)
			list, err := l.AbortedTxns(0, l.LogEndOffset())
			if err != nil || fmt.Sprint(list) != "[{1 0 1 2} {2 2 3 4}]" {
				t.Fatalf("aborted transactions: %v, %v", list, err)
			}
		})
	}
}
