package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/buildinfo"
	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

var getOffsetsTable = opt.Table{Options: append([]opt.Option{
	bootstrapServerOption, commandConfigOption,
	{Name: "topic", Kind: opt.Value, Arg: "topic", Doc: "The topic, or a regular expression of topics; all topics without it. Not together with --topic-partitions."},
	{Name: "partitions", Kind: opt.Value, Arg: "partition ids", Doc: "The partitions, separated by commas; all without it. Not together with --topic-partitions."},
	{Name: "topic-partitions", Kind: opt.Value, Arg: "topic1:1,topic2:0-3,topic3,topic4:5-,topic5:-3", Doc: "Patterns separated by commas: a regular expression of topics, or none for any, and behind a colon a partition N, a range FROM-TO whose end does not count, FROM- or -TO, or none for all."},
	{Name: "time", Kind: opt.Value, Arg: "<timestamp> / -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload", Default: "latest", Doc: "Which offset: one of the named ones, or that of the first record at or after a timestamp in ms; a partition without such a record is left out."},
	{Name: "exclude-internal-topics", Doc: "Leave internal topics out."},
}, helpOptions...)}

const getOffsetsWhat = "An interactive shell for getting topic-partition offsets."

// offsetTimes are the timestamps that stand for something else than a time.
var offsetTimes = map[string]int64{
	"latest": -1, "earliest": -2, "max-timestamp": -3, "earliest-local": -4, "latest-tiered": -5, "earliest-pending-upload": -6,
}

func getOffsets(ctx context.Context, env *Env) int {
	if len(env.Args) == 0 {
		return usage(env, &getOffsetsTable, getOffsetsWhat)
	}
	v, err := getOffsetsTable.Parse(env.Args)
	if err == nil {
		switch {
		case v.Has("help"):
			return usage(env, &getOffsetsTable, getOffsetsWhat)
		case v.Has("version"):
			fmt.Fprintln(env.Out, buildinfo.KafkaVersion)
			return 0
		}
		if err := v.Require("bootstrap-server"); err != nil {
			return wrongUsage(env, &getOffsetsTable, err)
		}
		if _, err := parseBootstrap(v.Get("bootstrap-server")); err != nil {
			return usage(env, &getOffsetsTable, "Please provide valid host:port like host1:9091,host2:9092\n")
		}
		err = printOffsets(ctx, env, v)
	}
	if err != nil {
		fmt.Fprintf(env.Err, "Error occurred: %s\n", exception(err))
		return 1
	}
	return 0
}

func printOffsets(ctx context.Context, env *Env, v *opt.Values) error {
	if v.Has("topic-partitions") && (v.Has("topic") || v.Has("partitions")) {
		return errors.New("--topic-partitions cannot be used with --topic or --partitions")
	}
	stamp, err := offsetTime(v.Get("time"))
	if err != nil {
		return err
	}
	rules, err := offsetRules(v)
	if err != nil {
		return err
	}
	c, err := admin(v.Get("bootstrap-server"), "", v.Get("command-config"))
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := within(ctx)
	defer cancel()
	if err := c.await(ctx); err != nil {
		return err
	}
	all, err := c.Admin.ListTopicsWithInternal(ctx)
	if err != nil {
		return err
	}
	var wanted []kafka.TopicPartition
	for _, t := range all.Sorted() {
		if v.Has("exclude-internal-topics") && kafka.InternalTopic(t.Topic) {
			continue
		}
		for _, p := range t.Partitions.Sorted() {
			tp := kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}
			if slices.ContainsFunc(rules, func(r offsetRule) bool { return r.match(tp) }) {
				wanted = append(wanted, tp)
			}
		}
	}
	if len(wanted) == 0 {
		return errors.New("Could not match any topic-partitions with the specified filters")
	}
	slices.SortFunc(wanted, func(a, b kafka.TopicPartition) int { return strings.Compare(a.String(), b.String()) })
	found := listOffsets(ctx, c, wanted, stamp)
	for _, tp := range wanted {
		switch o := found[tp]; {
		case o.err != nil:
			fmt.Fprintf(env.Err, "Skip getting offsets for topic-partition %s due to error: %s\n", tp, exception(o.err))
		case o.offset >= 0:
			fmt.Fprintf(env.Out, "%s:%d:%d\n", tp.Topic, tp.Partition, o.offset)
		}
	}
	return nil
}

