package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

var consumeTable = opt.Table{Options: []opt.Option{
	{Name: "bootstrap-server", Aliases: []string{"b"}, Kind: opt.Value, Arg: "host:port,...", Default: defaultBootstrap, Doc: "The brokers to connect to first."},
	{Name: "num", Aliases: []string{"n"}, Kind: opt.Value, Type: "Integer", Arg: "count", Doc: "End after this many records."},
	{Name: "follow", Aliases: []string{"f"}, Doc: "Go on at the end and wait for new records."},
	{Name: "offset", Aliases: []string{"o"}, Kind: opt.Value, Arg: "start|end|N|-N|@time", Default: "start", Doc: "Where to begin: an offset, a count back from the end, or @ with milliseconds since 1970, an RFC 3339 time, or an age such as @2h."},
	{Name: "partition", Aliases: []string{"p"}, Kind: opt.Value, Type: "Integer", Arg: "number", Doc: "Read this partition only."},
	{Name: "format", Kind: opt.Value, Arg: "text", Default: `%v\n`, Doc: "How a record is printed: %t topic, %p partition, %o offset, %T timestamp, %k key, %v value, %h headers, %% a percent sign."},
	{Name: "json", Doc: "Print a record as one line of JSON."},
	{Name: "isolation-level", Kind: opt.Value, Arg: "read_uncommitted|read_committed", Default: "read_uncommitted", Doc: "Whether records of open and aborted transactions are seen."},
	{Name: "command-config", Aliases: []string{"X"}, Kind: opt.Value, Arg: "file", Doc: "Property file with client settings."},
	{Name: "help", Aliases: []string{"h"}, Doc: "Print this text."},
}}

const consumeUsage = "Usage: gregor consume TOPIC [OPTION]...\nPrints a topic's records from the beginning and ends at its end.\n"

func consume(ctx context.Context, env *Env) int {
	v, err := consumeTable.Parse(env.Args)
	if err == nil && v.Has("help") {
		fmt.Fprint(env.Out, consumeUsage, "\n", consumeTable.Help())
		return 0
	}
	if err == nil && len(v.Rest) != 1 {
		err = opt.Usagef("name one topic")
	}
	if err != nil {
		fmt.Fprintf(env.Err, "gregor consume: %v\n%s", err, consumeUsage)
		return 2
	}
	if err := consumeRecords(ctx, env, v); err != nil && ctx.Err() == nil {
		fmt.Fprintf(env.Err, "gregor consume: %s: %s\n", v.Rest[0], reason(err))
		return 1
	}
	return 0
}

func consumeRecords(ctx context.Context, env *Env, v *opt.Values) error {
	topic := v.Rest[0]
	limit := int64(-1)
	var err error
	if v.Has("num") {
		if limit, err = strconv.ParseInt(v.Get("num"), 10, 64); err != nil || limit < 0 {
			return fmt.Errorf("-n is %q; it must be a number, not negative", v.Get("num"))
		}
	}
	print, err := recordPrinter(v)
	if err != nil {
		return err
	}
	iso := kgo.ReadUncommitted()
	switch v.Get("isolation-level") {
	case "read_uncommitted":
	case "read_committed":
		iso = kgo.ReadCommitted()
	default:
		return fmt.Errorf("isolation-level is %q; it can be read_uncommitted or read_committed", v.Get("isolation-level"))
	}
	props, err := readProperties(v.Get("command-config"))
	if err != nil {
		return err
	}
	c, err := connect(v.Get("bootstrap-server"), props, kgo.FetchIsolationLevel(iso), kgo.FetchMaxWait(500*time.Millisecond), kgo.KeepControlRecords())
	if err != nil {
		return err
	}
	defer c.Close()
	plan, err := planRead(ctx, c, topic, v)
	if err != nil {
		return err
	}
	return plan.read(ctx, c, env, limit, v.Has("follow"), print)
}

// readPlan is what is left to read: from where, and to where unless it follows.
type readPlan struct {
	topic string
	from  map[int32]int64
	to    map[int32]int64 // exclusive
}

