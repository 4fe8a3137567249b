package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

var consumerPerfTable = opt.Table{Options: append([]opt.Option{
	{Name: "bootstrap-server", Kind: opt.Value, Arg: "server to connect to", Doc: "REQUIRED: The server(s) to connect to."},
	{Name: "topic", Kind: opt.Value, Arg: "topic", Doc: "The topic to consume from."},
	{Name: "include", Kind: opt.Value, Arg: "regex", Doc: "A regular expression of topics to consume from."},
	{Name: "group", Kind: opt.Value, Arg: "gid", Doc: "The group to consume in. Without it the topics are read outside of any group."},
	{Name: "num-records", Kind: opt.Value, Type: "Long", Arg: "count", Doc: "REQUIRED: The number of records to consume."},
	{Name: "messages", Kind: opt.Value, Type: "Long", Arg: "count", Doc: "(DEPRECATED) Like --num-records."},
	{Name: "fetch-size", Kind: opt.Value, Type: "Integer", Arg: "size", Default: "1048576", Doc: "How much one request fetches from one partition at most."},
	{Name: "command-property", Kind: opt.List, Arg: "prop1=val1", Doc: "A consumer setting; may be repeated. It wins over those of --command-config."},
	{Name: "command-config", Kind: opt.Value, Arg: "config file", Doc: "A properties file with consumer settings."},
	{Name: "consumer.config", Kind: opt.Value, Arg: "config file", Doc: "(DEPRECATED) Like --command-config."},
	{Name: "from-latest", Doc: "Begin at the end when there is no offset to begin with, instead of at the beginning."},
	{Name: "socket-buffer-size", Kind: opt.Value, Type: "Integer", Arg: "size", Doc: "The size of the TCP receive buffer; the system's choice without it."},
	{Name: "print-metrics", Doc: "Print metrics of the client at the end."},
	{Name: "show-detailed-stats", Doc: "Print figures for each reporting interval instead of a summary."},
	{Name: "reporting-interval", Kind: opt.Value, Type: "Long", Arg: "interval_ms", Default: "5000", Doc: "The length of a reporting interval."},
	{Name: "timeout", Kind: opt.Value, Optional: "10000", Type: "Long", Arg: "milliseconds", Default: "10000", Doc: "How long to wait for a record before the test ends."},
	{Name: "date-format", Kind: opt.Value, Arg: "date format", Default: "yyyy-MM-dd HH:mm:ss:SSS", Doc: "How times are printed, in the letters of java.text.SimpleDateFormat."},
	{Name: "hide-header", Doc: "Print no header."},
}, helpOptions...)}

const (
	perfConsumerClient = "perf-consumer-client"
	// perfPoll bounds one wait for records.
	perfPoll = 100 * time.Millisecond
)

