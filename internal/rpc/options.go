package rpc

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/netx"
)

// Options are what connections work with. Net and Clock are required.
type Options struct {
	Net   netx.Net
	Clock clock.Clock
	// ClientID stands in the header of every request.
	ClientID string
	// Log receives what a Node notices about its connection; nil discards it.
	Log *slog.Logger
	// MaxResponse bounds the size of one answer; 0 means DefaultMaxResponse.
	MaxResponse int
	// ConnectTimeout bounds opening a connection, with the question for the peer's
	// versions; 0 means DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// RequestTimeout ends a connection whose oldest request has no answer for that
	// long; 0 means DefaultRequestTimeout. Requests that may be parked at the peer need
	// more than they are parked for.
	RequestTimeout time.Duration
	// Backoff is the first pause between two attempts to connect; it doubles up to
	// MaxBackoff. 0 means DefaultBackoff and DefaultMaxBackoff.
	Backoff, MaxBackoff time.Duration
	// Traffic counts what goes over the connections; nil for nobody.
	Traffic *Traffic
	// Disconnected is called by a Node after an established connection has ended, but
	// not for one that Close ended. It runs on the connection's reader and must not
	// block.
	Disconnected func(err error)
}

// Traffic counts requests and answers, with their bytes.
type Traffic struct{ Requests, Responses, BytesOut, BytesIn atomic.Int64 }

// Defaults and limits.
const (
	DefaultMaxResponse    = 100 << 20
	DefaultConnectTimeout = 10 * time.Second
	DefaultRequestTimeout = 30 * time.Second
	DefaultBackoff        = 50 * time.Millisecond
	DefaultMaxBackoff     = time.Second

	// maxQueuedBytes bounds what a connection holds that the peer does not take.
	maxQueuedBytes = 64 << 20
	// maxWaiting bounds the requests that wait for a Node's connection.
	maxWaiting = 1024
)

func (o Options) withDefaults() Options {
	orDefault(&o.MaxResponse, DefaultMaxResponse)
	if o.Traffic == nil {
		o.Traffic = new(Traffic)
	}
	orDefault(&o.ConnectTimeout, DefaultConnectTimeout)
	orDefault(&o.RequestTimeout, DefaultRequestTimeout)
	orDefault(&o.Backoff, DefaultBackoff)
	orDefault(&o.MaxBackoff, DefaultMaxBackoff)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func orDefault[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

// Pinned sends a request in the version that it has, instead of the newest that both
// sides know. A peer that does not announce that version refuses it.
type Pinned struct{ kmsg.Request }
