package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxPartitionsPerRequest bounds the partitions that one request may ask for.
const maxPartitionsPerRequest = 10000

// createTopics decides CreateTopics. Topics succeed and fail on their own; the
// records of all that succeed are written together.
func (d *decision) createTopics(req *kmsg.CreateTopicsRequest, resp *kmsg.CreateTopicsResponse) Result {
	if d.countPartitions(req) > maxPartitionsPerRequest {
		return Result{Reply: fail(req, resp, kafka.PolicyViolation.Errorf("Excessively large number of partitions per request."))}
	}
	times := map[string]int{}
	for i := range req.Topics {
		times[req.Topics[i].Topic]++
	}
	var last []kmsg.CreateTopicsResponseTopic // duplicates and prohibited names come last
	for i := range req.Topics {
		t := &req.Topics[i]
		switch {
		case times[t.Topic] > 1:
			last = append(last, createResult(t.Topic, kafka.InvalidRequest.Errorf("Duplicate topic name.")))
			times[t.Topic] = 0
		case times[t.Topic] == 0:
			// Answered with its first occurrence.
		case t.Topic == kafka.MetadataTopic:
			last = append(last, createResult(t.Topic, kafka.InvalidRequest.Errorf("Creation of internal topic %s is prohibited.", kafka.MetadataTopic)))
		default:
			resp.Topics = append(resp.Topics, d.createTopic(t))
		}
	}
	if len(d.records) > maxRecordsPerOp {
		resp.Topics = nil
		return Result{Reply: fail(req, resp, tooLarge())}
	}
	resp.Topics = append(resp.Topics, last...)
	if req.ValidateOnly {
		d.records = nil
	}
	return d.result(resp, true)
}

func (d *decision) countPartitions(req *kmsg.CreateTopicsRequest) int {
	total := 0
	for i := range req.Topics {
		switch t := &req.Topics[i]; {
		case len(t.ReplicaAssignment) > 0:
			total += len(t.ReplicaAssignment)
		case t.NumPartitions == -1:
			total += d.cfg.Static.NumPartitions
		case t.NumPartitions > 0:
			total += int(t.NumPartitions)
		}
	}
	return total
}

func createResult(topic string, err error) kmsg.CreateTopicsResponseTopic {
	out := kmsg.NewCreateTopicsResponseTopic()
	out.Topic = topic
	out.ErrorCode, out.ErrorMessage = kafka.NumAndText(err)
	out.Configs = []kmsg.CreateTopicsResponseTopicConfig{} // null would say that they may not be read
	return out
}

// createTopic decides one topic, and adds its records when it may be created.
func (d *decision) createTopic(t *kmsg.CreateTopicsRequestTopic) kmsg.CreateTopicsResponseTopic {
	configs, err := d.checkNewTopic(t)
	if err != nil {
		return createResult(t.Topic, err)
	}
	parts, err := d.newTopicPartitions(t, configs)
	if err != nil {
		return createResult(t.Topic, err)
	}
	id := d.newID()
	r := records.NewTopicRecord()
	r.Name, r.TopicID = t.Topic, id
	d.add(r)
	d.created[strings.ReplaceAll(t.Topic, ".", "_")] = t.Topic
	d.addTopicConfigs(t.Topic, configs)
	for i, p := range parts {
		d.add(p.NewRecord(id, int32(i), d.version, d.elr))
	}
	out := createResult(t.Topic, nil)
	out.TopicID = id
	out.NumPartitions = int32(len(parts))
	out.ReplicationFactor = int16(len(parts[0].Replicas))
	for _, row := range d.topicDefaults().DescribeTopic(configs) {
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.ReadOnly, c.Source, c.IsSensitive = row.Name, row.ReadOnly, int8(row.Source), row.Sensitive
		if !row.Sensitive {
			c.Value = row.Value
		}
		out.Configs = append(out.Configs, c)
	}
	return out
}

// newID draws a topic id that is not in use.
func (d *decision) newID() kafka.TopicID {
	for {
		var b [16]byte
		d.rng.Read(b[:])
		if id, ok := kafka.UUIDFrom(b); ok && d.img.TopicByID(id) == nil {
			return id
		}
	}
}

