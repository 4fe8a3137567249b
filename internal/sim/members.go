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
	kc, err := cl.connect(opts...)
	if err != nil {
		return err
	}
	defer kc.CloseAllowingRebalance()
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
		kc.AllowRebalance()
		cl.pause(100 * time.Millisecond)
	}
	return nil
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
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = groupName
	req.MemberID, req.Generation = kc.GroupMetadata()
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = cl.topic
	for _, p := range slices.Sorted(maps.Keys(next)) {
		part := kmsg.NewOffsetCommitRequestTopicPartition()
		part.Partition, part.Offset = p, next[p]
		t.Partitions = append(t.Partitions, part)
		cl.h.tryCommit(commitKey(cl.topic, p), next[p])
	}
	req.Topics = append(req.Topics, t)
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
