package rpc

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/wire"
)

// peer is the other side: it announces versions and answers by handle.
type peer struct {
	t      *testing.T
	net    netx.Net
	ln     net.Listener
	keys   map[int16]versionRange
	handle func(h wire.RequestHeader, body []byte) []byte // the answer's body; nil hangs up

	mu    sync.Mutex
	conns []net.Conn
	dials int
	got   []wire.RequestHeader
}

// newPeer listens at addr; the test's end closes it.
func newPeer(t *testing.T, n netx.Net, addr string, keys map[int16]versionRange, handle func(wire.RequestHeader, []byte) []byte) *peer {
	t.Helper()
	ln, err := n.Listen(context.Background(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, net: n, ln: ln, keys: keys, handle: handle}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, nc)
			p.dials++
			p.mu.Unlock()
			go p.serve(nc)
		}
	}()
	t.Cleanup(p.kill)
	return p
}

// kill closes the listener and every connection.
func (p *peer) kill() {
	_ = p.ln.Close()
	p.hangUp()
}

func (p *peer) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, nc := range p.conns {
		_ = nc.Close()
	}
	p.conns = nil
}

// connections is how many were ever accepted.
func (p *peer) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dials
}

// requests are the headers of what came, but for the question for versions.
func (p *peer) requests() []wire.RequestHeader {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]wire.RequestHeader(nil), p.got...)
}

func (p *peer) serve(nc net.Conn) {
	defer nc.Close()
	in := bufio.NewReader(nc)
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(in, frame); err != nil {
			return
		}
		h, body, err := wire.ParseRequestHeader(frame)
		if err != nil {
			p.t.Errorf("the peer got %v", err)
			return
		}
		out := wire.AppendResponseHeader(make([]byte, 4), h.Key, h.Version, h.CorrelationID)
		if h.Key == apiVersions {
			resp := kmsg.NewPtrApiVersionsResponse()
			resp.SetVersion(h.Version)
			for k, v := range p.keys {
				resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: k, MinVersion: v.min, MaxVersion: v.max})
			}
			out = resp.AppendTo(out)
		} else {
			p.mu.Lock()
			p.got = append(p.got, h)
			p.mu.Unlock()
			answer := p.handle(h, body)
			if answer == nil {
				return
			}
			out = append(out, answer...)
		}
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := nc.Write(out); err != nil {
			return
		}
	}
}

// heartbeatAnswer answers BrokerHeartbeat; the throttle time echoes the broker's id.
func heartbeatAnswer(h wire.RequestHeader, body []byte) []byte {
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.SetVersion(h.Version)
	if err := req.ReadFrom(body); err != nil {
		return nil
	}
	resp := req.ResponseKind().(*kmsg.BrokerHeartbeatResponse)
	resp.ThrottleMillis = req.BrokerID
	return resp.AppendTo(nil)
}

var heartbeatKeys = map[int16]versionRange{63: {0, 1}, 18: {0, 3}}

func heartbeat(id int32) *kmsg.BrokerHeartbeatRequest {
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.BrokerID = id
	return req
}

// options are those of a client in a network of the test's own.
func options() (Options, *netx.Mem) {
	n := netx.NewMem(clock.Real())
	return Options{Net: n, Clock: clock.Real(), ClientID: "test", Backoff: time.Millisecond}, n
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}
