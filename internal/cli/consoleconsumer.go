package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/log4j"
)

const formatterPropertyDoc = "A setting of the formatter, key=value; may be repeated: print.timestamp, print.key, print.offset, print.epoch, print.partition, print.headers (false), print.value (true), key.separator (tab), line.separator (newline), headers.separator (,), null.literal (null), key.deserializer, value.deserializer, headers.deserializer."

var consoleConsumerTable = opt.Table{Options: append([]opt.Option{
	{Name: "topic", Kind: opt.Value, Arg: "topic", Doc: "The topic to consume from."},
	{Name: "include", Kind: opt.Value, Arg: "regex", Doc: "A regular expression of topics to consume."},
	{Name: "partition", Kind: opt.Value, Type: "Integer", Arg: "partition", Doc: "The partition to consume from; from its end unless --offset is given."},
	{Name: "offset", Kind: opt.Value, Arg: "consume offset", Default: "latest", Doc: "The offset to begin at (not negative), or earliest, or latest."},
	{Name: "command-property", Kind: opt.List, Arg: "consumer_prop", Doc: "A consumer setting, key=value; may be repeated."},
	{Name: "consumer-property", Kind: opt.List, Arg: "consumer_prop", Doc: "(DEPRECATED) Like --command-property."},
	{Name: "command-config", Kind: opt.Value, Arg: "config file", Doc: "A properties file with consumer settings; --command-property wins over it."},
	{Name: "consumer.config", Kind: opt.Value, Arg: "config file", Doc: "(DEPRECATED) Like --command-config."},
	{Name: "formatter", Kind: opt.Value, Arg: "class", Default: defaultFormatterClass, Doc: "The class that formats messages: " + formatterNames + "."},
	{Name: "formatter-property", Kind: opt.List, Arg: "prop", Doc: formatterPropertyDoc},
	{Name: "property", Kind: opt.List, Arg: "prop", Doc: "(DEPRECATED) Like --formatter-property."},
	{Name: "formatter-config", Kind: opt.Value, Arg: "config file", Doc: "A properties file for the formatter; --formatter-property wins over it."},
	{Name: "from-beginning", Doc: "Begin with the earliest message when the group has no offset yet, instead of the latest."},
	{Name: "max-messages", Kind: opt.Value, Type: "Integer", Arg: "num_messages", Doc: "Exit after this many messages; without it consumption goes on."},
	{Name: "timeout-ms", Kind: opt.Value, Type: "Long", Arg: "timeout_ms", Doc: "Exit when no message came for this long."},
	{Name: "skip-message-on-error", Doc: "Skip a message that cannot be processed instead of ending."},
	{Name: "bootstrap-server", Kind: opt.Value, Arg: "server to connect to", Doc: "REQUIRED: The server(s) to connect to."},
	{Name: "key-deserializer", Kind: opt.Value, Arg: "deserializer for keys", Doc: "The class that reads keys."},
	{Name: "value-deserializer", Kind: opt.Value, Arg: "deserializer for values", Doc: "The class that reads values."},
	{Name: "enable-systest-events", Doc: "Print the consumer's lifecycle too, for system tests."},
	{Name: "isolation-level", Kind: opt.Value, Default: "read_uncommitted", Doc: "read_committed leaves out messages of transactions that are not committed; read_uncommitted reads all."},
	{Name: "group", Kind: opt.Value, Arg: "consumer group id", Doc: "The consumer group id of the consumer. Without it the topic is read outside of any group."},
}, helpOptions...)}

const defaultFormatterClass = "org.apache.kafka.tools.consumer.DefaultMessageFormatter"

func consoleConsumer(ctx context.Context, env *Env) int {
	v, code, done := parse(env, &consoleConsumerTable, "This tool helps to read data from Kafka topics and outputs it to standard output.")
	if done {
		return code
	}
	if err := checkConsoleConsumer(env, v); err != nil {
		return wrongUsage(env, &consoleConsumerTable, err)
	}
	c, err := consoleClient(v)
	if err != nil {
		return wrongUsage(env, &consoleConsumerTable, err)
	}
	defer c.Close()
	format, err := consoleFormatter(env, v)
	if err != nil {
		return wrongUsage(env, &consoleConsumerTable, err)
	}
	n, err := readConsole(ctx, env, c, v, format)
	c.leave()
	if err != nil && ctx.Err() == nil {
		logTo(env, "org.apache.kafka.tools.consumer.ConsoleConsumer").Error("Error processing message, terminating consumer process: " + reason(err))
	}
	fmt.Fprintf(env.Err, "Processed a total of %d messages\n", n)
	if v.Has("enable-systest-events") {
		fmt.Fprintln(env.Out, "shutdown_complete")
	}
	// A failure to receive, silence among them, ends the tool but is no failure of
	// it; scripts rely on that. A message that cannot be shown is.
	switch {
	case errors.As(err, new(*unreadable)):
		return 1
	case ctx.Err() != nil:
		return signalCode(ctx)
	}
	return 0
}

