package brokerapi

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/server"
)

// describeQuorum is API key 55, versions 0 to 2 (KIP-595, KIP-836, KIP-853). Only
// the leader of the quorum knows the answer; other brokers pass the request on to
// it.
func (a *API) describeQuorum(r *server.Request) {
	req := kmsg.NewPtrDescribeQuorumRequest()
	if !decode(r, req) {
		return
	}
	if a.Quorum != nil && a.Quorum.Leader().Leader == a.NodeID {
		r.Reply(DescribeQuorum(req, a.Quorum.Describe(), a.NodeID, a.Image()))
		return
	}
	a.forward(r, req, int32(a.Config().RequestTimeoutMs))
}

// DescribeQuorum answers req from the status of the quorum at node self. The
// addresses of the nodes come from the voters, or from the controllers'
// registrations where voters carry none; without a description there are none.
func DescribeQuorum(req *kmsg.DescribeQuorumRequest, s quorum.Status, self kafka.NodeID, img *metadata.Image) *kmsg.DescribeQuorumResponse {
	resp := req.ResponseKind().(*kmsg.DescribeQuorumResponse)
	described := false
	for _, t := range req.Topics {
		topic := kmsg.NewDescribeQuorumResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			part := kmsg.NewDescribeQuorumResponseTopicPartition()
			part.Partition = p.Partition
			switch {
			case t.Topic != kafka.MetadataTopic || p.Partition != 0:
				part.ErrorCode, part.ErrorMessage = kafka.NumAndText(kafka.UnknownTopicOrPartition)
			case s.Leader != self:
				part.ErrorCode, part.ErrorMessage = kafka.NumAndText(kafka.NotLeaderOrFollower)
			default:
				describeLeader(&part, s)
				described = true
			}
			topic.Partitions = append(topic.Partitions, part)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	if req.Version >= 2 {
		resp.ErrorMessage = new(string)
		if described {
			resp.Nodes = quorumNodes(s, img)
		}
	}
	return resp
}

func describeLeader(part *kmsg.DescribeQuorumResponseTopicPartition, s quorum.Status) {
	part.LeaderID, part.LeaderEpoch, part.HighWatermark = int32(s.Leader), s.Epoch, s.HighWatermark
	part.ErrorMessage = new(string)
	part.CurrentVoters, part.Observers = replicaStates(s.Voters), replicaStates(s.Observers)
}

func replicaStates(states []quorum.ReplicaState) []kmsg.DescribeQuorumResponseTopicPartitionReplicaState {
	rows := make([]kmsg.DescribeQuorumResponseTopicPartitionReplicaState, 0, len(states))
	for _, s := range states {
		row := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
		row.ReplicaID, row.ReplicaDirectoryID, row.LogEndOffset = int32(s.ID), s.DirectoryID, s.LogEndOffset
		row.LastFetchTimestamp, row.LastCaughtUpTimestamp = s.LastFetchTimestampMs, s.LastCaughtUpTimestampMs
		rows = append(rows, row)
	}
	return rows
}

// quorumNodes lists where the voters are reached.
func quorumNodes(s quorum.Status, img *metadata.Image) []kmsg.DescribeQuorumResponseNode {
	var nodes []kmsg.DescribeQuorumResponseNode
	for _, v := range s.Voters {
		node := kmsg.NewDescribeQuorumResponseNode()
		node.NodeID = int32(v.ID)
		if slices.ContainsFunc(nodes, func(n kmsg.DescribeQuorumResponseNode) bool { return n.NodeID == node.NodeID }) {
			continue
		}
		if voter, ok := s.VoterSet.Find(v.ID); ok {
			for _, e := range voter.Endpoints {
				node.Listeners = append(node.Listeners, quorumListener(e.Listener, e.Host, e.Port))
			}
		}
		if c := img.Controller(node.NodeID); c != nil && len(node.Listeners) == 0 {
			for _, e := range c.Endpoints {
				node.Listeners = append(node.Listeners, quorumListener(e.Name, e.Host, e.Port))
			}
		}
		nodes = append(nodes, node)
	}
	return nodes
}

func quorumListener(name, host string, port uint16) kmsg.DescribeQuorumResponseNodeListener {
	l := kmsg.NewDescribeQuorumResponseNodeListener()
	l.Name, l.Host, l.Port = name, host, port
	return l
}
