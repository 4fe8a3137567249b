package brokerapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// closes sends a request that is not to be answered: the broker closes the connection.
func (k *kit) closes(what string, req kmsg.Request) {
	k.t.Helper()
	c := k.client()
	c.send(req)
	if resp, err := c.tryReceive(req); err == nil {
		k.t.Errorf("%s, %d bytes or more: answered %+v", what, 1<<15, resp)
	}
}

// TestTransactionalIDsThatNoRecordHasRoomFor: they leave no trace in the log of the
// transactions, and take no other id's place there.
func TestTransactionalIDsThatNoRecordHasRoomFor(t *testing.T) {
	k := newTxnKit(t, 2, nil)
	victim := k.c.initTxn(5, "tid", 60000)
	for v := int16(2); v <= 5; v++ {
		for _, id := range []string{strings.Repeat("x", 32768), strings.Repeat("x", 40000), "tid" + strings.Repeat("x", 1<<16)} {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.Version, req.TransactionalID, req.TransactionTimeoutMillis = v, &id, 60000
			k.closes(fmt.Sprintf("InitProducerId v%d", v), req)
		}
	}
	longest := strings.Repeat("x", 32767)
	wantCode(t, "the longest id", k.c.initTxn(5, longest, 60000).ErrorCode, nil)
	k.api.Transactions.Close()
	k.groups.Close()
	k.restart()
	k.ready()
	for _, id := range []string{"tid", longest} {
		if d := k.c.describeTxn(id); d.ErrorCode != 0 || id == "tid" && d.ProducerID != victim.ProducerID {
			t.Errorf("id of %d bytes after a restart: producer %d, code %d; tid had %d", len(id), d.ProducerID, d.ErrorCode, victim.ProducerID)
		}
	}
	wantCode(t, "another id", k.c.initTxn(5, "other", 60000).ErrorCode, nil)
}

// TestGroupStringsThatNoRecordHasRoomFor: nothing that a member says of itself or its
// group ends the coordinator, or any later load of its log.
func TestGroupStringsThatNoRecordHasRoomFor(t *testing.T) {
	k := newGroupKit(t)
	long := strings.Repeat("x", 40000)
	for v := int16(6); v <= 9; v++ {
		for what, set := range map[string]func(*kmsg.JoinGroupRequest){
			"group":         func(r *kmsg.JoinGroupRequest) { r.Group = long },
			"instance id":   func(r *kmsg.JoinGroupRequest) { r.InstanceID = &long },
			"protocol type": func(r *kmsg.JoinGroupRequest) { r.ProtocolType = long },
			"protocol":      func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Name = long },
		} {
			req := at(kmsg.NewPtrJoinGroupRequest(), v)
			req.Group, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = here, "consumer", 10000, 10000
			req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
			set(req)
			k.closes(fmt.Sprintf("JoinGroup v%d, %s", v, what), req)
		}
	}
	for what, set := range map[string]func(*kmsg.ConsumerGroupHeartbeatRequest){
		"group":  func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = long },
		"member": func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID = long },
		"rack":   func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RackID = &long },
		"regex":  func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicRegex = &long },
	} {
		req := at(kmsg.NewPtrConsumerGroupHeartbeatRequest(), 1)
		req.Group, req.MemberID = here, "m"
		set(req)
		k.closes("ConsumerGroupHeartbeat, "+what, req)
	}
	commit := at(kmsg.NewPtrOffsetCommitRequest(), 8)
	commit.Group = long
	k.closes("OffsetCommit", commit)

	c := k.client()
	member := k.join(c, 9, here)
	sync := at(kmsg.NewPtrSyncGroupRequest(), 4)
	sync.Group, sync.MemberID, sync.Generation = here, member, 1
	wantCode(t, "SyncGroup", c.do(sync).(*kmsg.SyncGroupResponse).ErrorCode, nil)
	k.commitAndFetch(c, 9, 9, member, 7)
	k.lead(0, 2)
	k.lead(0, 1) // reads the log
	k.commitAndFetch(c, 9, 9, member, 8)
}

// TestOffsetsOfNoGroup: offsets belong to a group also within a transaction, and nobody
// asks its coordinator before.
func TestOffsetsOfNoGroup(t *testing.T) {
	k := newTxnKit(t, 2, nil)
	p := k.c.initTxn(5, "tid", 60000)
	for v := int16(0); v <= 6; v++ {
		req := at(kmsg.NewPtrTxnOffsetCommitRequest(), v)
		req.TransactionalID, req.ProducerID = "tid", p.ProducerID
		rt := kmsg.NewTxnOffsetCommitRequestTopic()
		rt.Topic, rt.TopicID = "t", k.img.Load().Topic("t").ID
		rt.Partitions = []kmsg.TxnOffsetCommitRequestTopicPartition{{Offset: 7}, {Partition: 99}}
		req.Topics = append(req.Topics, rt)
		parts := k.c.do(req).(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions
		wantCode(t, fmt.Sprintf("v%d", v), parts[0].ErrorCode, kafka.InvalidGroupID)
		wantCode(t, fmt.Sprintf("v%d, unknown partition", v), parts[1].ErrorCode, kafka.UnknownTopicOrPartition)
	}
	if d := k.c.describeTxn("tid"); d.State != "Empty" {
		t.Errorf("the transaction is %s", d.State)
	}
}

// TestManyNames: names are told apart by looking them up. Compared with each other they
// would take minutes here.
func TestManyNames(t *testing.T) {
	var names []string
	for i := range 300_000 {
		names = append(names, fmt.Sprintf("group-%06d", i), "group-000000")
	}
	started := time.Now()
	all := distinct(names)
	if took := time.Since(started); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	if len(all) != 300_000 || all[0] != "group-000000" || all[299_999] != "group-299999" {
		t.Errorf("%d names, from %s to %s", len(all), all[0], all[len(all)-1])
	}
}
