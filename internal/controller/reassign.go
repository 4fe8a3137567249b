package controller

import (
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// alterReassignments decides AlterPartitionReassignments (KIP-455): replicas that a
// partition is to get are added to its list, and those it is to lose stay until the
// new ones are in the ISR; change.completeReassignment then ends it.
func (d *decision) alterReassignments(req *kmsg.AlterPartitionAssignmentsRequest, resp *kmsg.AlterPartitionAssignmentsResponse) Result {
	if len(req.Topics) == 0 {
		resp.ErrorMessage = new(string) // nobody looked at anything; else null
	}
	resp.AllowReplicationFactorChange = req.Version < 1 || req.AllowReplicationFactorChange
	times := timesNamed(req)
	for i := range req.Topics {
		in := &req.Topics[i]
		out := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		out.Topic = in.Topic
		for j := range in.Partitions {
			p := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			p.Partition = in.Partitions[j].Partition
			err := kafka.InvalidRequest.Errorf("Partition %s:%d is named more than once.", in.Topic, p.Partition)
			if times[named{in.Topic, p.Partition}] == 1 {
				err = d.reassign(in.Topic, &in.Partitions[j], resp.AllowReplicationFactorChange)
			}
			p.ErrorCode, p.ErrorMessage = kafka.NumAndText(err)
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	if len(d.records) > maxRecordsPerOp {
		resp.Topics = nil
		return Result{Reply: fail(req, resp, tooLarge())}
	}
	return d.result(resp, true)
}

// named is a partition as requests name it.
type named struct {
	topic string
	index int32
}

// timesNamed counts how often a request names each partition. Several goals would all be decided
// against the state before the request, and what is written of them would contradict itself.
func timesNamed(req *kmsg.AlterPartitionAssignmentsRequest) map[named]int {
	times := map[named]int{}
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			times[named{req.Topics[i].Topic, req.Topics[i].Partitions[j].Partition}]++
		}
	}
	return times
}

func (d *decision) reassign(topic string, in *kmsg.AlterPartitionAssignmentsRequestTopicPartition, anyFactor bool) error {
	t := d.img.Topic(topic)
	if t == nil {
		return kafka.UnknownTopicOrPartition.Errorf("Unable to find a topic named %s.", topic)
	}
	p := t.Partition(in.Partition)
	if p == nil {
		return kafka.UnknownTopicOrPartition.Errorf("Unable to find partition %s:%d.", topic, in.Partition)
	}
	c := d.newChange(t, in.Partition, p)
	var err error
	if in.Replicas == nil {
		err = c.revertReassignment()
	} else {
		err = c.beginReassignment(in.Replicas, anyFactor)
	}
	if err != nil {
		return err
	}
	if r := c.build(); r != nil {
		d.add(r)
	}
	return nil
}

// beginReassignment sets the goal. A goal that needs no new replica may be reached
// by the same record.
func (c *change) beginReassignment(target []int32, anyFactor bool) error {
	if err := c.d.checkAssignment(target, -1); err != nil {
		return err
	}
	if factor := goalFactor(c.old); !anyFactor && factor != len(target) {
		return kafka.InvalidReplicationFactor.Errorf("The replication factor is changed from %d to %d", factor, len(target))
	}
	// A goal may replace the one before: what that one was adding counts as new
	// still, and what it was removing stays if this one wants it.
	original := difference(c.old.Replicas, c.old.AddingReplicas)
	c.adding = difference(target, original)
	c.removing = difference(c.old.Replicas, target)
	c.replicas = slices.Concat(target, c.removing)
	return nil
}

// goalFactor is how many replicas the partition has, or will have when the
// reassignment under way is done.
func goalFactor(p *metadata.Partition) int {
	return len(difference(slices.Concat(p.Replicas, p.AddingReplicas), p.RemovingReplicas))
}

// difference returns the elements of a that are not in b, each once, ascending.
func difference(a, b []int32) []int32 {
	var out []int32
	for _, id := range a {
		if !slices.Contains(b, id) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// revertReassignment goes back to the replicas before the reassignment under way.
// When none of them is in sync, the first one leads though it may lack records,
// which the topic must allow.
func (c *change) revertReassignment() error {
	if !c.old.Reassigning() {
		return kafka.NoReassignmentInProgress
	}
	added := func(id int32) bool { return slices.Contains(c.old.AddingReplicas, id) }
	replicas := slices.DeleteFunc(slices.Clone(c.old.Replicas), added)
	isr := slices.DeleteFunc(slices.Clone(c.old.ISR), added)
	unclean := c.d.uncleanElection(c.topic.Name)
	switch {
	case len(replicas) == 0:
		return kafka.InvalidReplicaAssignment.Errorf("Invalid replica assignment: addingReplicas contains all replicas.")
	case len(isr) == 0 && !unclean:
		return kafka.InvalidReplicaAssignment.Errorf("Unable to revert partition assignment for %s:%d because it would require an unclean leader election.", c.topic.Name, c.index)
	case len(isr) == 0:
		isr = replicas[:1:1]
	}
	if unclean {
		c.election = electUnclean
	}
	c.replicas, c.isr, c.adding, c.removing = replicas, isr, nil, nil
	return nil
}

// listReassignments decides ListPartitionReassignments, which only reads.
func (d *decision) listReassignments(req *kmsg.ListPartitionReassignmentsRequest, resp *kmsg.ListPartitionReassignmentsResponse) Result {
	list := func(t *metadata.Topic, wanted func(int32) bool) {
		out := kmsg.NewListPartitionReassignmentsResponseTopic()
		out.Topic = t.Name
		for i, p := range t.Partitions() {
			if !p.Reassigning() || !wanted(i) {
				continue
			}
			r := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
			r.Partition, r.Replicas, r.AddingReplicas, r.RemovingReplicas = i, p.Replicas, p.AddingReplicas, p.RemovingReplicas
			out.Partitions = append(out.Partitions, r)
		}
		if len(out.Partitions) > 0 {
			resp.Topics = append(resp.Topics, out)
		}
	}
	if req.Topics == nil {
		for _, t := range d.img.SortedTopics() {
			list(t, func(int32) bool { return true })
		}
	}
	for i := range req.Topics {
		if t := d.img.Topic(req.Topics[i].Topic); t != nil {
			list(t, func(index int32) bool { return slices.Contains(req.Topics[i].Partitions, index) })
		}
	}
	return Result{Reply: resp}
}
