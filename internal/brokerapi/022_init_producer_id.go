package brokerapi

import (
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/txn"
)

// initProducerID is API key 22, versions 0 to 5. An idempotent producer gets an id that
// was never handed out before; nothing about it is kept here. What a transactional
// producer gets is decided by its coordinator.
func (a *API) initProducerID(r *server.Request) {
	var req kmsg.InitProducerIDRequest
	if err := r.Decode(&req); err != nil {
		r.CloseConn(fmt.Errorf("InitProducerId v%d: %w", r.Header.Version, err))
		return
	}
	if req.Version < 3 {
		req.ProducerID, req.ProducerEpoch = -1, -1
	}
	resp := kmsg.InitProducerIDResponse{Version: req.Version, ProducerID: -1, ProducerEpoch: -1}
	switch {
	case req.Version >= 3 && (req.ProducerID == -1) != (req.ProducerEpoch == -1):
		resp.ErrorCode = kafka.InvalidRequest.Num()
	case req.TransactionalID != nil && *req.TransactionalID == "":
		resp.ErrorCode = kafka.InvalidRequest.Num()
	case req.TransactionalID != nil:
		a.txnDo(*req.TransactionalID, func(m *txn.Machine, nowMs int64, to coord.Token) coord.Outcome {
			return m.InitProducerID(nowMs, to, &req)
		}, func(answer kmsg.Response, err error) {
			if err != nil {
				resp.ErrorCode = kafka.NumOf(err)
				answer = &resp
			}
			r.Reply(answer)
		})
		return
	default:
		a.data.ids.next(a, func(id int64, err error) {
			if err != nil {
				resp.ErrorCode = kafka.NumOf(err)
			} else {
				resp.ProducerID, resp.ProducerEpoch = id, 0
			}
			r.Reply(&resp)
		})
		return
	}
	r.Reply(&resp)
}

// producerIDs hands out producer ids from blocks that the controller allocates to this
// broker. A block that was begun and not used up is lost with the process; ids are
// never handed out twice.
type producerIDs struct {
	mu        sync.Mutex
	id, end   int64 // the rest of the current block
	waiting   []func(int64, error)
	requested bool // a goroutine is asking for a block
}

// maxWaitingIDs bounds the requests that wait for a block.
const maxWaitingIDs = 10_000

// next calls f with a new id: at once while the block lasts, else when the controller
// has answered, from another goroutine.
func (p *producerIDs) next(a *API, f func(int64, error)) {
	p.mu.Lock()
	if p.id < p.end {
		id := p.id
		p.id++
		p.mu.Unlock()
		f(id, nil)
		return
	}
	if len(p.waiting) >= maxWaitingIDs {
		p.mu.Unlock()
		f(0, kafka.CoordinatorLoadInProgress)
		return
	}
	p.waiting = append(p.waiting, f)
	if !p.requested {
		p.requested = true
		a.data.wg.Add(1)
		go func() {
			defer a.data.wg.Done()
			p.refill(a)
		}()
	}
	p.mu.Unlock()
}

// refill asks for blocks until nobody waits, or one cannot be had.
func (p *producerIDs) refill(a *API) {
	for {
		start, n, err := a.allocateProducerIDs()
		p.mu.Lock()
		if err != nil {
			failed := p.waiting
			p.waiting, p.requested = nil, false
			p.mu.Unlock()
			a.Log.Warn("no producer ids can be had from the controller", "error", err)
			for _, f := range failed {
				f(0, err)
			}
			return
		}
		p.id, p.end = start, start+n
		served := p.waiting[:min(int64(len(p.waiting)), n)]
		p.waiting = p.waiting[len(served):]
		first := p.id
		p.id += int64(len(served))
		more := len(p.waiting) > 0
		if !more {
			p.waiting, p.requested = nil, false
		}
		p.mu.Unlock()
		for i, f := range served {
			f(first+int64(i), nil)
		}
		if !more {
			return
		}
	}
}

// allocateProducerIDs asks the controller for a block of ids.
func (a *API) allocateProducerIDs() (start, n int64, err error) {
	epoch := int64(-1)
	if b := a.Image().Broker(int32(a.NodeID)); b != nil {
		epoch = b.Epoch
	}
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	req.BrokerID, req.BrokerEpoch = int32(a.NodeID), epoch
	ctx, cancel := a.within(int64(a.Config().RequestTimeoutMs))
	defer cancel()
	rep, err := a.Controller.Do(ctx, "User:ANONYMOUS", req)
	if err != nil {
		// Whatever keeps the controller away, the producer tries again.
		return 0, 0, kafka.CoordinatorLoadInProgress.Errorf("allocating producer ids: %w", err)
	}
	resp, ok := rep.Response.(*kmsg.AllocateProducerIDsResponse)
	switch {
	case !ok:
		return 0, 0, kafka.UnknownServerError.Errorf("allocating producer ids: answer is a %T", rep.Response)
	case resp.ErrorCode != 0:
		return 0, 0, kafka.CoordinatorLoadInProgress.Errorf("allocating producer ids: %w", kafka.CodeForNum(resp.ErrorCode))
	case resp.ProducerIDStart < 0 || resp.ProducerIDLen <= 0:
		return 0, 0, kafka.UnknownServerError.Errorf("allocating producer ids: block %d of %d", resp.ProducerIDStart, resp.ProducerIDLen)
	}
	return resp.ProducerIDStart, int64(resp.ProducerIDLen), nil
}
