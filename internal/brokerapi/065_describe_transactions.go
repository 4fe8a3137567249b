package brokerapi

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/txn"
)

// describeTransactions is API key 65, version 0.
func (a *API) describeTransactions(r *server.Request) {
	var req kmsg.DescribeTransactionsRequest
	if !decode(r, &req) {
		return
	}
	var mu sync.Mutex // guards states and pending
	states := make([]kmsg.DescribeTransactionsResponseTransactionState, len(req.TransactionalIDs))
	pending := len(states) + 1
	finish := func(i int, s *kmsg.DescribeTransactionsResponseTransactionState) {
		mu.Lock()
		if s != nil {
			states[i] = *s
		}
		pending--
		last := pending == 0
		mu.Unlock()
		if last {
			resp := kmsg.NewPtrDescribeTransactionsResponse()
			resp.Version, resp.TransactionStates = req.Version, states
			r.Reply(resp)
		}
	}
	for i, id := range req.TransactionalIDs {
		a.txnDo(id, func(m *txn.Machine, _ int64, to coord.Token) coord.Outcome { return m.Describe(to, id) },
			func(resp kmsg.Response, err error) {
				s := kmsg.NewDescribeTransactionsResponseTransactionState()
				s.TransactionalID, s.ErrorCode = id, kafka.NumOf(err)
				if d, ok := resp.(*kmsg.DescribeTransactionsResponse); ok && len(d.TransactionStates) == 1 {
					s = d.TransactionStates[0]
				}
				finish(i, &s)
			})
	}
	finish(-1, nil)
}
