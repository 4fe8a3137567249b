package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

const topicConfigHint = " (To alter topic configurations, the kafka-configs tool can be used.)"

var topicsTable = opt.Table{Options: append([]opt.Option{
	{Name: "bootstrap-server", Kind: opt.Value, Arg: "server to connect to", Doc: "REQUIRED: The Kafka server to connect to."},
	{Name: "command-config", Kind: opt.Value, Arg: "command config property file", Doc: "Property file with settings for the admin client."},
	{Name: "list", Doc: "List all available topics."},
	{Name: "create", Doc: "Create a new topic."},
	{Name: "delete", Doc: "Delete a topic."},
	{Name: "alter", Doc: "Change the number of partitions and their replicas." + topicConfigHint},
	{Name: "describe", Doc: "List details of the given topics."},
	{Name: "topic", Kind: opt.Value, Arg: "topic", Doc: "The topic to create, alter, describe or delete. Except with --create it may be a regular expression."},
	{Name: "topic-id", Kind: opt.Value, Arg: "topic-id", Doc: "The id of the topic to describe."},
	{Name: "config", Kind: opt.List, Arg: "name=value", Doc: "A setting of the topic being created; may be repeated. Only together with --create." + topicConfigHint},
	{Name: "delete-config", Kind: opt.List, Arg: "name", Doc: "No longer supported since 4.0."},
	{Name: "partitions", Kind: opt.Value, Type: "Integer", Arg: "# of partitions", Doc: "The number of partitions of the topic being created or altered; the cluster's default without it. (WARNING: more partitions change where records with a key go.)"},
	{Name: "replication-factor", Kind: opt.Value, Type: "Integer", Arg: "replication factor", Doc: "The number of replicas of each partition of the topic being created; the cluster's default without it."},
	{Name: "replica-assignment", Kind: opt.Value, Arg: "broker_id_for_part1_replica1 : broker_id_for_part1_replica2 , broker_id_for_part2_replica1 : broker_id_for_part2_replica2 , ...", Doc: "The brokers of each partition of the topic being created or altered, chosen by hand."},
	{Name: "under-replicated-partitions", Doc: "With --describe, show only partitions with too few replicas in sync."},
	{Name: "unavailable-partitions", Doc: "With --describe, show only partitions whose leader is not available."},
	{Name: "under-min-isr-partitions", Doc: "With --describe, show only partitions with fewer replicas in sync than the configured minimum."},
	{Name: "at-min-isr-partitions", Doc: "With --describe, show only partitions with exactly the configured minimum of replicas in sync."},
	{Name: "topics-with-overrides", Doc: "With --describe, show only topics that have settings of their own."},
	{Name: "if-exists", Doc: "With --alter, --delete or --describe, do nothing when the topic does not exist."},
	{Name: "if-not-exists", Doc: "With --create, do not fail when the topic exists; the request is sent all the same."},
	{Name: "exclude-internal", Doc: "With --list or --describe, leave internal topics out."},
	{Name: "partition-size-limit-per-response", Kind: opt.Value, Type: "Integer", Arg: "maximum number of partitions per response", Doc: "How many partitions one response may describe."},
}, helpOptions...)}

var topicActions = []string{"alter", "create", "describe", "list", "delete"}

func topics(ctx context.Context, env *Env) int {
	if len(env.Args) == 0 {
		return usage(env, &topicsTable, "Create, delete, describe, or change a topic.")
	}
	v, code, done := parse(env, &topicsTable, "This tool helps to create, delete, describe, or change a topic.")
	if done {
		return code
	}
	if err := checkTopicArgs(env, v); err != nil {
		return wrongUsage(env, &topicsTable, err)
	}
	props, err := readProperties(v.Get("command-config"))
	if err != nil {
		fmt.Fprintln(env.Err, err)
		return 1
	}
	c, err := connect(v.Get("bootstrap-server"), props)
	if err != nil {
		fmt.Fprintln(env.Err, err)
		return 1
	}
	defer c.Close()
	run := map[string]func(context.Context, *Env, *cluster, *opt.Values) error{
		"create": createTopic, "alter": alterTopics, "list": listTopics, "describe": describeTopics, "delete": deleteTopics,
	}
	err = c.await(ctx)
	for _, action := range topicActions {
		if v.Has(action) && err == nil {
			err = run[action](ctx, env, c, v)
		}
	}
	if err != nil {
		fmt.Fprintf(env.Out, "Error while executing topic command : %v\n", reason(err))
		return 1
	}
	return 0
}

