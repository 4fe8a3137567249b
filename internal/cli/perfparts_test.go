package cli

import (
	"bytes"
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func runTool(ctx context.Context, tool func(context.Context, *Env) int, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code = tool(ctx, &Env{Args: args, Out: &out, Err: &errs})
	return out.String(), errs.String(), code
}

func TestPerfToolsRefuseWrongArguments(t *testing.T) {
	good := []string{"--topic", "t", "--num-records", "1", "--throughput", "1", "--bootstrap-server", "localhost:1"}
	sized := append([]string{"--record-size", "1"}, good...)
	e2e := []string{"--bootstrap-server", "h:1", "--topic", "t", "--producer-acks", "1", "--record-size", "1"}
	with := func(base []string, more ...string) []string { return append(append([]string{}, base...), more...) }
	for _, c := range []struct {
		tool func(context.Context, *Env) int
		args []string
		code int
		text string
	}{
		{producerPerf, nil, 0, "usage: kafka-producer-perf-test"},
		{producerPerf, []string{"--help"}, 1, "usage: kafka-producer-perf-test"},
		{producerPerf, []string{"--topic"}, 1, "Option topic requires an argument"},
		{producerPerf, []string{"--topic", "t"}, 1, "kafka-producer-perf-test: error: argument --num-records is required\n"},
		{producerPerf, good, 1, "error: one of the arguments --record-size --payload-file --payload-monotonic is required\n"},
		{producerPerf, with(sized, "--payload-monotonic"), 1, "error: argument --payload-monotonic: not allowed with argument --record-size\n"},
		{producerPerf, with(sized, "stray"), 1, "error: unrecognized arguments: 'stray'\n"},
		{producerPerf, []string{"--topic", "t", "--num-records", "a", "--throughput", "1"}, 1, "error: argument --num-records: could not convert 'a' to Long (For input string: \"a\")\n"},
		{producerPerf, with(sized, "--warmup-records", "1"), 1, "must be strictly fewer than the number of records in the test, --num-records.\n"},
		{producerPerf, with(sized, "--transaction-duration-ms", "0"), 1, "--transaction-duration-ms should be greater than zero.\n"},
		{producerPerf, with(sized, "--reporting-interval", "0"), 1, "--reporting-interval should be greater than zero.\n"},
		{producerPerf, with(sized, "--command-property", "a=b", "--producer-props", "a=b"), 1, "--command-property and --producer-props cannot be specified together.\n"},
		{producerPerf, with(sized, "--command-property", "a=b", "c"), 1, "Invalid property: c\n"},
		{producerPerf, with(good, "--payload-file", "/does/not/exist"), 1, "File does not exist or empty file provided.\n"},
		{consumerPerf, []string{"--topic", "t", "--num-records", "1"}, 1, `Missing required argument "[bootstrap-server]"`},
		{consumerPerf, []string{"--bootstrap-server", "h:1", "--num-records", "1"}, 1, "Exactly one of the following arguments is required: [topic], [include]"},
		{consumerPerf, []string{"--bootstrap-server", "h:1", "--topic", "t"}, 1, "Exactly one of the following arguments is required: [messages], [num-records]"},
		{consumerPerf, []string{"--bootstrap-server", "h:1", "--topic", "t", "--num-records", "many"}, 1, "Cannot parse argument 'many' of option num-records"},
		{consumerPerf, []string{"--bootstrap-server", "h:1", "--topic", "t", "--num-records", "1", "--reporting-interval", "0"}, 1, "Reporting interval must be greater than 0."},
		{consumerPerf, []string{"--bootstrap-server", "h:1", "--topic", "t", "--num-records", "1", "--date-format", "b"}, 1, "Illegal pattern character 'b'"},
		{consumerPerf, []string{"--bootstrap-server", "h:1", "--include", "(", "--num-records", "1", "--hide-header"}, 1, "( is an invalid regex"},
		{e2eLatency, nil, 1, "This tool measures end-to-end latency"},
		{e2eLatency, []string{"a", "b"}, 1, "Invalid number of arguments. Expected 5 or 6 positional arguments, but got 2."},
		{e2eLatency, e2e, 1, `Missing required argument "[num-records]"`},
		{e2eLatency, with(e2e, "--num-records", "0"), 1, "Value for --num-records must be a positive integer."},
		{e2eLatency, with(e2e, "--num-records", "1", "--record-header-size", "-2"), 1, "Value for --record-header-size must be a non-negative integer or -1 for null header value."},
		{e2eLatency, []string{"h:1", "t", "1", "0", "1"}, 1, "Invalid value for --producer-acks."},
	} {
		out, errs, code := runTool(t.Context(), c.tool, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.text) {
			t.Errorf("%v: code %d, want %d and %q:\n%s%s", c.args, code, c.code, c.text, out, errs)
		}
	}
}

func TestInterruptedMeasurementEndsAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, code := runTool(ctx, producerPerf, "--bootstrap-server", "localhost:1", "--topic", "t", "--num-records", "9", "--throughput", "0", "--payload-monotonic"); code != interrupted {
		t.Errorf("code %d", code)
	}
}

