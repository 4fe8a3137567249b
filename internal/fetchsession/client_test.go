package fetchsession

import (
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

// TestClientFollowsCache drives a client against the broker's side.
func TestClientFollowsCache(t *testing.T) {
	cache := newTestCache(2)
	var c Client
	if id, epoch := c.Next(); id != InvalidSessionID || epoch != InitialEpoch || !c.Full() {
		t.Fatalf("begins with %d, %d", id, epoch)
	}
	id := create(cache, 0, true, 2)
	if !c.Answered(nil, id) || c.Full() {
		t.Fatal("no session after the first answer")
	}
	for range 3 {
		sid, epoch := c.Next()
		s, code := cache.Begin(1, sid, epoch, false, nil, nil)
		if code != nil || !c.Answered(code, s.ID) {
			t.Fatalf("incremental request refused: %v", code)
		}
	}
}

func TestClientAfterTrouble(t *testing.T) {
	for _, tc := range []struct {
		name   string
		do     func(c *Client) bool
		ok     bool
		id     int32
		epoch  int32
		closes bool // the next request closes the old session
	}{
		{"connection lost", func(c *Client) bool { c.Reset(); return true }, true, 7, InitialEpoch, true},
		{"session evicted", func(c *Client) bool { return c.Answered(kafka.FetchSessionIDNotFound, 0) }, false, 0, InitialEpoch, false},
		{"epoch in disorder", func(c *Client) bool { return c.Answered(kafka.InvalidFetchSessionEpoch, 7) }, false, 7, InitialEpoch, true},
		{"topic id error", func(c *Client) bool { return c.Answered(kafka.FetchSessionTopicIDError, 0) }, false, 7, InitialEpoch, true},
		{"closed by the broker", func(c *Client) bool { return c.Answered(nil, InvalidSessionID) }, true, 0, InitialEpoch, false},
		{"another session", func(c *Client) bool { return c.Answered(nil, 8) }, false, 7, InitialEpoch, true},
		{"well", func(c *Client) bool { return c.Answered(nil, 7) }, true, 7, 3, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Client{id: 7, epoch: 2}
			if ok := tc.do(&c); ok != tc.ok {
				t.Errorf("ok = %v", ok)
			}
			if id, epoch := c.Next(); id != tc.id || epoch != tc.epoch {
				t.Errorf("next request: session %d, epoch %d", id, epoch)
			}
		})
	}
}