// checkNewTopic checks name and configs, and returns the configs.
func (d *decision) checkNewTopic(t *kmsg.CreateTopicsRequestTopic) (map[string]string, error) {
	if err := kafka.ValidateTopicName(t.Topic); err != nil {
		return nil, err
	}
	if d.img.Topic(t.Topic) != nil {
		return nil, kafka.TopicAlreadyExists.Errorf("Topic '%s' already exists.", t.Topic)
	}
	if other, collides := d.collision(t.Topic); collides {
		return nil, kafka.InvalidTopicException.Errorf("Topic '%s' collides with existing topic: %s", t.Topic, other)
	}
	configs := map[string]string{}
	var null []string
	for _, c := range t.Configs {
		if c.Value == nil {
			null = append(null, c.Name)
		} else {
			configs[c.Name] = *c.Value
		}
	}
	if len(null) > 0 {
		return nil, kafka.InvalidConfig.Errorf("Null value not supported for topic configs: %s", strings.Join(null, ","))
	}
	if len(configs) == 0 {
		return configs, nil
	}
	changes := asChanges(configs)
	for _, c := range changes.asked {
		if err := d.checkChange(resourceTopic(t.Topic), c); err != nil {
			return nil, err
		}
	}
	if err := d.validateValues(resourceTopic(t.Topic), configs); err != nil {
		return nil, err
	}
	return configs, d.checkConfigPolicy(resourceTopic(t.Topic), changes)
}

// collision returns an existing topic whose metric name is that of a new one,
// topics created by the same request among them.
func (d *decision) collision(name string) (string, bool) {
	if others := d.img.CollidingTopics(name); len(others) > 0 {
		return others[0], true
	}
	other, ok := d.created[strings.ReplaceAll(name, ".", "_")]
	return other, ok
}

func (d *decision) addTopicConfigs(topic string, configs map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		value := configs[name]
		d.add(configRecord(resourceTopic(topic), name, &value))
	}
	if _, ok := configs[configMinISR]; ok && d.elr {
		r := records.NewClearElrRecord()
		r.TopicName = topic
		d.add(r)
	}
}

// newTopicPartitions returns the partitions of a new topic, assigned by hand or
// placed.
func (d *decision) newTopicPartitions(t *kmsg.CreateTopicsRequestTopic, configs map[string]string) ([]*metadata.Partition, error) {
	if len(t.ReplicaAssignment) > 0 {
		parts, err := d.assignedPartitions(t)
		if err != nil {
			return nil, err
		}
		return parts, d.checkTopicPolicy(t.Topic, nil, nil, parts, configs)
	}
	switch {
	case t.ReplicationFactor < -1 || t.ReplicationFactor == 0:
		return nil, kafka.InvalidReplicationFactor.Errorf("Replication factor must be larger than 0, or -1 to use the default value.")
	case t.NumPartitions < -1 || t.NumPartitions == 0:
		return nil, kafka.InvalidPartitions.Errorf("Number of partitions was set to an invalid non-positive value.")
	}
	count, factor := t.NumPartitions, t.ReplicationFactor
	if count == -1 {
		count = int32(d.cfg.Static.NumPartitions)
	}
	if factor == -1 {
		factor = int16(d.cfg.Static.DefaultReplicationFactor)
	}
	parts, err := d.placePartitions(int(count), int(factor))
	if err != nil {
		return nil, kafka.InvalidReplicationFactor.Errorf("Unable to replicate the partition %d time(s): %w", factor, err)
	}
	return parts, d.checkTopicPolicy(t.Topic, &count, &factor, nil, configs)
}

