package main

import "github.com/twmb/franz-go/pkg/kmsg"

// commit builds an OffsetCommit of one partition of the topic "seen".
func commit(s *side, group, member string, generation int32, topic string, partition int32, offset int64, metadata *string) *kmsg.OffsetCommitRequest {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Group, r.MemberID, r.Generation, r.RetentionTimeMillis = group, member, generation, -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic, t.TopicID = topic, s.topicID(topic)
	if topic == "never-made" {
		t.TopicID = [16]byte{3, 3}
	}
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = partition, offset, -1, metadata
	t.Partitions = append(t.Partitions, p)
	r.Topics = append(r.Topics, t)
	return r
}

// fetchOffsets builds an OffsetFetch; without topics of all partitions.
func fetchOffsets(s *side, v int16, group string, topics ...string) *kmsg.OffsetFetchRequest {
	r := kmsg.NewPtrOffsetFetchRequest()
	r.Group = group
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.MemberEpoch = group, -1
	for _, name := range topics {
		t := kmsg.NewOffsetFetchRequestTopic()
		t.Topic, t.Partitions = name, []int32{0, 1, 9}
		r.Topics = append(r.Topics, t)
		gt := kmsg.NewOffsetFetchRequestGroupTopic()
		gt.Topic, gt.TopicID, gt.Partitions = name, s.topicID(name), []int32{0, 1, 9}
		if name == "never-made" {
			gt.TopicID = [16]byte{3, 3}
		}
		g.Topics = append(g.Topics, gt)
	}
	r.Groups = append(r.Groups, g)
	if len(topics) == 0 && v < 2 {
		r.Topics = []kmsg.OffsetFetchRequestTopic{}
	}
	return r
}

// offsetRequests commit, read and delete offsets without members, and look at groups.
func offsetRequests(o *oracle) {
	long := make([]byte, 5000)
	for i := range long {
		long[i] = 'm'
	}
	o.each(8, func(v int16) {
		group := fmtName("committers", v)
		for _, c := range []struct {
			name, group, member string
			generation          int32
			topic               string
			partition           int32
			offset              int64
			meta                *string
		}{{"simple", group, "", -1, "seen", 0, 5, str("meta")}, {"again, lower", group, "", -1, "seen", 0, 3, str("")}, {"no metadata", group, "", -1, "seen", 1, 7, nil}, {"negative offset", group, "", -1, "seen", 1, -1, nil},
			{"long metadata", group, "", -1, "seen", 1, 8, str(string(long))}, {"an unknown topic", group, "", -1, "never-made", 0, 1, nil}, {"an unknown partition", group, "", -1, "seen", 9, 1, nil},
			{"a generation without group", fmtName("nobody", v), "m", 3, "seen", 0, 1, nil}, {"a member without generation", group, "m", -1, "seen", 0, 1, nil}, {"a generation in an empty group", group, "m", 1, "seen", 0, 1, nil}, {"no group", "", "", -1, "seen", 0, 1, nil}} {
			o.ask(c.name, v, func(s *side) kmsg.Request {
				return commit(s, c.group, c.member, c.generation, c.topic, c.partition, c.offset, c.meta)
			})
		}
	})
	for _, c := range []struct {
		name, group string
		topics      []string
		stable      bool
	}{{"some", "committers-v7", []string{"seen"}, false}, {"all", "committers-v7", nil, false}, {"stable", "committers-v7", []string{"seen"}, true}, {"an unknown topic", "committers-v7", []string{"never-made"}, false},
		{"an unknown group", "never-joined", []string{"seen"}, false}, {"all of an unknown group", "never-joined", nil, false}, {"no group", "", []string{"seen"}, false}} {
		o.each(9, func(v int16) {
			o.ask(c.name, v, func(s *side) kmsg.Request {
				r := fetchOffsets(s, v, c.group, c.topics...)
				r.RequireStable = c.stable
				return r
			})
		})
	}
	for _, c := range []struct {
		name, group, topic string
		partition          int32
	}{{"one", "committers-v6", "seen", 0}, {"again", "committers-v6", "seen", 0}, {"an unknown partition", "committers-v6", "seen", 9}, {"an unknown topic", "committers-v6", "never-made", 0}, {"an unknown group", "never-joined", "seen", 0}} {
		o.each(47, func(v int16) {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrOffsetDeleteRequest()
				r.Group = c.group
				t := kmsg.NewOffsetDeleteRequestTopic()
				t.Topic = c.topic
				p := kmsg.NewOffsetDeleteRequestTopicPartition()
				p.Partition = c.partition
				t.Partitions = append(t.Partitions, p)
				r.Topics = append(r.Topics, t)
				return r
			})
		})
	}
	looks(o, "committers-v5", "never-joined", "")
	o.each(42, func(v int16) {
		for _, groups := range [][]string{{fmtName("committers", v+2)}, {fmtName("committers", v+2)}, {"never-joined"}, {""}, {}} {
			o.ask("deletes", v, func(*side) kmsg.Request {
				r := kmsg.NewPtrDeleteGroupsRequest()
				r.Groups = groups
				return r
			})
		}
	})
}

