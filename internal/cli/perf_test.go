package cli_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func runPerf(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	r := call(t, "", args...)
	return r.out, r.err, r.code
}

const figure = `-?[0-9]+(\.[0-9]+)?`

var (
	totalLine   = ` records sent, \d+\.\d{6} records/sec \(\d+\.\d\d MB/sec\), \d+\.\d\d ms avg latency, \d+\.\d\d ms max latency, \d+ ms 50th, \d+ ms 95th, \d+ ms 99th, \d+ ms 99\.9th\.\n`
	stamp       = `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d:\d{3}`
	perfSummary = stamp + `, ` + stamp + `, ` + strings.Repeat(figure+", ", 7) + figure + `\n`
)

func mustMatch(t *testing.T, pattern, text string) {
	t.Helper()
	if !regexp.MustCompile(`^(?s:` + pattern + `)$`).MatchString(text) {
		t.Errorf("got\n%s\nwant a match of\n%s", text, pattern)
	}
}

func TestPerfToolsMeasureABroker(t *testing.T) {
	out, errs, code := runPerf(t, "kafka-producer-perf-test", "--bootstrap-server", "ADDR", "--topic", "perf", "--num-records", "500", "--throughput", "-1",
		"--record-size", "20", "--warmup-records", "100", "--command-property", "linger.ms=0", "batch.size=1000", "--print-metrics")
	mustMatch(t, `Warmup first 100 records\. Steady state results will print after the complete test summary\.\n`+
		`500`+totalLine+`400 steady state`+totalLine+`\nMetric Name +Value\n.*producer-metrics:record-send-total:{client-id=perf-producer-client} +: 500\.000\n.*`, out)
	if code != 0 || errs != "" {
		t.Errorf("code %d, %s", code, errs)
	}

	header := "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec\n"
	out, errs, code = runPerf(t, "kafka-consumer-perf-test", "--bootstrap-server", "ADDR", "--topic", "perf", "--num-records", "500", "--print-metrics")
	mustMatch(t, regexp.QuoteMeta(header)+perfSummary+`\nMetric Name.*:records-consumed-total:{client-id=perf-consumer-client} +: 500\.000\n.*`, out)
	if code != 0 || !strings.Contains(out, ", 0.0095, ") || !strings.Contains(out, ", 500, ") {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
	out, _, code = runPerf(t, "kafka-consumer-perf-test", "--bootstrap-server", "ADDR", "--include", "perf|perf.q", "--messages", "501", "--timeout", "150",
		"--hide-header", "--show-detailed-stats", "--reporting-interval", "1", "--socket-buffer-size", "65536", "--date-format", "'at'")
	mustMatch(t, `Warning: --messages is deprecated\. Use --num-records instead\.\n(at, 0, `+strings.Repeat(figure+", ", 7)+figure+`\n)*`+
		`WARNING: Exiting before consuming the expected number of records: timeout \(150 ms\) exceeded\. You can use the --timeout option to increase the timeout\.\n`, out)
	if code != 0 {
		t.Errorf("code %d", code)
	}
	out, _, code = runPerf(t, "kafka-consumer-perf-test", "--bootstrap-server", "ADDR", "--topic", "perf", "--from-latest", "--num-records", "1", "--timeout", "100", "--hide-header")
	if code != 0 || !strings.HasPrefix(out, "WARNING: ") || !strings.Contains(out, ", 0.0000, 0.0000, 0, 0.0000, 0, ") {
		t.Errorf("from the end: code %d, %s", code, out)
	}

	out, errs, code = runPerf(t, "kafka-e2e-latency", "ADDR", "perf.lat", "20", "all", "30")
	mustMatch(t, `WARNING: Positional argument usage is deprecated.*\nTopic "perf.lat" does not exist\. Will create topic with 1 partition\(s\) and replication factor = 1\n`+
		`0\t\d+\.\d+\nAvg latency: \d+\.\d{4} ms\nPercentiles: 50th = \d+, 99th = \d+, 99\.9th = \d+\n`, out)
	if code != 0 {
		t.Errorf("code %d, %s", code, errs)
	}
	out, errs, code = runPerf(t, "kafka-e2e-latency", "--bootstrap-server", "ADDR", "--topic", "perf.lat", "--num-records", "2", "--producer-acks", "1", "--record-size", "0",
		"--record-key-size", "3", "--num-headers", "2", "--record-header-key-size", "2", "--record-header-size", "-1")
	mustMatch(t, `0\t\d+\.\d+\nAvg latency: .*\n`, out)
	if code != 0 {
		t.Errorf("with headers: code %d, %s", code, errs)
	}
}

func TestProducerPerfReadsPayloads(t *testing.T) {
	path := file(t, "payloads", "aa|bb||")
	out, errs, code := runPerf(t, "kafka-producer-perf-test", "--topic", "perf.file", "--num-records", "40", "--throughput", "100000", "--payload-file", path, "--payload-delimiter", `\|`,
		"--producer-props", "bootstrap.servers=ADDR", "acks=1")
	mustMatch(t, `Reading payloads from: `+regexp.QuoteMeta(path)+`\nNumber of records read: 3\nOption --producer-props has been deprecated and will be removed in a future version\. Use --command-property instead\.\n40`+totalLine, out)
	if code != 0 || errs != "" {
		t.Fatalf("code %d, %s", code, errs)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(addr(t)), kgo.ConsumeTopics("perf.file"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seen := map[string]int{}
	for n := 0; n < 40; {
		fetches := c.PollFetches(t.Context())
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++; n++ })
	}
	if len(seen) != 3 || seen["aa"] == 0 || seen["bb"] == 0 || seen[""] == 0 {
		t.Errorf("sent %v", seen)
	}
}
