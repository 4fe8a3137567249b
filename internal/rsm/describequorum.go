package rsm

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
)

// describeQuorum answers from the engine (KIP-595, KIP-836, KIP-853). Only the
// leader knows how far the others are.
func (c *Controller) describeQuorum(req *kmsg.DescribeQuorumRequest) (Reply, error) {
	resp := req.ResponseKind().(*kmsg.DescribeQuorumResponse)
	s := c.cfg.Engine.Describe()
	if s.Leader != c.nodeID() {
		return Reply{}, errNotActive
	}
	for _, t := range req.Topics {
		rt := kmsg.NewDescribeQuorumResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewDescribeQuorumResponseTopicPartition()
			rp.Partition = p.Partition
			if t.Topic != kafka.MetadataTopic || p.Partition != 0 {
				rp.ErrorCode = kafka.UnknownTopicOrPartition.Num()
				rp.LeaderID, rp.LeaderEpoch, rp.HighWatermark = -1, -1, -1
			} else {
				describePartition(&rp, &s)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	for _, v := range s.VoterSet {
		n := kmsg.NewDescribeQuorumResponseNode()
		n.NodeID = int32(v.ID)
		for _, e := range v.Endpoints {
			l := kmsg.NewDescribeQuorumResponseNodeListener()
			l.Name, l.Host, l.Port = e.Listener, e.Host, e.Port
			n.Listeners = append(n.Listeners, l)
		}
		resp.Nodes = append(resp.Nodes, n)
	}
	return Reply{Response: resp}, nil
}

func describePartition(rp *kmsg.DescribeQuorumResponseTopicPartition, s *quorum.Status) {
	rp.LeaderID, rp.LeaderEpoch, rp.HighWatermark = int32(s.Leader), s.Epoch, s.HighWatermark
	rp.CurrentVoters = replicaStates(s.Voters)
	rp.Observers = replicaStates(s.Observers)
}

func replicaStates(in []quorum.ReplicaState) []kmsg.DescribeQuorumResponseTopicPartitionReplicaState {
	var out []kmsg.DescribeQuorumResponseTopicPartitionReplicaState
	for _, r := range in {
		v := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
		v.ReplicaID, v.ReplicaDirectoryID, v.LogEndOffset = int32(r.ID), r.DirectoryID, r.LogEndOffset
		v.LastFetchTimestamp, v.LastCaughtUpTimestamp = r.LastFetchTimestampMs, r.LastCaughtUpTimestampMs
		out = append(out, v)
	}
	return out
}
