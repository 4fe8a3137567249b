package main

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const timeoutMs = 15000

func str(s string) *string { return &s }

// untouched are requests to a cluster in which nothing was made yet.
func untouched(o *oracle) {
	o.each(18, func(v int16) {
		o.ask("versions", v, func(*side) kmsg.Request {
			r := kmsg.NewPtrApiVersionsRequest()
			r.ClientSoftwareName, r.ClientSoftwareVersion = "oracle", "1.0"
			r.NodeID = -1
			return r
		})
		o.ask("a bad software name", v, func(*side) kmsg.Request {
			r := kmsg.NewPtrApiVersionsRequest()
			r.ClientSoftwareName, r.ClientSoftwareVersion = "-oracle?", ""
			r.NodeID = -1
			return r
		})
	})
	o.each(3, func(v int16) {
		o.ask("all topics", v, func(*side) kmsg.Request {
			r := kmsg.NewPtrMetadataRequest()
			if v == 0 {
				r.Topics = []kmsg.MetadataRequestTopic{}
			}
			return r
		})
	})
	o.each(16, func(v int16) {
		o.ask("no groups", v, func(*side) kmsg.Request { return kmsg.NewPtrListGroupsRequest() })
	})
	o.each(66, func(v int16) {
		o.ask("no transactions", v, func(*side) kmsg.Request {
			r := kmsg.NewPtrListTransactionsRequest()
			return r
		})
	})
}

// clusterRequests are those about the cluster as a whole.
func clusterRequests(o *oracle) {
	for _, c := range []struct {
		name   string
		kind   int8
		auth   bool
		fenced bool
	}{{"brokers", 1, false, false}, {"with operations", 1, true, false}, {"controllers asked of a broker", 2, false, false},
		{"an unknown kind", 9, false, false}, {"fenced ones too", 1, false, true}} {
		o.each(60, func(v int16) {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrDescribeClusterRequest()
				r.EndpointType, r.IncludeClusterAuthorizedOperations, r.IncludeFencedBrokers = c.kind, c.auth, c.fenced
				return r
			})
		})
	}
	for _, c := range []struct {
		name, topic string
		parts       []int32
	}{{"the metadata partition", "__cluster_metadata", []int32{0}}, {"another topic", "elsewhere", []int32{0}}, {"another partition", "__cluster_metadata", []int32{1}}, {"nothing", "__cluster_metadata", nil}} {
		o.each(55, func(v int16) {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrDescribeQuorumRequest()
				t := kmsg.NewDescribeQuorumRequestTopic()
				t.Topic = c.topic
				for _, p := range c.parts {
					q := kmsg.NewDescribeQuorumRequestTopicPartition()
					q.Partition = p
					t.Partitions = append(t.Partitions, q)
				}
				r.Topics = append(r.Topics, t)
				return r
			})
		})
	}
	for _, c := range []struct {
		name, key string
		kind      int8
	}{{"group", "g", 0}, {"transaction", "t", 1}, {"unknown kind", "g", 7}, {"empty group", "", 0}, {"empty transaction", "", 1}} {
		o.each(10, func(v int16) {
			// The first question has the internal topic made; until it is there the answer depends on the moment.
			build := func(*side) kmsg.Request {
				r := kmsg.NewPtrFindCoordinatorRequest()
				r.CoordinatorKey, r.CoordinatorKeys, r.CoordinatorType = c.key, []string{c.key, c.key + "2"}, c.kind
				return r
			}
			if c.kind < 2 && c.key != "" {
				o.until(v, build, func(resp kmsg.Response) bool {
					f := resp.(*kmsg.FindCoordinatorResponse)
					for _, k := range f.Coordinators {
						if k.ErrorCode != 0 {
							return false
						}
					}
					return f.ErrorCode == 0
				})
			}
			o.ask(c.name, v, build)
		})
	}
}

