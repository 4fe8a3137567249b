package monitor

import (
	"time"

	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/server"
)

// networkProcessor is the label of the one "processor" that all connections are served
// by: the Go runtime.
const networkProcessor = "0"

// eachListener emits a value of every listener.
func (x *exporter) eachListener(f func(*server.ListenerMetrics) int64) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if x.Server == nil {
			return
		}
		for _, l := range x.Server.Listeners() {
			e.Int(f(l.Metrics()), l.Name, networkProcessor)
		}
	}
}

// served emits a value of the server.
func (x *exporter) served(f func(*server.Metrics) int64) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if x.Server != nil {
			e.Int(f(x.Server.Metrics()))
		}
	}
}

func (x *exporter) idlePercent(e *metrics.Emitter) {
	if x.proc.hasCPU {
		e.Float(x.idle.share)
	}
}

func (x *exporter) sockets() {
	x.section = "Connections and saturation"
	const idleSource = "getrusage, GOMAXPROCS"
	x.add(
		fam{metrics.Percent, "network", "SocketServer", "NetworkProcessorAvgIdlePercent", "", "Share of the processors that the process has left idle since the scrape before. gregor has no network threads: all work shares the processors.", idleSource, x.idlePercent},
		fam{metrics.Percent, "server", "KafkaRequestHandlerPool", "RequestHandlerAvgIdlePercent", "", "The same as NetworkProcessorAvgIdlePercent: gregor has no handler threads either.", idleSource, x.idlePercent},
		fam{metrics.Gauge, "network", "RequestChannel", "RequestQueueSize", "", "Connections whose reader waits for memory (queued.max.request.bytes) before it hands a request on. There is no other queue before a handler.", "server.Metrics", x.served(func(m *server.Metrics) int64 { return m.MemoryWaiting.Load() })},
		fam{metrics.Gauge, "network", "RequestChannel", "ResponseQueueSize", "", "Answers that are complete and not written yet.", "server.Server", func(e *metrics.Emitter) {
			if x.Server != nil {
				e.Int(int64(x.Server.QueuedResponses()))
			}
		}},
		fam{metrics.Gauge, "network", "SocketServer", "MemoryPoolUsed", "", "Bytes of requests in memory, of queued.max.request.bytes.", "server.Server", func(e *metrics.Emitter) {
			if x.Server != nil {
				e.Int(x.Server.MemoryInUse())
			}
		}},
		fam{metrics.Gauge, "network", "SocketServer", "ExpiredConnectionsKilledCount", "", "Connections that were closed for being idle for connections.max.idle.ms, since the start.", "server.Metrics", x.served(func(m *server.Metrics) int64 { return m.ConnectionsExpired.Load() })},
		fam{metrics.Percent, "network", "Acceptor", "AcceptorBlockedPercent", "listener", "Share of the time since the start in which a listener's acceptor waited for a slot or a rate.", "server.ListenerMetrics", func(e *metrics.Emitter) {
			if x.Server == nil {
				return
			}
			for _, l := range x.Server.Listeners() {
				e.Float(float64(l.Metrics().BlockedNanos.Load())/float64(max(e.Now.Sub(x.r.Begin()), time.Second)), l.Name)
			}
		}},
	)
	const labels = "listener networkProcessor"
	x.attributes(
		fam{metrics.Gauge, "server", "socket-server-metrics", "connection-count", labels, "Connections now, by listener.", "server.ListenerMetrics", x.eachListener(func(m *server.ListenerMetrics) int64 { return m.Created.Load() - m.Closed.Load() })},
		fam{metrics.Counter, "server", "socket-server-metrics", "connection-creation-total", labels, "Connections accepted since the start.", "server.ListenerMetrics", x.eachListener(func(m *server.ListenerMetrics) int64 { return m.Created.Load() })},
		fam{metrics.Counter, "server", "socket-server-metrics", "connection-close-total", labels, "Connections closed since the start.", "server.ListenerMetrics", x.eachListener(func(m *server.ListenerMetrics) int64 { return m.Closed.Load() })},
		fam{metrics.Counter, "server", "socket-server-metrics", "expired-connections-killed-count", labels, "Connections closed for being idle.", "server.ListenerMetrics", x.eachListener(func(m *server.ListenerMetrics) int64 { return m.Expired.Load() })},
		fam{metrics.Counter, "server", "socket-server-metrics", "incoming-byte-total", "", "Bytes read from connections.", "server.Metrics", x.served(func(m *server.Metrics) int64 { return m.BytesIn.Load() })},
		fam{metrics.Counter, "server", "socket-server-metrics", "outgoing-byte-total", "", "Bytes written to connections.", "server.Metrics", x.served(func(m *server.Metrics) int64 { return m.BytesOut.Load() })},
	)
	x.plain(
		fam{metrics.Gauge, "", "", "gregor_requests_in_flight", "", "Requests that were read and are not answered yet, those that wait for data included.", "server.Metrics", x.served(func(m *server.Metrics) int64 { return m.RequestsInFlight.Load() })},
		fam{metrics.Gauge, "", "", "gregor_response_bytes_queued", "", "Bytes of answers that are complete and not written yet.", "server.Metrics", x.served(func(m *server.Metrics) int64 { return m.ResponseBytesQueued.Load() })},
		fam{metrics.Counter, "", "", "gregor_memory_waits_total", "", "Times that a reader waited for queued.max.request.bytes.", "server.Metrics", x.served(func(m *server.Metrics) int64 { return m.MemoryWaits.Load() })},
		fam{metrics.Counter, "", "", "gregor_connections_rejected_total", "", "Connections over max.connections.per.ip.", "server.Metrics", x.served(func(m *server.Metrics) int64 { return m.ConnectionsRejected.Load() })},
		fam{metrics.Counter, "", "", "gregor_connections_evicted_total", "", "Connections closed to make room for brokers or for memory.", "server.Metrics", x.served(func(m *server.Metrics) int64 { return m.ConnectionsEvicted.Load() })},
		fam{metrics.Counter, "", "", "gregor_accept_errors_total", "", "Times that a connection could not be accepted, for want of descriptors for example.", "server.Metrics", x.served(func(m *server.Metrics) int64 { return m.AcceptErrors.Load() })},
		fam{metrics.Counter, "", "", "gregor_invalid_requests_total", "", "Requests that were malformed or of a version that is not served; each closed its connection.", "server.Metrics", x.served(func(m *server.Metrics) int64 { return m.InvalidRequests.Load() })},
		fam{metrics.Counter, "", "", "gregor_handler_panics_total", "", "Handlers that panicked; each is a bug.", "server.Metrics", x.served(func(m *server.Metrics) int64 { return m.HandlerPanics.Load() })},
		fam{metrics.Counter, "", "", "gregor_throttles_total", "", "Times that a connection was muted for a quota.", "server.Metrics", x.served(func(m *server.Metrics) int64 { return m.Throttles.Load() })},
	)
}
