package group

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// TestLongestMemberID: an id that a record just has room for is one like any other, now
// and after a reload.
func TestLongestMemberID(t *testing.T) {
	for _, name := range []string{"client", "i"} {
		w := newWorld(t)
		w.silent = true
		id := ""
		w.replies = func(r coord.Reply) {
			if resp, ok := r.Response.(*kmsg.JoinGroupResponse); ok {
				id = resp.MemberID
				if resp.ErrorCode != 0 {
					t.Errorf("%s: %s", name, codeName(resp.ErrorCode))
				}
			}
		}
		w.command("config", parseArgs([]string{"delay=0"}))
		w.command("join", parseArgs([]string{"v=3", name + "=" + strings.Repeat("x", maxIDPrefix)}))
		w.command("advance", parseArgs([]string{"ms=0"}))
		if len(id) != maxString {
			t.Fatalf("%s: the id has %d bytes", name, len(id))
		}
		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Group, sync.MemberID, sync.Generation = "g", id, 1
		w.apply(w.m.SyncGroup(w.now, w.next(), coord.Client{}, sync))
		w.start()
		if g := w.m.groups["g"].(*classicGroup); g.members[id] == nil || g.leader != id {
			t.Errorf("%s: the member is gone after a reload", name)
		}
	}
}

// TestNoRecordOfAnIDThatItHasNoRoomFor: whatever a caller lets through, a key or value
// with a string that is too long is empty, which the runtime refuses.
func TestNoRecordOfAnIDThatItHasNoRoomFor(t *testing.T) {
	long := strings.Repeat("x", 1<<16+3)
	member := newConsumerMember("m")
	member.rackID = &long
	c := &classicMember{id: "m", clientID: long}
	g := newClassicGroup("g")
	g.add(c, consumerProtocol)
	p := groupPartition{long, "t", 0}
	for name, r := range map[string]coord.Record{
		"group": newClassicGroup(long).emptyRecord(), "generation": g.generationRecord(nil), "offset": offsetRecord(p, &offset{}),
		"metadata": offsetRecord(groupPartition{"g", "t", 0}, &offset{metadata: long}), "tombstone": offsetTombstone(p),
		"member": member.metadataRecord("g"), "member of group": newConsumerMember("m").metadataRecord(long),
		"current": newConsumerMember(long).currentRecord("g"), "target": targetRecord("g", long, nil), "epoch": epochRecord(long, 1, 0),
		"target epoch": targetMetadataRecord(long, 1, 0), "regex": {Key: regexKey("g", long)}, "subscription": {Key: subscriptionKey(long)},
	} {
		if len(r.Key) > 0 && (r.Value == nil || len(r.Value) > 0) {
			t.Errorf("%s: key of %d bytes, value of %d", name, len(r.Key), len(r.Value))
		}
	}
	// Trailing bytes make it the key of nobody.
	m := New(DefaultConfig())
	for _, key := range [][]byte{groupKey("g"), epochKey("g"), memberKey("g", "m"), offsetKey(groupPartition{"g", "t", 0}), regexKey("g", "x")} {
		if err := m.Replay(coord.Record{Key: append(key, 'x')}, coord.Origin{}); kafka.CodeOf(err) != kafka.InvalidRecord {
			k, _ := records.DecodeCoordinatorKey(key)
			t.Errorf("%T with a byte of garbage: %v", k, err)
		}
	}
}
