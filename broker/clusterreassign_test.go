package broker_test

import (
	"context"
	"slices"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// reassign asks for the replicas of partition 0, nil to cancel.
func reassign(t *testing.T, ctx context.Context, cl *kgo.Client, topic string, replicas []int32) {
	t.Helper()
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: topic, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Replicas: replicas}}}}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil || resp.ErrorCode != 0 || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatalf("reassigning to %v: %v, %+v", replicas, err, resp)
	}
}

func moving(t *testing.T, ctx context.Context, cl *kgo.Client) []kmsg.ListPartitionReassignmentsResponseTopic {
	t.Helper()
	resp, err := kmsg.NewPtrListPartitionReassignmentsRequest().RequestWith(ctx, cl)
	if err != nil || resp.ErrorCode != 0 {
		t.Fatalf("listing: %v, %+v", err, resp)
	}
	return resp.Topics
}

func alterConfig(t *testing.T, ctx context.Context, cl *kgo.Client, kind kmsg.ConfigResourceType, name string, kv ...string) {
	t.Helper()
	res := kmsg.NewIncrementalAlterConfigsRequestResource()
	res.ResourceType, res.ResourceName = kind, name
	for i := 0; i < len(kv); i += 2 {
		res.Configs = append(res.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: kv[i], Value: &kv[i+1]})
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = append(req.Resources, res)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil || resp.Resources[0].ErrorCode != 0 {
		t.Fatalf("configs of %s: %v, %+v", name, err, resp)
	}
}

// A partition moves off its leader while records come in under acks=all; every one is
// there afterwards, once. A throttled move stays under way until it is cancelled.
func TestPartitionsMoveBetweenNodes(t *testing.T) {
	ctx := clusterContext(t)
	cl := clusterClient(t, startCluster(t, ctx))
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "m", NumPartitions: -1, ReplicationFactor: -1,
		ReplicaAssignment: []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Replicas: []int32{1, 2}}}}}
	if resp, err := create.RequestWith(ctx, cl); err != nil || resp.Topics[0].ErrorCode != 0 {
		t.Fatalf("creating: %v, %+v", err, resp)
	}
	produce := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "m", Value: append(make([]byte, 4096), strconv.Itoa(i)...)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	is := func(replicas ...int32) func(kadm.PartitionDetail) bool {
		return func(p kadm.PartitionDetail) bool {
			isr := slices.Sorted(slices.Values(p.ISR))
			return slices.Equal(p.Replicas, replicas) && slices.Equal(isr, slices.Sorted(slices.Values(replicas)))
		}
	}
	produce(0, 50)
	for id := range 3 {
		alterConfig(t, ctx, cl, kmsg.ConfigResourceTypeBroker, strconv.Itoa(id+1), "follower.replication.throttled.rate", "1", "leader.replication.throttled.rate", "1")
	}
	alterConfig(t, ctx, cl, kmsg.ConfigResourceTypeTopic, "m", "follower.replication.throttled.replicas", "0:3", "leader.replication.throttled.replicas", "0:1,0:2")
	reassign(t, ctx, cl, "m", []int32{3, 2})
	produce(50, 60)
	if topics := moving(t, ctx, cl); len(topics) != 1 || !slices.Equal(topics[0].Partitions[0].AddingReplicas, []int32{3}) || !slices.Equal(topics[0].Partitions[0].RemovingReplicas, []int32{1}) {
		t.Fatalf("moving %+v", topics)
	}
	reassign(t, ctx, cl, "m", nil)
	partitions(t, ctx, cl, "m", is(2, 1))
	if topics := moving(t, ctx, cl); len(topics) != 0 {
		t.Errorf("moving after the cancellation: %+v", topics)
	}
	elect := kmsg.NewPtrElectLeadersRequest()
	elect.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "m", Partitions: []int32{0}}}
	if resp, err := elect.RequestWith(ctx, cl); err != nil || resp.ErrorCode != 0 || resp.Topics[0].Partitions[0].ErrorCode != 0 && resp.Topics[0].Partitions[0].ErrorCode != kerr.ElectionNotNeeded.Code {
		t.Fatalf("electing: %v, %+v", err, resp)
	}
	partitions(t, ctx, cl, "m", func(p kadm.PartitionDetail) bool { return p.Leader == 2 })
	alterConfig(t, ctx, cl, kmsg.ConfigResourceTypeTopic, "m", "follower.replication.throttled.replicas", "", "leader.replication.throttled.replicas", "")
	reassign(t, ctx, cl, "m", []int32{3, 1})
	produce(60, 110)
	partitions(t, ctx, cl, "m", is(3, 1))
	produce(110, 120)
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{"m": {0: kgo.NewOffset().AtStart()}})
	for next := 0; next < 120; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if got := string(r.Value[4096:]); got != strconv.Itoa(next) {
				t.Fatalf("record %d is %s", next, got)
			}
			next++
		})
	}
}
