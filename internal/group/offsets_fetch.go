package group

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// fetchGroup is one group of an OffsetFetch request; all asks for every offset.
type fetchGroup struct {
	group    string
	memberID *string
	epoch    int32
	all      bool
	topics   []fetchTopic
}

// fetchTopic is one topic that is asked for. id is zero while no topic has the name.
type fetchTopic struct {
	name       string
	id         kafka.TopicID
	unknown    bool // asked for by an id that no topic has
	partitions []int32
}

// OffsetFetch reads committed offsets of the groups that the request names, all of which
// must belong to this machine. The answer is a read: it waits until what it saw is
// committed.
func (m *Machine) OffsetFetch(_ int64, to coord.Token, _ coord.Client, req *kmsg.OffsetFetchRequest) coord.Outcome {
	resp := kmsg.NewPtrOffsetFetchResponse()
	resp.Version = req.Version
	stableOnly := req.Version >= 7 && req.RequireStable
	if req.Version < 8 {
		f := fetchGroup{group: req.Group, epoch: -1, all: req.Topics == nil && req.Version >= 2}
		for _, t := range req.Topics {
			f.topics = append(f.topics, fetchTopic{name: t.Topic, id: m.topicID(t.Topic), partitions: t.Partitions})
		}
		flattenFetch(resp, m.fetch(f, stableOnly))
	}
	for _, g := range req.Groups {
		f := fetchGroup{group: g.Group, epoch: -1, all: g.Topics == nil}
		if req.Version >= 9 {
			f.memberID, f.epoch = g.MemberID, g.MemberEpoch
		}
		for _, t := range g.Topics {
			ft := fetchTopic{name: t.Topic, partitions: t.Partitions}
			if req.Version >= 10 {
				ft.id, ft.name = t.TopicID, m.topicName(t.TopicID)
				ft.unknown = ft.name == ""
			} else {
				ft.id = m.topicID(t.Topic)
			}
			f.topics = append(f.topics, ft)
		}
		resp.Groups = append(resp.Groups, m.fetchIDs(f, stableOnly, req.Version))
	}
	out := coord.Answer(to, resp)
	out.ReadBarrier = true
	return out
}

// fetchIDs answers one group and, from version 10 on, names topics by id.
func (m *Machine) fetchIDs(f fetchGroup, stableOnly bool, version int16) kmsg.OffsetFetchResponseGroup {
	g := m.fetch(f, stableOnly)
	if version < 10 || !f.all {
		return g
	}
	known := g.Topics[:0]
	for _, t := range g.Topics {
		if t.TopicID != (kafka.TopicID{}) { // else it cannot be named
			known = append(known, t)
		}
	}
	g.Topics = known
	return g
}

// fetch answers one group. A group that does not exist has no offsets.
func (m *Machine) fetch(f fetchGroup, stableOnly bool) kmsg.OffsetFetchResponseGroup {
	resp := kmsg.NewOffsetFetchResponseGroup()
	resp.Group = f.group
	g := m.groups[f.group]
	if g != nil {
		if err := g.validateFetch(f.memberID, f.epoch); err != nil && !errors.Is(err, kafka.GroupIDNotFound) {
			resp.ErrorCode = kafka.NumOf(err)
			return resp
		}
	}
	topics := f.topics
	if f.all {
		topics = m.committedTopics(f.group)
	}
	for _, t := range topics {
		rt := kmsg.NewOffsetFetchResponseGroupTopic()
		rt.Topic, rt.TopicID = t.name, t.id
		for _, p := range t.partitions {
			rt.Partitions = append(rt.Partitions, m.fetchPartition(f.group, t, p, stableOnly))
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func (m *Machine) fetchPartition(group string, t fetchTopic, partition int32, stableOnly bool) kmsg.OffsetFetchResponseGroupTopicPartition {
	rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata = partition, noOffset, -1, new(string)
	p := groupPartition{group, t.name, partition}
	o := m.offsets.get(p)
	switch {
	case t.unknown:
		rp.ErrorCode = kafka.UnknownTopicID.Num()
	case stableOnly && len(m.open[p]) > 0:
		rp.ErrorCode = kafka.UnstableOffsetCommit.Num()
	case o == nil, o.ofAnother(t.id):
		// Never committed, or committed for another topic of that name.
	default:
		metadata := o.metadata
		rp.Offset, rp.LeaderEpoch, rp.Metadata = o.offset, o.leaderEpoch, &metadata
	}
	return rp
}

// ofAnother says that the offset was committed for another topic than the one that has its
// name: one that was deleted, in a commit that was judged before the deletion was known.
func (o *offset) ofAnother(id kafka.TopicID) bool {
	return !o.topicID.IsZero() && !id.IsZero() && o.topicID != id
}

// committedTopics are the group's topics with the partitions that have an offset.
func (m *Machine) committedTopics(group string) []fetchTopic {
	var topics []fetchTopic
	var t fetchTopic
	for _, p := range m.offsets.ofGroup(group) {
		if t.name != p.topic {
			t = fetchTopic{name: p.topic, id: m.topicID(p.topic)}
		}
		if m.offsets.get(p).ofAnother(t.id) {
			continue
		}
		if n := len(topics); n == 0 || topics[n-1].name != p.topic {
			topics = append(topics, t)
		}
		last := &topics[len(topics)-1]
		last.partitions = append(last.partitions, p.partition)
	}
	return topics
}

// flattenFetch writes one group in the form of versions 0 to 7.
func flattenFetch(resp *kmsg.OffsetFetchResponse, g kmsg.OffsetFetchResponseGroup) {
	resp.ErrorCode = g.ErrorCode
	for _, t := range g.Topics {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetFetchResponseTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata, rp.ErrorCode = p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
}
