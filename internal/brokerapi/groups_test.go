package brokerapi

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/vfs"
)

// groupKit is a broker that coordinates groups: __consumer_offsets has two partitions,
// of which it leads the first, and broker 2 the second.
type groupKit struct {
	*kit
	offsets kafka.TopicID
	topicT  kafka.TopicID
	member  byte
}

// here and elsewhere are groups of the first and the second partition.
const here, elsewhere = "my-group", "orders"

func newGroupKit(t *testing.T) *groupKit {
	t.Helper()
	k := &groupKit{}
	k.kit = &kit{t: t, clock: clock.NewVirtual(time.UnixMilli(testEpochMs)), fs: vfs.NewMem(), cfg: testConfig(t, nil), setUp: k.coordinator}
	k.wheel = clock.NewWheel(k.clock)
	k.wheel.Start()
	k.net, k.addr = netx.NewMem(k.clock), "localhost:9092"
	k.open()
	k.apply(brokers()...)
	level := records.NewFeatureLevelRecord()
	level.Name, level.FeatureLevel = featureGroupVersion, 1
	k.apply(level)
	k.topicT = k.topic("t", 1, []int32{1})
	k.offsets = k.topic(kafka.OffsetsTopic, 2, []int32{1, 2})
	k.lead(0, 1)
	k.lead(1, 2)
	return k
}

func (k *groupKit) coordinator(a *API) {
	cfg := group.DefaultConfig()
	cfg.InitialRebalanceDelayMs = 0
	cfg.Image = a.Image
	cfg.Random = func() (b [16]byte) { k.member++; return [16]byte{k.member} }
	a.Groups = rsm.NewCoordinator(rsm.CoordinatorConfig[*group.Machine]{
		Topic: kafka.OffsetsTopic, NodeID: 1, Replicas: k.reps, Clock: k.clock, Wheel: k.wheel, Logger: a.Log,
		New:           func(int32) *group.Machine { return group.New(cfg) },
		CommitTimeout: 5 * time.Second, LoadBufferSize: 1 << 20, Codec: batch.CodecNone,
	})
	k.t.Cleanup(a.Groups.Close)
}

// lead makes a broker the only replica in sync of a partition of __consumer_offsets, and
// waits until the coordinator has followed.
func (k *groupKit) lead(partition, leader int32) {
	k.t.Helper()
	k.change(k.offsets, partition, func(r *records.PartitionChangeRecord) { r.Leader, r.ISR = leader, []int32{leader} })
	k.api.Groups.Apply(nil, k.img.Load())
	if leader != 1 {
		return
	}
	c := k.client()
	eventually(k.t, "the coordinator is loaded", func() bool {
		return c.do(kmsg.NewPtrListGroupsRequest()).(*kmsg.ListGroupsResponse).ErrorCode == 0
	})
}

// at sets the version of a request.
func at[R kmsg.Request](req R, version int16) R {
	req.SetVersion(version)
	return req
}

func (k *groupKit) versions(key int16) []int16 {
	e := k.api.Table()[key]
	var all []int16
	for v := e.Min; v <= e.Max; v++ {
		all = append(all, v)
	}
	return all
}

