package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// underWay is what a cluster is moving.
type underWay map[kafka.TopicPartition]kmsg.ListPartitionReassignmentsResponseTopicPartition

// sorted are the partitions by name and index.
func (u underWay) sorted() []kafka.TopicPartition {
	return slices.SortedFunc(maps.Keys(u), comparePartitions)
}

// reassignmentsUnderWay lists those of the given partitions, or all for nil.
func (c *cluster) reassignmentsUnderWay(ctx context.Context, of []kafka.TopicPartition) (underWay, error) {
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	req.TimeoutMillis = int32(requestTimeout.Milliseconds())
	for _, tp := range of {
		i := slices.IndexFunc(req.Topics, func(t kmsg.ListPartitionReassignmentsRequestTopic) bool { return t.Topic == tp.Topic })
		if i < 0 {
			t := kmsg.NewListPartitionReassignmentsRequestTopic()
			t.Topic = tp.Topic
			req.Topics, i = append(req.Topics, t), len(req.Topics)
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, tp.Partition)
	}
	resp, err := req.RequestWith(ctx, c)
	if err == nil {
		err = withMessage(resp.ErrorCode, resp.ErrorMessage)
	}
	if err != nil {
		return nil, err
	}
	out := underWay{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			out[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = p
		}
	}
	return out, nil
}

// alterReassignments starts reassignments, or cancels those without replicas. It returns
// why partitions were refused.
func (c *cluster) alterReassignments(ctx context.Context, parts []assignment, anyFactor bool) (map[kafka.TopicPartition]error, error) {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.TimeoutMillis, req.AllowReplicationFactorChange = int32(requestTimeout.Milliseconds()), anyFactor
	for _, a := range parts {
		i := slices.IndexFunc(req.Topics, func(t kmsg.AlterPartitionAssignmentsRequestTopic) bool { return t.Topic == a.Topic })
		if i < 0 {
			t := kmsg.NewAlterPartitionAssignmentsRequestTopic()
			t.Topic = a.Topic
			req.Topics, i = append(req.Topics, t), len(req.Topics)
		}
		p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		p.Partition, p.Replicas = a.Partition, a.replicas
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return nil, err
	}
	failed := map[kafka.TopicPartition]error{}
	if err := withMessage(resp.ErrorCode, resp.ErrorMessage); err != nil {
		for _, a := range parts {
			failed[a.TopicPartition] = err
		}
		return failed, nil
	}
	if !anyFactor && resp.Version < 1 {
		return nil, messageOr(kerr.UnsupportedVersion, "The broker does not support disabling replication factor changes")
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := withMessage(p.ErrorCode, p.ErrorMessage); err != nil {
				failed[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = err
			}
		}
	}
	return failed, nil
}

// topicReplicas are the replicas of topics' partitions.
type topicReplicas struct {
	parts   map[string][][]int32 // by topic and index
	brokers []int32              // that are alive
}

// live are the replicas of a partition whose brokers are alive.
func (t *topicReplicas) live(a assignment) []partitionReplica {
	var out []partitionReplica
	for _, id := range a.replicas {
		if slices.Contains(t.brokers, id) {
			out = append(out, partitionReplica{a.TopicPartition, id})
		}
	}
	return out
}

// replicasOf asks where topics are; those that do not exist are left out.
func (c *cluster) replicasOf(ctx context.Context, topics []string) (*topicReplicas, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return nil, err
	}
	out := &topicReplicas{parts: map[string][][]int32{}}
	for _, b := range resp.Brokers {
		out.brokers = append(out.brokers, b.NodeID)
	}
	for _, t := range resp.Topics {
		err := withMessage(t.ErrorCode, nil)
		switch {
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			continue
		case err != nil:
			return nil, err
		case t.Topic == nil:
			return nil, errors.New("a topic without a name was described")
		}
		parts := make([][]int32, len(t.Partitions))
		for _, p := range t.Partitions {
			if p.Partition < 0 || int(p.Partition) >= len(parts) {
				return nil, fmt.Errorf("topic %s was described with %d partitions, among them partition %d", *t.Topic, len(parts), p.Partition)
			}
			parts[p.Partition] = p.Replicas
		}
		out.parts[*t.Topic] = parts
	}
	return out, nil
}

// get is the partition as it is; ok is false when there is none.
func (t *topicReplicas) get(tp kafka.TopicPartition) (a assignment, ok bool) {
	parts := t.parts[tp.Topic]
	if tp.Partition < 0 || int(tp.Partition) >= len(parts) {
		return assignment{TopicPartition: tp}, false
	}
	return assignment{tp, parts[tp.Partition]}, true
}

// replicaDir is where a replica is, and where it is on its way to; "" for neither.
type replicaDir struct{ current, future string }