func checkTopicArgs(env *Env, v *opt.Values) error {
	actions := 0
	for _, a := range topicActions {
		if v.Has(a) {
			actions++
		}
	}
	if actions != 1 {
		return opt.Usagef("Command must include exactly one action: --list, --describe, --create, --alter or --delete")
	}
	if v.Has("delete-config") {
		fmt.Fprintln(env.Err, "delete-config option is no longer supported and deprecated since version 4.0. The config will be fully removed in future releases.")
	}
	if !v.Has("bootstrap-server") {
		return errors.New("--bootstrap-server must be specified")
	}
	if v.Has("describe") && v.Has("if-exists") && !v.Has("topic") && !v.Has("topic-id") {
		return opt.Usagef("--topic or --topic-id is required to describe a topic")
	}
	if !v.Has("list") && !v.Has("describe") {
		if err := v.Require("topic"); err != nil {
			return err
		}
	}
	if v.Has("alter") {
		if v.Has("config") {
			return opt.Usagef("Option combination \"[bootstrap-server],[config]\" can't be used with option \"[alter]\"%s", topicConfigHint)
		}
		if err := v.Require("partitions"); err != nil {
			return err
		}
	}
	only := func(used string, allowed ...string) error {
		var others []string
		for _, a := range topicActions {
			if !slices.Contains(allowed, a) {
				others = append(others, a)
			}
		}
		return v.Exclude(used, others...)
	}
	err := firstError(
		only("config", "alter", "create"), only("partitions", "alter", "create"), only("replication-factor", "create"),
		only("replica-assignment", "alter", "create"), only("if-exists", "alter", "delete", "describe"),
		only("if-not-exists", "create"), only("exclude-internal", "list", "describe"), only("topics-with-overrides", "describe"),
	)
	if err == nil && v.Has("create") {
		err = v.Exclude("replica-assignment", "partitions", "replication-factor")
	}
	for _, report := range []string{"under-replicated-partitions", "under-min-isr-partitions", "at-min-isr-partitions", "unavailable-partitions"} {
		err = firstError(err, only(report, "describe"), v.Exclude(report, "topics-with-overrides"))
	}
	return err
}

func firstError(errs ...error) error {
	for _, e := range errs {
		if e != nil {
			return e
		}
	}
	return nil
}

