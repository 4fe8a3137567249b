package group

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// command runs one line of a script.
func (w *world) command(name string, a args) {
	switch name {
	case "config":
		w.setConfig(a)
	case "advance":
		w.advance(a.num("ms", 0))
	case "hold":
		w.hold = true
	case "notes": // what is noted for the operator is printed too
		w.notes = true
	case "release":
		w.release()
	case "fail":
		w.fail = map[string]*kafka.Code{"NOT_ENOUGH_REPLICAS": kafka.NotEnoughReplicas, "NOT_LEADER": kafka.NotLeaderOrFollower}[a.words[0]]
	case "reload":
		w.start()
	case "topic":
		w.addTopic(a.words[0], byte(a.num("id", 0)), int32(a.num("parts", 1)))
	case "topicgone":
		id := w.img.Topic(a.words[0]).ID
		w.change([]records.Message{&records.RemoveTopicRecord{TopicID: id}})
		w.apply(w.m.TopicsDeleted(map[string]kafka.TopicID{a.words[0]: id}))
	case "topictold": // a deletion that the image does not have yet
		w.apply(w.m.TopicsDeleted(map[string]kafka.TopicID{a.words[0]: w.img.Topic(a.words[0]).ID}))
	case "topicdrop": // a deletion that nobody was told of
		w.change([]records.Message{&records.RemoveTopicRecord{TopicID: w.img.Topic(a.words[0]).ID}})
	case "oldoffset": // a commit in the log as the first brokers wrote it
		t, part, o := parseOffset(a.words[0])
		key := &records.LegacyOffsetCommitKey{Group: a.str("g", "g"), Topic: t, Partition: part}
		w.inLog(records.EncodeCoordinatorKey(key), &records.LegacyOffsetCommitValue{Offset: o, CommitTimestamp: w.now})
	case "oddstate": // a member in a state that this version does not know
		key := &records.ConsumerGroupCurrentMemberAssignmentKey{GroupID: "g", MemberID: a.str("m", "m1")}
		w.inLog(records.EncodeCoordinatorKey(key), &records.ConsumerGroupCurrentMemberAssignmentValue{MemberEpoch: int32(a.num("epoch", 1)), State: 77})
	case "orphans":
		w.apply(w.m.RemoveOrphans(w.img))
	case "jump": // the clock is set; what is due fires late
		w.now += a.num("ms", 0)
		if w.timers[expirationKey] <= w.now {
			w.apply(w.m.OnTimer(expirationKey, w.now))
		}
	case "txnend":
		if err := w.m.ReplayTxnEnd(a.num("pid", 7), 0, a.words[0] == "commit"); err != nil {
			w.t.Fatal(err)
		}
	case "state":
		for _, id := range w.m.Groups() {
			w.printf("%s %s %s", id, w.m.groups[id].kind(), w.m.groups[id].stateName())
		}
	default:
		w.request(name, a)
	}
}

// inLog adds a record that another version wrote.
func (w *world) inLog(key []byte, value records.Message) {
	l := logged{coord.Record{Key: key, Value: records.EncodeCoordinatorValue(value)}, coord.Origin{Offset: int64(len(w.log)), ProducerID: coord.NoProducerID}}
	w.log = append(w.log, l)
	if err := w.m.Replay(l.rec, l.from); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) setConfig(a args) {
	c := &w.m.cfg
	c.GroupMaxSize = int(a.num("group.max.size", int64(c.GroupMaxSize)))
	c.InitialRebalanceDelayMs = a.num("delay", c.InitialRebalanceDelayMs)
	c.OffsetsRetentionMs = a.num("retention", c.OffsetsRetentionMs)
	c.OffsetMetadataMaxBytes = int(a.num("metadata", int64(c.OffsetMetadataMaxBytes)))
	c.ConsumerGroupMaxSize = int(a.num("consumer.max.size", int64(c.ConsumerGroupMaxSize)))
	if p, ok := ParseMigrationPolicy(a.str("migration", "")); ok {
		c.ConsumerMigrationPolicy = p
	}
	c.ConsumerAssignmentIntervalMs = int32(a.num("assignment.interval", int64(c.ConsumerAssignmentIntervalMs)))
	if a.num("bounds", 0) == 1 {
		c.ConsumerSessionTimeouts, c.ConsumerHeartbeatIntervals = Range{Min: 20000, Max: 60000}, Range{Min: 2000, Max: 15000}
	}
	w.cfg = *c
	w.m.Configure(w.cfg)
}

