package server

import (
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/wire"
)

// Metrics counts what a Server did. Every field only grows, except the three that
// say how many there are now.
type Metrics struct {
	ConnectionsAccepted atomic.Int64
	ConnectionsClosed   atomic.Int64
	ConnectionsActive   atomic.Int64 // now
	// ConnectionsRejected were over the limit of their IP address.
	ConnectionsRejected atomic.Int64
	// ConnectionsExpired were closed for being idle (ExpiredConnectionsKilledCount),
	// ConnectionsEvicted to make room for the inter-broker listener or for memory.
	ConnectionsExpired atomic.Int64
	ConnectionsEvicted atomic.Int64
	AcceptErrors       atomic.Int64
	// AcceptBlockedNanos is the time that acceptors waited for a slot or a rate.
	AcceptBlockedNanos atomic.Int64

	BytesIn, BytesOut atomic.Int64
	// InvalidRequests were malformed or of a version that is not served; each closed
	// its connection.
	InvalidRequests atomic.Int64
	HandlerPanics   atomic.Int64
	// RequestsInFlight are read and not answered yet, now. ResponseBytesQueued are
	// completed and not written yet, now.
	RequestsInFlight    atomic.Int64
	ResponseBytesQueued atomic.Int64
	// MemoryWaits counts how often a reader waited for the memory budget.
	MemoryWaits atomic.Int64
	// Throttles counts how often a connection was muted.
	Throttles atomic.Int64

	apis    [wire.NumKeys]APIMetrics
	private APIMetrics
}

// APIMetrics counts the requests of one API key.
type APIMetrics struct {
	Requests      atomic.Int64
	RequestBytes  atomic.Int64
	ResponseBytes atomic.Int64
	// TotalNanos is the time from reading a request to its response being written,
	// summed over the requests that were answered.
	TotalNanos atomic.Int64

	// sizeHint is the length of the last response, which the next one's buffer is
	// chosen by.
	sizeHint atomic.Int32
}

// API returns the counters of a key; all private keys share one.
func (m *Metrics) API(key int16) *APIMetrics {
	if key >= 0 && int(key) < len(m.apis) {
		return &m.apis[key]
	}
	return &m.private
}
