package replica

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestDeletionIsTriedAgain: a log that could not be deleted for a cause that passes is
// deleted when it can be, not kept for ever; one whose partition has come back stays.
func TestDeletionIsTriedAgain(t *testing.T) {
	for _, back := range []bool{false, true} {
		t.Run(fmt.Sprintf("comes back %v", back), func(t *testing.T) {
			fault := vfs.NewFault(vfs.NewMem())
			k := newKitOn(t, fault)
			id := k.topic("t", 2, 1)
			tp := kafka.TopicPartition{Topic: "t"}
			fault.Add(vfs.Rule{Op: vfs.OpRename, Path: "*-delete", Err: syscall.ENOSPC, Times: -1})
			k.reassign(id, 0, 2)
			k.m.Reopen()
			if k.logs.Get(tp) == nil {
				t.Fatal("the log is gone though its folder could not be renamed")
			}
			if back {
				k.reassign(id, 0, 1)
			}
			fault.Clear()
			k.m.Reopen()
			if there := k.logs.Get(tp) != nil; there != back {
				t.Fatalf("the log is there: %v", there)
			}
			if back {
				if s := k.produce(k.m.Get("t", 0), AcksLeader, "a"); s.Err != nil {
					t.Fatal(s.Err)
				}
			}
		})
	}
}

// TestLogGoesWithAPartitionThatIsOffline: a partition that could not become the leader has
// no log for those who ask, yet its files are there, and go with it: now, or when they can.
func TestLogGoesWithAPartitionThatIsOffline(t *testing.T) {
	tp := kafka.TopicPartition{Topic: "t"}
	for _, cause := range []error{syscall.ENOSPC, syscall.EMFILE} {
		for _, c := range []struct {
			name string
			drop func(k *kit, id kafka.TopicID)
			// full says that the fault goes on while the partition is taken away.
			full bool
		}{
			{"deleted", deleteTopic, false},
			{"deleted while full", deleteTopic, true},
			{"reassigned", func(k *kit, id kafka.TopicID) { k.reassign(id, 0, 2) }, false},
		} {
			t.Run(fmt.Sprint(cause, " ", c.name), func(t *testing.T) {
				fault := vfs.NewFault(vfs.NewMem())
				k := newKitOn(t, fault)
				id := k.topic("t", 1, 2, 1)
				// After a clean stop a log is loaded when it is first used.
				k.reopen()
				for _, op := range []vfs.Op{vfs.OpCreate, vfs.OpOpen, vfs.OpRead} {
					fault.Add(vfs.Rule{Op: op, Path: "/data/t-0/*", Err: cause, Times: -1})
				}
				k.apply(leaderChange(id, 0, 1, nil))
				if p := k.m.Get("t", 0); p.Log() != nil || k.logs.Get(tp) == nil {
					t.Fatal("not a partition whose log cannot be used")
				}
				if c.full {
					fault.Add(vfs.Rule{Op: vfs.OpRename, Path: "*-delete", Err: cause, Times: -1})
				} else {
					fault.Clear()
				}
				c.drop(k, id)
				if there := k.logs.Get(tp) != nil; there != c.full {
					t.Fatalf("the log is there: %v", there)
				}
				fault.Clear()
				k.m.Reopen()
				if k.logs.Get(tp) != nil {
					t.Fatal("the log is there still")
				}
				if st := &k.m.Stats; st.OfflineReplicaCount.Load() != 0 || st.PartitionCount.Load() != 0 {
					t.Fatalf("%d offline, %d partitions", st.OfflineReplicaCount.Load(), st.PartitionCount.Load())
				}
			})
		}
	}
}

func deleteTopic(k *kit, id kafka.TopicID) {
	r := records.NewRemoveTopicRecord()
	r.TopicID = id
	k.apply(r)
}