func TestProducerStatisticsPrintWindowsAndTotals(t *testing.T) {
	var out bytes.Buffer
	start := time.UnixMilli(0)
	at := func(ms int64) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	s := newPerfStats(&out, 4, 2, 100, start)
	s.record(10, 1<<20, at(50), false)
	s.record(15, 1<<20, at(100), false)
	s.beginSteadyState(at(100))
	s.record(20, 1<<20, at(150), true)
	s.record(40, 1<<20, at(200), true)
	s.printTotals(at(200))
	want := "2 records sent, 20.0 records/sec (20.00 MB/sec), 12.5 ms avg latency, 15.0 ms max latency.\n" +
		"In steady state.\n" +
		"2 records sent, 20.0 records/sec (20.00 MB/sec), 30.0 ms avg latency, 40.0 ms max latency.\n" +
		"4 records sent, 20.000000 records/sec (20.00 MB/sec), 21.25 ms avg latency, 40.00 ms max latency, 20 ms 50th, 40 ms 95th, 40 ms 99th, 40 ms 99.9th.\n" +
		"2 steady state records sent, 20.000000 records/sec (20.00 MB/sec), 30.00 ms avg latency, 40.00 ms max latency, 40 ms 50th, 40 ms 95th, 40 ms 99th, 40 ms 99.9th.\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	out.Reset()
	newPerfStats(&out, 1, 0, 100, start).printTotals(start)
	if got := out.String(); got != "0 records sent, NaN records/sec (NaN MB/sec), NaN ms avg latency, 0.00 ms max latency, 0 ms 50th, 0 ms 95th, 0 ms 99th, 0 ms 99.9th.\n" {
		t.Errorf("without records: %s", got)
	}
}

func TestThrottlerKeepsToItsTarget(t *testing.T) {
	start := time.UnixMilli(0)
	th := newThrottler(1000, start)
	if th.exceeded(1, start.Add(time.Millisecond)) || !th.exceeded(2, start.Add(time.Millisecond)) {
		t.Error("a thousand a second is one a millisecond")
	}
	if newThrottler(-1, start).exceeded(1<<40, start.Add(1)) {
		t.Error("-1 has a limit")
	}
	if !newThrottler(0, start).exceeded(1, start.Add(1)) {
		t.Error("0 has no limit")
	}
	th.wait(t.Context())
	if th.deficit != time.Millisecond {
		t.Errorf("%v gathered", th.deficit)
	}
}