func TestFindCoordinator(t *testing.T) {
	k := newGroupKit(t)
	c := k.client()
	for _, v := range k.versions(10) {
		find := func(kind int8, key string) (node int32, host string, code int16) {
			req := at(kmsg.NewPtrFindCoordinatorRequest(), v)
			req.CoordinatorKey, req.CoordinatorType, req.CoordinatorKeys = key, kind, []string{key}
			resp := c.do(req).(*kmsg.FindCoordinatorResponse)
			if v > 0 && v < 4 && resp.ErrorCode == 0 && (resp.ErrorMessage == nil || *resp.ErrorMessage != "NONE") {
				t.Errorf("v%d: text %v", v, resp.ErrorMessage)
			}
			if v < 4 {
				return resp.NodeID, resp.Host, resp.ErrorCode
			}
			if len(resp.Coordinators) != 1 || resp.Coordinators[0].Key != key {
				t.Fatalf("v%d: %+v", v, resp)
			}
			one := resp.Coordinators[0]
			wantText := ""
			if kind == shareKey {
				wantText = kafka.InvalidRequest.Message()
			}
			if one.ErrorMessage == nil || *one.ErrorMessage != wantText {
				t.Errorf("v%d: text %v", v, one.ErrorMessage)
			}
			return one.NodeID, one.Host, one.ErrorCode
		}
		if n, h, code := find(groupKey, here); n != 1 || h != "host1" || code != 0 {
			t.Errorf("v%d: node %d at %q, code %d", v, n, h, code)
		}
		if n, h, code := find(groupKey, elsewhere); n != 2 || h != "host2" || code != 0 {
			t.Errorf("v%d: node %d at %q, code %d", v, n, h, code)
		}
		if v == 0 {
			continue
		}
		n, _, code := find(transactionKey, "x")
		wantCode(t, fmt.Sprintf("v%d: no topic", v), code, kafka.CoordinatorNotAvailable)
		if n != -1 {
			t.Errorf("v%d: node %d", v, n)
		}
		_, _, code = find(shareKey, "x")
		wantCode(t, fmt.Sprintf("v%d: share", v), code, kafka.InvalidRequest)
	}
}

// rounds sends a JoinGroup and lets time pass until it is answered.
func (k *groupKit) rounds(c *client, req *kmsg.JoinGroupRequest) *kmsg.JoinGroupResponse {
	k.t.Helper()
	c.send(req)
	answer := make(chan kmsg.Response, 1)
	go func() {
		resp, _ := c.tryReceive(req)
		answer <- resp
	}()
	var resp kmsg.Response
	eventually(k.t, "JoinGroup is answered", func() bool {
		k.clock.Advance(time.Millisecond)
		select {
		case resp = <-answer:
			return true
		default:
			return false
		}
	})
	return resp.(*kmsg.JoinGroupResponse)
}

// join makes one member the whole group and returns its id.
func (k *groupKit) join(c *client, v int16, name string) string {
	k.t.Helper()
	req := at(kmsg.NewPtrJoinGroupRequest(), v)
	req.Group, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = name, 10_000, 10_000, "consumer"
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("subscription")}}
	resp := k.rounds(c, req)
	if resp.ErrorCode == kafka.MemberIDRequired.Num() && v >= 4 {
		req.MemberID = resp.MemberID
		resp = k.rounds(c, req)
	}
	if resp.ErrorCode != 0 || resp.Generation != 1 || resp.LeaderID != resp.MemberID || len(resp.Members) != 1 ||
		string(resp.Members[0].ProtocolMetadata) != "subscription" {
		k.t.Fatalf("JoinGroup v%d: %+v", v, resp)
	}
	return resp.MemberID
}

