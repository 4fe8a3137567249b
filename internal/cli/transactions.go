package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/buildinfo"
	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

// Options that several commands of kafka-transactions share.
var (
	txnTopicOption     = opt.Option{Name: "topic", Kind: opt.Value, Arg: "topic", Required: true, Doc: "The topic."}
	txnPartitionOption = opt.Option{Name: "partition", Kind: opt.Value, Type: "Integer", Arg: "partition", Required: true, Doc: "The partition."}
)

func optional(o opt.Option) opt.Option {
	o.Required = false
	return o
}

var transactionCommands = opt.Commands{
	Program: "kafka-transactions.sh", Doc: "Shows the transactional state of producers; finds transactions that hang, and ends them.",
	Global: opt.Table{Options: []opt.Option{
		{Name: "version", Doc: "Print the version; -v is the same."},
		{Name: "command-config", Kind: opt.Value, Arg: "FILE", Doc: "A property file with settings for the admin client."},
		{Name: "bootstrap-server", Kind: opt.Value, Arg: "host:port", Doc: "The brokers to connect to first, separated by commas."},
	}},
	List: []opt.Command{
		{Name: "list", Doc: "List transactions.", Table: opt.Table{Options: []opt.Option{
			{Name: "duration-filter", Kind: opt.Value, Type: "Long", Arg: "ms", Doc: "Only transactions that run for longer than this many milliseconds; all if negative."},
			{Name: "transactional-id-pattern", Kind: opt.Value, Arg: "regex", Doc: "Only transactional ids that match this regular expression."},
		}}},
		{Name: "describe", Doc: "Describe the state of an active transactional id.", Table: opt.Table{Options: []opt.Option{
			{Name: "transactional-id", Kind: opt.Value, Arg: "id", Required: true, Doc: "The transactional id."},
		}}},
		{Name: "describe-producers", Doc: "Describe the active producers of a partition.", Table: opt.Table{Options: []opt.Option{
			{Name: "broker-id", Kind: opt.Value, Type: "Integer", Arg: "id", Doc: "The replica to ask; the leader without it."},
			txnTopicOption, txnPartitionOption,
		}}},
		{Name: "abort", Doc: "Abort a transaction that hangs.", Table: opt.Table{Options: []opt.Option{
			txnTopicOption, txnPartitionOption,
			{Name: "start-offset", Kind: opt.Value, Type: "Long", Arg: "offset", Doc: "The offset at which the transaction begins; enough for brokers of 3.0 and newer."},
			{Name: "producer-id", Kind: opt.Value, Type: "Long", Arg: "id", Doc: "The producer id, for older brokers, together with both epochs."},
			{Name: "producer-epoch", Kind: opt.Value, Type: "Short", Arg: "epoch", Doc: "The producer epoch, for older brokers."},
			{Name: "coordinator-epoch", Kind: opt.Value, Type: "Integer", Arg: "epoch", Doc: "The coordinator epoch, for older brokers."},
		}}},
		{Name: "find-hanging", Doc: "Find transactions that hang.", Table: opt.Table{Options: []opt.Option{
			{Name: "broker-id", Kind: opt.Value, Type: "Integer", Arg: "id", Doc: "Look at the replicas of this broker."},
			{Name: "max-transaction-timeout", Kind: opt.Value, Type: "Integer", Arg: "minutes", Default: "15", Doc: "Look only at transactions that have been idle for more than this many minutes."},
			optional(txnTopicOption), optional(txnPartitionOption),
		}}},
		{Name: "forceTerminateTransaction", Doc: "Abort the ongoing transaction of a transactional id by fencing its producer.", Table: opt.Table{Options: []opt.Option{
			{Name: "transactionalId", Kind: opt.Value, Arg: "id", Required: true, Doc: "The transactional id."},
		}}},
	},
}

// txnTool is one run of kafka-transactions.
type txnTool struct {
	env *Env
	c   *cluster
	v   *opt.Values
	num map[string]int64 // the numeric options that were given, and defaults
}

func transactions(ctx context.Context, env *Env) int {
	if wantsVersion(env.Args) {
		fmt.Fprintln(env.Out, buildinfo.KafkaVersion)
		return 0
	}
	p, err := transactionCommands.Parse(env.Args)
	if err == nil && p.Help != "" {
		fmt.Fprint(env.Out, p.Help)
		return 1 // asking for help counts as a mistake, as with Kafka's tool
	}
	t := &txnTool{env: env, num: map[string]int64{}}
	if err == nil {
		t.v = p.Values
		err = t.numbers(p)
	}
	if err == nil && !p.Global.Has("bootstrap-server") {
		err = opt.Usagef("argument --bootstrap-server is required")
	}
	if err != nil {
		fmt.Fprintf(env.Err, "%s%s: error: %v\n", transactionCommands.Usage(), transactionCommands.Program, err)
		return 1
	}
	if err := t.run(ctx, p); err != nil {
		fmt.Fprintln(env.Err, err)
		return 1
	}
	return 0
}

// wantsVersion says whether the version is asked for ahead of the command.
func wantsVersion(args []string) bool {
	for i := 0; i < len(args) && strings.HasPrefix(args[i], "-"); i++ {
		switch {
		case args[i] == "-v" || args[i] == "--version":
			return true
		case args[i] == "-h" || args[i] == "--help":
			return false
		case !strings.Contains(args[i], "="):
			i++
		}
	}
	return false
}