// looks describes groups by each way and lists all.
func looks(o *oracle, groups ...string) {
	for _, g := range groups {
		o.each(15, func(v int16) {
			for _, auth := range []bool{false, true} {
				o.ask("describes "+g, v, func(*side) kmsg.Request {
					r := kmsg.NewPtrDescribeGroupsRequest()
					r.Groups, r.IncludeAuthorizedOperations = []string{g}, auth
					return r
				})
			}
		})
		o.each(69, func(v int16) {
			o.ask("describes "+g, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrConsumerGroupDescribeRequest()
				r.Groups = []string{g}
				return r
			})
		})
	}
	for _, c := range []struct{ states, types []string }{{nil, nil}, {[]string{"Empty"}, nil}, {[]string{"stable"}, nil}, {[]string{"Nonsense"}, nil}, {nil, []string{"classic"}}, {nil, []string{"consumer"}}, {nil, []string{"nonsense"}}} {
		o.each(16, func(v int16) {
			o.ask("lists", v, func(*side) kmsg.Request {
				r := kmsg.NewPtrListGroupsRequest()
				r.StatesFilter, r.TypesFilter = c.states, c.types
				return r
			})
		})
	}
}

// classicRequests are the life of a classic group with one member, and its mistakes.
func classicRequests(o *oracle) {
	o.each(11, func(v int16) {
		group := fmtName("classic", v)
		join := func(name string, change func(s *side, r *kmsg.JoinGroupRequest)) {
			answers := o.ask(name, v, func(s *side) kmsg.Request {
				r := kmsg.NewPtrJoinGroupRequest()
				r.Group, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis, r.ProtocolType = group, 30000, 30000, "consumer"
				r.MemberID, _ = s.kept[group].(string)
				p := kmsg.NewJoinGroupRequestProtocol()
				p.Name, p.Metadata = "range", subscription()
				r.Protocols = append(r.Protocols, p)
				if change != nil {
					change(s, r)
				}
				return r
			})
			for i, a := range answers {
				if a.err != nil {
					continue
				}
				r := a.resp.(*kmsg.JoinGroupResponse)
				if r.MemberID != "" && (r.ErrorCode == 0 || r.ErrorCode == 79) {
					o.sides[i].kept[group] = r.MemberID
					o.sides[i].kept[group+" generation"] = r.Generation
				}
			}
		}
		join("no protocols", func(_ *side, r *kmsg.JoinGroupRequest) { r.Protocols = nil })
		join("no protocol type", func(_ *side, r *kmsg.JoinGroupRequest) { r.ProtocolType = "" })
		join("a short session", func(_ *side, r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 })
		join("a long session", func(_ *side, r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 << 30 })
		join("no group", func(_ *side, r *kmsg.JoinGroupRequest) { r.Group = "" })
		join("an unknown member", func(_ *side, r *kmsg.JoinGroupRequest) { r.MemberID = "nobody" })
		join("joins", nil)
		join("joins again", nil)
		join("another protocol type", func(_ *side, r *kmsg.JoinGroupRequest) { r.ProtocolType = "connect" })
		member := func(s *side) string { m, _ := s.kept[group].(string); return m }
		generation := func(s *side) int32 { g, _ := s.kept[group+" generation"].(int32); return g }
		synced(o, v, group, member, generation)
	})
	looks(o, "classic-v5")
}

