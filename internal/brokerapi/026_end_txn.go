package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/txn"
)

// endTxn is API key 26, versions 0 to 5. From version 5 on the answer has the producer
// id and epoch of the next transaction (KIP-890).
func (a *API) endTxn(r *server.Request) {
	req := kmsg.NewPtrEndTxnRequest()
	if !decode(r, req) {
		return
	}
	a.txnDo(req.TransactionalID, func(m *txn.Machine, nowMs int64, to coord.Token) coord.Outcome {
		return m.EndTxn(nowMs, to, req)
	}, func(resp kmsg.Response, err error) {
		if err != nil {
			failed := kmsg.NewPtrEndTxnResponse()
			failed.Version, failed.ErrorCode = req.Version, kafka.NumOf(err)
			resp = failed
		}
		r.Reply(resp)
	})
}
