package brokerapi

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/vfs"
	"github.com/twmb/franz-go/pkg/kbin"
)

// dataPlane is the state of the data plane's handlers.
type dataPlane struct {
	once     sync.Once
	sessions *sessions
	ids      producerIDs
	detours  atomic.Uint32 // requests that were sent through a third broker
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
}

// init makes the state that handlers share, once.
func (a *API) init() {
	a.data.once.Do(func() {
		a.data.ctx, a.data.cancel = context.WithCancel(context.Background())
		a.data.sessions = newSessions(a.Config().MaxIncrementalFetchSessionCacheSlots, uint64(a.Clock.Now().UnixNano()))
	})
}

// Close ends what handlers have begun and waits for it. The listeners are stopped
// before.
func (a *API) Close() {
	a.init()
	a.data.cancel()
	a.data.wg.Wait()
}

// stable returns a copy of name that may be kept: the one that the broker holds
// already where it can.
func (a *API) stable(name string) string {
	if s, ok := a.Replicas.TopicName(name); ok {
		return s
	}
	return strings.Clone(name)
}

// leaderHint is what NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH carry, so that
// clients need not ask for metadata (KIP-951).
type leaderHint struct {
	id    int32
	epoch kafka.LeaderEpoch
}

// hint finds the leader of a partition, from this broker's own view of it where it
// has one.
func (a *API) hint(img *metadata.Image, p *replica.Partition, topic string, partition int32) leaderHint {
	if p != nil {
		if id, epoch := p.Leader(); epoch != kafka.NoEpoch {
			return leaderHint{id, epoch}
		}
	}
	if reg := img.Partition(topic, partition); reg != nil {
		return leaderHint{reg.Leader, reg.LeaderEpoch}
	}
	return leaderHint{-1, -1}
}

// appendNodeEndpoints encodes the tagged list of the brokers that hints name, with
// the endpoints of the listener that the client used. It is the only tagged field of
// the responses that carry it.
func (a *API) appendNodeEndpoints(dst []byte, img *metadata.Image, l *server.Listener, ids []int32) []byte {
	var body []byte
	n := 0
	for _, id := range ids {
		b := img.Broker(id)
		if b == nil || b.Fenced || l == nil {
			continue
		}
		ep, ok := b.Endpoint(l.Name)
		if !ok {
			continue
		}
		body = kbin.AppendInt32(body, id)
		body = kbin.AppendCompactString(body, ep.Host)
		body = kbin.AppendInt32(body, int32(ep.Port))
		body = kbin.AppendCompactNullableString(body, b.Rack)
		body = append(body, 0)
		n++
	}
	if n == 0 {
		return append(dst, 0)
	}
	count := kbin.AppendCompactArrayLen(nil, n)
	dst = append(dst, 1, 0)
	dst = kbin.AppendUvarint(dst, uint32(len(count)+len(body)))
	dst = append(dst, count...)
	return append(dst, body...)
}

// appendLeaderTag encodes the tagged field CurrentLeader with its tag and size.
func appendLeaderTag(dst []byte, tag byte, h leaderHint) []byte {
	dst = append(dst, tag, 9)
	dst = kbin.AppendInt32(dst, h.id)
	dst = kbin.AppendInt32(dst, h.epoch)
	return append(dst, 0)
}

// addNode adds a broker to a short list without duplicates.
func addNode(ids []int32, id int32) []int32 {
	if id < 0 {
		return ids
	}
	for _, known := range ids {
		if known == id {
			return ids
		}
	}
	return append(ids, id)
}

// skipTags reads over tagged fields.
func skipTags(b *kbin.Reader) {
	for n := b.Uvarint(); n > 0 && b.Ok(); n-- {
		b.Uvarint()
		b.Span(int(b.Uvarint()))
	}
}

// memSpan is a span of memory.
func memSpan(b []byte) vfs.Span { return vfs.Span{B: b, Len: len(b)} }
