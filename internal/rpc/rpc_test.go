package rpc

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/wire"
)

const at = "localhost:9093"

func TestRequestsAreAnsweredInOrder(t *testing.T) {
	o, n := options()
	p := newPeer(t, n, at, heartbeatKeys, heartbeatAnswer)
	c, err := Dial(testContext(t), o, at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var got []int32
	var wg sync.WaitGroup
	for i := range int32(100) {
		wg.Add(1)
		c.Go(heartbeat(i), func(resp kmsg.Response, err error) {
			defer wg.Done()
			if err != nil {
				t.Error(err)
				return
			}
			got = append(got, resp.(*kmsg.BrokerHeartbeatResponse).ThrottleMillis)
		})
	}
	wg.Wait()
	for i, id := range got {
		if id != int32(i) {
			t.Fatalf("answer %d is that of request %d", i, id)
		}
	}
	for _, h := range p.requests() {
		if h.Version != 1 || h.ClientIDString() != "test" {
			t.Fatalf("the peer, which knows version 1, got %+v", h)
		}
	}
}

func TestVersions(t *testing.T) {
	o, n := options()
	newPeer(t, n, at, heartbeatKeys, heartbeatAnswer)
	c, err := Dial(testContext(t), o, at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pinned := heartbeat(3)
	pinned.SetVersion(0)
	if resp, err := c.Do(testContext(t), Pinned{pinned}); err != nil || resp.GetVersion() != 0 {
		t.Errorf("pinned to version 0: %v, %v", resp, err)
	}
	pinned.SetVersion(2)
	for what, req := range map[string]kmsg.Request{
		"a version that the peer does not have": Pinned{pinned},
		"a key that the peer does not have":     kmsg.NewPtrCreateTopicsRequest(),
	} {
		if _, err := c.Do(testContext(t), req); !errors.Is(err, kafka.UnsupportedVersion) || !errors.Is(err, ErrNotSent) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, network := range map[string]netx.Net{"memory": netx.NewMem(clock.Real()), "sockets": netx.OS()} {
		t.Run(name, func(t *testing.T) {
			o := Options{Net: network, Clock: clock.Real(), Backoff: time.Millisecond}
			p := newPeer(t, network, "localhost:0", heartbeatKeys, heartbeatAnswer)
			addr := p.ln.Addr().String()
			if err := Probe(testContext(t), o, addr); err != nil {
				t.Errorf("a process listens: %v", err)
			}
			p.kill()
			if err := Probe(testContext(t), o, addr); !errors.Is(err, ErrRefused) {
				t.Errorf("nobody listens: %v", err)
			}
			node := NewNode(o, func() (string, error) { return addr, nil })
			defer node.Close()
			if _, err := node.Do(testContext(t), heartbeat(1)); !errors.Is(err, ErrRefused) || !errors.Is(err, ErrNotSent) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A request whose answer is lost is not one that was not sent.
func TestLostAnswer(t *testing.T) {
	o, n := options()
	lost := make(chan error, 1)
	o.Disconnected = func(err error) { lost <- err }
	hang := true
	p := newPeer(t, n, at, heartbeatKeys, func(h wire.RequestHeader, b []byte) []byte {
		if hang {
			hang = false
			return nil
		}
		return heartbeatAnswer(h, b)
	})
	node := NewNode(o, func() (string, error) { return at, nil })
	defer node.Close()
	if _, err := node.Do(testContext(t), heartbeat(1)); err == nil || errors.Is(err, ErrNotSent) {
		t.Errorf("the answer was lost: %v", err)
	}
	if err := <-lost; err == nil {
		t.Error("no reason for the end of the connection")
	}
	if resp, err := node.Do(testContext(t), heartbeat(2)); err != nil || resp.(*kmsg.BrokerHeartbeatResponse).ThrottleMillis != 2 {
		t.Errorf("after the connection was lost: %v, %v", resp, err)
	}
	if got := p.connections(); got != 2 {
		t.Errorf("%d connections", got)
	}
}

func TestSilentPeerIsGivenUp(t *testing.T) {
	o, n := options()
	v := clock.NewVirtual(time.Unix(1000, 0))
	o.Clock, o.RequestTimeout = v, 3*time.Second
	asked := make(chan struct{})
	release := make(chan struct{})
	newPeer(t, n, at, heartbeatKeys, func(wire.RequestHeader, []byte) []byte {
		close(asked)
		<-release
		return nil
	})
	defer close(release)
	c, err := Dial(testContext(t), o, at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	failed := make(chan error, 1)
	c.Go(heartbeat(1), func(_ kmsg.Response, err error) { failed <- err })
	<-asked
	v.Advance(2 * time.Second)
	select {
	case err := <-failed:
		t.Fatalf("given up early: %v", err)
	case <-c.Closed():
		t.Fatal("closed early")
	default:
	}
	v.Advance(2 * time.Second)
	if err := <-failed; !errors.Is(err, kafka.RequestTimedOut) {
		t.Errorf("%v", err)
	}
}

// Requests that came while the connection was being opened leave before later ones.
func TestOrderAcrossTheOpening(t *testing.T) {
	o, n := options()
	var seen []int32
	newPeer(t, n, at, heartbeatKeys, func(h wire.RequestHeader, b []byte) []byte {
		req := kmsg.NewPtrBrokerHeartbeatRequest()
		req.SetVersion(h.Version)
		if req.ReadFrom(b) == nil {
			seen = append(seen, req.BrokerID)
		}
		return heartbeatAnswer(h, b)
	})
	node := NewNode(o, func() (string, error) { return at, nil })
	defer node.Close()
	var wg sync.WaitGroup
	for i := range int32(200) {
		wg.Add(1)
		node.Go(heartbeat(i), func(_ kmsg.Response, err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		})
	}
	wg.Wait()
	for i, id := range seen {
		if id != int32(i) {
			t.Fatalf("request %d is number %d", id, i)
		}
	}
	if len(seen) != 200 {
		t.Errorf("%d requests", len(seen))
	}
}

func TestCloseCompletesWhatWaits(t *testing.T) {
	o, n := options()
	asked := make(chan struct{})
	release := make(chan struct{})
	newPeer(t, n, at, heartbeatKeys, func(wire.RequestHeader, []byte) []byte {
		close(asked)
		<-release
		return nil
	})
	defer close(release)
	node := NewNode(o, func() (string, error) { return at, nil })
	var failure error
	node.Go(heartbeat(1), func(_ kmsg.Response, err error) { failure = err })
	<-asked
	_ = node.Close()
	if !errors.Is(failure, ErrClosed) {
		t.Errorf("after Close: %v", failure)
	}
	if _, err := node.Do(testContext(t), heartbeat(1)); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrNotSent) {
		t.Errorf("%v", err)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(int16(63), int16(1), []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0})
	f.Add(int16(58), int16(0), []byte{0, 0, 0, 1, 0, 3, 1, 2, 0, 0, 0})
	f.Add(int16(1), int16(16), []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, key, version int16, frame []byte) {
		req := kmsg.RequestForKey(key)
		if req == nil || version < 0 || version > req.MaxVersion() || len(frame) > 1<<16 {
			return
		}
		req.SetVersion(version)
		resp := req.ResponseKind()
		resp.SetVersion(version)
		p := pending{id: 1, key: key, version: version, resp: resp}
		_ = p.decode(frame)
	})
}

func FuzzPrincipal(f *testing.F) {
	f.Add(AppendPrincipal(nil, Principal{Type: "User", Name: "alice", TokenAuthenticated: true}))
	f.Add([]byte{0, 1, 5, 'U'})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePrincipal(b)
		if err != nil {
			return
		}
		again, err := ParsePrincipal(AppendPrincipal(nil, p))
		if err != nil || again != p {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
	})
}

// Requests from many goroutines reach the peer whole, whatever the writer does
// meanwhile.
func TestManySendersShareTheConnection(t *testing.T) {
	o, n := options()
	newPeer(t, n, at, heartbeatKeys, heartbeatAnswer)
	c, err := Dial(testContext(t), o, at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var wg sync.WaitGroup
	for g := range int32(8) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range int32(200) {
				id := g*1000 + i
				resp, err := c.Do(testContext(t), heartbeat(id))
				if err != nil || resp.(*kmsg.BrokerHeartbeatResponse).ThrottleMillis != id {
					t.Errorf("request %d: %v, %v", id, resp, err)
					return
				}
			}
		}()
	}
	wg.Wait()
}
