package server

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/wire"
)

// Handler serves the requests of one API key. Handle runs on the reader goroutine of
// the connection and is called in request order; it must complete the request or
// pass it on to whoever will. See Request for what may be done with it.
type Handler interface{ Handle(r *Request) }

// HandlerFunc makes a function a Handler.
type HandlerFunc func(r *Request)

// Handle calls f.
func (f HandlerFunc) Handle(r *Request) { f(r) }

// Entry is a handler with the versions that it serves.
type Entry struct {
	Min, Max int16
	Handler  Handler
}

// Table maps API keys to handlers. What is not in it is neither announced nor
// served. A table must not change once a listener uses it.
type Table map[int16]Entry

// check refuses entries beyond what the protocol table allows.
func (t Table) check() error {
	for key, e := range t {
		api := wire.Lookup(key)
		if api == nil {
			return fmt.Errorf("API key %d is unknown", key)
		}
		if e.Handler == nil || e.Min > e.Max || e.Min < api.OldestMin || e.Max > api.NewestMax {
			return fmt.Errorf("%s: versions %d-%d cannot be registered, the protocol has %d-%d",
				api.Name, e.Min, e.Max, api.OldestMin, api.NewestMax)
		}
	}
	return nil
}

// SecurityProtocol is the protocol of a listener, in Kafka's spelling.
type SecurityProtocol string

// The protocols that a listener can have. Only PLAINTEXT is served by this package
// itself.
const (
	PlainText     SecurityProtocol = "PLAINTEXT"
	SSL           SecurityProtocol = "SSL"
	SASLPlainText SecurityProtocol = "SASL_PLAINTEXT"
	SASLSSL       SecurityProtocol = "SASL_SSL"
)

// ListenerConfig describes one named listener.
type ListenerConfig struct {
	Name     string
	Protocol SecurityProtocol
	// Addr is the host:port to bind; port 0 lets the system choose.
	Addr string
	// AdvertisedHost and AdvertisedPort are what clients of this listener are told.
	// Port 0 stands for the port that was bound.
	AdvertisedHost string
	AdvertisedPort int32
	Table          Table
	// Controller marks a controller listener.
	Controller bool
	// InterBroker marks the listener between brokers: it is exempt from
	// MaxConnections and MaxConnectionCreationRate of the broker, so that a flood
	// of clients cannot starve replication.
	InterBroker bool
}

// Config is all that a Server needs. Zero values of limits take the defaults below.
type Config struct {
	Listeners []ListenerConfig
	Net       netx.Net
	Clock     clock.Clock
	Log       *slog.Logger

	// SocketRequestMaxBytes is socket.request.max.bytes.
	SocketRequestMaxBytes int
	// FirstRequestMaxBytes caps the size of a request until the connection sent its
	// first valid one.
	FirstRequestMaxBytes int
	// QueuedMaxRequestBytes is queued.max.request.bytes: the memory of all frames
	// being read or handled. Zero or less means DefaultQueuedMaxRequestBytes, or
	// twice SocketRequestMaxBytes when that is more.
	QueuedMaxRequestBytes int64
	// MaxInFlight limits the requests of one connection whose responses were not
	// written yet; the connection is not read from meanwhile.
	MaxInFlight int
	// MaxQueuedResponseBytes limits the memory of one connection's responses that
	// were not written yet; the connection is not read from meanwhile.
	MaxQueuedResponseBytes int
	// ConnectionsMaxIdle is connections.max.idle.ms; negative means never.
	ConnectionsMaxIdle time.Duration
	// Limits are those on connections until SetLimits changes them; nil means none.
	Limits *Limits
	// NoSendfile sends file ranges by reading and writing them.
	NoSendfile bool
}

// Defaults of Config.
const (
	DefaultSocketRequestMaxBytes  = 100 << 20
	DefaultFirstRequestMaxBytes   = 512 << 10
	DefaultQueuedMaxRequestBytes  = 512 << 20
	DefaultMaxInFlight            = 500
	DefaultMaxQueuedResponseBytes = 16 << 20
	DefaultConnectionsMaxIdle     = 10 * time.Minute
)

// withDefaults returns the configuration with every limit set, or what is wrong
// with it.
func (c Config) withDefaults() (Config, error) {
	if c.Net == nil || c.Clock == nil {
		return c, errors.New("a server needs a network and a clock")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	def := func(p *int, d int) {
		if *p <= 0 {
			*p = d
		}
	}
	def(&c.SocketRequestMaxBytes, DefaultSocketRequestMaxBytes)
	def(&c.FirstRequestMaxBytes, DefaultFirstRequestMaxBytes)
	def(&c.MaxInFlight, DefaultMaxInFlight)
	def(&c.MaxQueuedResponseBytes, DefaultMaxQueuedResponseBytes)
	if c.QueuedMaxRequestBytes <= 0 {
		c.QueuedMaxRequestBytes = max(DefaultQueuedMaxRequestBytes, 2*int64(c.SocketRequestMaxBytes))
	}
	if c.ConnectionsMaxIdle == 0 {
		c.ConnectionsMaxIdle = DefaultConnectionsMaxIdle
	}
	names := map[string]bool{}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.Protocol == "" {
			l.Protocol = PlainText
		}
		if names[l.Name] {
			return c, fmt.Errorf("listener %q is configured twice", l.Name)
		}
		names[l.Name] = true
		if l.Protocol != PlainText {
			return c, fmt.Errorf("listener %q: security protocol %s is not served", l.Name, l.Protocol)
		}
		if err := l.Table.check(); err != nil {
			return c, fmt.Errorf("listener %q: %w", l.Name, err)
		}
	}
	return c, nil
}