// newTopic builds a CreateTopics request for one topic.
func newTopic(name string, partitions int32, rf int16, configs ...string) *kmsg.CreateTopicsRequest {
	r := kmsg.NewPtrCreateTopicsRequest()
	r.TimeoutMillis = timeoutMs
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, rf
	for i := 0; i+1 < len(configs); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = configs[i], str(configs[i+1])
		t.Configs = append(t.Configs, c)
	}
	r.Topics = append(r.Topics, t)
	return r
}

// make makes a topic on both sides, waits for its leaders and learns its id.
func (o *oracle) make(name string, partitions int32, configs ...string) {
	o.quiet(func(*side) kmsg.Request { return newTopic(name, partitions, 1, configs...) }, 7)
	o.settle(name, int(partitions))
}

// settle waits until a topic has so many partitions with leaders; 0 until it is gone.
func (o *oracle) settle(name string, partitions int) {
	ask := func(*side) kmsg.Request {
		r := kmsg.NewPtrMetadataRequest()
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = str(name)
		r.Topics = append(r.Topics, t)
		return r
	}
	o.until(12, ask, func(resp kmsg.Response) bool {
		t := resp.(*kmsg.MetadataResponse).Topics[0]
		if partitions == 0 {
			return t.ErrorCode == 3
		}
		if t.ErrorCode != 0 || len(t.Partitions) != partitions {
			return false
		}
		for _, p := range t.Partitions {
			if p.Leader < 0 || p.ErrorCode != 0 {
				return false
			}
		}
		return true
	})
	for i, a := range o.quiet(ask, 12) {
		if a.err == nil && partitions > 0 {
			id := a.resp.(*kmsg.MetadataResponse).Topics[0].TopicID
			o.sides[i].learn(id, "the id of "+name)
			o.sides[i].kept[name] = id
		}
	}
}

// topicID is the id of a topic that was made.
func (s *side) topicID(name string) (id [16]byte) {
	id, _ = s.kept[name].([16]byte)
	return id
}