// TestClassicGroupInEveryVersion walks a group through its life with each version of
// each request.
func TestClassicGroupInEveryVersion(t *testing.T) {
	k := newGroupKit(t)
	c := k.client()
	last := func(key, v int16) int16 { e := k.api.Table()[key]; return min(max(v, e.Min), e.Max) }
	for v := range int16(11) {
		id := k.join(c, last(11, v), here)
		kind, protocol := "consumer", "range"
		sync := at(kmsg.NewPtrSyncGroupRequest(), last(14, v))
		sync.Group, sync.Generation, sync.MemberID, sync.ProtocolType, sync.Protocol = here, 1, id, &kind, &protocol
		sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: id, MemberAssignment: []byte("assignment")}}
		if r := c.do(sync).(*kmsg.SyncGroupResponse); r.ErrorCode != 0 || string(r.MemberAssignment) != "assignment" {
			t.Fatalf("SyncGroup v%d: %+v", sync.Version, r)
		}
		// The frames that carried metadata and assignment are used again by now.
		noise := at(kmsg.NewPtrSyncGroupRequest(), last(14, v))
		noise.Group, noise.MemberID, noise.ProtocolType, noise.Protocol = here, "nobody", &kind, &protocol
		noise.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: id, MemberAssignment: bytes.Repeat([]byte("#"), 300)}}
		wantCode(t, "SyncGroup of nobody", c.do(noise).(*kmsg.SyncGroupResponse).ErrorCode, kafka.UnknownMemberID)

		beat := at(kmsg.NewPtrHeartbeatRequest(), last(12, v))
		beat.Group, beat.Generation, beat.MemberID = here, 1, id
		if r := c.do(beat).(*kmsg.HeartbeatResponse); r.ErrorCode != 0 {
			t.Errorf("Heartbeat v%d: %d", beat.Version, r.ErrorCode)
		}
		k.commitAndFetch(c, last(8, v), last(9, v), id, int64(v))
		desc := at(kmsg.NewPtrDescribeGroupsRequest(), last(15, v))
		desc.Groups = []string{here}
		if g := c.do(desc).(*kmsg.DescribeGroupsResponse).Groups[0]; g.State != "Stable" || len(g.Members) != 1 ||
			string(g.Members[0].MemberAssignment) != "assignment" || string(g.Members[0].ProtocolMetadata) != "subscription" {
			t.Errorf("DescribeGroups v%d: %+v", desc.Version, g)
		}
		list := at(kmsg.NewPtrListGroupsRequest(), last(16, v))
		if r := c.do(list).(*kmsg.ListGroupsResponse); len(r.Groups) != 1 || r.Groups[0].Group != here {
			t.Errorf("ListGroups v%d: %+v", list.Version, r)
		}
		leave := at(kmsg.NewPtrLeaveGroupRequest(), last(13, v))
		leave.Group, leave.MemberID = here, id
		leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: id}}
		if r := c.do(leave).(*kmsg.LeaveGroupResponse); r.ErrorCode != 0 {
			t.Errorf("LeaveGroup v%d: %d", leave.Version, r.ErrorCode)
		}
		del := at(kmsg.NewPtrDeleteGroupsRequest(), last(42, v))
		del.Groups = []string{here, here}
		if r := c.do(del).(*kmsg.DeleteGroupsResponse); len(r.Groups) != 1 || r.Groups[0].ErrorCode != 0 {
			t.Errorf("DeleteGroups v%d: %+v", del.Version, r)
		}
	}
}

// TestGroupsThatCannotBeDeleted: codes with a fixed meaning have no message, in
// version 3 neither.
func TestGroupsThatCannotBeDeleted(t *testing.T) {
	k := newGroupKit(t)
	c := k.client()
	k.join(c, 5, here)
	for v := int16(0); v <= 3; v++ {
		del := at(kmsg.NewPtrDeleteGroupsRequest(), v)
		del.Groups = []string{here, "unknown-" + here}
		r := c.do(del).(*kmsg.DeleteGroupsResponse)
		if len(r.Groups) != 2 || r.Groups[0].ErrorCode != kafka.NonEmptyGroup.Num() || r.Groups[0].ErrorMessage != nil || r.Groups[1].ErrorMessage != nil {
			t.Errorf("DeleteGroups v%d: %+v", v, r)
		}
	}
}

