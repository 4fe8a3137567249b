package brokerapi

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/txn"
)

// listTransactions is API key 66, versions 0 to 2: the transactions that this broker
// coordinates. While one of its partitions is being read it does not know all.
func (a *API) listTransactions(r *server.Request) {
	var req kmsg.ListTransactionsRequest
	if !decode(r, &req) {
		return
	}
	resp := kmsg.NewPtrListTransactionsResponse()
	resp.Version = req.Version
	filter, err := txn.ParseFilter(&req)
	if err != nil {
		resp.ErrorCode = kafka.NumOf(err)
		r.Reply(resp)
		return
	}
	resp.UnknownStateFilters = filter.UnknownStates
	led := a.Transactions.Led()
	var mu sync.Mutex // guards resp and pending
	pending := len(led) + 1
	finish := func(part kmsg.Response, err error) {
		mu.Lock()
		if l, ok := part.(*kmsg.ListTransactionsResponse); ok {
			resp.TransactionStates = append(resp.TransactionStates, l.TransactionStates...)
		}
		switch code := kafka.CodeOf(err); code {
		case nil, kafka.NotCoordinator: // led elsewhere by now, who lists it there
		default:
			resp.ErrorCode = code.Num()
		}
		pending--
		last := pending == 0
		mu.Unlock()
		if !last {
			return
		}
		if resp.ErrorCode != 0 {
			resp.TransactionStates = nil
		}
		r.Reply(resp)
	}
	for _, p := range led {
		a.Transactions.DoPartition(p, func(m *txn.Machine, nowMs int64, to coord.Token) coord.Outcome {
			return m.List(nowMs, to, filter)
		}, finish)
	}
	finish(nil, nil)
}