func planRead(ctx context.Context, c *cluster, topic string, v *opt.Values) (*readPlan, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	starts, err := offsetsOf(c.Admin.ListStartOffsets(ctx, topic))
	if err != nil {
		return nil, err
	}
	list := c.Admin.ListEndOffsets
	if v.Get("isolation-level") == "read_committed" {
		list = c.Admin.ListCommittedOffsets
	}
	ends, err := offsetsOf(list(ctx, topic))
	if err != nil {
		return nil, err
	}
	if v.Has("partition") {
		p, err := strconv.ParseInt(v.Get("partition"), 10, 32)
		if _, ok := ends[int32(p)]; err != nil || !ok {
			return nil, fmt.Errorf("there is no partition %s; the topic has %d", v.Get("partition"), len(ends))
		}
		starts = map[int32]int64{int32(p): starts[int32(p)]}
		ends = map[int32]int64{int32(p): ends[int32(p)]}
	}
	from, err := beginAt(ctx, c, topic, v.Get("offset"), starts, ends)
	if err != nil {
		return nil, err
	}
	return &readPlan{topic: topic, from: from, to: ends}, nil
}

func offsetsOf(l kadm.ListedOffsets, err error) (map[int32]int64, error) {
	if err != nil {
		return nil, err
	}
	out := map[int32]int64{}
	for _, ps := range l {
		for p, o := range ps {
			if o.Err != nil {
				return nil, o.Err
			}
			out[p] = o.Offset
		}
	}
	if len(out) == 0 {
		return nil, kerr.UnknownTopicOrPartition
	}
	return out, nil
}

// beginAt turns the -o option into an offset a partition, within what exists.
func beginAt(ctx context.Context, c *cluster, topic, spec string, starts, ends map[int32]int64) (map[int32]int64, error) {
	from := map[int32]int64{}
	pick := func(at func(p int32) int64) map[int32]int64 {
		for p := range ends {
			from[p] = min(max(at(p), starts[p]), ends[p])
		}
		return from
	}
	if stamp, ok := strings.CutPrefix(spec, "@"); ok {
		ms, err := parseTime(stamp, time.Now())
		if err != nil {
			return nil, err
		}
		found, err := offsetsOf(c.Admin.ListOffsetsAfterMilli(ctx, ms, topic))
		if err != nil {
			return nil, err
		}
		return pick(func(p int32) int64 { return found[p] }), nil
	}
	switch spec {
	case "start":
		return pick(func(p int32) int64 { return starts[p] }), nil
	case "end":
		return pick(func(p int32) int64 { return ends[p] }), nil
	}
	n, err := strconv.ParseInt(spec, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("-o is %q; it can be start, end, N, -N or @time", spec)
	}
	if n < 0 {
		return pick(func(p int32) int64 { return ends[p] + n }), nil
	}
	return pick(func(p int32) int64 { return n }), nil
}

// parseTime reads milliseconds since 1970, an RFC 3339 time, a date, or an age.
func parseTime(s string, now time.Time) (int64, error) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return ms, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t.UnixMilli(), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d).UnixMilli(), nil
	}
	return 0, fmt.Errorf("%q is no time; give milliseconds since 1970, 2006-01-02T15:04:05Z or an age such as 2h", s)
}

// read prints records until the plan is done, the limit is reached or ctx ends.
func (p *readPlan) read(ctx context.Context, c *cluster, env *Env, limit int64, follow bool, print func([]byte, *kgo.Record) []byte) error {
	assign := map[int32]kgo.Offset{}
	left := map[int32]int64{}
	for part, at := range p.from {
		if follow || at < p.to[part] {
			assign[part] = kgo.NewOffset().At(at)
			left[part] = p.to[part]
		}
	}
	if len(assign) == 0 || limit == 0 {
		return nil
	}
	c.AddConsumePartitions(map[string]map[int32]kgo.Offset{p.topic: assign})
	out := bufio.NewWriterSize(env.Out, 64<<10)
	defer out.Flush()
	var buf []byte
	printed := int64(0)
	for follow || len(left) > 0 {
		fetches := c.PollFetches(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := fetchError(fetches); err != nil {
			return err
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			end, open := left[r.Partition]
			if !follow && (!open || r.Offset >= end) {
				continue
			}
			if !r.Attrs.IsControl() {
				buf = print(buf[:0], r)
				if _, err := out.Write(buf); err != nil {
					return fmt.Errorf("writing: %w", err)
				}
				if printed++; printed == limit {
					return out.Flush()
				}
			}
			if !follow && r.Offset+1 >= end {
				delete(left, r.Partition)
			}
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("writing: %w", err)
		}
	}
	return nil
}

// fetchError returns the first error that asking again will not heal.
func fetchError(fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		var lost *kgo.ErrDataLoss
		if !errors.As(e.Err, &lost) && !kerr.IsRetriable(e.Err) {
			return e.Err
		}
	}
	return nil
}
