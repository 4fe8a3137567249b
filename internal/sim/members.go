package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupName is the group of the members.
const groupName = "g"

// member reads the topic as a member of a group and commits what it read. It leaves and
// comes back now and then, so that partitions move between members.
func (cl *client) member() error {
	for !cl.done() {
		if err := cl.membership(time.Now().Add(time.Second + magnitude(cl.rng, 4*time.Second))); err != nil {
			return err
		}
	}
	return nil
}

// membership is one life in the group.
func (cl *client) membership(until time.Time) error {
	// floor is what was committed when a partition was assigned: reading begins there or
	// behind it. The callbacks run within polls and rebalances, which exclude each other.
	floor := map[int32]int64{}
	// settled is the generation of the last assignment. A member of the classic protocol is in
	// the next one as soon as it has joined, and reads what it has from the one before until
	// it is told what it gets.
	var settled int32
	assigned := func(_ context.Context, kc *kgo.Client, parts map[string][]int32) {
		_, settled = kc.GroupMetadata()
		for _, p := range parts[cl.topic] {
			floor[p] = cl.h.committed(commitKey(cl.topic, p))
		}
	}
	gone := func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
		for _, p := range parts[cl.topic] {
			delete(floor, p)
		}
	}
	opts := []kgo.Opt{kgo.ConsumerGroup(groupName), kgo.ConsumeTopics(cl.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.SessionTimeout(2 * time.Second), kgo.HeartbeatInterval(400 * time.Millisecond), kgo.RebalanceTimeout(4 * time.Second),
		kgo.OnPartitionsAssigned(assigned), kgo.OnPartitionsRevoked(gone), kgo.OnPartitionsLost(gone)}
	if cl.consumer {
		opts = append(opts, kgo.ServerSideBalancer())
	} else if cl.rng.Intn(2) == 0 {
		opts = append(opts, kgo.Balancers(kgo.RangeBalancer()))
	}
	life, end := context.WithCancel(context.Background())
	kc, err := cl.connect(append(opts, kgo.WithContext(life))...)
	if err != nil {
		end()
		return err
	}
	defer cl.leave(kc, end)
	for !cl.done() && time.Now().Before(until) {
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		fs := kc.PollRecords(ctx, 50)
		cancel()
		id, generation := kc.GroupMetadata()
		if !cl.consumer {
			generation = settled
		}
		next := map[int32]int64{}
		fs.EachRecord(func(r *kgo.Record) {
			if at, ok := floor[r.Partition]; ok && r.Offset < at {
				cl.h.fault("commit going back: %s was assigned %s-%d at %d, where %d was committed", cl.name, r.Topic, r.Partition, r.Offset, at)
			}
			floor[r.Partition] = r.Offset + 1
			cl.h.see(place{r.Topic, r.Partition, r.Offset}, string(r.Value))
			next[r.Partition] = r.Offset + 1
		})
		for p := range next {
			cl.h.owns(fmt.Sprintf("%s of generation %d", commitKey(cl.topic, p), generation), id)
		}
		if len(next) > 0 && cl.rng.Intn(3) == 0 {
			cl.commitRead(kc, next)
		}
		if len(next) > 0 && !cl.consumer && cl.rng.Intn(10) == 0 {
			cl.hauntGroup(kc, settled, next)
		}
		kc.AllowRebalance()
		cl.pause(100 * time.Millisecond)
	}
	return nil
}

// leave ends a member. It asks to leave by hand and is shut then: franz-go's own way has
// to have its lines, which are cut first (see lines). end ends its context, with which it
// asks no more.
func (cl *client) leave(kc *kgo.Client, end func()) {
	kc.AllowRebalance()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	id, _ := kc.GroupMetadata()
	var req kmsg.Request
	if cl.consumer {
		hb := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		hb.Group, hb.MemberID, hb.MemberEpoch = groupName, id, -1
		req = hb
	} else {
		lg := kmsg.NewPtrLeaveGroupRequest()
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = id
		lg.Group, lg.MemberID, lg.Members = groupName, id, append(lg.Members, m)
		req = lg
	}
	if id != "" {
		_, _ = kc.Request(ctx, req) // one that is not heard is a member that died
	}
	cancel()
	cl.cutOff(kc)
	end()
	kc.CloseAllowingRebalance() // a poll whose time was over may have begun to block them since
}

func commitKey(topic string, partition int32) string {
	return fmt.Sprintf("%s/%s-%d", groupName, topic, partition)
}

// commitRead commits what was read and notes what was acknowledged. The request is made
// by hand: franz-go's own commit waits for a mutex, which a synctest bubble does not take
// for waiting, and time would stand still.
func (cl *client) commitRead(kc *kgo.Client, next map[int32]int64) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	req := cl.commitRequest(ctx, kc, next)
	for p, at := range next {
		cl.h.tryCommit(commitKey(cl.topic, p), at)
	}
	resp, err := req.RequestWith(ctx, kc)
	if err != nil || len(resp.Topics) != 1 {
		return
	}
	for _, p := range resp.Topics[0].Partitions {
		if p.ErrorCode == 0 {
			cl.h.commitAcked(commitKey(cl.topic, p.Partition), next[p.Partition])
		}
	}
}

// commitRequest commits as the member that kc is. From version 10 on the topic goes by
// its id, before that by its name.
func (cl *client) commitRequest(ctx context.Context, kc *kgo.Client, next map[int32]int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = groupName
	req.MemberID, req.Generation = kc.GroupMetadata()
	if cl.topicID == ([16]byte{}) {
		_, cl.topicID, _ = cl.leader(ctx, kc, 0)
	}
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic, t.TopicID = cl.topic, cl.topicID
	for _, p := range slices.Sorted(maps.Keys(next)) {
		part := kmsg.NewOffsetCommitRequestTopicPartition()
		part.Partition, part.Offset = p, next[p]
		t.Partitions = append(t.Partitions, part)
	}
	req.Topics = append(req.Topics, t)
	return req
}