func createTopic(ctx context.Context, env *Env, c *cluster, v *opt.Values) error {
	name := v.Get("topic")
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, -1, -1
	for _, kv := range v.All("config") {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || strings.TrimSpace(value) == "" {
			return errors.New("requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".")
		}
		cfg := kmsg.NewCreateTopicsRequestTopicConfig()
		cfg.Name, cfg.Value = strings.TrimSpace(key), kmsg.StringPtr(strings.TrimSpace(value))
		t.Configs = append(t.Configs, cfg)
	}
	if strings.ContainsAny(name, "._") {
		fmt.Fprintln(env.Out, "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both.")
	}
	if v.Has("replication-factor") {
		n, err := strconv.Atoi(v.Get("replication-factor"))
		if err != nil || n < 1 || n > 32767 {
			return errors.New("The replication factor must be between 1 and 32767 inclusive")
		}
		t.ReplicationFactor = int16(n)
	}
	if v.Has("partitions") {
		n, err := strconv.ParseInt(v.Get("partitions"), 10, 32)
		if err != nil || n < 1 {
			return errors.New("The partitions must be greater than 0")
		}
		t.NumPartitions = int32(n)
	}
	assignment, err := parseAssignment(v.Get("replica-assignment"))
	if err != nil {
		return err
	}
	for i, replicas := range assignment {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = int32(i), replicas
		t.ReplicaAssignment = append(t.ReplicaAssignment, a)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 30000
	req.Topics = append(req.Topics, t)
	ctx, cancel := within(ctx)
	defer cancel()
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	for _, r := range resp.Topics {
		err := withMessage(r.ErrorCode, r.ErrorMessage)
		if errors.Is(err, kerr.TopicAlreadyExists) && v.Has("if-not-exists") {
			return nil
		}
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(env.Out, "Created topic %s.\n", name)
	return nil
}

// parseAssignment reads "1:2,2:3": partitions separated by commas, their replicas by colons.
func parseAssignment(list string) ([][]int32, error) {
	if list == "" {
		return nil, nil
	}
	var all [][]int32
	for i, part := range strings.Split(list, ",") {
		var replicas []int32
		for _, id := range strings.Split(part, ":") {
			n, err := strconv.ParseInt(strings.TrimSpace(id), 10, 32)
			if err != nil {
				return nil, fmt.Errorf("For input string: \"%s\"", id)
			}
			if slices.Contains(replicas, int32(n)) {
				return nil, fmt.Errorf("Partition replica lists may not contain duplicate entries: %d", n)
			}
			replicas = append(replicas, int32(n))
		}
		if len(all) > 0 && len(replicas) != len(all[0]) {
			return nil, fmt.Errorf("Partition %d has different replication factor: %v", i, replicas)
		}
		all = append(all, replicas)
	}
	return all, nil
}

// topicNames lists the topics that the --topic pattern names, in order.
func topicNames(ctx context.Context, c *cluster, v *opt.Values, mustExist bool) ([]string, kadm.TopicDetails, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	all, err := c.Admin.ListTopicsWithInternal(ctx)
	if err != nil {
		return nil, nil, err
	}
	var match *regexp.Regexp
	if v.Has("topic") {
		if match, err = topicPattern(v.Get("topic")); err != nil {
			return nil, nil, err
		}
	}
	var names []string
	for _, t := range all.Sorted() {
		if v.Has("exclude-internal") && kafka.InternalTopic(t.Topic) || match != nil && !match.MatchString(t.Topic) {
			continue
		}
		names = append(names, t.Topic)
	}
	if len(names) == 0 && v.Get("topic") != "" && mustExist {
		return nil, nil, fmt.Errorf("Topic '%s' does not exist as expected", v.Get("topic"))
	}
	return names, all, nil
}

// topicPattern compiles a list of topics as the tools take it: commas separate
// alternatives, quotes and spaces around it do not count, all of a name must match.
func topicPattern(list string) (*regexp.Regexp, error) {
	list = strings.Trim(strings.TrimSpace(list), `"'`)
	list = strings.ReplaceAll(strings.ReplaceAll(list, " ", ""), ",", "|")
	re, err := regexp.Compile("^(?:" + list + ")$")
	if err != nil {
		return nil, fmt.Errorf("%s is an invalid regex.", list)
	}
	return re, nil
}

func listTopics(ctx context.Context, env *Env, c *cluster, v *opt.Values) error {
	names, _, err := topicNames(ctx, c, v, false)
	if err != nil {
		return err
	}
	fmt.Fprintln(env.Out, strings.Join(names, "\n"))
	return nil
}

func alterTopics(ctx context.Context, env *Env, c *cluster, v *opt.Values) error {
	names, all, err := topicNames(ctx, c, v, !v.Has("if-exists"))
	if err != nil {
		return err
	}
	count, err := strconv.ParseInt(v.Get("partitions"), 10, 32)
	if err != nil {
		return fmt.Errorf("Cannot parse argument '%s' of option partitions", v.Get("partitions"))
	}
	assignment, err := parseAssignment(v.Get("replica-assignment"))
	if err != nil {
		return err
	}
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = 30000
	for _, name := range names {
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = name, int32(count)
		for i := len(all[name].Partitions); i < len(assignment); i++ {
			a := kmsg.NewCreatePartitionsRequestTopicAssignment()
			a.Replicas = assignment[i]
			t.Assignment = append(t.Assignment, a)
		}
		req.Topics = append(req.Topics, t)
	}
	if len(req.Topics) == 0 {
		return nil
	}
	ctx, cancel := within(ctx)
	defer cancel()
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	for _, r := range resp.Topics {
		if err := withMessage(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

func deleteTopics(ctx context.Context, env *Env, c *cluster, v *opt.Values) error {
	names, _, err := topicNames(ctx, c, v, !v.Has("if-exists"))
	if err != nil || len(names) == 0 {
		return err
	}
	ctx, cancel := within(ctx)
	defer cancel()
	resp, err := c.Admin.DeleteTopics(ctx, names...)
	if err != nil {
		return err
	}
	for _, r := range resp.Sorted() {
		if r.Err != nil {
			return messageOr(r.Err, r.ErrMessage)
		}
	}
	return nil
}
