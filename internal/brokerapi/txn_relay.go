package brokerapi

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// When nothing passes between the coordinator of a transaction and the leader of one of
// its partitions, though everybody else reaches both, the transaction could not go on
// until that link is back. A third broker passes the request on instead. Brokers of
// Apache Kafka do not know the tag: they answer for themselves, that they are not the
// leader or coordinator, and the sender is where it was.

// relayTag marks a request that its receiver is to pass on; its value is the broker id.
// What is passed on has no tag, so a request takes one detour at most.
const relayTag = 0x67726567

// goAround sends a request to broker id, through a third broker if there is no answer.
// The receiver may get it twice, and the second time late. tags are those of req.
func (a *API) goAround(id int32, p Peer, purpose string, req kmsg.Request, tags *kmsg.Tags, done func(kmsg.Response, error)) {
	p.Go(req, func(resp kmsg.Response, err error) {
		var via Peer
		if err != nil {
			via = a.bystander(id, purpose)
		}
		if via == nil {
			done(resp, err)
			return
		}
		tags.Set(relayTag, binary.BigEndian.AppendUint32(nil, uint32(id)))
		via.Go(req, func(resp kmsg.Response, relayed error) {
			if relayed != nil {
				done(nil, err) // the direct way's failure says more
				return
			}
			done(resp, nil)
		})
	})
}

// bystander is the way to a broker that is neither this one nor id, nil when there is
// none. They take turns: one of them may not reach id either.
func (a *API) bystander(id int32, purpose string) Peer {
	var ids []int32
	for _, b := range a.Image().Brokers() {
		if !b.Fenced && b.ID != id && b.ID != int32(a.NodeID) {
			ids = append(ids, b.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return a.peer(ids[int(a.data.detours.Add(1))%len(ids)], purpose)
}

// relayTo says to which broker a request is to be passed on, and takes the mark off.
func (a *API) relayTo(tags *kmsg.Tags) (id int32, ok bool) {
	tags.Each(func(key uint32, value []byte) {
		if key == relayTag && len(value) == 4 {
			id, ok = int32(binary.BigEndian.Uint32(value)), true
		}
	})
	*tags = kmsg.Tags{}
	return id, ok && id != int32(a.NodeID)
}

// relay passes a request on to broker id and answers with what it says. failed fills the
// answer in when it says nothing.
func (a *API) relay(r *server.Request, id int32, purpose string, req kmsg.Request, failed func(*kafka.Code) kmsg.Response) {
	// The id is whatever the sender wrote; connections are kept for brokers only.
	var p Peer
	if a.Image().Broker(id) != nil {
		p = a.peer(id, purpose)
	}
	if p == nil {
		r.Reply(failed(kafka.NetworkException))
		return
	}
	p.Go(req, func(resp kmsg.Response, err error) {
		if err != nil {
			resp = failed(kafka.NetworkException)
		}
		r.Reply(resp)
	})
}