// leave commits how far a member of a group has come, and ends its membership.
func (c *cluster) leave() {
	if group, _ := c.GroupMetadata(); group == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leavePatience)
	defer cancel()
	// Without the commit the messages are printed once more, which a consumer that
	// ends has to bear anyhow; nothing else depends on it.
	_ = c.CommitMarkedOffsets(ctx)
}

// unreadable is the error of a message that the formatter cannot print.
type unreadable struct{ error }

// logTo returns the log of a class of Kafka's, which its tools write to standard error.
func logTo(env *Env, class string) *slog.Logger {
	return log4j.Named(slog.New(log4j.NewHandler(env.Err, slog.LevelInfo)), class, "")
}

func checkConsoleConsumer(env *Env, v *opt.Values) error {
	if err := v.OneOf("topic", "include"); err != nil {
		return err
	}
	switch {
	case v.Has("partition") && !v.Has("topic"):
		return opt.Usagef("The topic is required when partition is specified.")
	case v.Has("partition") && v.Has("from-beginning") && v.Has("offset"):
		return opt.Usagef("Options from-beginning and offset cannot be specified together.")
	case !v.Has("partition") && v.Has("offset"):
		return opt.Usagef("The partition is required when offset is specified.")
	}
	return firstError(v.Require("bootstrap-server"), renamed(env, v, "consumer-property", "command-property"),
		renamed(env, v, "consumer.config", "command-config"), renamed(env, v, "property", "formatter-property"))
}

// consoleClient makes the consumer: of one partition, of a group, or of whole topics
// outside of any group.
func consoleClient(v *opt.Values) (*cluster, error) {
	props, err := fileAndWords(firstOf(either(v, "command-config", "consumer.config")), either(v, "command-property", "consumer-property"))
	if err != nil {
		return nil, err
	}
	group := v.Get("group")
	if g := props["group.id"]; g != "" {
		if group != "" && g != group {
			return nil, opt.Usagef("The group ids provided in different places (directly using '--group', via '--consumer-property', or via '--consumer.config') do not match. Detected group ids: '%s', '%s'", group, g)
		}
		group = g
	}
	if group != "" && v.Has("partition") {
		return nil, opt.Usagef("Options group and partition cannot be specified together.")
	}
	start := kgo.NewOffset().AtEnd()
	switch reset := props["auto.offset.reset"]; {
	case v.Has("from-beginning") && reset != "" && reset != "earliest":
		return nil, fmt.Errorf("Can't simultaneously specify --from-beginning and 'auto.offset.reset=%s', please remove one option", reset)
	case v.Has("from-beginning"), reset == "earliest":
		start = kgo.NewOffset().AtStart()
	}
	isolation := map[string]kgo.IsolationLevel{"read_uncommitted": kgo.ReadUncommitted(), "read_committed": kgo.ReadCommitted()}
	level := v.Get("isolation-level")
	if p := props["isolation.level"]; p != "" && !v.Has("isolation-level") {
		level = p
	}
	iso, ok := isolation[level]
	if !ok {
		return nil, fmt.Errorf("Invalid value %s for configuration isolation.level: String must be one of: read_committed, read_uncommitted", level)
	}
	opts := []kgo.Opt{kgo.FetchIsolationLevel(iso), kgo.FetchMaxWait(500 * time.Millisecond), kgo.ConsumeResetOffset(start),
		kgo.ClientID(orDefault(props["client.id"], "console-consumer"))}
	switch {
	case v.Has("partition"):
		assigned, err := consolePartition(v)
		if err != nil {
			return nil, err
		}
		opts = append(opts, assigned)
	case v.Has("include"):
		if _, err := regexp.Compile(v.Get("include")); err != nil {
			return nil, fmt.Errorf("%s is an invalid regex: %w", v.Get("include"), err)
		}
		opts = append(opts, kgo.ConsumeRegex(), kgo.ConsumeTopics("^(?:"+v.Get("include")+")$"))
	default:
		opts = append(opts, kgo.ConsumeTopics(v.Get("topic")), kgo.AllowAutoTopicCreation())
	}
	if group != "" {
		membership, err := groupMembership(group, props)
		if err != nil {
			return nil, err
		}
		opts = append(opts, membership...)
	}
	return connect(v.Get("bootstrap-server"), props, opts...)
}

