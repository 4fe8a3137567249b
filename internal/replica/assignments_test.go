package replica

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

func TestAssignments(t *testing.T) {
	k := newDirsKit(t, nil)
	a, b := k.dir("/a"), k.dir("/b")
	// Where the broker chooses, it says what it chose; where it does not, it says nothing.
	chosen := k.topicIn("chosen", metadata.DirUnassigned)
	k.topicIn("given", b)
	if !k.tell() || k.tell() {
		t.Fatal("not one request")
	}
	equalIDs(t, k.ctl.told(chosen.key()), a)
	if r := k.ctl.reqs[0]; r.BrokerID != 1 || r.BrokerEpoch != 5 || len(r.Directories) != 1 {
		t.Fatalf("%+v", r)
	}
	// An image that does not have it yet does not ask for another.
	k.elect(chosen, 1)
	k.m.assign(chosen, a, nil)
	k.m.assign(chosen, a, nil)
	k.tell()
	if k.tell() {
		t.Fatal("told twice what it was told")
	}
	// Of several assignments only the newest goes out, and it comes after the one in flight.
	k.ctl.reqs = nil
	m := &k.m.assigner
	k.m.assign(chosen, b, nil)
	req, sent := m.prepare()
	k.m.assign(chosen, a, nil)
	k.m.assign(chosen, b, nil)
	k.m.assign(chosen, a, nil)
	resp, _ := k.ctl.Do(k.m.ctx, req)
	m.finish(sent, resp, nil)
	k.tell()
	equalIDs(t, k.ctl.told(chosen.key()), b, a)
	// What failed is repeated, unless another took its place.
	k.ctl.reqs = nil
	k.m.assign(chosen, b, nil)
	_, sent = m.prepare()
	pause := m.finish(sent, nil, errors.New("no answer"))
	_, sent = m.prepare()
	if second := m.finish(sent, nil, errors.New("no answer")); pause != 100*time.Millisecond || second != 2*pause {
		t.Fatalf("pauses %v, %v", pause, second)
	}
	_, sent = m.prepare()
	k.m.assign(chosen, a, nil)
	m.finish(sent, nil, errors.New("no answer"))
	k.tell()
	equalIDs(t, k.ctl.told(chosen.key()), a)
	// A partition that is refused is repeated too, the others are not.
	k.ctl.reqs = nil
	given := k.m.Get("given", 0)
	k.ctl.refuse = func(key partKey) *kafka.Code {
		if key == given.key() && len(k.ctl.reqs) < 3 {
			return kafka.NotLeaderOrFollower
		}
		return nil
	}
	taken := 0
	k.m.assign(given, a, func(ok bool) {
		if ok {
			taken++
		}
	})
	k.m.assign(chosen, b, nil)
	for k.tell() {
	}
	equalIDs(t, k.ctl.told(given.key()), a, a, a)
	equalIDs(t, k.ctl.told(chosen.key()), b)
	if taken != 1 {
		t.Fatalf("taken %d times", taken)
	}
	// A partition that is gone is not told of.
	k.ctl.reqs = nil
	k.m.assign(given, b, nil)
	r := records.NewRemoveTopicRecord()
	r.TopicID = given.topicID
	k.apply(r)
	if k.tell() {
		t.Fatal("told of a topic that was deleted")
	}
}

func TestAssignmentsAreBounded(t *testing.T) {
	k := newDirsKit(t, nil)
	tr := records.NewTopicRecord()
	tr.Name, tr.TopicID = "many", kafka.NewUUID()
	msgs := []records.Message{tr}
	const n = maxAssignments + 50
	for i := range int32(n) {
		pr := records.NewPartitionRecord()
		pr.PartitionID, pr.TopicID, pr.Replicas, pr.ISR, pr.Leader = i, tr.TopicID, []int32{1}, []int32{1}, 1
		pr.LeaderEpoch, pr.PartitionEpoch, pr.Directories = 0, 0, []kafka.UUID{metadata.DirUnassigned}
		msgs = append(msgs, pr)
	}
	k.apply(msgs...)
	sizes := []int{}
	for k.tell() {
		size := 0
		for _, d := range k.ctl.reqs[len(k.ctl.reqs)-1].Directories {
			for _, t := range d.Topics {
				size += len(t.Partitions)
			}
		}
		sizes = append(sizes, size)
	}
	if fmt.Sprint(sizes) != fmt.Sprint([]int{maxAssignments, 50}) {
		t.Fatalf("requests of %v", sizes)
	}
}

// TestNothingIsAssignedBeforeTheMetadataKnowsDirectories: it is when it does.
func TestNothingIsAssignedBeforeTheMetadataKnowsDirectories(t *testing.T) {
	k := newDirsKit(t, nil)
	level := func(n int16) {
		v := records.NewFeatureLevelRecord()
		v.Name, v.FeatureLevel = metadata.FeatureMetadataVersion, n
		k.apply(v)
	}
	k.m.dirsSupported.Store(false)
	level(10)
	p := k.topicIn("t", metadata.DirMigrating)
	if k.tell() {
		t.Fatal("told")
	}
	level(30)
	k.tell()
	equalIDs(t, k.ctl.told(p.key()), k.dir("/a"))
}

// TestDirectoriesTold: a broker knows whether the controller knows where its replicas are.
func TestDirectoriesTold(t *testing.T) {
	k := newDirsKit(t, nil)
	check := func(want bool, when string) {
		t.Helper()
		if got := k.m.DirectoriesTold(); got != want {
			t.Errorf("%s: %v", when, got)
		}
	}
	check(true, "without partitions")
	p := k.topicIn("t", metadata.DirUnassigned)
	check(false, "before the metadata has it")
	k.assigned(p, k.dir("/a"))
	check(true, "when the metadata has it")
	k.assigned(p, k.dir("/b"))
	check(false, "in another directory than the metadata says, as before the swap of a move")
	k.assigned(p, metadata.DirUnassigned)
	k.restart(func(mem *vfs.Mem) {
		if err := errors.Join(mem.Rename("/a", "/gone"), vfs.WriteFileAtomic(mem, "/a", []byte("x"))); err != nil {
			t.Fatal(err)
		}
	})
	check(false, "while it may be in a directory that is offline")
	k.assigned(k.m.Get("t", 0), metadata.DirLost)
	check(true, "when the metadata has it as lost")
}