// topicRequests make, change, describe and delete topics.
func topicRequests(o *oracle) {
	long := strings.Repeat("n", 250)
	type try struct {
		name  string
		build func(v int16) *kmsg.CreateTopicsRequest
	}
	one := func(name, topic string, p int32, rf int16, configs ...string) try {
		return try{name, func(v int16) *kmsg.CreateTopicsRequest { return newTopic(fmtName(topic, v), p, rf, configs...) }}
	}
	assigned := func(name, topic string, p int32, rf int16, replicas ...[]int32) try {
		return try{name, func(v int16) *kmsg.CreateTopicsRequest {
			r := newTopic(fmtName(topic, v), p, rf)
			for i, list := range replicas {
				a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
				a.Partition, a.Replicas = int32(i), list
				r.Topics[0].ReplicaAssignment = append(r.Topics[0].ReplicaAssignment, a)
			}
			return r
		}}
	}
	exact := func(name, topic string) try {
		return try{name, func(int16) *kmsg.CreateTopicsRequest { return newTopic(topic, 1, 1) }}
	}
	tries := []try{
		one("two partitions", "made", 2, 1),
		one("the same again", "made", 2, 1),
		one("broker's defaults", "made-default", -1, -1),
		one("with configs", "made-configs", 1, 1, "retention.ms", "1000", "cleanup.policy", "compact"),
		one("too many replicas", "bad-rf", 1, 5),
		one("no replicas", "bad-rf0", 1, 0),
		one("no partitions", "bad-p0", 0, 1),
		one("a negative number of partitions", "bad-p-2", -2, 1),
		one("an unknown config", "bad-config", 1, 1, "no.such.config", "1"),
		one("a config out of range", "bad-range", 1, 1, "retention.ms", "-5"),
		one("a config of another type", "bad-type", 1, 1, "retention.ms", "soon"),
		one("an unknown policy", "bad-policy", 1, 1, "cleanup.policy", "burn"),
		one("more in sync than replicas", "made-isr", 1, 1, "min.insync.replicas", "5"),
		one("no replicas in sync", "bad-isr0", 1, 1, "min.insync.replicas", "0"),
		assigned("assigned", "made-assigned", -1, -1, []int32{1}, []int32{1}),
		assigned("assigned and counted", "bad-assigned", 2, 1, []int32{1}, []int32{1}),
		assigned("assigned to unknown brokers", "bad-assigned2", -1, -1, []int32{9}),
		assigned("assigned twice to one broker", "bad-assigned3", -1, -1, []int32{1, 1}),
		assigned("assigned to none", "bad-assigned4", -1, -1, []int32{}),
		exact("an empty name", ""),
		exact("a dot", "."),
		exact("two dots", ".."),
		exact("a slash", "a/b"),
		exact("a blank", "a b"),
		exact("a long name", long),
		exact("an internal name", "__consumer_offsets"),
		exact("the metadata topic", "__cluster_metadata"),
		{"a colliding name", func(v int16) *kmsg.CreateTopicsRequest {
			return newTopic(strings.ReplaceAll(fmtName("made", v), "-", "_"), 1, 1)
		}},
		{"two of one name", func(v int16) *kmsg.CreateTopicsRequest {
			r := newTopic(fmtName("twice", v), 1, 1)
			r.Topics = append(r.Topics, r.Topics[0])
			return r
		}},
		{"a config twice", func(v int16) *kmsg.CreateTopicsRequest {
			return newTopic(fmtName("config-twice", v), 1, 1, "retention.ms", "1", "retention.ms", "2")
		}},
		{"a config without value", func(v int16) *kmsg.CreateTopicsRequest {
			r := newTopic(fmtName("config-null", v), 1, 1, "retention.ms", "1")
			r.Topics[0].Configs[0].Value = nil
			return r
		}},
		{"no topics", func(int16) *kmsg.CreateTopicsRequest {
			r := kmsg.NewPtrCreateTopicsRequest()
			r.TimeoutMillis = timeoutMs
			return r
		}},
		{"good and bad", func(v int16) *kmsg.CreateTopicsRequest {
			r := newTopic(fmtName("made-beside", v), 1, 1)
			r.Topics = append(r.Topics, newTopic("bad/name", 1, 1).Topics...)
			return r
		}},
	}
	for _, t := range tries {
		o.each(19, func(v int16) {
			if v >= 1 {
				o.ask(t.name+", only validated", v, func(*side) kmsg.Request {
					r := t.build(v)
					r.ValidateOnly = true
					return r
				})
			}
			o.ask(t.name, v, func(*side) kmsg.Request { return t.build(v) })
		})
	}
	deletions(o)
}

func deletions(o *oracle) {
	remove := func(r *kmsg.DeleteTopicsRequest, names ...string) {
		r.TimeoutMillis = timeoutMs
		r.TopicNames = append(r.TopicNames, names...)
		for _, n := range names {
			t := kmsg.NewDeleteTopicsRequestTopic()
			t.Topic = str(n)
			r.Topics = append(r.Topics, t)
		}
	}
	o.each(20, func(v int16) {
		name := fmtName("doomed", v)
		o.make(name, 1)
		for _, c := range []struct {
			name   string
			topics []string
		}{{"unknown", []string{"never-made"}}, {"nothing", nil}, {"one that is there and one that is not", []string{name, "never-made"}}, {"twice", []string{name, name}}, {"a bad name", []string{"a/b"}}} {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrDeleteTopicsRequest()
				remove(r, c.topics...)
				return r
			})
		}
		o.settle(name, 0)
		if v < 6 {
			return
		}
		o.make(name, 1)
		o.ask("by an unknown id", v, func(*side) kmsg.Request {
			r := kmsg.NewPtrDeleteTopicsRequest()
			remove(r, "x")
			r.Topics[0].Topic, r.Topics[0].TopicID = nil, [16]byte{1, 2, 3}
			return r
		})
		o.ask("by name and id", v, func(s *side) kmsg.Request {
			r := kmsg.NewPtrDeleteTopicsRequest()
			remove(r, name)
			r.Topics[0].TopicID = s.topicID(name)
			return r
		})
		o.ask("by id", v, func(s *side) kmsg.Request {
			r := kmsg.NewPtrDeleteTopicsRequest()
			remove(r, "x")
			r.Topics[0].Topic, r.Topics[0].TopicID = nil, s.topicID(name)
			return r
		})
	})
}