// replicaDirs asks brokers where they have replicas.
func (c *cluster) replicaDirs(ctx context.Context, replicas []partitionReplica) (map[partitionReplica]replicaDir, error) {
	byBroker := map[int32]map[string][]int32{}
	for _, r := range replicas {
		if byBroker[r.broker] == nil {
			byBroker[r.broker] = map[string][]int32{}
		}
		byBroker[r.broker][r.Topic] = append(byBroker[r.broker][r.Topic], r.Partition)
	}
	out := map[partitionReplica]replicaDir{}
	for _, id := range slices.Sorted(maps.Keys(byBroker)) {
		req := kmsg.NewPtrDescribeLogDirsRequest()
		for _, name := range slices.Sorted(maps.Keys(byBroker[id])) {
			t := kmsg.NewDescribeLogDirsRequestTopic()
			t.Topic, t.Partitions = name, byBroker[id][name]
			req.Topics = append(req.Topics, t)
		}
		answer, err := c.askNode(ctx, id, req)
		if err != nil {
			return nil, err
		}
		resp := answer.(*kmsg.DescribeLogDirsResponse)
		if err := withMessage(resp.ErrorCode, nil); err != nil {
			return nil, err
		}
		for _, d := range resp.Dirs {
			err := withMessage(d.ErrorCode, nil)
			if errors.Is(err, kerr.KafkaStorageError) {
				continue // the directory is offline
			}
			if err != nil {
				return nil, err
			}
			noteReplicaDirs(out, id, &d)
		}
	}
	return out, nil
}

func noteReplicaDirs(out map[partitionReplica]replicaDir, broker int32, d *kmsg.DescribeLogDirsResponseDir) {
	for _, t := range d.Topics {
		for _, p := range t.Partitions {
			key := partitionReplica{kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}, broker}
			at := out[key]
			if p.IsFuture {
				at.future = d.Dir
			} else {
				at.current = d.Dir
			}
			out[key] = at
		}
	}
}

// moveDirs asks brokers to move replicas to directories. It returns those whose move
// began; a broker that does not have the replica yet is asked again by the caller.
func (c *cluster) moveDirs(ctx context.Context, moves map[partitionReplica]string) ([]partitionReplica, error) {
	var begun []partitionReplica
	for _, r := range slices.SortedFunc(maps.Keys(moves), compareReplicas) {
		t := kmsg.NewAlterReplicaLogDirsRequestDirTopic()
		t.Topic, t.Partitions = r.Topic, []int32{r.Partition}
		d := kmsg.NewAlterReplicaLogDirsRequestDir()
		d.Dir, d.Topics = moves[r], append(d.Topics, t)
		req := kmsg.NewPtrAlterReplicaLogDirsRequest()
		req.Dirs = append(req.Dirs, d)
		answer, err := c.askNode(ctx, r.broker, req)
		if err == nil {
			err = errors.New("the broker did not answer for the replica")
			for _, t := range answer.(*kmsg.AlterReplicaLogDirsResponse).Topics {
				for _, p := range t.Partitions {
					err = withMessage(p.ErrorCode, nil)
				}
			}
		}
		switch {
		case err == nil:
			begun = append(begun, r)
		case !errors.Is(err, kerr.ReplicaNotAvailable):
			return begun, fmt.Errorf("Failed to alter dir for %s\n%s", r, exception(err))
		}
	}
	return begun, nil
}

// configEdit is the change of one key of a resource; a nil value deletes it.
type configEdit struct {
	key   string
	value *string
}

// editConfigs changes keys of brokers or topics.
func (c *cluster) editConfigs(ctx context.Context, kind kmsg.ConfigResourceType, edits map[string][]configEdit) error {
	if len(edits) == 0 {
		return nil
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	for _, name := range slices.Sorted(maps.Keys(edits)) {
		res := kmsg.NewIncrementalAlterConfigsRequestResource()
		res.ResourceType, res.ResourceName = kind, name
		for _, e := range edits[name] {
			cfg := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
			cfg.Name, cfg.Value, cfg.Op = e.key, e.value, kmsg.IncrementalAlterConfigOpSet
			if e.value == nil {
				cfg.Op = kmsg.IncrementalAlterConfigOpDelete
			}
			res.Configs = append(res.Configs, cfg)
		}
		req.Resources = append(req.Resources, res)
	}
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	for _, r := range resp.Resources {
		if err := withMessage(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

// partitionNames joins partitions as Kafka's tools print them.
func partitionNames(list []kafka.TopicPartition) string {
	names := make([]string, len(list))
	for i, tp := range list {
		names[i] = tp.String()
	}
	return strings.Join(names, ",")
}

// plural is the ending of a word for n things.
func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
