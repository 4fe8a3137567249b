package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/bufpool"
	"github.com/gregorhq/gregor/internal/wire"
)

// TestPipelinedInOrder sends a thousand requests before it reads anything.
func TestPipelinedInOrder(t *testing.T) {
	k := newKit(t, echo, nil)
	c := k.dial()
	var all []byte
	for i := range int32(1000) {
		all = append(all, request(testKey, 0, i, fmt.Append(nil, "body ", i))...)
	}
	go func() { _, _ = c.Write(all) }()
	for i := range int32(1000) {
		c.expect(i, fmt.Sprint("body ", i))
	}
}

// parked collects requests that a test completes by itself.
type parked struct {
	mu   sync.Mutex
	reqs []*Request
}

func (p *parked) handle(r *Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reqs = append(p.reqs, r)
}

func (p *parked) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.reqs)
}

func (p *parked) take() []*Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.reqs
	p.reqs = nil
	return all
}

// TestRepliesInRandomOrderLeaveInOrder completes requests from several goroutines in
// any order, some of them in stage 1.
func TestRepliesInRandomOrderLeaveInOrder(t *testing.T) {
	const n = 400
	for seed := range int64(5) {
		rng := rand.New(rand.NewSource(seed))
		inline := rng.Perm(n)[:n/4]
		now := map[int32]bool{}
		for _, i := range inline {
			now[int32(i)] = true
		}
		var p parked
		k := newKit(t, func(r *Request) {
			if now[r.Header.CorrelationID] {
				echo(r)
				return
			}
			p.handle(r)
		}, nil)
		c := k.dial()
		go func() {
			for i := range int32(n) {
				_, _ = c.Write(request(testKey, 0, i, fmt.Append(nil, i)))
			}
		}()
		var done atomic.Int64
		for range 4 {
			order := rand.New(rand.NewSource(rng.Int63()))
			go func() {
				for done.Load() < n*3/4 {
					reqs := p.take()
					order.Shuffle(len(reqs), func(i, j int) { reqs[i], reqs[j] = reqs[j], reqs[i] })
					for _, r := range reqs {
						echo(r)
						done.Add(1)
					}
				}
			}()
		}
		for i := range int32(n) {
			c.expect(i, fmt.Sprint(i))
		}
	}
}

// TestHeadOfLine checks that a completed response waits for the one before it, and
// leaves at once when that one is completed from outside.
func TestHeadOfLine(t *testing.T) {
	var p parked
	k := newKit(t, func(r *Request) {
		if string(r.Body) == "later" {
			p.handle(r)
			return
		}
		echo(r)
	}, nil)
	c := k.dial()
	c.raw(append(request(testKey, 0, 1, []byte("later")), request(testKey, 0, 2, []byte("now"))...))
	eventually(t, "the second is completed", func() bool { return k.s.metrics.ResponseBytesQueued.Load() > 0 })
	if n := k.s.metrics.BytesOut.Load(); n != 0 {
		t.Fatalf("%d bytes left before the first response", n)
	}
	echo(p.take()[0])
	c.expect(1, "later")
	c.expect(2, "now")
	eventually(t, "the queue is empty", func() bool {
		return k.s.metrics.ResponseBytesQueued.Load() == 0 && k.s.metrics.RequestsInFlight.Load() == 0
	})
}

// TestWillBlockLetsResponsesLeave checks that what was answered before leaves while a
// later handler of the same read waits.
func TestWillBlockLetsResponsesLeave(t *testing.T) {
	gate := make(chan struct{})
	var p parked
	k := newKit(t, func(r *Request) {
		switch string(r.Body) {
		case "park":
			p.handle(r)
		case "wait":
			r.WillBlock()
			<-gate
			echo(r)
		default:
			echo(r)
		}
	}, nil)
	c := k.dial()
	var all []byte
	for i, body := range []string{"one", "park", "wait", "two"} {
		all = append(all, request(testKey, 0, int32(i), []byte(body))...)
	}
	c.raw(all)
	c.expect(0, "one")
	eventually(t, "the second is parked", func() bool { return p.len() == 1 })
	echo(p.take()[0])
	c.expect(1, "park")
	close(gate)
	c.expect(2, "wait")
	c.expect(3, "two")
}

func TestNoReplyTakesNoTurn(t *testing.T) {
	k := newKit(t, func(r *Request) {
		if len(r.Body) == 0 {
			r.NoReply()
			return
		}
		echo(r)
	}, nil)
	c := k.dial()
	for i := range int32(10) {
		c.send(i, nil)
		c.send(i, []byte("x"))
	}
	for i := range int32(10) {
		c.expect(i, "x")
	}
}