// placePartitions places count partitions. Placement begins anew for every topic.
func (d *decision) placePartitions(count, factor int) ([]*metadata.Partition, error) {
	p := newPlacer(d.img, d.rng)
	if err := p.Check(factor); err != nil {
		return nil, err
	}
	parts := make([]*metadata.Partition, 0, count)
	for range count {
		part, ok := d.newPartition(p.Place(factor))
		if !ok {
			return nil, kafka.InvalidReplicationFactor.Errorf("All brokers are currently fenced or in controlled shutdown.")
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// newPartition is the first state of a partition; ok is false when none of its
// replicas can lead.
func (d *decision) newPartition(replicas []int32) (p *metadata.Partition, ok bool) {
	p = &metadata.Partition{Replicas: replicas}
	for _, id := range replicas {
		p.Directories = append(p.Directories, d.defaultDirectory(id))
		if d.active(id) {
			p.ISR = append(p.ISR, id)
		}
	}
	if len(p.ISR) == 0 {
		return nil, false
	}
	p.Leader = p.ISR[0]
	return p, true
}

func (d *decision) checkTopicPolicy(topic string, count *int32, factor *int16, assigned []*metadata.Partition, configs map[string]string) error {
	if d.cfg.CreateTopicPolicy == nil {
		return nil
	}
	req := TopicPolicyRequest{Topic: topic, NumPartitions: count, ReplicationFactor: factor, Configs: maps.Clone(configs)}
	if assigned != nil {
		req.Assignment = map[int32][]int32{}
		for i, p := range assigned {
			req.Assignment[int32(i)] = slices.Clone(p.Replicas)
		}
	}
	return policyError(d.cfg.CreateTopicPolicy(req))
}

// policyError gives a policy's refusal its code.
func policyError(err error) error {
	if err == nil || kafka.CodeOf(err) != kafka.UnknownServerError {
		return err
	}
	return kafka.PolicyViolation.Errorf("%w", err)
}

// deleteTopics decides DeleteTopics, by name and by id (KIP-516).
func (d *decision) deleteTopics(req *kmsg.DeleteTopicsRequest, resp *kmsg.DeleteTopicsResponse) Result {
	if !d.cfg.Static.DeleteTopicEnable {
		err := error(kafka.TopicDeletionDisabled)
		if req.Version < 3 {
			err = kafka.InvalidRequest.Errorf("Topic deletion is disabled.")
		}
		return Result{Reply: fail(req, resp, err)}
	}
	names, ids := d.namedTopics(req, resp)
	remove := map[kafka.TopicID]bool{}
	var order []*metadata.Topic
	for _, id := range ids {
		t := d.img.TopicByID(id)
		if t == nil {
			resp.Topics = append(resp.Topics, deleteResult(nil, id, kafka.UnknownTopicID))
			continue
		}
		remove[id] = true
		order = append(order, t)
	}
	for _, name := range names {
		t := d.img.Topic(name)
		switch {
		case t == nil:
			resp.Topics = append(resp.Topics, deleteResult(&name, kafka.ZeroUUID, kafka.UnknownTopicOrPartition))
		case slices.Contains(order, t):
			remove[t.ID] = false
			resp.Topics = append(resp.Topics, deleteResult(&name, t.ID, kafka.InvalidRequest.Errorf("The provided topic name maps to an ID that was already supplied.")))
		default:
			remove[t.ID] = true
			order = append(order, t)
		}
	}
	for _, t := range order {
		if !remove[t.ID] {
			continue
		}
		r := records.NewRemoveTopicRecord()
		r.TopicID = t.ID
		d.add(r)
		resp.Topics = append(resp.Topics, deleteResult(&t.Name, t.ID, nil))
	}
	if len(d.records) > maxRecordsPerOp {
		resp.Topics = nil
		return Result{Reply: fail(req, resp, tooLarge())}
	}
	return d.result(resp, true)
}

func deleteResult(name *string, id kafka.TopicID, err error) kmsg.DeleteTopicsResponseTopic {
	out := kmsg.NewDeleteTopicsResponseTopic()
	out.TopicID = id
	if name != nil {
		n := *name
		out.Topic = &n
	}
	out.ErrorCode, out.ErrorMessage = kafka.NumAndText(err)
	return out
}

// namedTopics returns the names and ids of a request, each once, and answers those
// that are named twice or in a wrong way.
func (d *decision) namedTopics(req *kmsg.DeleteTopicsRequest, resp *kmsg.DeleteTopicsResponse) (names []string, ids []kafka.TopicID) {
	refuse := func(name *string, id kafka.TopicID, format string, args ...any) {
		resp.Topics = append(resp.Topics, deleteResult(name, id, kafka.InvalidRequest.Errorf("%s", fmt.Sprintf(format, args...))))
	}
	names = append(names, req.TopicNames...)
	for i := range req.Topics {
		t := &req.Topics[i]
		id := kafka.TopicID(t.TopicID)
		switch {
		case t.Topic == nil && id.IsZero():
			refuse(nil, id, "Neither topic name nor id were specified.")
		case t.Topic == nil:
			ids = append(ids, id)
		case id.IsZero():
			names = append(names, *t.Topic)
		default:
			refuse(t.Topic, id, "You may not specify both topic name and topic id.")
		}
	}
	names, twice := splitDuplicates(names)
	for i := range twice {
		refuse(&twice[i], kafka.ZeroUUID, "Duplicate topic name.")
	}
	ids, twiceIDs := splitDuplicates(ids)
	for _, id := range twiceIDs {
		refuse(nil, id, "Duplicate topic id.")
	}
	return names, ids
}

// splitDuplicates returns the elements that occur once, and those that occur more
// often, each once, in the order of their first occurrence.
func splitDuplicates[T comparable](all []T) (once, more []T) {
	times := make(map[T]int, len(all))
	for _, e := range all {
		times[e]++
	}
	for _, e := range all {
		switch n := times[e]; {
		case n == 1:
			once = append(once, e)
		case n > 1:
			more = append(more, e)
			times[e] = 0
		}
	}
	return once, more
}
