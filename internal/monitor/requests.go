package monitor

import (
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/wire"
)

const millisecond = float64(time.Millisecond)

// eachAPI calls f for every API that was asked for.
func (x *exporter) eachAPI(f func(name string, a *server.APIMetrics)) {
	if x.Server == nil {
		return
	}
	for key := range int16(wire.NumKeys) {
		if a := x.Server.Metrics().API(key); a.Requests.Load() > 0 {
			f(wire.Name(key), a)
		}
	}
	if a := x.Server.Metrics().API(wire.RaftMessage); a.Requests.Load() > 0 {
		f(wire.Name(wire.RaftMessage), a)
	}
}

// phase makes the family of one phase of requests.
func (x *exporter) phase(name, help string, of func(*server.Times) *metrics.Histogram) fam {
	return fam{metrics.Summary, "network", "RequestMetrics", name, "request", help, "server.Times", func(e *metrics.Emitter) {
		x.eachAPI(func(api string, a *server.APIMetrics) {
			if t := a.Times(); t != nil {
				total := t.Total.Read(e.Now)
				if h := of(t); h != t.Total {
					total = h.ReadOf(e.Now, total.Count)
				}
				e.Distribution(total, millisecond, api)
			}
		})
	}}
}

func (x *exporter) requests() {
	x.section = "Requests"
	x.add(
		fam{metrics.Meter, "network", "RequestMetrics", "RequestsPerSec", "request", "Requests read, by API.", "server.APIMetrics", func(e *metrics.Emitter) {
			x.eachAPI(func(api string, a *server.APIMetrics) { e.Int(a.Requests.Load(), api) })
		}},
		fam{metrics.Meter, "network", "RequestMetrics", "ErrorsPerSec", "request error", "Error codes in answers, those of every partition or resource included; NONE is no error.", "server.APIMetrics", func(e *metrics.Emitter) {
			x.eachAPI(func(api string, a *server.APIMetrics) {
				a.Errors(func(code int16, n int64) { e.Int(n, api, codeName(code)) })
			})
		}},
		fam{metrics.Summary, "network", "RequestMetrics", "RequestBytes", "request", "Sizes of requests, in bytes.", "server.Times", func(e *metrics.Emitter) {
			x.eachAPI(func(api string, a *server.APIMetrics) {
				if t := a.Times(); t != nil {
					e.Distribution(t.Sizes.Read(e.Now), 1, api)
				}
			})
		}},
		x.phase("TotalTimeMs", "Milliseconds from reading a request to its answer being written.", func(t *server.Times) *metrics.Histogram { return t.Total }),
		x.phase("RequestQueueTimeMs", "Milliseconds from reading a request to its handler, spent behind requests that came with it.", func(t *server.Times) *metrics.Histogram { return t.RequestQueue }),
		x.phase("LocalTimeMs", "Milliseconds in the handler until it returned or waited.", func(t *server.Times) *metrics.Histogram { return t.Local }),
		x.phase("RemoteTimeMs", "Milliseconds of waiting for replicas, for data, for the controller or for a coordinator.", func(t *server.Times) *metrics.Histogram { return t.Remote }),
		x.phase("ResponseQueueTimeMs", "Milliseconds from the answer being complete to its being written, spent behind earlier answers of the connection.", func(t *server.Times) *metrics.Histogram { return t.ResponseQueue }),
		x.phase("ResponseSendTimeMs", "Milliseconds of writing an answer with those that went out together.", func(t *server.Times) *metrics.Histogram { return t.ResponseSend }),
	)
	x.plain(
		fam{metrics.Counter, "", "", "gregor_request_bytes_total", "request", "Bytes of requests, by API.", "server.APIMetrics", func(e *metrics.Emitter) {
			x.eachAPI(func(api string, a *server.APIMetrics) { e.Int(a.RequestBytes.Load(), api) })
		}},
		fam{metrics.Counter, "", "", "gregor_response_bytes_total", "request", "Bytes of answers that were written, by API.", "server.APIMetrics", func(e *metrics.Emitter) {
			x.eachAPI(func(api string, a *server.APIMetrics) { e.Int(a.ResponseBytes.Load(), api) })
		}},
	)
}

// codeName is the name of an error code.
func codeName(num int16) string {
	if c := kafka.CodeForNum(num); c != nil {
		return c.Name()
	}
	if num == 0 {
		return "NONE"
	}
	return kafka.UnknownServerError.Name()
}