func (w *world) request(name string, a args) {
	to, m := w.next(), w.m
	client := coord.Client{ID: a.str("client", "c"), Host: "/h"}
	switch name {
	case "join":
		w.apply(m.JoinGroup(w.now, to, client, joinRequest(a)))
	case "sync":
		w.apply(m.SyncGroup(w.now, to, client, syncRequest(a)))
	case "heartbeat":
		r := kmsg.NewPtrHeartbeatRequest()
		r.Version, r.Group, r.MemberID, r.InstanceID = 4, a.str("g", "g"), a.str("m", ""), a.opt("i")
		r.Generation = int32(a.num("gen", 1))
		w.apply(m.Heartbeat(w.now, to, client, r))
	case "leave":
		w.apply(m.LeaveGroup(w.now, to, client, leaveRequest(a)))
	case "commit":
		w.apply(m.OffsetCommit(w.now, to, client, commitRequest(a)))
	case "txncommit":
		r := kmsg.NewPtrTxnOffsetCommitRequest()
		r.Version, r.Group, r.MemberID, r.Generation = int16(a.num("v", 5)), a.str("g", "g"), a.str("m", ""), int32(a.num("gen", -1))
		r.ProducerID, r.ProducerEpoch, r.InstanceID = a.num("pid", 7), 0, a.opt("i")
		for _, word := range a.words {
			t, p, o := parseOffset(word)
			r.Topics = append(r.Topics, kmsg.TxnOffsetCommitRequestTopic{Topic: t, TopicID: w.topicID(t), Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Partition: p, Offset: o, LeaderEpoch: -1, Metadata: a.opt("meta")}}})
		}
		w.apply(m.TxnOffsetCommit(w.now, to, client, r))
	case "fetch":
		w.apply(m.OffsetFetch(w.now, to, client, w.fetchRequest(a)))
	case "offsetdelete":
		r := kmsg.NewPtrOffsetDeleteRequest()
		r.Group = a.str("g", "g")
		for _, word := range a.words {
			t, p, _ := parseOffset(word)
			r.Topics = append(r.Topics, kmsg.OffsetDeleteRequestTopic{Topic: t, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: p}}})
		}
		w.apply(m.OffsetDelete(w.now, to, client, r))
	case "describe":
		r := kmsg.NewPtrDescribeGroupsRequest()
		r.Version, r.Groups = int16(a.num("v", 6)), a.words
		w.apply(m.DescribeGroups(w.now, to, client, r))
	case "list":
		r := kmsg.NewPtrListGroupsRequest()
		r.Version, r.StatesFilter, r.TypesFilter = 5, a.list("states", ""), a.list("types", "")
		w.apply(m.ListGroups(to, NewListFilter(r)))
	case "delete":
		r := kmsg.NewPtrDeleteGroupsRequest()
		r.Version, r.Groups = 3, a.words
		w.apply(m.DeleteGroups(w.now, to, client, r))
	default:
		w.consumerRequest(name, a, to, client)
	}
}

func (w *world) topicID(name string) kafka.TopicID {
	if t := w.img.Topic(name); t != nil {
		return t.ID
	}
	return kafka.UUID{0: 9}
}

func joinRequest(a args) *kmsg.JoinGroupRequest {
	r := kmsg.NewPtrJoinGroupRequest()
	r.Version, r.Group, r.MemberID, r.InstanceID = int16(a.num("v", 9)), a.str("g", "g"), a.str("m", ""), a.opt("i")
	r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = int32(a.num("session", 10000)), int32(a.num("rebalance", 60000))
	r.ProtocolType, r.Reason = a.str("type", "consumer"), a.opt("reason")
	for _, p := range a.list("protocols", "range") {
		pr := kmsg.NewJoinGroupRequestProtocol()
		pr.Name, pr.Metadata = p, subscription(a.list("topics", "t"), a.str("have", ""))
		r.Protocols = append(r.Protocols, pr)
	}
	return r
}

