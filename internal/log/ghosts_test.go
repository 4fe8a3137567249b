package log

import (
	"errors"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestRecreatedTopicHasNoneOfTheOldCheckpoints (L10): what the checkpoints say of a
// deleted topic is not taken for the one that was created again under its name, though
// the process is killed before they were written anew; nor if it was killed between the
// deletion and the creation.
func TestRecreatedTopicHasNoneOfTheOldCheckpoints(t *testing.T) {
	for _, killed := range []bool{false, true} {
		mem := vfs.NewMem()
		r := newRig(t, mem).open()
		l := r.create()
		for range 20 {
			r.mustAppend(l, 1_699_999_999_000, "old")
		}
		l.UpdateHighWatermark(18)
		if err := l.FlushTo(20); err != nil {
			t.Fatal(err)
		}
		if _, err := l.AdvanceStart(15); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.m.CheckpointHighWatermarks(), r.m.CheckpointRecoveryPoints(), r.m.CheckpointLogStartOffsets()); err != nil {
			t.Fatal(err)
		}
		if err := r.m.Delete(testTP); err != nil {
			t.Fatal(err)
		}
		if killed {
			r.reopen()
		}
		l, err := r.m.Create(testTP, kafka.TopicID{2}, kafka.ZeroUUID, r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		for range 30 {
			r.mustAppend(l, 1_699_999_999_000, "new")
		}
		r.reopen()
		l = r.log()
		if got := records(t, l, 0, 30, 10000); len(got) != 30 {
			t.Errorf("killed between %v: %d records", killed, len(got))
		}
		if start, rp, hw := l.LogStartOffset(), l.RecoveryPoint(), l.HighWatermark(); start != 0 || rp != 0 || hw != 0 {
			t.Errorf("killed between %v: start %d, recovery point %d, high watermark %d", killed, start, rp, hw)
		}
		r.close()
	}
}

// TestNothingIsMadeWhileOldCheckpointsStay: a log is not made as long as the
// checkpoints cannot be written without what they say of the older one.
func TestNothingIsMadeWhileOldCheckpointsStay(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	r := newRig(t, fault).open()
	r.mustAppend(r.create(), 1, "old")
	if err := r.m.CheckpointRecoveryPoints(); err != nil {
		t.Fatal(err)
	}
	if err := r.m.Delete(testTP); err != nil {
		t.Fatal(err)
	}
	// What fails for want of a descriptor is tried twice.
	fault.Add(vfs.Rule{Op: vfs.OpCreate, Path: fileRecoveryPoints + ".tmp", Err: errEMFILE, Times: 4})
	for range 2 {
		if _, err := r.m.Create(testTP, kafka.TopicID{2}, kafka.ZeroUUID, r.cfg); !errors.Is(err, kafka.KafkaStorageError) {
			t.Fatalf("a log beside the checkpoint of the older one: %v", err)
		}
	}
	if _, err := r.m.Create(testTP, kafka.TopicID{2}, kafka.ZeroUUID, r.cfg); err != nil || len(r.offline) > 0 {
		t.Fatalf("%v, offline %v", err, r.offline)
	}
}

// TestLogsAreMadeBesideCheckpoints: a checkpoint that somebody else is writing does not
// keep a topic from being created again.
func TestLogsAreMadeBesideCheckpoints(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open()
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				r.m.CheckpointRecoveryPoints()
				r.m.CheckpointHighWatermarks()
				r.m.CheckpointLogStartOffsets()
			}
		}
	}()
	for i := range 150 {
		if _, err := r.m.Create(testTP, kafka.TopicID{1, byte(i), byte(i >> 8)}, kafka.ZeroUUID, r.cfg); err != nil {
			t.Errorf("topic %d: %v", i, err)
			break
		}
		if err := r.m.Delete(testTP); err != nil {
			t.Errorf("topic %d: %v", i, err)
			break
		}
	}
	close(stop)
	<-ended
}