// TestCloseConnAfterEarlierResponses checks that responses before it leave, and that
// requests after it are not served.
func TestCloseConnAfterEarlierResponses(t *testing.T) {
	var p parked
	var served atomic.Int32
	k := newKit(t, func(r *Request) {
		served.Add(1)
		switch string(r.Body) {
		case "close":
			r.CloseConn(errors.New("asked to"))
		default:
			p.handle(r)
		}
	}, nil)
	c := k.dial()
	c.raw(append(append(request(testKey, 0, 1, []byte("first")), request(testKey, 0, 2, []byte("close"))...),
		request(testKey, 0, 3, []byte("never"))...))
	eventually(t, "two are served", func() bool { return served.Load() == 2 })
	echo(p.take()[0])
	c.expect(1, "first")
	c.expectClosed()
	if n := served.Load(); n != 2 {
		t.Errorf("%d requests were served", n)
	}
}

// TestBodySurvivesUntilReply sends large and small requests whose bodies are answered
// later: no frame may be reused under them.
func TestBodySurvivesUntilReply(t *testing.T) {
	var p parked
	k := newKit(t, p.handle, nil)
	c := k.dial()
	rng := rand.New(rand.NewSource(1))
	var bodies [][]byte
	go func() {
		for i := range int32(60) {
			size := []int{10, 1000, 5000, 70_000, 300_000}[i%5]
			body := make([]byte, size)
			rng.Read(body)
			binary.BigEndian.PutUint32(body, uint32(i))
			bodies = append(bodies, body)
			_, _ = c.Write(request(testKey, 0, i, body))
		}
	}()
	eventually(t, "all are parked", func() bool { return p.len() == 60 })
	reqs := p.take()
	if k.s.MemoryInUse() < 60*75_000 {
		t.Errorf("only %d bytes are charged for bodies that are held", k.s.MemoryInUse())
	}
	for _, i := range rng.Perm(60) {
		echo(reqs[i])
	}
	for i := range int32(60) {
		id, body := c.receive()
		if id != i || !bytes.Equal(body, bodies[i]) {
			t.Fatalf("response %d for %d differs", id, i)
		}
	}
	eventually(t, "the memory is given back", func() bool { return k.s.MemoryInUse() == 0 })
}

// TestNothingIsQueuedOnADeadConnection: the reader may have a request in its hands when the
// connection is killed. The request is recycled when it is completed; a queue that still
// had it would take the next one that it becomes, on another connection.
func TestNothingIsQueuedOnADeadConnection(t *testing.T) {
	k := newKit(t, echo, nil)
	c := k.dial()
	c.send(1, nil)
	c.expect(1, "")
	conn := k.s.snapshot()[0]
	conn.kill()
	r := requestPool.Get().(*Request)
	r.conn, r.api = conn, k.s.metrics.API(testKey)
	r.refs.Store(2)
	r.state.Store(statePending)
	k.s.metrics.RequestsInFlight.Add(1)
	if conn.enqueue(r) {
		t.Error("there is something to write")
	}
	echo(r)
	r.unref()
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if conn.head != nil || conn.tail != nil {
		t.Fatal("a dead connection has a request that is in the pool again")
	}
	if n := k.s.metrics.RequestsInFlight.Load(); n != 0 {
		t.Errorf("%d requests are in flight", n)
	}
}

// TestAnswersHoldWhatTheyAre: a small answer behind a large one of the same kind does not
// keep a large buffer while it waits to leave.
func TestAnswersHoldWhatTheyAre(t *testing.T) {
	for _, size := range []int{0, 100, 3000, 200_000} {
		r := &Request{Header: wire.RequestHeader{Key: testKey}, api: new(APIMetrics)}
		r.api.sizeHint.Store(1 << 20)
		resp := kmsg.NewPtrHeartbeatResponse()
		resp.SetVersion(4)
		resp.UnknownTags.Set(7, bytes.Repeat([]byte("x"), size))
		r.encode(resp, 4)
		if c := r.outBuf.Cap(); c > 4*max(len(r.out), bufpool.MinPooled) || !bytes.HasSuffix(r.out, bytes.Repeat([]byte("x"), size)) || r.size != len(r.out) {
			t.Errorf("an answer of %d bytes holds %d", len(r.out), c)
		}
		r.outBuf.Release()
	}
}