// groupMembership are the options of a member of a group, from the consumer's
// settings. Assignors of the classic protocol are those that Kafka's consumer offers.
func groupMembership(group string, props map[string]string) ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.ConsumerGroup(group)}
	if props["enable.auto.commit"] == "false" {
		opts = append(opts, kgo.DisableAutoCommit())
	} else {
		opts = append(opts, kgo.AutoCommitMarks()) // of what was printed
	}
	if id := props["group.instance.id"]; id != "" {
		opts = append(opts, kgo.InstanceID(id))
	}
	switch protocol := orDefault(props["group.protocol"], "classic"); strings.ToLower(protocol) {
	case "classic":
		return append(opts, kgo.Balancers(kgo.RangeBalancer(), kgo.CooperativeStickyBalancer())), nil
	case "consumer":
	default:
		return nil, fmt.Errorf("Invalid value %s for configuration group.protocol: String must be one of (case insensitive): CLASSIC, CONSUMER", protocol)
	}
	opts = append(opts, kgo.ServerSideBalancer())
	switch assignor := orDefault(props["group.remote.assignor"], "uniform"); assignor {
	case "uniform":
		return append(opts, kgo.Balancers(kgo.StickyBalancer())), nil
	case "range":
		return append(opts, kgo.Balancers(kgo.RangeBalancer())), nil
	default:
		return nil, fmt.Errorf("Invalid value %s for configuration group.remote.assignor: it can be uniform or range", assignor)
	}
}

func consolePartition(v *opt.Values) (kgo.Opt, error) {
	p, err := strconv.ParseInt(v.Get("partition"), 10, 32)
	if err != nil || p < 0 {
		return nil, opt.Usagef("Cannot parse argument '%s' of option partition", v.Get("partition"))
	}
	at := kgo.NewOffset().AtEnd()
	switch spec := strings.ToLower(v.Get("offset")); {
	case spec == "earliest" || v.Has("from-beginning"):
		at = kgo.NewOffset().AtStart()
	case spec == "latest":
	default:
		n, err := strconv.ParseInt(spec, 10, 64)
		if err != nil || n < 0 {
			return nil, opt.Usagef("The provided offset value '%s' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long.", v.Get("offset"))
		}
		at = kgo.NewOffset().At(n)
	}
	return kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{v.Get("topic"): {int32(p): at}}), nil
}

// readConsole prints messages until the count, the silence or ctx ends it.
func readConsole(ctx context.Context, env *Env, c *cluster, v *opt.Values, format messageFormat) (int, error) {
	limit, silence := math.MaxInt, time.Duration(math.MaxInt64)
	if v.Has("max-messages") {
		n, err := strconv.Atoi(v.Get("max-messages"))
		if err != nil {
			return 0, fmt.Errorf("Cannot parse argument '%s' of option max-messages", v.Get("max-messages"))
		}
		if n != -1 {
			limit = n
		}
	}
	if v.Has("timeout-ms") {
		n, err := strconv.ParseInt(v.Get("timeout-ms"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("Cannot parse argument '%s' of option timeout-ms", v.Get("timeout-ms"))
		}
		if n >= 0 && n < math.MaxInt64/int64(time.Millisecond) {
			silence = time.Duration(n) * time.Millisecond
		}
	}
	out := bufio.NewWriterSize(env.Out, 64<<10)
	defer out.Flush()
	var buf []byte
	for count := 0; count < limit; {
		poll, cancel := context.WithTimeout(ctx, silence)
		fetches := c.PollFetches(poll)
		expired := poll.Err() != nil && ctx.Err() == nil
		cancel()
		if ctx.Err() != nil {
			return count, ctx.Err()
		}
		if err := fetchError(fetches); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return count, err
		}
		for it := fetches.RecordIter(); !it.Done() && count < limit; {
			var err error
			count++
			r := it.Next()
			c.MarkCommitRecords(r)
			if buf, err = format(buf[:0], r); err != nil && !v.Has("skip-message-on-error") {
				return count, &unreadable{err}
			}
			if _, err := out.Write(buf); err != nil {
				fmt.Fprintln(env.Err, "Unable to write to standard out, closing consumer.")
				return count, nil
			}
			if count == limit {
				return count, nil
			}
		}
		if err := out.Flush(); err != nil {
			fmt.Fprintln(env.Err, "Unable to write to standard out, closing consumer.")
			return count, nil
		}
		if expired {
			return count, errors.New("org.apache.kafka.common.errors.TimeoutException")
		}
	}
	return limit, nil
}
