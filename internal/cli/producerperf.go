package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

var producerPerfTable = opt.Table{Options: []opt.Option{
	{Name: "bootstrap-server", Kind: opt.Value, Arg: "BOOTSTRAP-SERVER", Doc: "The server(s) to connect to; wins over bootstrap.servers in properties."},
	{Name: "topic", Kind: opt.Value, Arg: "TOPIC", Required: true, Doc: "The topic to produce to."},
	{Name: "num-records", Kind: opt.Value, Type: "Long", Arg: "NUM-RECORDS", Required: true, Doc: "How many records to produce."},
	{Name: "record-size", Kind: opt.Value, Type: "Integer", Arg: "RECORD-SIZE", Doc: "The size of a record in bytes. Give this, --payload-file or --payload-monotonic."},
	{Name: "payload-file", Kind: opt.Value, Arg: "PAYLOAD-FILE", Doc: "A UTF-8 text file with the values of records, of which each record gets one by chance."},
	{Name: "payload-monotonic", Doc: "A record's value is its number, from 0."},
	{Name: "payload-delimiter", Kind: opt.Value, Arg: "PAYLOAD-DELIMITER", Default: `\n`, Doc: "What stands between two values in the payload file, a regular expression."},
	{Name: "throughput", Kind: opt.Value, Type: "Double", Arg: "THROUGHPUT", Required: true, Doc: "About how many records a second to send at most; -1 is without limit."},
	{Name: "command-property", Kind: opt.List, Arg: "PROP-NAME=PROP-VALUE", Doc: "Producer settings, one or several words; they win over those of --command-config."},
	{Name: "producer-props", Kind: opt.List, Arg: "PROP-NAME=PROP-VALUE", Doc: "(DEPRECATED) Like --command-property."},
	{Name: "command-config", Kind: opt.Value, Arg: "CONFIG-FILE", Doc: "A properties file with producer settings."},
	{Name: "producer.config", Kind: opt.Value, Arg: "CONFIG-FILE", Doc: "(DEPRECATED) Like --command-config."},
	{Name: "print-metrics", Doc: "Print metrics of the client at the end."},
	{Name: "transactional-id", Kind: opt.Value, Arg: "TRANSACTIONAL-ID", Doc: "Produce in transactions under this id, which wins over transactional.id in properties."},
	{Name: "transaction-duration-ms", Kind: opt.Value, Type: "Long", Arg: "TRANSACTION-DURATION", Doc: "Produce in transactions and commit each after this time; 3000 when only an id is given."},
	{Name: "warmup-records", Kind: opt.Value, Type: "Long", Arg: "WARMUP-RECORDS", Default: "0", Doc: "How many of the first records do not count for the steady state, which gets a summary of its own."},
	{Name: "reporting-interval", Kind: opt.Value, Type: "Long", Arg: "INTERVAL-MS", Default: "5000", Doc: "How often progress is printed."},
	{Name: "help", Aliases: []string{"h"}, Doc: "Show this help message and exit."},
}}

const (
	producerPerfName   = "kafka-producer-perf-test"
	producerPerfUsage  = "usage: " + producerPerfName + " [-h] --topic TOPIC --num-records NUM-RECORDS --throughput THROUGHPUT (--record-size RECORD-SIZE | --payload-file PAYLOAD-FILE | --payload-monotonic) [OPTION]...\n"
	perfProducerClient = "perf-producer-client"
	// perfTransactionMs is how long a transaction lasts when nothing says it.
	perfTransactionMs = 3000
	// batchOverhead is more than a batch of one record takes besides its value.
	batchOverhead = 512
)

func producerPerf(ctx context.Context, env *Env) int {
	v, err := producerPerfTable.Parse(spreadWords(env.Args, "--command-property", "--producer-props"))
	if len(env.Args) == 0 || err == nil && v.Has("help") {
		fmt.Fprint(env.Out, producerPerfUsage, "\nThis tool measures how fast records are produced.\n\n", producerPerfTable.Help())
		if len(env.Args) == 0 {
			return 0
		}
		return 1
	}
	var p *producerRun
	if err == nil {
		p, err = newProducerRun(env, v)
	}
	if errors.Is(err, opt.ErrUsage) {
		fmt.Fprint(env.Err, producerPerfUsage, producerPerfName, ": error: ", err, "\n")
		return 1
	}
	if err == nil {
		err = p.run(ctx)
	}
	if ctx.Err() != nil {
		return signalCode(ctx)
	}
	if err != nil {
		fmt.Fprintln(env.Err, reason(err))
		return 1
	}
	return 0
}

// spreadWords lets options take several words: the words that follow the first one
// and are no options get the option's name each.
func spreadWords(args []string, names ...string) []string {
	var out []string
	current := ""
	first := false
	for _, a := range args {
		switch {
		case strings.HasPrefix(a, "-") && !first:
			current = ""
			for _, n := range names {
				if a == n {
					current, first = n, true
				} else if strings.HasPrefix(a, n+"=") {
					current = n
				}
			}
			out = append(out, a)
		case current != "" && !first:
			out = append(out, current+"="+a)
		default:
			out = append(out, a)
			first = false
		}
	}
	return out
}

