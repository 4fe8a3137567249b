package controllerapi

import (
	"fmt"

	"github.com/gregorhq/gregor/internal/server"
)

// raftMessage is the private key under which controllers exchange messages. It is not
// announced; only the engine knows what the bytes mean.
func (a *API) raftMessage(r *server.Request) {
	answer, err := a.Quorum.Receive(r.Body)
	if err != nil {
		r.CloseConn(fmt.Errorf("a message between controllers: %w", err))
		return
	}
	r.ReplyRaw(answer)
}