func consumerPerf(ctx context.Context, env *Env) int {
	v, code, done := parse(env, &consumerPerfTable, "This tool is used to verify the consumer performance.")
	if done {
		return code
	}
	if err := checkConsumerPerf(env, v); err != nil {
		return wrongUsage(env, &consumerPerfTable, err)
	}
	r, err := newConsumerRun(env, v)
	if err == nil {
		if !v.Has("hide-header") {
			r.printHeader()
		}
		err = r.run(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return signalCode(ctx)
	case errors.Is(err, opt.ErrUsage):
		return wrongUsage(env, &consumerPerfTable, err)
	case err != nil:
		fmt.Fprintln(env.Err, reason(err))
		return 1
	}
	return 0
}

func checkConsumerPerf(env *Env, v *opt.Values) error {
	err := firstError(v.Require("bootstrap-server"), v.OneOf("topic", "include"), v.OneOf("messages", "num-records"), v.Exclude("consumer.config", "command-config"))
	if err != nil {
		return err
	}
	if v.Has("messages") {
		fmt.Fprintln(env.Out, "Warning: --messages is deprecated. Use --num-records instead.")
	}
	if v.Has("consumer.config") {
		fmt.Fprintln(env.Out, "Warning: --consumer.config is deprecated. Use --command-config instead.")
	}
	return nil
}

// consumerRun is one measurement.
type consumerRun struct {
	env      *Env
	v        *opt.Values
	props    map[string]string
	limit    int64
	timeout  time.Duration
	interval time.Duration
	maxPoll  int
	detailed bool
	date     *javaDate
	join     joinTimer
}

func newConsumerRun(env *Env, v *opt.Values) (*consumerRun, error) {
	r := &consumerRun{env: env, v: v, maxPoll: 500, detailed: v.Has("show-detailed-stats")}
	name := "num-records"
	if v.Has("messages") {
		name = "messages"
	}
	var err error
	if r.limit, err = perfNumber(v, name, 64); err != nil {
		return nil, err
	}
	ms := func(name string, to *time.Duration) {
		n, e := perfNumber(v, name, 64)
		err = firstError(err, e)
		*to = time.Duration(min(n, int64(time.Duration(1<<62)/time.Millisecond))) * time.Millisecond
	}
	ms("timeout", &r.timeout)
	ms("reporting-interval", &r.interval)
	if err == nil && r.interval < 0 {
		err = opt.Usagef("Cannot parse argument '%s' of option reporting-interval", v.Get("reporting-interval"))
	}
	if err == nil && r.interval == 0 {
		err = errors.New("Reporting interval must be greater than 0.")
	}
	if err != nil {
		return nil, err
	}
	if r.date, err = newJavaDate(v.Get("date-format")); err != nil {
		return nil, err
	}
	r.props, err = fileAndWords(firstOf(either(v, "command-config", "consumer.config")), v.All("command-property"))
	return r, err
}

// options turns the Java consumer's settings into the client's.
func (r *consumerRun) options() ([]kgo.Opt, error) {
	start := kgo.NewOffset().AtStart()
	if r.v.Has("from-latest") {
		start = kgo.NewOffset().AtEnd()
	}
	fetch, err := perfNumber(r.v, "fetch-size", 32)
	if err != nil {
		return nil, err
	}
	opts := []kgo.Opt{kgo.ConsumeResetOffset(start), kgo.FetchMaxPartitionBytes(int32(max(fetch, 1))), kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.ClientID(orDefault(r.props["client.id"], perfConsumerClient)), kgo.DisableFetchCRCValidation(), kgo.MetadataMinAge(100 * time.Millisecond)}
	switch level := r.props["isolation.level"]; level {
	case "", "read_uncommitted":
	case "read_committed":
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	default:
		return nil, fmt.Errorf("Invalid value %s for configuration isolation.level: String must be one of: read_committed, read_uncommitted", level)
	}
	var errs []error
	number := func(key string, use func(int)) {
		if text, ok := r.props[key]; ok {
			n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
			if err != nil || n < 0 {
				errs = append(errs, fmt.Errorf("Invalid value %s for configuration %s: it must be a number, not negative", text, key))
				return
			}
			use(int(n))
		}
	}
	number("fetch.min.bytes", func(n int) { opts = append(opts, kgo.FetchMinBytes(int32(n))) })
	number("fetch.max.bytes", func(n int) {
		opts = append(opts, kgo.FetchMaxBytes(int32(max(n, int(fetch), 1))))
	})
	number("fetch.max.wait.ms", func(n int) {
		opts = append(opts, kgo.FetchMaxWait(max(time.Duration(n)*time.Millisecond, 10*time.Millisecond)))
	})
	number("max.poll.records", func(n int) { r.maxPoll = max(n, 1) })
	if r.v.Has("socket-buffer-size") {
		size, err := perfNumber(r.v, "socket-buffer-size", 32)
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.Dialer(dialWithBuffer(int(size))))
	}
	return append(opts, r.topics()...), errors.Join(errs...)
}

// topics are the options that say what to read, and in which group.
func (r *consumerRun) topics() []kgo.Opt {
	opts := []kgo.Opt{kgo.ConsumeTopics(r.v.Get("topic")), kgo.AllowAutoTopicCreation()}
	if r.v.Has("include") {
		opts = []kgo.Opt{kgo.ConsumeRegex(), kgo.ConsumeTopics("^(?:" + r.v.Get("include") + ")$")}
	}
	if !r.v.Has("group") {
		return opts
	}
	opts = append(opts, kgo.ConsumerGroup(r.v.Get("group")),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { r.join.assigned(p, time.Now()) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { r.join.revoked(p, time.Now()) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { r.join.revoked(p, time.Now()) }))
	if r.props["enable.auto.commit"] == "false" {
		opts = append(opts, kgo.DisableAutoCommit())
	}
	return opts
}

// dialWithBuffer dials connections with a receive buffer of the given size.
func dialWithBuffer(size int) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		d := net.Dialer{Timeout: 10 * time.Second}
		conn, err := d.DialContext(ctx, network, address)
		if tcp, ok := conn.(*net.TCPConn); ok && err == nil && size > 0 {
			if err := tcp.SetReadBuffer(size); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
		}
		return conn, err
	}
}

// joinTimer adds up how long a group needed to give this member partitions. The
// client's callbacks and the measuring goroutine share it under mu.
type joinTimer struct {
	mu           sync.Mutex
	began        time.Time
	partitions   int
	total, round time.Duration
}

func countPartitions(p map[string][]int32) (n int) {
	for _, list := range p {
		n += len(list)
	}
	return n
}

func (j *joinTimer) assigned(p map[string][]int32, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.partitions == 0 {
		j.total += now.Sub(j.began)
		j.round += now.Sub(j.began)
	}
	j.partitions += countPartitions(p)
}