// producerRun is one measurement.
type producerRun struct {
	env           *Env
	topic         string
	records       int64
	warmup        int64
	throughput    float64
	intervalMs    int64
	printMetrics  bool
	transactionMs int64 // 0 without transactions
	props         map[string]string
	payload       func(i int64) []byte
	largest       int // no value has more bytes

	failed atomic.Int64
}

// perfArgument reads a number in the words of this tool's parser.
func perfArgument(v *opt.Values, name, javaType string, parse func(string) error) error {
	if !v.Has(name) {
		return nil
	}
	if parse(v.Get(name)) != nil {
		return opt.Usagef("argument --%s: could not convert '%s' to %s (For input string: \"%s\")", name, v.Get(name), javaType, v.Get(name))
	}
	return nil
}

func newProducerRun(env *Env, v *opt.Values) (*producerRun, error) {
	p := &producerRun{env: env, topic: v.Get("topic"), intervalMs: 5000, printMetrics: v.Has("print-metrics")}
	var size int64
	whole := func(name, javaType string, bits int, to *int64) error {
		return perfArgument(v, name, javaType, func(s string) (err error) {
			*to, err = strconv.ParseInt(s, 10, bits)
			return err
		})
	}
	err := firstError(
		whole("num-records", "Long", 64, &p.records), whole("record-size", "Integer", 32, &size),
		whole("warmup-records", "Long", 64, &p.warmup), whole("reporting-interval", "Long", 64, &p.intervalMs),
		whole("transaction-duration-ms", "Long", 64, &p.transactionMs),
		perfArgument(v, "throughput", "Double", func(s string) (err error) {
			p.throughput, err = strconv.ParseFloat(s, 64)
			return err
		}),
		checkProducerPerf(v))
	if err != nil {
		return nil, err
	}
	p.warmup = max(p.warmup, 0)
	switch {
	case p.records <= 0:
		return nil, opt.Usagef("--num-records should be greater than zero.")
	case p.warmup >= p.records:
		return nil, opt.Usagef("The value for --warmup-records must be strictly fewer than the number of records in the test, --num-records.")
	case v.Has("record-size") && size <= 0:
		return nil, opt.Usagef("--record-size should be greater than zero.")
	case !v.Has("bootstrap-server") && !v.Has("command-property") && !v.Has("producer-props") && !v.Has("producer.config") && !v.Has("command-config"):
		return nil, opt.Usagef("At least one of --bootstrap-server, --command-property, --producer-props, --producer.config or --command-config must be specified.")
	case v.Has("command-property") && v.Has("producer-props"):
		return nil, opt.Usagef("--command-property and --producer-props cannot be specified together.")
	case v.Has("command-config") && v.Has("producer.config"):
		return nil, opt.Usagef("--command-config and --producer.config cannot be specified together.")
	case v.Has("transaction-duration-ms") && p.transactionMs <= 0:
		return nil, opt.Usagef("--transaction-duration-ms should be greater than zero.")
	case p.intervalMs <= 0:
		return nil, opt.Usagef("--reporting-interval should be greater than zero.")
	}
	if err := p.setPayload(v, int(size)); err != nil {
		return nil, err
	}
	return p, p.readProperties(v)
}

func checkProducerPerf(v *opt.Values) error {
	for _, name := range []string{"topic", "num-records", "throughput"} {
		if !v.Has(name) {
			return opt.Usagef("argument --%s is required", name)
		}
	}
	kinds := []string{"record-size", "payload-file", "payload-monotonic"}
	used := ""
	for _, k := range kinds {
		if v.Has(k) && used != "" {
			return opt.Usagef("argument --%s: not allowed with argument --%s", k, used)
		}
		if v.Has(k) {
			used = k
		}
	}
	if used == "" {
		return opt.Usagef("one of the arguments --%s is required", strings.Join(kinds, " --"))
	}
	if len(v.Rest) > 0 {
		return opt.Usagef("unrecognized arguments: '%s'", strings.Join(v.Rest, " "))
	}
	return nil
}

func (p *producerRun) readProperties(v *opt.Values) error {
	for _, o := range [][2]string{{"producer-props", "command-property"}, {"producer.config", "command-config"}} {
		if v.Has(o[0]) {
			fmt.Fprintf(p.env.Out, "Option --%s has been deprecated and will be removed in a future version. Use --%s instead.\n", o[0], o[1])
		}
	}
	words := either(v, "command-property", "producer-props")
	for _, w := range words {
		if _, val, _ := strings.Cut(w, "="); val == "" || strings.Contains(strings.TrimRight(val, "="), "=") {
			return fmt.Errorf("Invalid property: %s", w)
		}
	}
	var err error
	if p.props, err = fileAndWords(firstOf(either(v, "command-config", "producer.config")), words); err != nil {
		return err
	}
	if v.Has("bootstrap-server") {
		p.props["bootstrap.servers"] = v.Get("bootstrap-server")
	}
	if v.Has("transactional-id") {
		p.props["transactional.id"] = v.Get("transactional-id")
	}
	if p.transactionMs > 0 && p.props["transactional.id"] == "" {
		p.props["transactional.id"] = "performance-producer-" + kafka.NewUUID().String()
	}
	if p.props["transactional.id"] != "" && p.transactionMs == 0 {
		p.transactionMs = perfTransactionMs
	}
	return nil
}

