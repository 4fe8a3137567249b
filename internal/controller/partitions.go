package controller

import (
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// assignedPartitions returns the partitions of a topic whose replicas the user
// assigned, by index.
func (d *decision) assignedPartitions(t *kmsg.CreateTopicsRequestTopic) ([]*metadata.Partition, error) {
	if t.ReplicationFactor != -1 {
		return nil, kafka.InvalidRequest.Errorf("A manual partition assignment was specified, but replication factor was not set to -1.")
	}
	if t.NumPartitions != -1 {
		return nil, kafka.InvalidRequest.Errorf("A manual partition assignment was specified, but numPartitions was not set to -1.")
	}
	byIndex := map[int32]*metadata.Partition{}
	factor := -1
	for i := range t.ReplicaAssignment {
		a := &t.ReplicaAssignment[i]
		if byIndex[a.Partition] != nil {
			return nil, kafka.InvalidReplicaAssignment.Errorf("Found multiple manual partition assignments for partition %d", a.Partition)
		}
		p, err := d.assignedPartition(a.Partition, a.Replicas, factor)
		if err != nil {
			return nil, err
		}
		factor = len(a.Replicas)
		byIndex[a.Partition] = p
	}
	parts := make([]*metadata.Partition, len(byIndex))
	for i := range parts {
		if parts[i] = byIndex[int32(i)]; parts[i] == nil {
			return nil, kafka.InvalidReplicaAssignment.Errorf("partitions should be a consecutive 0-based integer sequence")
		}
	}
	return parts, nil
}

// assignedPartition checks the replicas that a user chose. factor is how many
// there must be, -1 for any.
func (d *decision) assignedPartition(index int32, replicas []int32, factor int) (*metadata.Partition, error) {
	if err := d.checkAssignment(replicas, factor); err != nil {
		return nil, err
	}
	p, ok := d.newPartition(slices.Clone(replicas))
	if !ok {
		return nil, kafka.InvalidReplicaAssignment.Errorf("All brokers specified in the manual partition assignment for partition %d are fenced or in controlled shutdown.", index)
	}
	return p, nil
}

func (d *decision) checkAssignment(replicas []int32, factor int) error {
	if len(replicas) == 0 {
		return kafka.InvalidReplicaAssignment.Errorf("The manual partition assignment includes an empty replica list.")
	}
	sorted := slices.Sorted(slices.Values(replicas))
	for i, id := range sorted {
		if d.img.Broker(id) == nil {
			return kafka.InvalidReplicaAssignment.Errorf("The manual partition assignment includes broker %d, but no such broker is registered.", id)
		}
		if i > 0 && sorted[i-1] == id {
			return kafka.InvalidReplicaAssignment.Errorf("The manual partition assignment includes the broker %d more than once.", id)
		}
	}
	if factor >= 0 && len(replicas) != factor {
		return kafka.InvalidReplicaAssignment.Errorf("The manual partition assignment includes a partition with %d replica(s), but this is not consistent with previous partitions, which have %d replica(s).", len(replicas), factor)
	}
	return nil
}

// createPartitions decides CreatePartitions.
func (d *decision) createPartitions(req *kmsg.CreatePartitionsRequest, resp *kmsg.CreatePartitionsResponse) Result {
	names := make([]string, len(req.Topics))
	for i := range req.Topics {
		names[i] = req.Topics[i].Topic
	}
	_, twice := splitDuplicates(names)
	answer := func(topic string, err error) {
		out := kmsg.NewCreatePartitionsResponseTopic()
		out.Topic = topic
		out.ErrorCode, out.ErrorMessage = kafka.NumAndText(err)
		resp.Topics = append(resp.Topics, out)
	}
	for _, name := range twice {
		answer(name, kafka.InvalidRequest.Errorf("Duplicate topic name."))
	}
	for i := range req.Topics {
		if t := &req.Topics[i]; !slices.Contains(twice, t.Topic) {
			answer(t.Topic, d.addPartitions(t))
		}
	}
	if len(d.records) > maxRecordsPerOp {
		resp.Topics = nil
		return Result{Reply: fail(req, resp, tooLarge())}
	}
	if req.ValidateOnly {
		d.records = nil
	}
	return d.result(resp, true)
}

// addPartitions adds the records of one topic's new partitions, or none.
// They get as many replicas as the first one has, or will have when it has moved.
func (d *decision) addPartitions(req *kmsg.CreatePartitionsRequestTopic) error {
	t := d.img.Topic(req.Topic)
	if t == nil {
		return kafka.UnknownTopicOrPartition
	}
	have := t.NumPartitions()
	switch {
	case int(req.Count) == have:
		return kafka.InvalidPartitions.Errorf("Topic already has %d partition(s).", have)
	case int(req.Count) < have:
		return kafka.InvalidPartitions.Errorf("The topic %s currently has %d partition(s); %d would not be an increase.", req.Topic, have, req.Count)
	}
	additional := int(req.Count) - have
	if req.Assignment != nil && len(req.Assignment) != additional {
		return kafka.InvalidReplicaAssignment.Errorf("Attempted to add %d additional partition(s), but only %d assignment(s) were specified.", additional, len(req.Assignment))
	}
	if additional > maxRecordsPerOp {
		return tooLarge()
	}
	first := t.Partition(0)
	if first == nil {
		return kafka.UnknownServerError.Errorf("Invalid state: topic %s appears to have no partitions.", req.Topic)
	}
	parts, err := d.additionalPartitions(req, have, additional, goalFactor(first))
	if err != nil {
		return err
	}
	for i, p := range parts {
		d.add(p.NewRecord(t.ID, int32(have+i), d.version, d.elr))
	}
	return nil
}

func (d *decision) additionalPartitions(req *kmsg.CreatePartitionsRequestTopic, have, additional, factor int) ([]*metadata.Partition, error) {
	if req.Assignment == nil {
		return d.placePartitions(additional, factor)
	}
	var parts []*metadata.Partition
	for i := range req.Assignment {
		p, err := d.assignedPartition(int32(have+i), req.Assignment[i].Replicas, factor)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}