// subscription is what a consumer with the range assignor sends, to topic "seen".
func subscription() []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Version, m.Topics = 1, []string{"seen"}
	return m.AppendTo(nil)
}

func assignment() []byte {
	a := kmsg.NewConsumerMemberAssignment()
	t := kmsg.NewConsumerMemberAssignmentTopic()
	t.Topic, t.Partitions = "seen", []int32{0, 1}
	a.Version, a.Topics = 1, append(a.Topics, t)
	return a.AppendTo(nil)
}

// synced goes on with a group whose only member has joined. The versions of the other
// requests go with that of JoinGroup as far as they have it.
func synced(o *oracle, v int16, group string, member func(*side) string, generation func(*side) int32) {
	at := func(key int16) int16 {
		r := o.ranges[key]
		return min(max(v, r.min), r.max)
	}
	for _, c := range []struct {
		name string
		off  int32
		who  string
	}{{"a wrong generation", 1, ""}, {"an unknown member", 0, "nobody"}, {"syncs", 0, ""}, {"syncs again", 0, ""}} {
		o.ask(c.name, at(14), func(s *side) kmsg.Request {
			r := kmsg.NewPtrSyncGroupRequest()
			r.Group, r.Generation, r.MemberID = group, generation(s)+c.off, member(s)
			r.ProtocolType, r.Protocol = str("consumer"), str("range")
			if c.who != "" {
				r.MemberID = c.who
			}
			a := kmsg.NewSyncGroupRequestGroupAssignment()
			a.MemberID, a.MemberAssignment = r.MemberID, assignment()
			r.GroupAssignment = append(r.GroupAssignment, a)
			return r
		})
		o.ask(c.name, at(12), func(s *side) kmsg.Request {
			r := kmsg.NewPtrHeartbeatRequest()
			r.Group, r.Generation, r.MemberID = group, generation(s)+c.off, member(s)
			if c.who != "" {
				r.MemberID = c.who
			}
			return r
		})
		o.ask("commits, "+c.name, at(8), func(s *side) kmsg.Request {
			m := member(s)
			if c.who != "" {
				m = c.who
			}
			return commit(s, group, m, generation(s)+c.off, "seen", 0, 11, nil)
		})
	}
	o.ask("another protocol", at(14), func(s *side) kmsg.Request {
		r := kmsg.NewPtrSyncGroupRequest()
		r.Group, r.Generation, r.MemberID = group, generation(s), member(s)
		r.ProtocolType, r.Protocol = str("connect"), str("sticky")
		return r
	})
	o.ask("a commit without member", at(8), func(s *side) kmsg.Request { return commit(s, group, "", -1, "seen", 0, 1, nil) })
	o.ask("deletes a group with members", at(42), func(*side) kmsg.Request {
		r := kmsg.NewPtrDeleteGroupsRequest()
		r.Groups = []string{group}
		return r
	})
	if v == 5 {
		return // this one stays to be described
	}
	for _, who := range []string{"nobody", ""} {
		o.ask("leaves", at(13), func(s *side) kmsg.Request {
			r := kmsg.NewPtrLeaveGroupRequest()
			r.Group, r.MemberID = group, who
			if who == "" {
				r.MemberID = member(s)
			}
			m := kmsg.NewLeaveGroupRequestMember()
			m.MemberID = r.MemberID
			r.Members = append(r.Members, m)
			return r
		})
	}
	o.ask("a heartbeat after leaving", at(12), func(s *side) kmsg.Request {
		r := kmsg.NewPtrHeartbeatRequest()
		r.Group, r.Generation, r.MemberID = group, generation(s), member(s)
		return r
	})
}