// TestTopicGoesWithItsLastReplica: a topic that has no replica here any more is not listed,
// so that its metrics end, and begins anew when one comes back.
func TestTopicGoesWithItsLastReplica(t *testing.T) {
	k := newKit(t)
	id := k.topic("t", 2, 1)
	topics := func() (names []string) {
		k.m.Topics(func(name string, _ *TopicStats) { names = append(names, name) })
		return names
	}
	k.produce(k.m.Get("t", 1), AcksLeader, "a")
	k.reassign(id, 0, 2)
	if got := topics(); len(got) != 1 {
		t.Fatalf("topics %v with a replica of t-1", got)
	}
	k.reassign(id, 1, 2)
	if got := topics(); len(got) != 0 || k.m.GetByID(id, 1) != nil {
		t.Fatalf("topics %v without a replica", got)
	}
	k.reassign(id, 1, 1)
	if got := topics(); len(got) != 1 {
		t.Fatalf("topics %v when a replica has come back", got)
	}
	if s := k.produce(k.m.Get("t", 1), AcksLeader, "b"); s.Err != nil || s.BaseOffset != 0 {
		t.Fatalf("append: offset %d, %v", s.BaseOffset, s.Err)
	}
	if n := k.m.Get("t", 1).TopicStats().MessagesIn.Load(); n != 1 {
		t.Errorf("%d messages", n)
	}
	if k.m.Get("t", 0) != nil {
		t.Error("a replica that is elsewhere is here")
	}
}

// TestPartitionsMadeOnAFullDiskComeOnline (L6): what failed for want of room or of
// descriptors, at whatever step, is tried again until it succeeds; the counts are right.
// The epoch is written with the first record, so that a leader without room for it is online.
func TestPartitionsMadeOnAFullDiskComeOnline(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EMFILE} {
		for _, c := range []struct {
			rule    vfs.Rule
			offline int64
		}{
			{vfs.Rule{Op: vfs.OpMkdir, Path: "/data/t-*"}, 2}, {vfs.Rule{Op: vfs.OpCreate, Path: "*.log"}, 2}, {vfs.Rule{Op: vfs.OpWrite, Path: "leader-epoch-checkpoint.tmp"}, 0},
			{vfs.Rule{Op: vfs.OpCreate, Path: "partition.metadata.tmp"}, 2},
		} {
			rule := c.rule
			t.Run(fmt.Sprintf("%v %v %s", cause, rule.Op, rule.Path), func(t *testing.T) {
				fault := vfs.NewFault(vfs.NewMem())
				k := newKitOn(t, fault)
				rule.Err, rule.Times = cause, -1
				fault.Add(rule)
				k.topic("t", 2, 1)
				k.m.Reopen()
				st := &k.m.Stats
				if s := k.produce(k.m.Get("t", 0), AcksLeader, "a"); kafka.CodeOf(s.Err) != kafka.KafkaStorageError {
					t.Fatalf("append: %v", s.Err)
				}
				if n := st.OfflineReplicaCount.Load(); n != c.offline {
					t.Fatalf("%d replicas are offline, want %d", n, c.offline)
				}
				fault.Clear()
				k.m.Reopen()
				for i := range int32(2) {
					if s := k.produce(k.m.Get("t", i), AcksLeader, "a"); s.Err != nil || s.BaseOffset != 0 {
						t.Fatalf("append to %d: offset %d, %v", i, s.BaseOffset, s.Err)
					}
				}
				if o, p, l := st.OfflineReplicaCount.Load(), st.PartitionCount.Load(), st.LeaderCount.Load(); o != 0 || p != 2 || l != 2 {
					t.Fatalf("%d offline, %d partitions, %d leaders", o, p, l)
				}
			})
		}
	}
}

// TestReopenedReplicaTellsItsDirectory: a replica whose directory is gone, as the metadata
// has it, is made in another when the cause that it could not be has passed. The controller
// has to learn of that: it makes nobody leader whose directory is offline.
func TestReopenedReplicaTellsItsDirectory(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EMFILE} {
		for _, dir := range []struct {
			name string
			id   kafka.UUID
		}{{"lost", metadata.DirLost}, {"unassigned", metadata.DirUnassigned}} {
			t.Run(fmt.Sprint(cause, " ", dir.name), func(t *testing.T) {
				k := newDirsKit(t, nil)
				for _, path := range []string{"/a/t-*", "/b/t-*"} {
					k.fault.Add(vfs.Rule{Op: vfs.OpMkdir, Path: path, Err: cause, Times: -1})
				}
				key := k.topicIn("t", dir.id).key()
				k.m.Reopen()
				if k.tell() {
					t.Fatal("told of a replica that is not there")
				}
				k.fault.Clear()
				k.m.Reopen()
				p := k.m.Get("t", 0)
				if p.Log() == nil {
					t.Fatal("the partition is offline")
				}
				k.tell()
				equalIDs(t, k.ctl.told(key), k.dir(dirOf(p)))
			})
		}
	}
}
