package server

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/bufpool"
	"github.com/gregorhq/gregor/internal/invariant"
	"github.com/gregorhq/gregor/internal/vfs"
	"github.com/gregorhq/gregor/internal/wire"
)

// Request is one request and the slot of its response.
//
// Exactly one of Reply, ReplySpans, ReplyRaw, NoReply and CloseConn must be called,
// once, from any goroutine; none of them waits for the socket. Whoever calls it must
// not touch the Request afterwards, except that Handle may go on reading its plain
// fields, but not Body, until it returns.
type Request struct {
	Header wire.RequestHeader
	// Body is the request without its header. It aliases a pooled frame and is valid
	// until the request is completed or ReleaseBody is called.
	Body []byte
	// Listener is the listener that the client used: its advertised addresses are
	// the ones to answer with.
	Listener *Listener
	// Principal is the authenticated user, for example User:ANONYMOUS.
	Principal string
	// ClientHost is the peer's IP address without port.
	ClientHost string
	// ReceivedAt is when the bytes of the request were read.
	ReceivedAt time.Time

	conn  *conn
	frame *frame // nil once the body was released
	api   *APIMetrics
	next  *Request // the queue's link, guarded by conn.mu
	done  bool     // guarded by conn.mu
	state atomic.Int32
	// refs is the number of stages that still use the Request: Handle, and the queue.
	refs atomic.Int32

	// startedNs and handledNs are when the handler began, and returned or began to wait,
	// doneNs is when the request was completed after that; all since ReceivedAt, 0 for
	// not yet.
	startedNs int64
	inSize    int // bytes of the request
	doneNs    int64
	handledNs atomic.Int64

	// The response. Whoever completes the request sets it, then the writer owns it.
	out     []byte       // size, header and body, or as much of it as is in memory
	outBuf  *bufpool.Buf // what out lies in, nil when it is on the heap
	prefix  []byte
	spans   []vfs.Span
	onWrite func() // the release function of ReplySpans
	size    int    // bytes on the wire
	mem     int    // those of them that are in memory
	closing error  // close the connection instead of answering
}

// States of a Request.
const (
	stateFree int32 = iota
	statePending
	stateDone
)

var requestPool = sync.Pool{New: func() any { return new(Request) }}

// Decode decodes the body into req, whose version it sets. Byte fields alias the
// body; strings are copies and may be kept.
func (r *Request) Decode(req kmsg.Request) error {
	return wire.DecodeInto(req, r.Header.Version, r.Body)
}

// DecodeAlias is Decode with strings that alias the body too, for handlers that keep
// none of them beyond the body's life.
func (r *Request) DecodeAlias(req kmsg.Request) error {
	return wire.DecodeAlias(req, r.Header.Version, r.Body)
}

// maxHeader is the length of the size and the longest response header.
const maxHeader = 4 + 5

// Reply completes the request with a response, whose version it sets. The response
// is encoded before Reply returns and may then be reused; it may alias Body.
func (r *Request) Reply(resp kmsg.Response) {
	resp.SetVersion(r.Header.Version)
	r.encode(resp, r.Header.Version)
	r.countErrors(resp)
	r.complete()
}

// countErrors notes the error codes of a response.
func (r *Request) countErrors(resp kmsg.Response) {
	ok := 0
	wire.ErrorCodes(resp, func(code int16) {
		if code == 0 {
			ok++
		} else {
			r.api.CountErrors(code, 1)
		}
	})
	r.api.CountErrors(0, ok)
}

// encode puts the response with its header into out.
func (r *Request) encode(resp kmsg.Response, version int16) {
	b := r.start(int(r.api.sizeHint.Load()), version)
	b = resp.AppendTo(b)
	if hint := int32(len(b)); hint != r.api.sizeHint.Load() {
		r.api.sizeHint.Store(hint)
	}
	switch size := r.outBuf.Cap(); {
	case len(b) > size:
		r.outBuf.Release() // the encoder moved to a larger buffer of its own
		r.outBuf = nil
	case size > 4*max(len(b), bufpool.MinPooled):
		// The last one was much larger. It counts as what it is while it waits to leave,
		// so it must not hold more.
		small := bufpool.Get(len(b))
		b = append(small.Bytes(small.Cap())[:0], b...)
		r.outBuf.Release()
		r.outBuf = small
	}
	r.out = b
	r.seal(len(b))
}

