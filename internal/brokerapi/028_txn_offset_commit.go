package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/server"
)

// txnOffsetCommit is API key 28, versions 0 to 6. The offsets become those of the group
// when the transaction commits. As with a Produce request the partition of
// __consumer_offsets is verified with the transaction's coordinator first, and from
// version 5 on added to the transaction.
func (a *API) txnOffsetCommit(r *server.Request) {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	if !decode(r, req) {
		return
	}
	client := coord.Client{ID: r.Header.ClientIDString(), Host: "/" + r.ClientHost}
	commit := func(guard producer.Guard) {
		a.TxnGroups.TxnOffsetCommit(client, req, guard, func(resp kmsg.Response, err error) {
			if err != nil {
				resp = a.refusedCommit(req, coordinatorCode(err))
			}
			if answer, ok := resp.(*kmsg.TxnOffsetCommitResponse); ok && req.Version < 2 {
				oldTxnCommitCodes(answer)
			}
			r.Reply(resp)
		})
	}
	refuse := func(err error) {
		resp := a.refusedCommit(req, err)
		if req.Version < 2 {
			oldTxnCommitCodes(resp)
		}
		r.Reply(resp)
	}
	if !a.knowsAny(req) {
		refuse(nil)
		return
	}
	if req.Group == "" {
		refuse(kafka.InvalidGroupID)
		return
	}
	index, ok := a.TxnGroups.PartitionFor(req.Group)
	p := a.Replicas.Get(kafka.OffsetsTopic, index)
	if !ok || p == nil {
		refuse(kafka.NotCoordinator)
		return
	}
	info := batch.Info{ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch, BaseSequence: batch.NoSequence, IsTransactional: true}
	adds := req.Version >= txnCommitAdds
	guard, needed, err := a.beginVerification(p, &info, adds, a.Clock.Now().UnixMilli())
	switch {
	case kafka.CodeOf(err) == kafka.NotLeaderOrFollower:
		refuse(kafka.NotCoordinator)
		return
	case err != nil:
		refuse(err)
		return
	case !needed:
		commit(guard)
		return
	}
	v := &verification{
		transactionalID: req.TransactionalID, producerID: req.ProducerID, epoch: req.ProducerEpoch,
		adds: adds, abortable: req.Version >= txnCommitAbortable, partitions: []kafka.TopicPartition{p.TopicPartition()},
	}
	v.send(a, func(codes []error) {
		switch err := codes[0]; kafka.CodeOf(err) {
		case nil:
			commit(guard)
		case kafka.NetworkException:
			refuse(kafka.CoordinatorLoadInProgress)
		default:
			refuse(err)
		}
	})
}

// knowsAny says whether any partition of the request exists; else the coordinator is
// not asked, as there is nothing to commit.
func (a *API) knowsAny(req *kmsg.TxnOffsetCommitRequest) bool {
	img, any := a.Image(), len(req.Topics) == 0
	for i := range req.Topics {
		for _, p := range req.Topics[i].Partitions {
			any = any || unknownCommit(img, req.Version, &req.Topics[i], p.Partition) == nil
		}
	}
	return any
}

// unknownCommit is the error of a partition that does not exist, else nil.
func unknownCommit(img *metadata.Image, version int16, t *kmsg.TxnOffsetCommitRequestTopic, index int32) error {
	topic := img.Topic(t.Topic)
	if version >= txnCommitTopicIDs {
		if topic = img.TopicByID(t.TopicID); topic == nil {
			return kafka.UnknownTopicID
		}
	}
	if topic == nil || topic.Partition(index) == nil {
		return kafka.UnknownTopicOrPartition
	}
	return nil
}

// refusedCommit answers every partition that exists with the code of err, and the
// others with their own.
func (a *API) refusedCommit(req *kmsg.TxnOffsetCommitRequest, err error) *kmsg.TxnOffsetCommitResponse {
	img, resp := a.Image(), txnCommitFailed(req, err)
	for i := range req.Topics {
		for j, p := range req.Topics[i].Partitions {
			if unknown := unknownCommit(img, req.Version, &req.Topics[i], p.Partition); unknown != nil {
				resp.Topics[i].Partitions[j].ErrorCode = kafka.NumOf(unknown)
			}
		}
	}
	return resp
}

// txnCommitFailed answers every partition with the code of err.
func txnCommitFailed(req *kmsg.TxnOffsetCommitRequest, err error) *kmsg.TxnOffsetCommitResponse {
	resp := kmsg.NewPtrTxnOffsetCommitResponse()
	resp.Version = req.Version
	for _, t := range req.Topics {
		rt := kmsg.NewTxnOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, kafka.NumOf(err)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// oldTxnCommitCodes replaces the code that clients of versions 0 and 1 do not know.
func oldTxnCommitCodes(resp *kmsg.TxnOffsetCommitResponse) {
	for i := range resp.Topics {
		parts := resp.Topics[i].Partitions
		for j := range parts {
			if parts[j].ErrorCode == kafka.CoordinatorLoadInProgress.Num() {
				parts[j].ErrorCode = kafka.CoordinatorNotAvailable.Num()
			}
		}
	}
}