// consumerRequests are the life of a KIP-848 group.
func consumerRequests(o *oracle) {
	o.each(68, func(v int16) {
		group := fmtName("modern", v)
		const own = "AAAAAAAAAAAAAAAAAAAAAA" // since version 1 members name themselves
		beat := func(name string, change func(s *side, r *kmsg.ConsumerGroupHeartbeatRequest)) {
			answers := o.ask(name, v, func(s *side) kmsg.Request {
				r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
				r.Group, r.RebalanceTimeoutMillis = group, -1
				r.MemberID, _ = s.kept[group].(string)
				r.MemberEpoch, _ = s.kept[group+" epoch"].(int32)
				if change != nil {
					change(s, r)
				}
				return r
			})
			for i, a := range answers {
				if a.err != nil {
					continue
				}
				r := a.resp.(*kmsg.ConsumerGroupHeartbeatResponse)
				if r.ErrorCode == 0 && r.MemberID != nil && r.MemberEpoch >= 0 {
					o.sides[i].kept[group], o.sides[i].kept[group+" epoch"] = *r.MemberID, r.MemberEpoch
					o.sides[i].learn(*r.MemberID, "the member")
				}
			}
		}
		joining := func(_ *side, r *kmsg.ConsumerGroupHeartbeatRequest) {
			if v > 0 {
				r.MemberID = own
			}
			r.RebalanceTimeoutMillis, r.SubscribedTopicNames, r.Topics = 30000, []string{"seen"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		}
		with := func(more func(r *kmsg.ConsumerGroupHeartbeatRequest)) func(*side, *kmsg.ConsumerGroupHeartbeatRequest) {
			return func(s *side, r *kmsg.ConsumerGroupHeartbeatRequest) { joining(s, r); more(r) }
		}
		beat("no group", with(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "" }))
		beat("no member id", with(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID = "" }))
		beat("no timeout", with(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -1 }))
		beat("no topics", with(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = nil }))
		beat("owns some when it joins", with(func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{{TopicID: [16]byte{1}, Partitions: []int32{0}}}
		}))
		beat("an unknown assignor", with(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = str("fancy") }))
		beat("an empty assignor", with(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = str("") }))
		beat("an empty instance", with(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = str("") }))
		beat("an unknown member", with(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID, r.MemberEpoch = "nobody", 3 }))
		beat("a static member leaves for a while", with(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -2 }))
		beat("a bad expression", with(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicRegex = str("(") }))
		beat("joins", joining)
		o.until(v, func(s *side) kmsg.Request {
			r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
			r.Group, r.RebalanceTimeoutMillis, r.MemberID = group, -1, s.kept[group].(string)
			r.MemberEpoch, _ = s.kept[group+" epoch"].(int32)
			return r
		}, func(kmsg.Response) bool { return true })
		beat("goes on", nil)
		beat("an old epoch", func(_ *side, r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch += 5 })
		beat("an epoch too low", func(_ *side, r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -9 })
		for _, c := range []struct {
			name string
			off  int32
		}{{"commits", 0}, {"commits with a newer epoch", 4}} {
			o.each(8, func(cv int16) {
				o.ask(c.name, cv, func(s *side) kmsg.Request {
					m, _ := s.kept[group].(string)
					e, _ := s.kept[group+" epoch"].(int32)
					return commit(s, group, m, e+c.off, "seen", 0, 4, nil)
				})
			})
		}
		o.each(9, func(fv int16) {
			o.ask("reads as a member", fv, func(s *side) kmsg.Request {
				r := fetchOffsets(s, fv, group, "seen")
				m, _ := s.kept[group].(string)
				r.Groups[0].MemberID = &m
				r.Groups[0].MemberEpoch, _ = s.kept[group+" epoch"].(int32)
				return r
			})
		})
		looks(o, group)
		o.ask("a classic heartbeat", 4, func(s *side) kmsg.Request {
			r := kmsg.NewPtrHeartbeatRequest()
			r.Group, r.Generation = group, 1
			r.MemberID, _ = s.kept[group].(string)
			return r
		})
		beat("leaves", func(_ *side, r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -1 })
		beat("leaves again", func(_ *side, r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -1 })
		looks(o, group)
	})
}
