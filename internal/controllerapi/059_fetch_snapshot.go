package controllerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/storage"
)

// fetchSnapshot is API key 59: a part of a snapshot of the metadata log (KIP-630).
func (a *API) fetchSnapshot(r *server.Request) {
	req := kmsg.NewPtrFetchSnapshotRequest()
	if !decode(r, req) {
		return
	}
	resp := req.ResponseKind().(*kmsg.FetchSnapshotResponse)
	switch {
	case a.otherCluster(req.ClusterID):
		resp.ErrorCode = kafka.InconsistentClusterID.Num()
	case len(req.Topics) != 1 || len(req.Topics[0].Partitions) != 1:
		resp.ErrorCode = kafka.InvalidRequest.Num()
	default:
		a.fillSnapshot(r, req, resp)
	}
	r.Reply(resp)
}

func (a *API) fillSnapshot(r *server.Request, req *kmsg.FetchSnapshotRequest, resp *kmsg.FetchSnapshotResponse) {
	t, rp := &req.Topics[0], &req.Topics[0].Partitions[0]
	p := kmsg.NewFetchSnapshotResponseTopicPartition()
	p.Partition, p.Bytes = rp.Partition, []byte{}
	var leader quorum.LeaderAndEpoch
	var endpoints []storage.Endpoint
	if t.Topic != kafka.MetadataTopic || rp.Partition != 0 {
		leader, endpoints = a.Quorum.LeaderEndpoints()
		p.ErrorCode = kafka.UnknownTopicOrPartition.Num()
	} else {
		ans := a.Quorum.FetchSnapshot(quorum.SnapshotArgs{
			Replica:            quorum.Replica{ID: kafka.NodeID(req.ReplicaID), DirectoryID: rp.ReplicaDirectoryID},
			CurrentLeaderEpoch: rp.CurrentLeaderEpoch,
			Snapshot:           storage.SnapshotID{EndOffset: rp.SnapshotID.EndOffset, Epoch: rp.SnapshotID.Epoch},
			Position:           rp.Position, MaxBytes: int(req.MaxBytes),
		})
		leader, endpoints = ans.Leader, ans.Endpoints
		p.ErrorCode = kafka.NumOf(ans.Err)
		p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = int32(leader.Leader), leader.Epoch
		if ans.Err == nil {
			p.SnapshotID.EndOffset, p.SnapshotID.Epoch = rp.SnapshotID.EndOffset, rp.SnapshotID.Epoch
			p.Size, p.Position, p.Bytes = ans.Size, rp.Position, ans.Bytes
		}
	}
	resp.Topics = []kmsg.FetchSnapshotResponseTopic{{Topic: t.Topic, Partitions: []kmsg.FetchSnapshotResponseTopicPartition{p}}}
	if e, ok := endpointFor(r, leader, endpoints); ok && resp.Version >= 1 {
		n := kmsg.NewFetchSnapshotResponseNodeEndpoint()
		n.NodeID, n.Host, n.Port = int32(leader.Leader), e.Host, e.Port
		resp.NodeEndpoints = append(resp.NodeEndpoints, n)
	}
}
