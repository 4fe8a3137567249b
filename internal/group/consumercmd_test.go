package group

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
)

// consumerRequest runs the commands of the consumer protocol. Partitions that a member
// has are bare words, topic:partition,partition; have= says that it has none.
func (w *world) consumerRequest(name string, a args, to coord.Token, client coord.Client) {
	switch name {
	case "beat":
		w.apply(w.m.ConsumerGroupHeartbeat(w.now, to, client, w.beatRequest(a)))
	case "cdescribe":
		r := kmsg.NewPtrConsumerGroupDescribeRequest()
		r.Version, r.Groups = 1, a.words
		w.apply(w.m.ConsumerGroupDescribe(w.now, to, client, r))
	case "groupconfig":
		w.configs = a.named
	default:
		w.t.Fatalf("unknown command %s", name)
	}
}

func (w *world) beatRequest(a args) *kmsg.ConsumerGroupHeartbeatRequest {
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Version, r.Group, r.MemberID, r.MemberEpoch = int16(a.num("v", 1)), a.str("g", "g"), a.str("m", "m1"), int32(a.num("epoch", 0))
	r.InstanceID, r.SubscribedTopicRegex, r.ServerAssignor = a.opt("i"), a.opt("regex"), a.opt("assignor")
	if r.MemberEpoch == 0 {
		r.RebalanceTimeoutMillis = 60000
		r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	if _, ok := a.named["have"]; ok {
		r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	if _, ok := a.named["topics"]; ok || r.MemberEpoch == 0 && r.SubscribedTopicRegex == nil {
		r.SubscribedTopicNames = a.list("topics", "t")
	}
	r.RackID = a.opt("rack")
	r.RebalanceTimeoutMillis = int32(a.num("rebalance", int64(r.RebalanceTimeoutMillis)))
	switch a.str("say", "all") {
	case "noparts":
		r.Topics = nil
	case "notopics":
		r.SubscribedTopicNames = nil
	}
	for _, word := range a.words {
		topic, parts, _ := strings.Cut(word, ":")
		t := kmsg.NewConsumerGroupHeartbeatRequestTopic()
		t.TopicID = w.topicID(topic)
		for _, p := range strings.Split(parts, ",") {
			_, n, _ := parseOffset("x:" + p)
			t.Partitions = append(t.Partitions, n)
		}
		r.Topics = append(r.Topics, t)
	}
	return r
}

func consumerReplyString(b *strings.Builder, r kmsg.Response) {
	switch p := r.(type) {
	case *kmsg.ConsumerGroupHeartbeatResponse:
		fmt.Fprintf(b, "beat %s member=%s epoch=%d", codeName(p.ErrorCode), deref(p.MemberID), p.MemberEpoch)
		if p.ErrorCode == 0 && p.HeartbeatIntervalMillis != 0 && p.HeartbeatIntervalMillis != 5000 { // not the default
			fmt.Fprintf(b, " every=%d", p.HeartbeatIntervalMillis)
		}
		if p.Assignment != nil {
			b.WriteString(" assignment")
			for _, t := range p.Assignment.Topics {
				fmt.Fprintf(b, " %x:%v", t.TopicID[15], t.Partitions)
			}
		}
	case *kmsg.ConsumerGroupDescribeResponse:
		b.WriteString("cdescribe")
		for _, g := range p.Groups {
			fmt.Fprintf(b, " {%s %s %s epoch=%d/%d %s", g.Group, codeName(g.ErrorCode), g.State, g.Epoch, g.AssignmentEpoch, g.AssignorName)
			for _, m := range g.Members {
				fmt.Fprintf(b, " [%s epoch=%d type=%d %v %q", m.MemberID, m.MemberEpoch, m.MemberType, m.SubscribedTopics, deref(m.SubscribedTopicRegex))
				for _, t := range m.Assignment.TopicPartitions {
					fmt.Fprintf(b, " %s:%v", t.Topic, t.Partitions)
				}
				b.WriteString(" ->")
				for _, t := range m.TargetAssignment.TopicPartitions {
					fmt.Fprintf(b, " %s:%v", t.Topic, t.Partitions)
				}
				b.WriteString("]")
			}
			b.WriteString("}")
		}
	}
}