func syncRequest(a args) *kmsg.SyncGroupRequest {
	r := kmsg.NewPtrSyncGroupRequest()
	r.Version, r.Group, r.MemberID, r.InstanceID = 5, a.str("g", "g"), a.str("m", ""), a.opt("i")
	r.Generation, r.ProtocolType, r.Protocol = int32(a.num("gen", 1)), a.opt("type"), a.opt("protocol")
	for _, word := range a.words {
		id, data, _ := strings.Cut(word, ":")
		r.GroupAssignment = append(r.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: id, MemberAssignment: assignmentBytes(data)})
	}
	return r
}

// assignmentBytes is the text as it is, or behind a # the embedded assignment of one
// topic.
func assignmentBytes(s string) []byte {
	s, embedded := strings.CutPrefix(s, idPrefix)
	if !embedded {
		return []byte(s)
	}
	topic, parts, _ := strings.Cut(s, ":")
	a := kmsg.NewConsumerMemberAssignment()
	t := kmsg.NewConsumerMemberAssignmentTopic()
	t.Topic, t.Partitions = topic, partitionList(parts)
	a.Topics = append(a.Topics, t)
	return a.AppendTo(nil)
}

func partitionList(s string) []int32 {
	var all []int32
	for _, p := range strings.Split(s, ",") {
		n, _ := strconv.Atoi(p)
		all = append(all, int32(n))
	}
	return all
}

func leaveRequest(a args) *kmsg.LeaveGroupRequest {
	r := kmsg.NewPtrLeaveGroupRequest()
	r.Version, r.Group, r.MemberID = int16(a.num("v", 5)), a.str("g", "g"), a.str("m", "")
	for _, word := range a.words {
		id, inst, static := strings.Cut(word, "@")
		l := kmsg.NewLeaveGroupRequestMember()
		l.Reason = a.opt("reason")
		if l.MemberID = id; static {
			l.InstanceID = &inst
		}
		r.Members = append(r.Members, l)
	}
	return r
}

// parseOffset reads topic:partition=offset, the last part of which may be missing.
func parseOffset(s string) (topic string, partition int32, offset int64) {
	f := strings.Split(s, ":")
	p, _ := strconv.Atoi(f[1])
	if len(f) > 2 {
		offset, _ = strconv.ParseInt(f[2], 10, 64)
	}
	return f[0], int32(p), offset
}

func commitRequest(a args) *kmsg.OffsetCommitRequest {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Version, r.Group, r.MemberID, r.InstanceID = int16(a.num("v", 9)), a.str("g", "g"), a.str("m", ""), a.opt("i")
	r.Generation, r.RetentionTimeMillis = int32(a.num("gen", -1)), a.num("retention", -1)
	for _, word := range a.words {
		t, p, o := parseOffset(word)
		r.Topics = append(r.Topics, kmsg.OffsetCommitRequestTopic{Topic: t, TopicID: topicUUID(byte(a.num("id", 1))),
			Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Partition: p, Offset: o, LeaderEpoch: int32(a.num("epoch", -1)), Metadata: a.opt("meta")}}})
	}
	return r
}

func (w *world) fetchRequest(a args) *kmsg.OffsetFetchRequest {
	r := kmsg.NewPtrOffsetFetchRequest()
	r.Version, r.RequireStable = int16(a.num("v", 9)), a.num("stable", 0) == 1
	if r.Version < 8 {
		r.Group = a.str("g", "g")
		for _, word := range a.words {
			t, p, _ := parseOffset(word)
			r.Topics = append(r.Topics, kmsg.OffsetFetchRequestTopic{Topic: t, Partitions: []int32{p}})
		}
		return r
	}
	for _, id := range a.list("g", "g") {
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group, g.MemberID, g.MemberEpoch = id, a.opt("m"), int32(a.num("epoch", -1))
		for _, word := range a.words {
			t, p, _ := parseOffset(word)
			g.Topics = append(g.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: t, TopicID: w.topicID(t), Partitions: []int32{p}})
		}
		r.Groups = append(r.Groups, g)
	}
	return r
}