// commitAndFetch commits an offset and reads it back.
func (k *groupKit) commitAndFetch(c *client, commitVersion, fetchVersion int16, member string, offset int64) {
	k.t.Helper()
	commit := at(kmsg.NewPtrOffsetCommitRequest(), commitVersion)
	commit.Group, commit.Generation, commit.MemberID, commit.RetentionTimeMillis = here, 1, member, -1
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", TopicID: k.topicT, Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: offset, LeaderEpoch: -1}}}}
	if r := c.do(commit).(*kmsg.OffsetCommitResponse); len(r.Topics) != 1 || r.Topics[0].Partitions[0].ErrorCode != 0 {
		k.t.Errorf("OffsetCommit v%d: %+v", commitVersion, r)
	}
	fetch := at(kmsg.NewPtrOffsetFetchRequest(), fetchVersion)
	fetch.Group = here
	fetch.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	fetch.Groups = []kmsg.OffsetFetchRequestGroup{
		{Group: here, MemberEpoch: -1, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", TopicID: k.topicT, Partitions: []int32{0}}}},
		{Group: elsewhere, MemberEpoch: -1},
	}
	r := c.do(fetch).(*kmsg.OffsetFetchResponse)
	if fetchVersion < 8 {
		if len(r.Topics) != 1 || r.Topics[0].Partitions[0].Offset != offset {
			k.t.Errorf("OffsetFetch v%d: %+v", fetchVersion, r)
		}
		return
	}
	if len(r.Groups) != 2 || r.Groups[0].Topics[0].Partitions[0].Offset != offset {
		k.t.Errorf("OffsetFetch v%d: %+v", fetchVersion, r)
	}
	wantCode(k.t, "OffsetFetch of a group elsewhere", r.Groups[1].ErrorCode, kafka.NotCoordinator)
}

// TestOtherCoordinatorsGroups: each request says at its own place that this broker is
// not the coordinator.
func TestOtherCoordinatorsGroups(t *testing.T) {
	k := newGroupKit(t)
	c := k.client()
	kind := "consumer"
	for v := range int16(11) {
		of := func(key int16) int16 { e := k.api.Table()[key]; return min(max(v, e.Min), e.Max) }
		join := at(kmsg.NewPtrJoinGroupRequest(), of(11))
		join.Group = elsewhere
		wantCode(t, "JoinGroup", c.do(join).(*kmsg.JoinGroupResponse).ErrorCode, kafka.NotCoordinator)
		sync := at(kmsg.NewPtrSyncGroupRequest(), of(14))
		sync.Group, sync.ProtocolType, sync.Protocol = elsewhere, &kind, &kind
		wantCode(t, "SyncGroup", c.do(sync).(*kmsg.SyncGroupResponse).ErrorCode, kafka.NotCoordinator)
		beat := at(kmsg.NewPtrHeartbeatRequest(), of(12))
		beat.Group = elsewhere
		wantCode(t, "Heartbeat", c.do(beat).(*kmsg.HeartbeatResponse).ErrorCode, kafka.NotCoordinator)
		leave := at(kmsg.NewPtrLeaveGroupRequest(), of(13))
		leave.Group = elsewhere
		wantCode(t, "LeaveGroup", c.do(leave).(*kmsg.LeaveGroupResponse).ErrorCode, kafka.NotCoordinator)
		commit := at(kmsg.NewPtrOffsetCommitRequest(), of(8))
		commit.Group = elsewhere
		commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", TopicID: k.topicT, Partitions: make([]kmsg.OffsetCommitRequestTopicPartition, 2)}}
		for _, p := range c.do(commit).(*kmsg.OffsetCommitResponse).Topics[0].Partitions {
			wantCode(t, "OffsetCommit", p.ErrorCode, kafka.NotCoordinator)
		}
		fetch := at(kmsg.NewPtrOffsetFetchRequest(), min(of(9), 7))
		fetch.Group, fetch.Topics = elsewhere, []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0}}}
		r := c.do(fetch).(*kmsg.OffsetFetchResponse)
		if fetch.Version == 1 {
			r.ErrorCode = r.Topics[0].Partitions[0].ErrorCode
		}
		wantCode(t, "OffsetFetch", r.ErrorCode, kafka.NotCoordinator)
		desc := at(kmsg.NewPtrDescribeGroupsRequest(), of(15))
		desc.Groups = []string{elsewhere}
		wantCode(t, "DescribeGroups", c.do(desc).(*kmsg.DescribeGroupsResponse).Groups[0].ErrorCode, kafka.NotCoordinator)
		del := at(kmsg.NewPtrDeleteGroupsRequest(), of(42))
		del.Groups = []string{elsewhere}
		wantCode(t, "DeleteGroups", c.do(del).(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode, kafka.NotCoordinator)
		next := at(kmsg.NewPtrConsumerGroupHeartbeatRequest(), of(68))
		next.Group, next.MemberID = elsewhere, "m"
		wantCode(t, "ConsumerGroupHeartbeat", c.do(next).(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode, kafka.NotCoordinator)
		told := at(kmsg.NewPtrConsumerGroupDescribeRequest(), of(69))
		told.Groups = []string{elsewhere}
		wantCode(t, "ConsumerGroupDescribe", c.do(told).(*kmsg.ConsumerGroupDescribeResponse).Groups[0].ErrorCode, kafka.NotCoordinator)
	}
	off := kmsg.NewPtrOffsetDeleteRequest()
	off.Group = elsewhere
	wantCode(t, "OffsetDelete", c.do(off).(*kmsg.OffsetDeleteResponse).ErrorCode, kafka.NotCoordinator)
}

