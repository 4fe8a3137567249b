package rpc

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/netx"
)

// A connection opens, and has ended again before who waited for it looks: Disconnect took
// it away. Another is opened.
func TestConnectionThatEndedBeforeItsFirstRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := netx.NewMem(clock.Real())
		p := newPeer(t, mem.Host("a"), "a:1", map[int16]versionRange{63: {0, 1}}, heartbeatAnswer)
		defer p.kill()
		n := NewNode(Options{Net: mem.Host("b"), Clock: clock.Real()}, func() (string, error) { return "a:1", nil })
		defer n.Close()
		n.mu.Lock()
		attempt := make(chan struct{})
		n.dialing = attempt // an attempt is under way
		n.mu.Unlock()
		got := make(chan error, 1)
		go func() {
			req := kmsg.NewPtrBrokerHeartbeatRequest()
			req.BrokerID = 7
			resp, err := n.Do(context.Background(), req)
			if err == nil && resp.(*kmsg.BrokerHeartbeatResponse).ThrottleMillis != 7 {
				t.Errorf("the answer is %+v", resp)
			}
			got <- err
		}()
		synctest.Wait()
		n.mu.Lock()
		n.dialing = nil // it ended well, and the connection is gone
		close(attempt)
		n.mu.Unlock()
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
}