// start takes a buffer for about n bytes and writes the header into it.
func (r *Request) start(n int, version int16) []byte {
	r.outBuf = bufpool.Get(max(n, maxHeader))
	b := append(r.outBuf.Bytes(r.outBuf.Cap())[:0], 0, 0, 0, 0)
	return wire.AppendResponseHeader(b, r.Header.Key, version, r.Header.CorrelationID)
}

// seal writes the size in front of the response.
func (r *Request) seal(size int) {
	r.size, r.mem = size, size
	binary.BigEndian.PutUint32(r.out, uint32(size-4))
}

// ReplySpans completes the request with a response body of which the caller encoded
// the prefix; the spans follow it. Prefix and spans stay with the server until it
// calls release, exactly once, from any goroutine, even when the connection is dead.
// release may be nil; it must not wait.
func (r *Request) ReplySpans(prefix []byte, spans []vfs.Span, release func()) {
	r.out = r.start(maxHeader, r.Header.Version)
	r.prefix, r.spans, r.onWrite = prefix, spans, release
	size, files := len(r.out)+len(prefix), 0
	for i := range spans {
		size += spans[i].Len
		if spans[i].File != nil {
			files += spans[i].Len
		}
		invariant.Check(spans[i].B == nil || len(spans[i].B) == spans[i].Len, "span of %d bytes says %d", len(spans[i].B), spans[i].Len)
	}
	r.seal(size)
	r.mem -= files
	r.complete()
}

// ReplyRaw completes the request with an encoded response body, which it copies.
func (r *Request) ReplyRaw(body []byte) {
	r.out = append(r.start(maxHeader+len(body), r.Header.Version), body...)
	r.seal(len(r.out))
	r.complete()
}

// NoReply completes a request that has no response: Produce with acks=0.
func (r *Request) NoReply() { r.complete() }

// CloseConn completes the request by closing its connection once the responses
// before it were written; no request behind it is served unless that has begun.
// err says why and must not be nil.
func (r *Request) CloseConn(err error) {
	r.closing = err
	r.conn.closing.Store(true)
	r.complete()
}

// ReleaseBody gives the frame's memory back before the request is completed, for a
// handler that needs the body no more but answers later. Body is nil afterwards.
func (r *Request) ReleaseBody() {
	r.Body = nil
	if f := r.frame; f != nil {
		r.frame = nil
		f.release()
	}
}

// Throttle mutes the connection for ms milliseconds from now (KIP-219): responses
// still leave, but no further request is taken from it. It must be called before the
// request is completed.
func (r *Request) Throttle(ms int32) {
	if ms > 0 {
		r.conn.mute(time.Duration(ms) * time.Millisecond)
	}
}

// WillBlock tells the server that Handle is about to wait for something other than a
// lock held briefly. Responses that are ready leave now, and those that others
// complete meanwhile do not wait for Handle to return. Only Handle may call it.
func (r *Request) WillBlock() {
	r.handledNs.CompareAndSwap(0, max(int64(r.conn.srv.cfg.Clock.Since(r.ReceivedAt)), 1))
	r.conn.pause()
}

// Alive says whether the connection can still carry the response. A handler that
// parked the request may drop costly work when it cannot, but must complete it.
func (r *Request) Alive() bool { return !r.conn.dead.Load() }

// complete hands the response to the connection's queue.
func (r *Request) complete() {
	if !r.state.CompareAndSwap(statePending, stateDone) {
		invariant.Check(false, "%s request completed twice", wire.Name(r.Header.Key))
		return
	}
	r.ReleaseBody()
	if r.handledNs.Load() != 0 {
		r.doneNs = int64(r.conn.srv.cfg.Clock.Since(r.ReceivedAt))
	}
	r.conn.completed(r)
}

// dropResponse releases what the response holds. It runs once, after the response
// was written or when it never will be.
func (r *Request) dropResponse() {
	if r.outBuf != nil {
		r.outBuf.Release()
		r.outBuf = nil
	}
	if release := r.onWrite; release != nil {
		r.onWrite = nil
		release()
	}
	r.out, r.prefix, r.spans = nil, nil, nil
	r.unref()
}

// unref ends one stage's use; the last one recycles the Request.
func (r *Request) unref() {
	if r.refs.Add(-1) != 0 {
		return
	}
	r.Header = wire.RequestHeader{}
	r.Body, r.Listener, r.Principal, r.ClientHost = nil, nil, "", ""
	r.conn, r.frame, r.api, r.next = nil, nil, nil, nil
	r.done, r.size, r.mem, r.closing = false, 0, 0, nil
	r.startedNs, r.doneNs = 0, 0
	r.handledNs.Store(0)
	r.state.Store(stateFree)
	requestPool.Put(r)
}
