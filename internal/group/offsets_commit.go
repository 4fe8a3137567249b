package group

import (
	"errors"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// commitSource says who commits.
type commitSource struct {
	memberID   string
	instanceID *string
	epoch      int32 // generation, or member epoch
	txn        bool
	version    int16 // of the request
}

// knowsEpochs says whether the request's version has the errors of member epochs.
func (s commitSource) knowsEpochs() bool {
	if s.txn {
		return s.version >= 6 // KIP-1319
	}
	return s.version >= 9
}

// known returns err in the terms of the request's version.
func (s commitSource) known(err error) error {
	if s.txn && !s.knowsEpochs() && errors.Is(err, kafka.StaleMemberEpoch) {
		return kafka.IllegalGeneration.Errorf("%w", err)
	}
	return err
}

// partitionCheck says whether a member may commit one partition. Nil allows all.
type partitionCheck func(topic string, id kafka.TopicID, partition int32) error

// OffsetCommit commits offsets of a group, or of a consumer that manages its partitions
// itself (no member id, generation -1); a group that does not exist is made by the
// latter. Topics and partitions that do not exist are refused one by one.
func (m *Machine) OffsetCommit(nowMs int64, to coord.Token, _ coord.Client, req *kmsg.OffsetCommitRequest) coord.Outcome {
	src := commitSource{memberID: req.MemberID, instanceID: req.InstanceID, epoch: req.Generation, version: req.Version}
	if req.Version == 0 {
		src.epoch = -1
	}
	c := commit{m: m, group: req.Group, nowMs: nowMs, expireMs: -1, src: src}
	if req.Version >= 2 && req.Version <= 4 && req.RetentionTimeMillis != -1 {
		c.expireMs = nowMs + req.RetentionTimeMillis
	}
	var topics []commitTopic
	for _, t := range req.Topics {
		ct := commitTopic{name: t.Topic, id: t.TopicID}
		for _, p := range t.Partitions {
			ct.parts = append(ct.parts, commitPartition{p.Partition, p.Offset, p.LeaderEpoch, p.Metadata})
			if req.Version < 6 {
				ct.parts[len(ct.parts)-1].leaderEpoch = -1
			}
		}
		topics = append(topics, ct)
	}
	check, err := m.validateCommit(req.Group, src)
	codes := c.run(topics, check, err, req.Version >= 10)
	resp := kmsg.NewPtrOffsetCommitResponse()
	resp.Version = req.Version
	for i, t := range req.Topics {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for j, p := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, codes[i][j]
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	out := coord.Answer(to, resp)
	out.Records = c.records
	m.counts.OffsetCommits += int64(len(c.records))
	if g, ok := m.groups[req.Group].(*classicGroup); ok && err == nil && (g.state == stable || g.state == preparing) {
		if member := g.members[req.MemberID]; member != nil {
			m.scheduleHeartbeat(&out, g, member, nowMs)
		}
	}
	return out
}

// TxnOffsetCommit adds offsets to the transaction of a producer. They take effect when
// the transaction's marker is replayed.
func (m *Machine) TxnOffsetCommit(nowMs int64, to coord.Token, _ coord.Client, req *kmsg.TxnOffsetCommitRequest) coord.Outcome {
	src := commitSource{memberID: req.MemberID, instanceID: req.InstanceID, epoch: req.Generation, txn: true, version: req.Version}
	if req.Version < 3 {
		src.memberID, src.instanceID, src.epoch = "", nil, -1
	}
	c := commit{m: m, group: req.Group, nowMs: nowMs, expireMs: -1, src: src}
	var topics []commitTopic
	for _, t := range req.Topics {
		ct := commitTopic{name: t.Topic, id: t.TopicID}
		for _, p := range t.Partitions {
			ct.parts = append(ct.parts, commitPartition{p.Partition, p.Offset, p.LeaderEpoch, p.Metadata})
			if req.Version < 2 {
				ct.parts[len(ct.parts)-1].leaderEpoch = -1
			}
		}
		topics = append(topics, ct)
	}
	check, err := m.validateCommit(req.Group, src)
	codes := c.run(topics, check, err, req.Version >= 6)
	resp := kmsg.NewPtrTxnOffsetCommitResponse()
	resp.Version = req.Version
	for i, t := range req.Topics {
		rt := kmsg.NewTxnOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for j, p := range t.Partitions {
			rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, codes[i][j]
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	out := coord.Answer(to, resp)
	m.counts.OffsetCommits += int64(len(c.records))
	if len(c.records) > 0 {
		out.Records = c.records
		out.Txn = &coord.TxnAppend{ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch}
	}
	return out
}

// validateCommit finds the group and asks it. A commit without a generation makes the
// group when its first offset is replayed.
func (m *Machine) validateCommit(groupID string, src commitSource) (partitionCheck, error) {
	g := m.groups[groupID]
	if g == nil {
		switch {
		case src.epoch < 0:
			return nil, nil
		case !src.knowsEpochs():
			return nil, kafka.IllegalGeneration.Errorf("group %s not found", groupID)
		}
		return nil, kafka.GroupIDNotFound.Errorf("group %s not found", groupID)
	}
	check, err := g.validateCommit(src)
	return check, src.known(err)
}

type commitTopic struct {
	name  string
	id    kafka.TopicID
	parts []commitPartition
}

type commitPartition struct {
	partition   int32
	offset      int64
	leaderEpoch int32
	metadata    *string
}

// commit turns the topics of one request into records and error codes.
type commit struct {
	m        *Machine
	group    string
	nowMs    int64
	expireMs int64
	src      commitSource
	records  []coord.Record
}

// run returns the error codes, in the order of topics and partitions. A member's commit
// is all or none as far as fencing goes: one partition that it does not own refuses the
// request (KIP-1251).
func (c *commit) run(topics []commitTopic, check partitionCheck, err error, byID bool) [][]int16 {
	codes := make([][]int16, len(topics))
	for i := range topics {
		t := &topics[i]
		codes[i] = make([]int16, len(t.parts))
		unknown := c.resolve(t, byID)
		for j, p := range t.parts {
			switch {
			case unknown != nil:
				codes[i][j] = unknown.Num()
			case c.m.image().Partition(t.name, p.partition) == nil:
				codes[i][j] = kafka.UnknownTopicOrPartition.Num()
			case err != nil:
				codes[i][j] = kafka.NumOf(err)
			case c.tooLarge(p.metadata):
				codes[i][j] = kafka.OffsetMetadataTooLarge.Num()
			default:
				if err = c.one(t, p, check); err != nil {
					c.records = nil
					return c.refuseAll(topics, codes, err)
				}
			}
		}
	}
	return codes
}

// tooLarge applies offset.metadata.max.bytes, which Kafka counts in the units of a Java
// string. Whatever it is set to, the record has to have room for the bytes.
func (c *commit) tooLarge(metadata *string) bool {
	limit := c.m.cfg.OffsetMetadataMaxBytes
	return metadata != nil && len(*metadata) > limit && javaLength(*metadata) > limit ||
		metadata != nil && len(*metadata) > maxString
}

// javaLength is String.length(): UTF-16 units, of which there are never more than bytes.
func javaLength(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

// resolve completes the topic's name and id, and returns the error of one that does not
// exist.
func (c *commit) resolve(t *commitTopic, byID bool) *kafka.Code {
	if byID {
		if t.name = c.m.topicName(t.id); t.name == "" {
			return kafka.UnknownTopicID
		}
		return nil
	}
	topic := c.m.image().Topic(t.name)
	if topic == nil {
		return kafka.UnknownTopicOrPartition
	}
	t.id = topic.ID
	return nil
}

func (c *commit) one(t *commitTopic, p commitPartition, check partitionCheck) error {
	if check != nil {
		if err := check(t.name, t.id, p.partition); err != nil {
			return c.src.known(err)
		}
	}
	o := &offset{offset: p.offset, leaderEpoch: max(p.leaderEpoch, -1), commitTimestamp: c.nowMs, expireTimestamp: c.expireMs, topicID: t.id}
	if p.metadata != nil {
		o.metadata = *p.metadata
	}
	c.records = append(c.records, offsetRecord(groupPartition{c.group, t.name, p.partition}, o))
	return nil
}

func (c *commit) refuseAll(topics []commitTopic, codes [][]int16, err error) [][]int16 {
	for i := range topics {
		if codes[i] == nil {
			codes[i] = make([]int16, len(topics[i].parts))
		}
		for j := range codes[i] {
			if codes[i][j] == 0 {
				codes[i][j] = kafka.NumOf(err)
			}
		}
	}
	return codes
}
