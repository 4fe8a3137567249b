package metrics

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func testRegistry() *Registry {
	r := NewRegistry(t0)
	r.Add(Desc{Name: "kafka_server_brokertopicmetrics_bytesin_total", Kind: Meter, Labels: []string{"topic"}, Help: `In bytes, a \ too.`,
		Bean: Bean{"kafka.server", "BrokerTopicMetrics", "BytesInPerSec", ""}}, func(e *Emitter) {
		e.Int(300)
		e.Int(120, "a\"b\\c\nd")
	})
	r.Add(Desc{Name: "kafka_server_brokertopicmetrics_messagesin_total", Kind: Meter, Help: "Records.",
		Bean: Bean{"kafka.server", "BrokerTopicMetrics", "MessagesInPerSec", ""}}, func(e *Emitter) { e.Int(7) })
	r.Add(Desc{Name: "kafka_server_raftmetrics_high_watermark", Also: []string{"kafka_server_raft_metrics_high_watermark"}, Kind: Gauge, Help: "End.",
		Bean: Bean{"kafka.server", "raft-metrics", "", "high-watermark"}}, func(e *Emitter) { e.Float(41.5) })
	h := NewHistogram(Ones)
	h.Observe(4)
	r.Add(Desc{Name: "kafka_network_requestmetrics_totaltimems", Kind: Summary, Labels: []string{"request"}, Help: "Time.",
		Bean: Bean{"kafka.network", "RequestMetrics", "TotalTimeMs", ""}}, func(e *Emitter) { e.Distribution(h.Read(e.Now), 1, "Fetch") })
	r.Add(Desc{Name: "nothing", Help: "Has no samples."}, func(*Emitter) {})
	r.Add(Desc{Name: "own", Help: "Has no bean."}, func(e *Emitter) { e.Bool(true) })
	return r
}

func write(t *testing.T, r *Registry, f Format, now time.Time) string {
	t.Helper()
	var b strings.Builder
	if err := r.Write(&b, f, now); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPrometheusText(t *testing.T) {
	want := `# HELP kafka_server_brokertopicmetrics_bytesin_total In bytes, a \\ too.
# TYPE kafka_server_brokertopicmetrics_bytesin_total counter
kafka_server_brokertopicmetrics_bytesin_total 300
kafka_server_brokertopicmetrics_bytesin_total{topic="a\"b\\c\nd"} 120
# HELP kafka_server_brokertopicmetrics_messagesin_total Records.
# TYPE kafka_server_brokertopicmetrics_messagesin_total counter
kafka_server_brokertopicmetrics_messagesin_total 7
# HELP kafka_server_raftmetrics_high_watermark End.
# TYPE kafka_server_raftmetrics_high_watermark gauge
kafka_server_raftmetrics_high_watermark 41.5
# HELP kafka_server_raft_metrics_high_watermark End.
# TYPE kafka_server_raft_metrics_high_watermark gauge
kafka_server_raft_metrics_high_watermark 41.5
# HELP kafka_network_requestmetrics_totaltimems Time.
# TYPE kafka_network_requestmetrics_totaltimems gauge
kafka_network_requestmetrics_totaltimems{request="Fetch",quantile="0.50"} 4.5
kafka_network_requestmetrics_totaltimems{request="Fetch",quantile="0.75"} 4.75
kafka_network_requestmetrics_totaltimems{request="Fetch",quantile="0.95"} 4.95
kafka_network_requestmetrics_totaltimems{request="Fetch",quantile="0.98"} 4.98
kafka_network_requestmetrics_totaltimems{request="Fetch",quantile="0.99"} 4.99
kafka_network_requestmetrics_totaltimems{request="Fetch",quantile="0.999"} 4.999
# HELP kafka_network_requestmetrics_totaltimems_count Time.
# TYPE kafka_network_requestmetrics_totaltimems_count counter
kafka_network_requestmetrics_totaltimems_count{request="Fetch"} 1
# HELP own Has no bean.
# TYPE own gauge
own 1
`
	if got := write(t, testRegistry(), Prometheus, t0); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestJMXText: names as the exporter makes them without rules, all lines of a name
// together, rates from the second scrape on by the moving averages of Kafka's meters.
func TestJMXText(t *testing.T) {
	got := write(t, testRegistry(), JMX, t0.Add(100*time.Second))
	for _, want := range []string{
		`# TYPE kafka_server_BrokerTopicMetrics_OneMinuteRate untyped
kafka_server_BrokerTopicMetrics_OneMinuteRate{name="BytesInPerSec"} 3
kafka_server_BrokerTopicMetrics_OneMinuteRate{name="BytesInPerSec",topic="a\"b\\c\nd"} 1.2
kafka_server_BrokerTopicMetrics_OneMinuteRate{name="MessagesInPerSec"} 0.07
`, "kafka_server_BrokerTopicMetrics_Count{name=\"BytesInPerSec\"} 300\n",
		"kafka_server_raft_metrics_high_watermark 41.5\n",
		"kafka_network_RequestMetrics_999thPercentile{name=\"TotalTimeMs\",request=\"Fetch\"} 4.999\n",
		"kafka_network_RequestMetrics_Count{name=\"TotalTimeMs\",request=\"Fetch\"} 1\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "own") {
		t.Errorf("a family without a bean is written")
	}
}

type fails struct{}

func (fails) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestWriteSaysWhatFailed(t *testing.T) {
	if err := testRegistry().Write(fails{}, Prometheus, t0); err == nil || !strings.Contains(err.Error(), "broken pipe") {
		t.Errorf("%v", err)
	}
}

// TestParseReadsWhatWasWritten: every sample with its labels, escaped ones too.
func TestParseReadsWhatWasWritten(t *testing.T) {
	all, err := Parse(strings.NewReader(write(t, testRegistry(), Prometheus, t0)))
	if err != nil {
		t.Fatal(err)
	}
	in := all["kafka_server_brokertopicmetrics_bytesin_total"]
	if len(in) != 2 || in[0].Value != 300 || in[0].Labels != nil || in[1].Value != 120 || in[1].Labels["topic"] != "a\"b\\c\nd" {
		t.Errorf("%v", in)
	}
	if q := all["kafka_network_requestmetrics_totaltimems"]; len(q) != 6 || q[5].Labels["quantile"] != "0.999" || q[5].Labels["request"] != "Fetch" {
		t.Errorf("%v", q)
	}
	for _, bad := range []string{"x", "x{", "x{a=b} 1", `x{a="b"} y`, `x{a="b} 1`} {
		if _, err := Parse(strings.NewReader(bad + "\n")); err == nil {
			t.Errorf("%q is taken for a sample", bad)
		}
	}
}