// partitionRequests add partitions, and describe topics.
func partitionRequests(o *oracle) {
	o.each(37, func(v int16) {
		name := fmtName("growing", v)
		o.make(name, 2)
		for _, c := range []struct {
			name   string
			topic  string
			count  int32
			assign [][]int32
			only   bool
		}{
			{"fewer", name, 1, nil, false}, {"as many", name, 2, nil, false}, {"more, only validated", name, 4, nil, true}, {"none", name, 0, nil, false},
			{"negative", name, -1, nil, false}, {"an unknown topic", "never-made", 4, nil, false}, {"assigned wrongly", name, 4, [][]int32{{1}}, false},
			{"assigned to unknown brokers", name, 3, [][]int32{{7}}, false}, {"assigned with other replicas", name, 3, [][]int32{{1, 2}}, false},
			{"more", name, 3, nil, false}, {"assigned", name, 4, [][]int32{{1}}, false},
		} {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrCreatePartitionsRequest()
				r.TimeoutMillis, r.ValidateOnly = timeoutMs, c.only
				t := kmsg.NewCreatePartitionsRequestTopic()
				t.Topic, t.Count = c.topic, c.count
				for _, list := range c.assign {
					a := kmsg.NewCreatePartitionsRequestTopicAssignment()
					a.Replicas = list
					t.Assignment = append(t.Assignment, a)
				}
				r.Topics = append(r.Topics, t)
				return r
			})
		}
		o.settle(name, 4)
	})
	o.make("seen", 2)
	o.each(3, func(v int16) {
		// Before version 4 a request for an unknown topic has it made. "never-made" stays that.
		unknown := "never-made"
		if v < 4 {
			unknown = fmtName("made-when-asked-for", v)
		}
		for _, c := range []struct {
			name   string
			topics []string
		}{{"one", []string{"seen"}}, {"unknown", []string{unknown}}, {"a bad name", []string{"a/b"}}, {"an empty name", []string{""}}, {"twice", []string{"seen", "seen"}}} {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrMetadataRequest()
				r.IncludeClusterAuthorizedOperations, r.IncludeTopicAuthorizedOperations = true, true
				for _, n := range c.topics {
					t := kmsg.NewMetadataRequestTopic()
					t.Topic = str(n)
					r.Topics = append(r.Topics, t)
				}
				return r
			})
		}
		if v < 4 {
			o.settle(unknown, 3)
		}
		if v >= 10 {
			for _, known := range []bool{true, false} {
				o.ask(map[bool]string{true: "by id", false: "by an unknown id"}[known], v, func(s *side) kmsg.Request {
					r := kmsg.NewPtrMetadataRequest()
					t := kmsg.NewMetadataRequestTopic()
					t.TopicID = [16]byte{9, 9}
					if known {
						t.TopicID = s.topicID("seen")
					}
					r.Topics = append(r.Topics, t)
					return r
				})
			}
		}
	})
	o.each(75, func(v int16) {
		for _, c := range []struct {
			name   string
			topics []string
			limit  int32
			cursor *kmsg.DescribeTopicPartitionsRequestCursor
		}{{"one", []string{"seen"}, 100, nil}, {"unknown", []string{"never-made"}, 100, nil}, {"limited", []string{"seen"}, 1, nil}, {"no limit", []string{"seen"}, 0, nil},
			{"several", []string{"seen", "growing-v0"}, 3, nil},
			{"from a cursor", []string{"seen", "growing-v0"}, 3, &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "seen", Partition: 1}},
			{"a negative cursor", []string{"seen"}, 3, &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "seen", Partition: -1}},
			{"a bad name", []string{"a/b"}, 3, nil}} {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrDescribeTopicPartitionsRequest()
				r.ResponsePartitionLimit, r.Cursor = c.limit, c.cursor
				for _, n := range c.topics {
					t := kmsg.NewDescribeTopicPartitionsRequestTopic()
					t.Topic = n
					r.Topics = append(r.Topics, t)
				}
				return r
			})
		}
	})
}
