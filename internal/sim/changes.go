package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/storage"
)

// Changes that an administrator makes while the faults happen. Each is asked for beside
// the schedule; what becomes of it is for the cluster to decide, and either is right.

// patience is how long a change is waited for.
const patience = 10 * time.Second

// ask sends a request beside the schedule.
func (s *storm) ask(f func(ctx context.Context, kc *kgo.Client)) {
	s.r.work(func() error {
		kc, err := s.r.client(5).connect()
		if err != nil {
			return err
		}
		defer kc.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		f(ctx, kc)
		return nil
	})
}

// replicas draws as many brokers as the topic's replicas, in any order.
func (s *storm) replicas() []int32 {
	var out []int32
	for _, i := range s.rng.Perm(s.c.brokers)[:min(3, s.c.brokers)] {
		out = append(out, int32(i+1))
	}
	return out
}

// reassign moves a partition, or takes back the goal that it has.
func (s *storm) reassign() {
	if s.c.brokers < 2 {
		return
	}
	partition, to := s.rng.Int31n(s.r.plan.Partitions), s.replicas()
	if s.rng.Intn(4) == 0 {
		to = nil
	}
	s.note(faultReassign, "%s-%d to %v", topicName, partition, to)
	s.ask(func(ctx context.Context, kc *kgo.Client) {
		req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: topicName,
			Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: partition, Replicas: to}}}}
		_, _ = req.RequestWith(ctx, kc) // either outcome is right
	})
}

// elect asks for the preferred leaders of all partitions.
func (s *storm) elect() {
	s.note(faultElect, "preferred leaders")
	s.ask(func(ctx context.Context, kc *kgo.Client) {
		req := kmsg.NewPtrElectLeadersRequest()
		req.TimeoutMillis = int32(patience.Milliseconds())
		_, _ = req.RequestWith(ctx, kc) // either outcome is right
	})
}

// changeVoters takes a voter out of the quorum and puts it back later.
func (s *storm) changeVoters() {
	if !s.r.plan.Dynamic {
		return
	}
	v := s.c.voters[s.rng.Intn(len(s.c.voters))]
	s.note(faultVoters, "without n%d", v.ID)
	s.ask(func(ctx context.Context, kc *kgo.Client) {
		req := kmsg.NewPtrRemoveRaftVoterRequest()
		id := clusterID
		req.ClusterID, req.VoterID, req.VoterDirectoryID = &id, int32(v.ID), v.DirectoryID
		_, _ = req.RequestWith(ctx, kc) // either outcome is right
	})
	s.later(s.outage(), func() error {
		s.note(faultVoters, "with n%d", v.ID)
		s.ask(func(ctx context.Context, kc *kgo.Client) { _ = addVoter(ctx, kc, v.ID, v.DirectoryID) })
		return nil
	})
}

// addVoter is refused, among others, while the voter is one.
func addVoter(ctx context.Context, kc *kgo.Client, id kafka.NodeID, dir kafka.UUID) error {
	req := kmsg.NewPtrAddRaftVoterRequest()
	cluster := clusterID
	req.ClusterID, req.VoterID, req.VoterDirectoryID, req.TimeoutMillis = &cluster, int32(id), dir, int32(patience.Milliseconds())
	l := kmsg.NewAddRaftVoterRequestListener()
	l.Name, l.Host, l.Port = "CONTROLLER", hostName(id), 9093
	req.Listeners = append(req.Listeners, l)
	_, err := req.RequestWith(ctx, kc)
	return err
}

func hostName(id kafka.NodeID) string { return fmt.Sprintf("n%d", id) }

// restoreVoters waits until every voter of the beginning is one again.
func (s *storm) restoreVoters() error {
	if !s.r.plan.Dynamic {
		return nil
	}
	kc, err := s.r.client(5).connect()
	if err != nil {
		return err
	}
	defer kc.Close()
	var last error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		var missing []storage.Voter
		missing, last = s.missingVoters(ctx, kc)
		for _, v := range missing {
			last = errors.Join(last, addVoter(ctx, kc, v.ID, v.DirectoryID))
		}
		cancel()
		if last == nil && len(missing) == 0 {
			return nil
		}
		if err := s.r.alive(); err != nil {
			return err
		}
	}
	return fmt.Errorf("two minutes after all faults were healed the quorum does not have its voters: %w", last)
}

// missingVoters are those of the beginning that the quorum does not have.
func (s *storm) missingVoters(ctx context.Context, kc *kgo.Client) ([]storage.Voter, error) {
	req := kmsg.NewPtrDescribeQuorumRequest()
	req.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: kafka.MetadataTopic, Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}
	resp, err := req.RequestWith(ctx, kc)
	if err != nil {
		return nil, err
	}
	if resp.ErrorCode != 0 || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		return nil, fmt.Errorf("describing the quorum: %+v", resp)
	}
	var missing []storage.Voter
	for _, v := range s.c.voters {
		if !slices.ContainsFunc(resp.Topics[0].Partitions[0].CurrentVoters, func(r kmsg.DescribeQuorumResponseTopicPartitionReplicaState) bool { return r.ReplicaID == int32(v.ID) }) {
			missing = append(missing, v)
		}
	}
	return missing, nil
}