// numbers checks the numeric options in the order of the command line's table.
func (t *txnTool) numbers(p *opt.Chosen) error {
	bits := map[string]int{"Short": 16, "Integer": 32, "Long": 64}
	for _, sub := range transactionCommands.List {
		if sub.Name != p.Command {
			continue
		}
		for _, o := range sub.Table.Options {
			text := p.Values.Get(o.Name)
			if bits[o.Type] == 0 || text == "" && !p.Values.Has(o.Name) {
				continue
			}
			n, err := strconv.ParseInt(text, 10, bits[o.Type])
			if err != nil {
				why := fmt.Sprintf("For input string: %q", text)
				if errors.Is(err, strconv.ErrRange) && o.Type == "Short" {
					why = fmt.Sprintf("Value out of range. Value:%q Radix:10", text)
				}
				return opt.Usagef("argument --%s: could not convert '%s' to %s (%s)", o.Name, text, o.Type, why)
			}
			t.num[o.Name] = n
		}
	}
	return nil
}

// failed is what the tool prints when an exchange with the cluster fails.
func failed(what string, err error) error {
	return fmt.Errorf("%s: %s. Enable debug logging for additional detail.", what, reason(err))
}

func (t *txnTool) run(ctx context.Context, p *opt.Chosen) error {
	c, err := admin(p.Global.Get("bootstrap-server"), "", p.Global.Get("command-config"))
	if errors.Is(err, fs.ErrNotExist) {
		return failed("Failed to load admin client properties", errors.New(p.Global.Get("command-config")))
	}
	if err != nil {
		return err
	}
	t.c = c
	defer c.Close()
	ctx, cancel := within(ctx)
	defer cancel()
	switch p.Command {
	case "list":
		return t.list(ctx)
	case "describe":
		return t.describe(ctx)
	case "describe-producers":
		return t.describeProducers(ctx)
	case "abort":
		return t.abort(ctx)
	case "find-hanging":
		return t.findHanging(ctx)
	}
	return t.forceTerminate(ctx)
}

// has says whether a numeric option was given or has a default.
func (t *txnTool) has(name string) bool { _, ok := t.num[name]; return ok }

func (t *txnTool) partition() kafka.TopicPartition {
	return kafka.TopicPartition{Topic: t.v.Get("topic"), Partition: int32(t.num["partition"])}
}

func (t *txnTool) list(ctx context.Context) error {
	durationMs := int64(-1)
	if t.has("duration-filter") {
		durationMs = t.num["duration-filter"]
	}
	listed, err := t.c.listTransactions(ctx, txnFilter{durationMs: durationMs, pattern: t.v.Get("transactional-id-pattern"), byPattern: t.v.Has("transactional-id-pattern")})
	if err != nil {
		return failed("Failed to list transactions", err)
	}
	var rows [][]string
	for _, l := range listed {
		rows = append(rows, []string{l.transactionalID, strconv.Itoa(int(l.coordinator)), strconv.FormatInt(l.producerID, 10), l.state})
	}
	printTable(t.env.Out, []string{"TransactionalId", "Coordinator", "ProducerId", "TransactionState"}, rows)
	return nil
}

func (t *txnTool) describe(ctx context.Context) error {
	id := t.v.Get("transactional-id")
	found, err := t.c.describeTransactions(ctx, []string{id})
	if err == nil {
		err = found[id].err
	}
	if err != nil {
		return failed(fmt.Sprintf("Failed to describe transaction state of transactional-id `%s`", id), err)
	}
	d := found[id]
	started, duration := "None", "None"
	if d.startMs >= 0 {
		started, duration = strconv.FormatInt(d.startMs, 10), strconv.FormatInt(time.Now().UnixMilli()-d.startMs, 10)
	}
	partitions := make([]string, len(d.partitions))
	for i, tp := range d.partitions {
		partitions[i] = tp.String()
	}
	printTable(t.env.Out, []string{"CoordinatorId", "TransactionalId", "ProducerId", "ProducerEpoch", "TransactionState", "TransactionTimeoutMs", "CurrentTransactionStartTimeMs", "TransactionDurationMs", "TopicPartitions"},
		[][]string{{strconv.Itoa(int(d.coordinator)), id, strconv.FormatInt(d.producerID, 10), strconv.Itoa(int(d.producerEpoch)), d.state, strconv.Itoa(int(d.timeoutMs)), started, duration, strings.Join(partitions, ",")}})
	return nil
}

func (t *txnTool) describeProducers(ctx context.Context) error {
	tp, broker, where := t.partition(), int32(-1), "leader"
	if t.has("broker-id") {
		broker = int32(t.num["broker-id"])
		where = fmt.Sprintf("broker %d", broker)
	}
	found, err := t.c.describeProducers(ctx, []kafka.TopicPartition{tp}, broker)
	if err != nil {
		return failed(fmt.Sprintf("Failed to describe producers for partition %s on %s", tp, where), err)
	}
	var rows [][]string
	for _, p := range found[tp] {
		start := "None"
		if p.CurrentTxnStartOffset >= 0 {
			start = strconv.FormatInt(p.CurrentTxnStartOffset, 10)
		}
		rows = append(rows, []string{
			strconv.FormatInt(p.ProducerID, 10), strconv.Itoa(int(p.ProducerEpoch)), strconv.Itoa(int(max(p.CoordinatorEpoch, -1))),
			strconv.Itoa(int(p.LastSequence)), strconv.FormatInt(p.LastTimestamp, 10), start,
		})
	}
	printTable(t.env.Out, []string{"ProducerId", "ProducerEpoch", "LatestCoordinatorEpoch", "LastSequence", "LastTimestamp", "CurrentTransactionStartOffset"}, rows)
	return nil
}

func (t *txnTool) forceTerminate(ctx context.Context) error {
	id := t.v.Get("transactionalId")
	if err := t.c.fenceProducer(ctx, id); err != nil {
		return failed(fmt.Sprintf("Failed to force terminate transactionalId `%s`", id), err)
	}
	return nil
}
