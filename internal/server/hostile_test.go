package server

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/vfs"
)

func size(n int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// TestInvalidSizes checks sizes that no first request has.
func TestInvalidSizes(t *testing.T) {
	for _, n := range []int32{0, -1, -1 << 31, 1<<31 - 1, DefaultFirstRequestMaxBytes + 1} {
		k := newKit(t, echo, nil)
		c := k.dial()
		c.raw(append(size(n), 1, 2, 3))
		c.expectClosed()
		eventually(t, "the log names the peer", func() bool {
			return strings.Contains(k.log.String(), "peer="+c.LocalAddr().String())
		})
		if k.s.metrics.InvalidRequests.Load() != 1 {
			t.Errorf("size %d is not counted", n)
		}
	}
}

// TestSizeLimits: what the first request may not be, a later one may, up to
// socket.request.max.bytes.
func TestSizeLimits(t *testing.T) {
	const limit = 200 << 10
	k := newKit(t, echo, func(c *Config) { c.SocketRequestMaxBytes = limit })
	c := k.dial()
	c.send(1, []byte("small"))
	c.expect(1, "small")
	body := bytes.Repeat([]byte("x"), limit-len(request(testKey, 0, 2, nil))+4)
	c.send(2, body)
	c.expect(2, string(body))
	c.send(3, append(body, 'x'))
	c.expectClosed()
}

// TestFirstProduceMayBeLarge: a producer that asks for no versions sends batches at
// once. Anything else of that size is refused by its header.
func TestFirstProduceMayBeLarge(t *testing.T) {
	withProduce := func(c *Config) { c.Listeners[0].Table[0] = Entry{Min: 3, Max: 5, Handler: HandlerFunc(echo)} }
	large := bytes.Repeat([]byte("x"), 2*DefaultFirstRequestMaxBytes)
	k := newKit(t, echo, withProduce)
	c := k.dial()
	c.raw(request(0, 4, 1, large))
	c.expect(1, string(large))
	for _, r := range [][]byte{request(0, 6, 1, large), request(testKey, 0, 1, large), append(size(1<<31-1), 0, 0, 0, 4)} {
		c := k.dial()
		c.raw(r[:8]) // the size and the header's first half are enough
		c.expectClosed()
	}
}

// TestClaimedSizesTakeNoMemory opens connections that claim the largest request and
// send little of it.
func TestClaimedSizesTakeNoMemory(t *testing.T) {
	k := newKit(t, echo, nil)
	const n = 50
	var before, after runtime.MemStats
	conns := make([]*client, n)
	for i := range conns {
		conns[i] = k.dial()
		conns[i].send(1, []byte("valid"))
		conns[i].expect(1, "valid")
	}
	runtime.ReadMemStats(&before)
	for _, c := range conns {
		c.raw(append(size(DefaultSocketRequestMaxBytes), make([]byte, 100)...))
	}
	eventually(t, "all are inside a request", func() bool {
		mid := 0
		for _, c := range k.s.snapshot() {
			if c.midFrame.Load() {
				mid++
			}
		}
		return mid == n
	})
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > n*24<<10 {
		t.Errorf("%d connections claim and send little: %d bytes allocated", n, grown)
	}
	if used := k.s.MemoryInUse(); used == 0 || used > n*16<<10 {
		t.Errorf("%d bytes are charged", used)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	eventually(t, "the memory is given back", func() bool { return k.s.MemoryInUse() == 0 })
}

// TestGrowingRequest sends one large request in many pieces: the memory follows.
func TestGrowingRequest(t *testing.T) {
	k := newKit(t, echo, nil)
	c := k.dial()
	c.send(1, nil)
	c.expect(1, "")
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	frame := request(testKey, 0, 2, body)
	half := len(frame) / 3
	go func() {
		for i := 0; i < half; i += 10_000 {
			_, _ = c.Write(frame[i:min(i+10_000, half)])
		}
	}()
	eventually(t, "a third arrived", func() bool {
		return k.s.metrics.BytesIn.Load() >= int64(half)
	})
	if used := k.s.MemoryInUse(); used > int64(half)*5/2 {
		t.Errorf("%d bytes are charged for %d that arrived", used, half)
	}
	c.raw(frame[half:])
	c.expect(2, string(body))
}

// TestNeverReadingPeers: sockets that send and never read are bounded, and others go
// on being served.
func TestNeverReadingPeers(t *testing.T) {
	const inFlight = 20
	big := bytes.Repeat([]byte("y"), 500<<10)
	k := newKit(t, func(r *Request) {
		if len(r.Body) == 0 {
			r.ReplyRaw(big)
			return
		}
		echo(r)
	}, func(c *Config) { c.MaxInFlight = inFlight })
	const n = 6
	for range n {
		c := k.dial()
		_ = c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		go func() {
			for {
				if _, err := c.Write(request(testKey, 0, 1, nil)); err != nil {
					return
				}
			}
		}()
	}
	eventually(t, "all are stuck in writing", func() bool {
		stuck := 0
		for _, c := range k.s.snapshot() {
			c.mu.Lock()
			if c.writing && c.inFlight > 0 {
				stuck++
			}
			c.mu.Unlock()
		}
		return stuck == n
	})
	good := k.dial()
	for i := range int32(200) {
		good.send(i, []byte("z"))
		good.expect(i, "z")
	}
	for _, c := range k.s.snapshot() {
		c.mu.Lock()
		if c.inFlight > inFlight+1 {
			t.Errorf("%d requests of one connection are in flight", c.inFlight)
		}
		c.mu.Unlock()
	}
}

// TestParkedRequestsAreBounded: with nothing completed, a connection is read from no
// further than its limit.
func TestParkedRequestsAreBounded(t *testing.T) {
	var p parked
	k := newKit(t, p.handle, func(c *Config) { c.MaxInFlight = 7 })
	c := k.dial()
	for i := range int32(50) {
		c.send(i, []byte("p"))
	}
	for i := int32(0); i < 50; {
		eventually(t, "the limit is reached", func() bool { return p.len() == min(7, 50-int(i)) })
		for _, r := range p.take() {
			echo(r)
			c.expect(i, "p")
			i++
		}
	}
}

// TestMemoryBudget: readers wait for memory that held requests have, and go on.
func TestMemoryBudget(t *testing.T) {
	var p parked
	k := newKit(t, p.handle, func(c *Config) {
		c.QueuedMaxRequestBytes = 300 << 10
		c.SocketRequestMaxBytes = 1 << 20
		c.FirstRequestMaxBytes = 1 << 20
	})
	body := bytes.Repeat([]byte("m"), 60<<10)
	const n = 12
	conns := make([]*client, n)
	for i := range conns {
		conns[i] = k.dial()
		go conns[i].send(int32(i), body)
	}
	eventually(t, "readers wait for memory", func() bool { return k.s.budget.Waiting() })
	done := 0
	for done < n {
		eventually(t, "more requests come", func() bool { return p.len() > 0 })
		if used := k.s.MemoryInUse(); used > 300<<10 {
			t.Fatalf("%d bytes in use", used)
		}
		for _, r := range p.take() {
			r.ReplyRaw(nil)
			done++
		}
	}
	for i, c := range conns {
		c.expect(int32(i), "")
	}
	if k.s.metrics.MemoryWaits.Load() == 0 {
		t.Error("nobody waited")
	}
}

// TestBrokersDoNotWaitForMemory: clients that use all of the budget hold up no follower.
func TestBrokersDoNotWaitForMemory(t *testing.T) {
	var p parked
	k := newKit(t, p.handle, func(c *Config) {
		c.QueuedMaxRequestBytes, c.SocketRequestMaxBytes, c.FirstRequestMaxBytes = 128<<10, 1<<20, 1<<20
		c.Listeners = append(c.Listeners, ListenerConfig{Name: "REPLICATION", Addr: "127.0.0.1:0", AdvertisedHost: "localhost", InterBroker: true,
			Table: Table{testKey: {Handler: HandlerFunc(echo)}}})
	})
	body := bytes.Repeat([]byte("m"), 60<<10)
	clients := make([]*client, 4)
	for i := range clients {
		clients[i] = k.dial()
		go clients[i].send(int32(i), body)
	}
	eventually(t, "clients wait for memory", func() bool { return k.s.budget.Waiting() })
	follower := k.dial("REPLICATION")
	follower.send(9, body)
	follower.expect(9, string(body))
	for done := 0; done < len(clients); {
		eventually(t, "more requests come", func() bool { return p.len() > 0 })
		for _, r := range p.take() {
			r.ReplyRaw(nil)
			done++
		}
	}
	for i, c := range clients {
		c.expect(int32(i), "")
	}
	eventually(t, "all memory is free", func() bool { return k.s.MemoryInUse() == 0 })
}

// TestStalledConnectionIsEvicted: who holds memory for a request and sends nothing is
// closed when others need it.
func TestStalledConnectionIsEvicted(t *testing.T) {
	v := clock.NewVirtual(time.Unix(1_000_000, 0))
	k := newKit(t, echo, func(c *Config) {
		c.Clock = v
		c.ConnectionsMaxIdle = -1
		c.QueuedMaxRequestBytes = 128 << 10
		c.SocketRequestMaxBytes = 200 << 10
		c.FirstRequestMaxBytes = 200 << 10
	})
	hog := k.dial()
	frame := request(testKey, 0, 1, make([]byte, 90<<10))
	hog.raw(frame[:len(frame)-1])
	eventually(t, "the hog waits", func() bool {
		return k.s.metrics.BytesIn.Load() == int64(len(frame)-1) && slices.ContainsFunc(k.s.snapshot(), func(c *conn) bool { return c.midFrame.Load() })
	})
	other := k.dial()
	body := bytes.Repeat([]byte("o"), 90<<10)
	other.send(2, body)
	eventually(t, "the other waits for memory", func() bool { return k.s.metrics.MemoryWaiting.Load() > 0 })
	eventually(t, "the hog is evicted", func() bool {
		v.Advance(memoryWait)
		return k.s.metrics.ConnectionsEvicted.Load() > 0
	})
	other.expect(2, string(body))
	hog.expectClosed()
}

// TestUnservedRequestsCloseConnection covers versions and keys without a handler.
func TestUnservedRequestsCloseConnection(t *testing.T) {
	table := func(c *Config) {
		c.Listeners[0].Table = Table{0: {3, 9, HandlerFunc(echo)}, 18: {0, 4, HandlerFunc(echo)}}
	}
	for name, frame := range map[string][]byte{
		"old version":      request(0, 2, 1, nil),
		"new version":      request(0, 10, 1, nil),
		"negative version": request(0, -1, 1, nil),
		"no handler":       request(3, 0, 1, nil),
		"unknown key":      request(1000, 0, 1, nil),
		"private key":      request(testKey, 0, 1, nil),
		"no header":        {0, 0, 0, 2, 0, 18},
	} {
		k := newKit(t, echo, table)
		c := k.dial()
		c.raw(frame)
		c.expectClosed()
		eventually(t, name+" is counted", func() bool { return k.s.metrics.InvalidRequests.Load() == 1 })
	}
}

// TestUnknownApiVersionsVersion asks with a version of the future: the answer is of
// version 0 and tells the range, and the connection goes on.
func TestUnknownApiVersionsVersion(t *testing.T) {
	k := newKit(t, echo, func(c *Config) {
		c.Listeners[0].Table = Table{18: {0, 4, HandlerFunc(echo)}}
	})
	c := k.dial()
	c.raw(request(18, 99, 7, []byte("not a body of any version")))
	id, body := c.receive()
	var resp kmsg.ApiVersionsResponse
	resp.SetVersion(0)
	if err := resp.ReadFrom(body); err != nil || id != 7 || resp.ErrorCode != 35 || len(resp.ApiKeys) != 1 ||
		resp.ApiKeys[0].ApiKey != 18 || resp.ApiKeys[0].MinVersion != 0 || resp.ApiKeys[0].MaxVersion != 4 {
		t.Fatalf("%d %+v %v", id, resp, err)
	}
	c.raw(request(18, 0, 8, []byte("x")))
	c.expect(8, "x")
}

// TestPanicEndsOnlyItsConnection: others go on, and nothing of it stays behind.
func TestPanicEndsOnlyItsConnection(t *testing.T) {
	k := newKit(t, func(r *Request) {
		if string(r.Body) == "boom" {
			panic(fmt.Sprint("broken by ", r.Header.CorrelationID))
		}
		echo(r)
	}, nil)
	good, bad := k.dial(), k.dial()
	bad.send(1, []byte("fine"))
	bad.expect(1, "fine")
	bad.send(2, []byte("boom"))
	bad.expectClosed()
	good.send(3, []byte("still here"))
	good.expect(3, "still here")
	eventually(t, "it is counted and cleaned up", func() bool {
		return k.s.metrics.HandlerPanics.Load() == 1 && k.s.metrics.RequestsInFlight.Load() == 0 && k.s.MemoryInUse() == 0
	})
	if log := k.log.String(); !strings.Contains(log, "broken by 2") {
		t.Error("the log does not say what happened")
	}
}

// TestQueuedResponsesAreBounded: completed responses that are not written stop the
// reader, whether they are buffers or spans of memory; file ranges do not count.
func TestQueuedResponsesAreBounded(t *testing.T) {
	var p parked
	var served atomic.Int32
	f, _ := spanFile(t, vfs.OS(), t.TempDir(), 1000)
	span := []vfs.Span{{B: make([]byte, 1000), Len: 1000}}
	k := newKit(t, func(r *Request) {
		served.Add(1)
		switch string(r.Body) {
		case "head":
			p.handle(r)
		case "file":
			r.ReplySpans(nil, []vfs.Span{{File: f, Len: 1000}}, nil)
		default:
			r.ReplySpans(nil, span, nil)
		}
	}, func(c *Config) { c.MaxQueuedResponseBytes = 5500 })
	c := k.dial()
	c.send(0, []byte("head"))
	for i := range int32(20) {
		c.send(i+1, nil)
	}
	eventually(t, "six are served", func() bool { return served.Load() == 7 })
	if n := k.s.metrics.RequestsInFlight.Load(); n != 7 {
		t.Errorf("%d requests in flight", n)
	}
	echo(p.take()[0])
	c.expect(0, "head")
	for i := range int32(20) {
		if id, body := c.receive(); id != i+1 || len(body) != 1000 {
			t.Fatalf("response %d of %d bytes", id, len(body))
		}
	}
	served.Store(0)
	c.send(30, []byte("head"))
	for i := range int32(20) {
		c.send(31+i, []byte("file"))
	}
	eventually(t, "all files are served", func() bool { return served.Load() == 21 })
	echo(p.take()[0])
}
