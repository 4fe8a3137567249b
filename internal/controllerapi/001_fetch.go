package controllerapi

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/server"
)

// fetch is API key 1 on a controller listener: the metadata log, for nodes that follow
// it (KIP-595). It knows no sessions and one partition. A request that has to wait
// holds its connection, as its sender expects.
func (a *API) fetch(r *server.Request) {
	req := kmsg.NewPtrFetchRequest()
	if !decode(r, req) {
		return
	}
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	args, ok := fetchArgs(req)
	switch {
	case a.otherCluster(req.ClusterID):
		resp.ErrorCode = kafka.InconsistentClusterID.Num()
		r.Reply(resp)
		return
	case !ok:
		resp.ErrorCode = kafka.InvalidRequest.Num()
		r.Reply(resp)
		return
	}
	var ans quorum.FetchAnswer
	if p := &req.Topics[0].Partitions[0]; req.MaxWaitMillis < 0 || p.FetchOffset < 0 || p.LastFetchedEpoch < 0 || p.LastFetchedEpoch > p.CurrentLeaderEpoch {
		ans.Err = kafka.InvalidRequest.Errorf("the fetch of the metadata log is out of range")
		ans.Leader, ans.Endpoints = a.Quorum.LeaderEndpoints()
		ans.HighWatermark, ans.LogStartOffset = -1, -1
	} else {
		r.WillBlock()
		ctx, cancel := context.WithTimeout(a.Stopping, min(millis(req.MaxWaitMillis), maxFetchWait))
		ans = a.Quorum.Fetch(ctx, args)
		cancel()
	}
	fillFetch(r, resp, req.Topics[0].TopicID, &ans)
	r.Reply(resp)
}

// maxFetchWait bounds the wait of a fetch.
const maxFetchWait = 30 * time.Second

// fetchArgs reads a request for the metadata log and nothing else.
func fetchArgs(req *kmsg.FetchRequest) (quorum.FetchArgs, bool) {
	if len(req.Topics) != 1 || len(req.Topics[0].Partitions) != 1 {
		return quorum.FetchArgs{}, false
	}
	t, p := &req.Topics[0], &req.Topics[0].Partitions[0]
	named := t.Topic == kafka.MetadataTopic
	if req.Version >= 13 {
		named = t.TopicID == kafka.MetadataTopicID
	}
	if !named || p.Partition != 0 {
		return quorum.FetchArgs{}, false
	}
	a := quorum.FetchArgs{
		Replica:            quorum.Replica{ID: kafka.NodeID(req.ReplicaID), DirectoryID: p.ReplicaDirectoryID},
		CurrentLeaderEpoch: p.CurrentLeaderEpoch, LastFetchedEpoch: p.LastFetchedEpoch,
		FetchOffset: p.FetchOffset, KnownHighWatermark: p.HighWatermark,
		MaxBytes: int(min(req.MaxBytes, max(p.PartitionMaxBytes, 0))),
	}
	if p.PartitionMaxBytes <= 0 {
		a.MaxBytes = int(req.MaxBytes) // Kafka's own followers of this log leave it out
	}
	if req.Version >= 15 {
		a.Replica.ID = kafka.NodeID(req.ReplicaState.ID)
	}
	return a, true
}

func fillFetch(r *server.Request, resp *kmsg.FetchResponse, topicID [16]byte, ans *quorum.FetchAnswer) {
	p := kmsg.NewFetchResponseTopicPartition()
	p.ErrorCode = kafka.NumOf(ans.Err)
	p.HighWatermark, p.LogStartOffset, p.LastStableOffset = ans.HighWatermark, ans.LogStartOffset, -1
	p.PreferredReadReplica = -1
	p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = int32(ans.Leader.Leader), ans.Leader.Epoch
	if d := ans.Diverging; d != nil {
		p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = d.Epoch, d.EndOffset
	}
	if s := ans.Snapshot; s != nil {
		p.SnapshotID.EndOffset, p.SnapshotID.Epoch = s.EndOffset, s.Epoch
	}
	p.RecordBatches = ans.Records
	if p.RecordBatches == nil {
		p.RecordBatches = []byte{}
	}
	resp.Topics = []kmsg.FetchResponseTopic{{Topic: kafka.MetadataTopic, TopicID: topicID, Partitions: []kmsg.FetchResponseTopicPartition{p}}}
	if e, ok := endpointFor(r, ans.Leader, ans.Endpoints); ok && resp.Version >= 16 {
		b := kmsg.NewFetchResponseBroker()
		b.NodeID, b.Host, b.Port = int32(ans.Leader.Leader), e.Host, int32(e.Port)
		resp.Brokers = append(resp.Brokers, b)
	}
}