func TestNumbersAndTimesAreJavas(t *testing.T) {
	for got, want := range map[string]string{
		javaFixed(0.25, 1): "0.3", javaFixed(2.5, 0): "3", javaFixed(9.995, 2): "10.00", javaFixed(-9.96, 1): "-10.0", javaFixed(1e7, 2): "10000000.00",
		javaFixed(math.NaN(), 4): "NaN", javaFixed(math.Inf(1), 4): "Infinity", javaFixed(math.Inf(-1), 4): "-Infinity", javaFixed(1.0/3, 4): "0.3333",
		javaDouble(1.5): "1.5", javaDouble(12): "12.0", javaDouble(1e7): "1.0E7", javaDouble(0.0001234): "1.234E-4", javaDouble(0): "0.0", javaDouble(1.2e20): "1.2E20",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	at := time.Date(2026, 3, 7, 0, 5, 9, 42_000_000, time.FixedZone("X", -5400))
	for pattern, want := range map[string]string{
		"yyyy-MM-dd HH:mm:ss:SSS": "2026-03-07 00:05:09:042", "yy/M/d h k K a": "26/3/7 12 24 0 AM", "MMM MMMM E EEEE": "Mar March Sat Saturday",
		"'o''clock' ''": "o'clock '", "D F u G": "66 1 6 AD", "Z X XX XXX": "-0130 -01 -0130 -01:30", "S": "42",
	} {
		d, err := newJavaDate(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.format(at); got != want {
			t.Errorf("%s: %s, want %s", pattern, got, want)
		}
	}
	for _, wrong := range []string{"b", "'open", "XXXX", "YYYY"} {
		if _, err := newJavaDate(wrong); err == nil {
			t.Errorf("%s was taken", wrong)
		}
	}
}

func TestJoinTimeCountsUntilTheFirstPartitions(t *testing.T) {
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	j := joinTimer{began: at(0)}
	two := map[string][]int32{"t": {0, 1}}
	j.assigned(two, at(30))
	j.assigned(map[string][]int32{"u": {0}}, at(50))
	if total, round := j.times(true); total != 30 || round != 30 {
		t.Errorf("first round: %d, %d", total, round)
	}
	j.revoked(two, at(60))
	j.revoked(map[string][]int32{"u": {0}}, at(70))
	j.assigned(two, at(75))
	if total, round := j.times(false); total != 35 || round != 5 {
		t.Errorf("second round: %d, %d", total, round)
	}
}

func TestReceivedRecordsAreCompared(t *testing.T) {
	rec := func() *kgo.Record {
		return &kgo.Record{Key: []byte("k"), Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "a", Value: []byte{255, 1}}, {Key: "b"}}}
	}
	if err := checkReceived(rec(), []*kgo.Record{rec()}); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(r *kgo.Record){
		"The message value read [w] did not match the message value sent [v]":               func(r *kgo.Record) { r.Value = []byte("w") },
		"Expected message key but received null":                                            func(r *kgo.Record) { r.Key = nil },
		"The message key read [l] did not match the message key sent [k]":                   func(r *kgo.Record) { r.Key = []byte("l") },
		"Expected message headers but received none":                                        func(r *kgo.Record) { r.Headers = nil },
		"Header count mismatch between sent and received messages":                          func(r *kgo.Record) { r.Headers = r.Headers[:1] },
		"The message header read [a:[2]] did not match the message header sent [a:[-1, 1]]": func(r *kgo.Record) { r.Headers[0].Value = []byte{2} },
		"The message header read [b:[]] did not match the message header sent [b:null]":     func(r *kgo.Record) { r.Headers[1].Value = []byte{} },
	} {
		got := rec()
		change(got)
		if err := checkReceived(rec(), []*kgo.Record{got}); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := checkReceived(rec(), []*kgo.Record{rec(), rec()}); err == nil || err.Error() != "Only one result was expected during this test. We found [2]" {
		t.Error(err)
	}
	if err := checkReceived(rec(), nil); err == nil || err.Error() != "poll() timed out before finding a result (timeout:[60000ms])" {
		t.Error(err)
	}
}
