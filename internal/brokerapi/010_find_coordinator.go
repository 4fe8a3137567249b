package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/server"
)

// Types of keys in FindCoordinator.
const (
	groupKey int8 = iota
	transactionKey
	shareKey
)

// noErrorText is what versions before 4 say where no error is to be told.
const noErrorText = "NONE"

// findCoordinator is API key 10, versions 0 to 6: which broker coordinates a group or a
// transactional id; several of them from version 4 on (KIP-699). The internal topic is
// created when it is asked for first. There is no share coordinator here: its keys,
// which version 6 brings, are answered as invalid.
func (a *API) findCoordinator(r *server.Request) {
	req := kmsg.NewPtrFindCoordinatorRequest()
	if !decode(r, req) {
		return
	}
	resp := kmsg.NewPtrFindCoordinatorResponse()
	resp.NodeID = -1
	var missing []string
	if req.Version < 4 {
		at, err := a.coordinatorOf(r, req.CoordinatorType, req.CoordinatorKey, &missing)
		text := noErrorText
		if err == nil {
			resp.NodeID, resp.Host, resp.Port = at.NodeID, at.Host, at.Port
		} else {
			text = err.Message()
			resp.ErrorCode = err.Num()
		}
		resp.ErrorMessage = &text
	} else {
		for _, key := range req.CoordinatorKeys {
			at, err := a.coordinatorOf(r, req.CoordinatorType, key, &missing)
			text := "" // empty, not null, where the code says it all
			if err == kafka.InvalidRequest {
				text = err.Message()
			}
			at.ErrorMessage = &text
			if err != nil {
				at.ErrorCode = err.Num()
			}
			resp.Coordinators = append(resp.Coordinators, at)
		}
	}
	a.createInternal(r.Principal, missing)
	r.Reply(resp)
}

// coordinatorOf finds the coordinator of one key. An internal topic that does not exist
// is added to missing.
func (a *API) coordinatorOf(r *server.Request, keyType int8, key string, missing *[]string) (at kmsg.FindCoordinatorResponseCoordinator, _ *kafka.Code) {
	at = kmsg.NewFindCoordinatorResponseCoordinator()
	at.Key, at.NodeID, at.Port = key, -1, -1
	var topic string
	switch keyType {
	case groupKey:
		topic = kafka.OffsetsTopic
	case transactionKey:
		topic = kafka.TransactionTopic
	default:
		return at, kafka.InvalidRequest
	}
	img := a.Image()
	t := img.Topic(topic)
	if t == nil {
		*missing = append(*missing, topic)
		return at, kafka.CoordinatorNotAvailable
	}
	p := t.Partition(coord.PartitionFor(key, int32(t.NumPartitions())))
	if p == nil || p.Leader < 0 {
		return at, kafka.CoordinatorNotAvailable
	}
	ep, ok := liveEndpoint(img, p.Leader, r.Listener.Name)
	if !ok {
		return at, kafka.CoordinatorNotAvailable
	}
	at.NodeID, at.Host, at.Port = p.Leader, ep.Host, int32(ep.Port)
	return at, nil
}

// liveEndpoint is where a broker that is not fenced is reached.
func liveEndpoint(img *metadata.Image, id int32, listener string) (metadata.Endpoint, bool) {
	b := img.Broker(id)
	if b == nil || b.Fenced {
		return metadata.Endpoint{}, false
	}
	return b.Endpoint(listener)
}

// createInternal has internal topics created, without waiting: clients ask again. It is
// this broker that wants them, not the client.
func (a *API) createInternal(principal string, topics []string) {
	if len(topics) == 0 {
		return
	}
	rows := make([]kmsg.MetadataResponseTopic, len(topics))
	places := make([]int, len(topics))
	for i := range topics {
		rows[i].Topic, rows[i].ErrorCode, places[i] = &topics[i], kafka.UnknownTopicOrPartition.Num(), i
	}
	a.autoCreate(onBehalf{principal: principal}, rows, places)
}