// replyString is one reply on one line.
func replyString(r coord.Reply) string {
	if r.Err != nil {
		return "error " + errString(r.Err)
	}
	var b strings.Builder
	switch p := r.Response.(type) {
	case *kmsg.JoinGroupResponse:
		fmt.Fprintf(&b, "join %s member=%s gen=%d type=%s protocol=%s leader=%s", codeName(p.ErrorCode), p.MemberID, p.Generation, deref(p.ProtocolType), deref(p.Protocol), p.LeaderID)
		for _, m := range p.Members {
			fmt.Fprintf(&b, " [%s]", m.MemberID)
		}
		if p.SkipAssignment {
			b.WriteString(" skip")
		}
	case *kmsg.SyncGroupResponse:
		fmt.Fprintf(&b, "sync %s protocol=%s %q", codeName(p.ErrorCode), deref(p.Protocol), assignmentString(p.MemberAssignment))
	case *kmsg.HeartbeatResponse:
		fmt.Fprintf(&b, "heartbeat %s", codeName(p.ErrorCode))
	case *kmsg.LeaveGroupResponse:
		fmt.Fprintf(&b, "leave %s", codeName(p.ErrorCode))
		for _, m := range p.Members {
			fmt.Fprintf(&b, " %s@%s:%s", m.MemberID, deref(m.InstanceID), codeName(m.ErrorCode))
		}
	case *kmsg.OffsetCommitResponse:
		b.WriteString("commit")
		for _, t := range p.Topics {
			for _, q := range t.Partitions {
				fmt.Fprintf(&b, " %s:%d:%s", t.Topic, q.Partition, codeName(q.ErrorCode))
			}
		}
	case *kmsg.TxnOffsetCommitResponse:
		b.WriteString("txncommit")
		for _, t := range p.Topics {
			for _, q := range t.Partitions {
				fmt.Fprintf(&b, " %s:%d:%s", t.Topic, q.Partition, codeName(q.ErrorCode))
			}
		}
	case *kmsg.OffsetDeleteResponse:
		fmt.Fprintf(&b, "offsetdelete %s", codeName(p.ErrorCode))
		for _, t := range p.Topics {
			for _, q := range t.Partitions {
				fmt.Fprintf(&b, " %s:%d:%s", t.Topic, q.Partition, codeName(q.ErrorCode))
			}
		}
	case *kmsg.OffsetFetchResponse:
		fmt.Fprintf(&b, "fetch %s", codeName(p.ErrorCode))
		for _, t := range p.Topics {
			for _, q := range t.Partitions {
				fmt.Fprintf(&b, " %s:%d:%d/%d/%q:%s", t.Topic, q.Partition, q.Offset, q.LeaderEpoch, deref(q.Metadata), codeName(q.ErrorCode))
			}
		}
		for _, g := range p.Groups {
			fmt.Fprintf(&b, " {%s %s", g.Group, codeName(g.ErrorCode))
			for _, t := range g.Topics {
				for _, q := range t.Partitions {
					fmt.Fprintf(&b, " %s:%d:%d/%d/%q:%s", t.Topic, q.Partition, q.Offset, q.LeaderEpoch, deref(q.Metadata), codeName(q.ErrorCode))
				}
			}
			b.WriteString("}")
		}
	case *kmsg.DescribeGroupsResponse:
		b.WriteString("describe")
		for _, g := range p.Groups {
			fmt.Fprintf(&b, " {%s %s %s type=%s protocol=%s", g.Group, codeName(g.ErrorCode), g.State, g.ProtocolType, g.Protocol)
			for _, m := range g.Members {
				fmt.Fprintf(&b, " [%s %s %q]", m.MemberID, m.ClientHost, assignmentString(m.MemberAssignment))
			}
			b.WriteString("}")
		}
	case *kmsg.ListGroupsResponse:
		b.WriteString("list")
		for _, g := range p.Groups {
			fmt.Fprintf(&b, " {%s %q %s %s}", g.Group, g.ProtocolType, g.GroupState, g.GroupType)
		}
	case *kmsg.DeleteGroupsResponse:
		b.WriteString("delete")
		for _, g := range p.Groups {
			fmt.Fprintf(&b, " %s:%s", g.Group, codeName(g.ErrorCode))
		}
	default:
		consumerReplyString(&b, r.Response)
	}
	return b.String()
}
