package controller

import (
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// alterPartition decides AlterPartition: the leader of a partition proposes an ISR
// (KIP-497). The controller, not the leader, knows which brokers may be in it
// (KIP-841, KIP-903).
func (d *decision) alterPartition(req *kmsg.AlterPartitionRequest, resp *kmsg.AlterPartitionResponse) Result {
	if err := d.checkEpoch(req.BrokerID, req.BrokerEpoch); err != nil {
		return Result{Reply: fail(req, resp, err)}
	}
	for i := range req.Topics {
		in := &req.Topics[i]
		out := kmsg.NewAlterPartitionResponseTopic()
		out.Topic, out.TopidID = in.Topic, in.TopicID
		t := d.img.TopicByID(in.TopicID)
		for j := range in.Partitions {
			p := kmsg.NewAlterPartitionResponseTopicPartition()
			p.Partition = in.Partitions[j].Partition
			if t == nil {
				p.ErrorCode = kafka.UnknownTopicID.Num()
			} else {
				d.alterISR(req.BrokerID, t, &in.Partitions[j], &p)
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return d.result(resp, false)
}

// proposedISR is the new ISR with the broker epochs that the leader knows, -1 for
// those it does not. A request that did not travel may have both forms of it.
func proposedISR(in *kmsg.AlterPartitionRequestTopicPartition) []kmsg.AlterPartitionRequestTopicPartitionNewEpochISR {
	if len(in.NewEpochISR) > 0 {
		return in.NewEpochISR
	}
	var isr []kmsg.AlterPartitionRequestTopicPartitionNewEpochISR
	for _, id := range in.NewISR {
		e := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
		e.BrokerID, e.BrokerEpoch = id, -1
		isr = append(isr, e)
	}
	return isr
}

// alterISR decides one partition and fills its answer.
func (d *decision) alterISR(leader int32, t *metadata.Topic, in *kmsg.AlterPartitionRequestTopicPartition, out *kmsg.AlterPartitionResponseTopicPartition) {
	p := t.Partition(in.Partition)
	if err := d.checkAlterISR(leader, p, in); err != nil {
		out.ErrorCode = kafka.NumOf(err)
		return
	}
	c := d.newChange(t, in.Partition, p)
	if d.uncleanElection(t.Name) {
		c.election = electUnclean
	}
	c.isr = make([]int32, 0, len(p.Replicas))
	for _, e := range proposedISR(in) {
		c.isr = append(c.isr, e.BrokerID)
	}
	c.recovery = in.LeaderRecoveryState
	if r := c.build(); r != nil {
		n, err := p.Merge(r)
		if err != nil {
			out.ErrorCode = kafka.NumOf(err)
			return
		}
		p = n
		d.add(r)
		if r.Leader != leader && r.Leader != metadata.NoLeaderChange {
			// The change completed a reassignment that moves the leader: what was
			// proposed happened, and still the asker must read the metadata again.
			out.ErrorCode = kafka.NewLeaderElected.Num()
			return
		}
	}
	out.LeaderID, out.LeaderEpoch, out.PartitionEpoch = p.Leader, p.LeaderEpoch, p.PartitionEpoch
	out.ISR, out.LeaderRecoveryState = p.ISR, p.LeaderRecoveryState
}

// checkAlterISR refuses a proposal that was made in another state than ours, or
// that names replicas which may not be in the ISR.
func (d *decision) checkAlterISR(leader int32, p *metadata.Partition, in *kmsg.AlterPartitionRequestTopicPartition) error {
	switch {
	case p == nil:
		return kafka.UnknownTopicOrPartition
	case in.LeaderEpoch > p.LeaderEpoch, in.PartitionEpoch > p.PartitionEpoch:
		return kafka.NotController // the asker has seen a controller that is ahead of us
	case in.LeaderEpoch < p.LeaderEpoch:
		return kafka.FencedLeaderEpoch
	case leader != p.Leader:
		return kafka.InvalidRequest
	case in.PartitionEpoch < p.PartitionEpoch:
		return kafka.InvalidUpdateVersion
	}
	isr := proposedISR(in)
	hasLeader := false
	for i, e := range isr {
		if !p.HasReplica(e.BrokerID) || slices.ContainsFunc(isr[:i], func(o kmsg.AlterPartitionRequestTopicPartitionNewEpochISR) bool { return o.BrokerID == e.BrokerID }) {
			return kafka.InvalidRequest
		}
		hasLeader = hasLeader || e.BrokerID == leader
	}
	recovering := in.LeaderRecoveryState == metadata.LeaderRecovering
	switch {
	case !hasLeader, in.LeaderRecoveryState != metadata.LeaderRecovered && !recovering:
		return kafka.InvalidRequest
	case recovering && (len(isr) > 1 || p.LeaderRecoveryState == metadata.LeaderRecovered):
		return kafka.InvalidRequest
	}
	for _, e := range isr {
		b := d.img.Broker(e.BrokerID)
		if b == nil || !b.Active() || e.BrokerEpoch != -1 && e.BrokerEpoch != b.Epoch {
			return kafka.IneligibleReplica
		}
	}
	return nil
}