func (p *producerRun) options() ([]kgo.Opt, *clientMetrics, error) {
	opts := []kgo.Opt{
		kgo.RecordDeliveryTimeout(deliveryTimeout), kgo.ProducerLinger(5 * time.Millisecond),
		kgo.MetadataMinAge(100 * time.Millisecond), kgo.MaxBufferedRecords(1 << 20), kgo.MaxBufferedBytes(32 << 20),
	}
	fromProps, err := producerOptions(p.props)
	if err != nil {
		return nil, nil, err
	}
	metrics := new(clientMetrics)
	opts = append(append(opts, fromProps...), kgo.DefaultProduceTopic(p.topic), kgo.WithHooks(metrics),
		kgo.ClientID(orDefault(p.props["client.id"], perfProducerClient)))
	if n, err := strconv.ParseInt(p.props["batch.size"], 10, 32); err == nil {
		// The size of batches is what is measured; a batch of one record may be larger.
		opts = append(opts, kgo.ProducerBatchMaxBytes(int32(min(max(int(n), p.largest+batchOverhead), 1<<30))))
	}
	if id := p.props["transactional.id"]; id != "" {
		opts = append(opts, kgo.TransactionalID(id))
	}
	if text, ok := p.props["transaction.timeout.ms"]; ok {
		ms, err := strconv.ParseInt(text, 10, 32)
		if err != nil || ms <= 0 {
			return nil, nil, fmt.Errorf("Invalid value %s for configuration transaction.timeout.ms: it must be a positive number", text)
		}
		opts = append(opts, kgo.TransactionTimeout(time.Duration(ms)*time.Millisecond))
	}
	return opts, metrics, nil
}

func (p *producerRun) run(ctx context.Context) error {
	opts, metrics, err := p.options()
	if err != nil {
		return err
	}
	c, err := connect(p.props["bootstrap.servers"], p.props, opts...)
	if err != nil {
		return err
	}
	defer c.Close()
	if p.transactionMs > 0 {
		if err := beginTransactions(ctx, c); err != nil {
			return err
		}
	}
	if p.warmup > 0 {
		fmt.Fprintf(p.env.Out, "Warmup first %d records. Steady state results will print after the complete test summary.\n", p.warmup)
	}
	stats := newPerfStats(p.env.Out, p.records, p.warmup, p.intervalMs, time.Now())
	err = p.send(ctx, c, stats)
	if err == nil {
		err = c.Flush(ctx)
	}
	if err != nil {
		return err
	}
	stats.printTotals(time.Now())
	if p.printMetrics {
		printMetrics(p.env.Out, orDefault(p.props["client.id"], perfProducerClient), metrics.producer(stats.acknowledged(), p.failed.Load()))
	}
	return nil
}

func (p *producerRun) send(ctx context.Context, c *cluster, stats *perfStats) error {
	start := time.Now()
	throttle := newThrottler(p.throughput, start)
	inTransaction := false
	var began time.Time
	for i := int64(0); i < p.records && ctx.Err() == nil; i++ {
		value := p.payload(i)
		if p.transactionMs > 0 && !inTransaction {
			if err := c.BeginTransaction(); err != nil {
				return err
			}
			inTransaction, began = true, time.Now()
		}
		sent := time.Now()
		steady := p.warmup > 0 && i >= p.warmup
		if steady && i == p.warmup {
			stats.beginSteadyState(sent)
		}
		c.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				p.failed.Add(1)
				stats.failure(p.env.Err, err)
				return
			}
			now := time.Now()
			stats.record(now.Sub(sent).Milliseconds(), len(value), now, steady)
		})
		if inTransaction && p.transactionMs <= sent.Sub(began).Milliseconds() {
			if err := commit(ctx, c); err != nil {
				return err
			}
			inTransaction = false
		}
		if throttle.exceeded(i, sent) {
			throttle.wait(ctx)
		}
	}
	if inTransaction && ctx.Err() == nil {
		return commit(ctx, c)
	}
	return ctx.Err()
}

// beginTransactions gets the producer its id, which ends what an earlier producer of
// the same transactional id left open.
func beginTransactions(ctx context.Context, c *cluster) error {
	ctx, cancel := within(ctx)
	defer cancel()
	_, _, err := c.ProducerID(ctx)
	return err
}

func commit(ctx context.Context, c *cluster) error {
	if err := c.Flush(ctx); err != nil {
		return err
	}
	return c.EndTransaction(ctx, kgo.TryCommit)
}