func (j *joinTimer) revoked(p map[string][]int32, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.partitions -= countPartitions(p); j.partitions <= 0 {
		j.partitions, j.began = 0, now
	}
}

// times returns the sum of all rounds and that since the last reset.
func (j *joinTimer) times(reset bool) (totalMs, roundMs int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	totalMs, roundMs = j.total.Milliseconds(), j.round.Milliseconds()
	if reset {
		j.round = 0
	}
	return totalMs, roundMs
}

func (r *consumerRun) printHeader() {
	first := "start.time, end.time"
	if r.detailed {
		first = "time, threadId"
	}
	fmt.Fprintf(r.env.Out, "%s, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec\n", first)
}

func (r *consumerRun) run(ctx context.Context) error {
	if _, err := regexp.Compile(r.v.Get("include")); err != nil {
		return fmt.Errorf("%s is an invalid regex: %w", r.v.Get("include"), err)
	}
	opts, err := r.options()
	if err != nil {
		return err
	}
	metrics := new(clientMetrics)
	start := time.Now()
	r.join.began = start
	c, err := connect(r.v.Get("bootstrap-server"), r.props, append(opts, kgo.WithHooks(metrics))...)
	if err != nil {
		return err
	}
	defer c.Close()
	records, bytes, err := r.consume(ctx, c)
	if err != nil {
		return err
	}
	end := time.Now()
	if !r.detailed {
		r.printSummary(start, end, records, bytes)
	}
	if r.v.Has("print-metrics") {
		printMetrics(r.env.Out, orDefault(r.props["client.id"], perfConsumerClient), metrics.consumer(records, bytes))
	}
	return nil
}

// consume reads until there are enough records or none came for the timeout.
func (r *consumerRun) consume(ctx context.Context, c *cluster) (records, bytes int64, err error) {
	now := time.Now()
	lastConsumed := now
	report := progress{at: now}
	for records < r.limit && now.Sub(lastConsumed) <= r.timeout {
		poll, cancel := context.WithTimeout(ctx, perfPoll)
		fetches := c.PollRecords(poll, r.maxPoll)
		cancel()
		if ctx.Err() != nil {
			return records, bytes, ctx.Err()
		}
		if err := fetchError(fetches); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return records, bytes, err
		}
		now = time.Now()
		for it := fetches.RecordIter(); !it.Done(); {
			rec := it.Next()
			lastConsumed = now
			records++
			bytes += int64(len(rec.Key) + len(rec.Value))
			if now.Sub(report.at) >= r.interval {
				_, round := r.join.times(true)
				if r.detailed {
					r.printProgress(report, progress{now, records, bytes}, round)
				}
				report = progress{now, records, bytes}
			}
		}
	}
	if records < r.limit {
		fmt.Fprintf(r.env.Out, "WARNING: Exiting before consuming the expected number of records: timeout (%d ms) exceeded. You can use the --timeout option to increase the timeout.\n", r.timeout.Milliseconds())
	}
	return records, bytes, nil
}

// progress is how far a run was at a time.
type progress struct {
	at             time.Time
	records, bytes int64
}

func (r *consumerRun) printProgress(from, to progress, joinMs int64) {
	ms := float64(to.at.UnixMilli() - from.at.UnixMilli())
	mb, records := float64(to.bytes-from.bytes)/bytesPerMB, float64(to.records-from.records)
	fetchMs := to.at.UnixMilli() - from.at.UnixMilli() - joinMs
	fetchMB, fetchRecords := 0.0, 0.0
	if fetchMs > 0 {
		fetchMB, fetchRecords = 1000*mb/float64(fetchMs), 1000*records/float64(fetchMs)
	}
	fmt.Fprintf(r.env.Out, "%s, 0, %s, %s, %d, %s, %d, %d, %s, %s\n", r.date.format(to.at),
		javaFixed(float64(to.bytes)/bytesPerMB, 4), javaFixed(1000*mb/ms, 4), to.records, javaFixed(records/ms*1000, 4),
		joinMs, fetchMs, javaFixed(fetchMB, 4), javaFixed(fetchRecords, 4))
}

func (r *consumerRun) printSummary(start, end time.Time, records, bytes int64) {
	elapsedMs := end.UnixMilli() - start.UnixMilli()
	joinMs, _ := r.join.times(false)
	fetchMs := elapsedMs - joinMs
	mb, seconds, fetchSeconds := float64(bytes)/bytesPerMB, float64(elapsedMs)/1000, float64(fetchMs)/1000
	fmt.Fprintf(r.env.Out, "%s, %s, %s, %s, %d, %s, %d, %d, %s, %s\n", r.date.format(start), r.date.format(end),
		javaFixed(mb, 4), javaFixed(mb/seconds, 4), records, javaFixed(float64(records)/seconds, 4),
		joinMs, fetchMs, javaFixed(mb/fetchSeconds, 4), javaFixed(float64(records)/fetchSeconds, 4))
}
