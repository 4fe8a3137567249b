package group

import (
	"bytes"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// TestTopicsRecordOfOlderBrokersIsRemoved covers the upgrade of a group whose topics
// stand in the log in the form before KIP-1101.
func TestTopicsRecordOfOlderBrokersIsRemoved(t *testing.T) {
	w := newWorld(t)
	w.silent = true
	old := coord.Record{Key: subscriptionKey("g"), Value: records.EncodeCoordinatorValue(&records.ConsumerGroupPartitionMetadataValue{})}
	if err := w.m.Replay(old, coord.Origin{ProducerID: coord.NoProducerID}); err != nil {
		t.Fatal(err)
	}
	w.command("beat", parseArgs([]string{"m=m1"}))
	for _, l := range w.log {
		if bytes.Equal(l.rec.Key, subscriptionKey("g")) && l.rec.Value == nil {
			return
		}
	}
	t.Fatal("the record is still there")
}

// TestReplayOfForeignRecords: records of share and streams groups, and of types that are
// not known yet, change nothing.
func TestReplayOfForeignRecords(t *testing.T) {
	m := New(DefaultConfig())
	for _, key := range [][]byte{
		records.EncodeCoordinatorKey(&records.ShareGroupMetadataKey{GroupID: "s"}),
		records.EncodeCoordinatorKey(&records.StreamsGroupMetadataKey{GroupID: "s"}),
		{0, 77, 1, 2, 3},
	} {
		if err := m.Replay(coord.Record{Key: key, Value: []byte{0, 0, 1}}, coord.Origin{}); err != nil {
			t.Error(err)
		}
	}
	if err := m.Replay(coord.Record{Key: []byte{0}}, coord.Origin{}); err == nil {
		t.Error("a key of one byte was accepted")
	}
	if err := m.Replay(coord.Record{Key: offsetKey(groupPartition{"g", "t", 0}), Value: []byte{0, 99}}, coord.Origin{}); err == nil {
		t.Error("an offset of an unknown version was accepted")
	}
	if n := len(m.Groups()); n != 0 {
		t.Errorf("%d groups", n)
	}
}

// TestDescribeWithoutName: a group needs a name to be a consumer group, whatever else
// is there.
func TestDescribeWithoutName(t *testing.T) {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = []string{""}
	out := New(DefaultConfig()).ConsumerGroupDescribe(0, 1, coord.Client{}, req)
	if g := out.Replies[0].Response.(*kmsg.ConsumerGroupDescribeResponse).Groups[0]; g.ErrorCode != kafka.InvalidGroupID.Num() || g.ErrorMessage != nil {
		t.Errorf("%+v", g)
	}
}

// TestTimersOfStrangeNames: ids may hold the separator of the timers' keys.
func TestTimersOfStrangeNames(t *testing.T) {
	for _, group := range []string{"g", "g\x00m", "\x00", "1\x00g"} {
		for _, member := range []string{"m", "\x00m", ""} {
			kind, g, m := parseTimerKey(timerKey(keySession, group, member))
			if kind != keySession || g != group || m != member {
				t.Errorf("%q of %q became %q of %q", member, group, m, g)
			}
		}
	}
	m := New(DefaultConfig())
	for _, key := range []string{"", "session", "session\x00x\x00g", "session\x009\x00g"} {
		if out := m.OnTimer(key, 0); !out.Empty() {
			t.Errorf("timer %q did something", key)
		}
	}
}

// TestAppendErrorsForMembers checks what members are told when the log refuses a batch.
func TestAppendErrorsForMembers(t *testing.T) {
	for from, want := range map[*kafka.Code]*kafka.Code{
		kafka.NotEnoughReplicas:       kafka.CoordinatorNotAvailable,
		kafka.RequestTimedOut:         kafka.CoordinatorNotAvailable,
		kafka.NotLeaderOrFollower:     kafka.NotCoordinator,
		kafka.KafkaStorageError:       kafka.NotCoordinator,
		kafka.MessageTooLarge:         kafka.UnknownServerError,
		kafka.CoordinatorNotAvailable: kafka.CoordinatorNotAvailable,
	} {
		if got := appendErrorCode(from); got != want {
			t.Errorf("%s is told as %s, not %s", from.Name(), got.Name(), want.Name())
		}
	}
}

func FuzzReplay(f *testing.F) {
	w := newWorld(f)
	w.silent = true
	w.cfg.InitialRebalanceDelayMs = 0
	w.start()
	w.command("join", parseArgs([]string{"v=3"}))
	w.advance(0)
	w.command("sync", parseArgs([]string{"m=c-#01", "c-#01:#t:0"}))
	w.command("beat", parseArgs([]string{"m=m1"}))
	w.command("commit", parseArgs([]string{"g=k", "t:0:1"}))
	for _, l := range w.log {
		f.Add(l.rec.Key, l.rec.Value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		m := New(w.cfg)
		if m.Replay(coord.Record{Key: key, Value: value}, coord.Origin{ProducerID: -1}) == nil {
			m.Loaded(0)
			m.OnTimer(expirationKey, 1<<50)
		}
	})
}

// FuzzEmbedded feeds members' own metadata and assignments, which clients make up.
func FuzzEmbedded(f *testing.F) {
	f.Add(subscription([]string{"t"}, "t:0,1"), assignmentBytes(idPrefix+"t:0"))
	f.Fuzz(func(t *testing.T, metadata, assignment []byte) {
		w := newWorld(t)
		w.silent = true
		w.cfg.InitialRebalanceDelayMs = 0
		w.start()
		r := joinRequest(parseArgs([]string{"v=3"}))
		r.Protocols[0].Metadata = metadata
		w.apply(w.m.JoinGroup(w.now, w.next(), coord.Client{ID: "c"}, r))
		w.advance(0)
		s := syncRequest(parseArgs([]string{"m=c-#01"}))
		s.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: s.MemberID, MemberAssignment: assignment}}
		w.apply(w.m.SyncGroup(w.now, w.next(), coord.Client{ID: "c"}, s))
		w.command("beat", parseArgs([]string{"m=m1"}))
		r.MemberID = s.MemberID
		w.apply(w.m.JoinGroup(w.now, w.next(), coord.Client{ID: "c"}, r))
		w.command("beat", parseArgs([]string{"m=m1", "epoch=-1"}))
	})
}