// TestParkedMemberLearnsOfTheNewCoordinator: a member that waits for its generation is
// answered when another broker becomes the coordinator; what was committed before is
// there when this one is it again.
func TestParkedMemberLearnsOfTheNewCoordinator(t *testing.T) {
	k := newGroupKit(t)
	c, other := k.client(), k.client()
	id := k.join(c, 9, here)
	kind, protocol := "consumer", "range"
	sync := at(kmsg.NewPtrSyncGroupRequest(), 5)
	sync.Group, sync.Generation, sync.MemberID, sync.ProtocolType, sync.Protocol = here, 1, id, &kind, &protocol
	c.do(sync)
	k.commitAndFetch(c, 10, 10, id, 42)

	join := at(kmsg.NewPtrJoinGroupRequest(), 3)
	join.Group, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis, join.ProtocolType = here, 10_000, 10_000, "consumer"
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	other.send(join)
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Group, beat.Generation, beat.MemberID = here, 1, id
	eventually(t, "the group rebalances", func() bool {
		return c.do(beat).(*kmsg.HeartbeatResponse).ErrorCode == kafka.RebalanceInProgress.Num()
	})
	k.lead(0, 2)
	wantCode(t, "the member that waits", other.receive(join).(*kmsg.JoinGroupResponse).ErrorCode, kafka.NotCoordinator)
	k.lead(0, 1)
	if r := c.do(beat).(*kmsg.HeartbeatResponse); r.ErrorCode != 0 {
		t.Errorf("the member of the committed generation is refused: %d", r.ErrorCode)
	}
	k.commitAndFetch(c, 9, 9, id, 43)
}

// TestConsumerGroupsNeedTheFeature: without group.version 1 members are told to use
// the classic protocol.
func TestConsumerGroupsNeedTheFeature(t *testing.T) {
	k := newGroupKit(t)
	c := k.client()
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.RebalanceTimeoutMillis = 1, here, "m", 1000
	req.SubscribedTopicNames, req.Topics = []string{"t"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	r := c.do(req).(*kmsg.ConsumerGroupHeartbeatResponse)
	if r.ErrorCode != 0 || r.MemberEpoch != 2 || r.Assignment == nil || len(r.Assignment.Topics) != 1 {
		t.Fatalf("%+v", r)
	}
	level := records.NewFeatureLevelRecord()
	level.Name, level.FeatureLevel = featureGroupVersion, 0
	k.apply(level)
	wantCode(t, "without the feature", c.do(req).(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode, kafka.UnsupportedVersion)
}

// TestMembersOfALoadingGroupAreNotToldSo (T3): one that asks for its assignment joins
// again, one that heartbeats goes on; "loading" would end the poll of a Java consumer
// with an exception. Every other code is told as it is.
func TestMembersOfALoadingGroupAreNotToldSo(t *testing.T) {
	for _, c := range kafka.AllCodes() {
		sync, beat := c.Num(), c.Num()
		if c == kafka.CoordinatorLoadInProgress {
			sync, beat = kafka.RebalanceInProgress.Num(), 0
		}
		if got := syncRefused(c).(*kmsg.SyncGroupResponse); got.ErrorCode != sync || got.MemberAssignment == nil {
			t.Errorf("%s: SyncGroup is answered %d, %v", c.Name(), got.ErrorCode, got.MemberAssignment)
		}
		if got := heartbeatRefused(c).(*kmsg.HeartbeatResponse); got.ErrorCode != beat {
			t.Errorf("%s: Heartbeat is answered %d", c.Name(), got.ErrorCode)
		}
	}
}