func offsetTime(text string) (int64, error) {
	if stamp, ok := offsetTimes[text]; ok {
		return stamp, nil
	}
	stamp, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("Malformed time argument %s. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload, or a specified long format timestamp", text)
	}
	return stamp, nil
}

// offsetRule selects partitions of topics: those listed, or else from <= p < to.
type offsetRule struct {
	topic    *regexp.Regexp
	from, to int64
	listed   []int32
}

func (r *offsetRule) match(tp kafka.TopicPartition) bool {
	if !r.topic.MatchString(tp.Topic) {
		return false
	}
	if len(r.listed) > 0 {
		return slices.Contains(r.listed, tp.Partition)
	}
	return int64(tp.Partition) >= r.from && int64(tp.Partition) < r.to
}

var partitionPattern = regexp.MustCompile(`^([^:,]*)(?::(?:([0-9]*)|([0-9]*)-([0-9]*)))?$`)

func offsetRules(v *opt.Values) ([]offsetRule, error) {
	if v.Has("topic-partitions") {
		var rules []offsetRule
		for _, spec := range strings.Split(strings.TrimRight(v.Get("topic-partitions"), ","), ",") {
			r, err := parseOffsetRule(spec)
			if err != nil {
				return nil, err
			}
			rules = append(rules, r)
		}
		return rules, nil
	}
	topic, err := topicPattern(orDefault(v.Get("topic"), ".*"))
	if err != nil {
		return nil, err
	}
	r := offsetRule{topic: topic, to: math.MaxInt32}
	for _, id := range commaSeparated(v.Get("partitions")) {
		p, err := strconv.ParseInt(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("--partitions expects a comma separated list of numeric partition ids, but received: %s", v.Get("partitions"))
		}
		r.listed = append(r.listed, int32(p))
	}
	return []offsetRule{r}, nil
}

func parseOffsetRule(spec string) (offsetRule, error) {
	m := partitionPattern.FindStringSubmatch(spec)
	if m == nil {
		return offsetRule{}, fmt.Errorf("org.apache.kafka.tools.TerseException: Invalid rule specification: %s", spec)
	}
	topic, err := topicPattern(orDefault(m[1], ".*"))
	if err != nil {
		return offsetRule{}, err
	}
	r := offsetRule{topic: topic, to: math.MaxInt32}
	for _, part := range []struct {
		text string
		set  func(int64)
	}{
		{m[2], func(n int64) { r.from, r.to = n, n+1 }},
		{m[3], func(n int64) { r.from = n }},
		{m[4], func(n int64) { r.to = n }},
	} {
		if part.text == "" {
			continue
		}
		n, err := strconv.ParseInt(part.text, 10, 32)
		if err != nil {
			return offsetRule{}, fmt.Errorf("For input string: \"%s\"", part.text)
		}
		part.set(n)
	}
	return r, nil
}

// listedOffset is a partition's answer; offset is negative when there is none.
type listedOffset struct {
	offset int64
	err    error
}

// listOffsets asks the leaders of partitions for the offset of a timestamp.
func listOffsets(ctx context.Context, c *cluster, partitions []kafka.TopicPartition, stamp int64) map[kafka.TopicPartition]listedOffset {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	at := map[string]int{}
	for _, tp := range partitions {
		i, ok := at[tp.Topic]
		if !ok {
			i = len(req.Topics)
			at[tp.Topic] = i
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = tp.Topic
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.Timestamp = tp.Partition, -1, stamp
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	found := map[kafka.TopicPartition]listedOffset{}
	for _, shard := range c.RequestSharded(ctx, req) {
		if shard.Err != nil {
			for _, t := range shard.Req.(*kmsg.ListOffsetsRequest).Topics {
				for _, p := range t.Partitions {
					found[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = listedOffset{err: shard.Err}
				}
			}
			continue
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				found[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = listedOffset{offset: p.Offset, err: withMessage(p.ErrorCode, nil)}
			}
		}
	}
	for _, tp := range partitions {
		if _, ok := found[tp]; !ok {
			found[tp] = listedOffset{err: errors.New("the broker did not answer for this partition")}
		}
	}
	return found
}
