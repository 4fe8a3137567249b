package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

var leaderElectionTable = opt.Table{Options: append([]opt.Option{
	{Name: "bootstrap-server", Kind: opt.Value, Arg: "host:port", Doc: "The brokers to connect to first, separated by commas. REQUIRED."},
	{Name: "admin.config", Kind: opt.Value, Arg: "config file", Doc: "(DEPRECATED) Use --command-config."},
	{Name: "command-config", Kind: opt.Value, Arg: "Config file", Doc: "A property file with settings for the admin client."},
	{Name: "path-to-json-file", Kind: opt.Value, Arg: "Path to JSON file", Doc: `A file with the partitions: {"partitions": [{"topic": "foo", "partition": 1}, {"topic": "foobar", "partition": 2}]}. Not together with --all-topic-partitions or --topic.`},
	{Name: "topic", Kind: opt.Value, Arg: "topic name", Doc: "The topic of the one partition to elect a leader for. Not together with --path-to-json-file or --all-topic-partitions."},
	{Name: "partition", Kind: opt.Value, Type: "Integer", Arg: "partition id", Doc: "The index of that partition. REQUIRED with --topic."},
	{Name: "all-topic-partitions", Doc: "Elect for all partitions that need it. Not together with --topic or --path-to-json-file."},
	{Name: "election-type", Kind: opt.Value, Type: "[PREFERRED|UNCLEAN]", Arg: "election type", Doc: `"preferred" moves leadership to the preferred replica where another one leads; "unclean" lets a replica lead that may lack records, where nobody leads. REQUIRED.`},
}, helpOptions...)}

// leaderElectionPatience is how long the tool waits for the cluster when the property
// file does not say.
const leaderElectionPatience = 30 * time.Second

func leaderElection(ctx context.Context, env *Env) int {
	v, code, done := parse(env, &leaderElectionTable, "This tool attempts to elect a new leader for a set of topic partitions. The type of elections supported are preferred replicas and unclean replicas.")
	if done {
		return code
	}
	if err := runElection(ctx, env, v); err != nil {
		return wrongUsage(env, &leaderElectionTable, err)
	}
	return 0
}

func checkElectionArgs(v *opt.Values) error {
	if missing := slices.DeleteFunc([]string{"bootstrap-server", "election-type"}, v.Has); len(missing) > 0 {
		return fmt.Errorf("Missing required option(s): %s", strings.Join(missing, ", "))
	}
	if err := v.Exclude("admin.config", "command-config"); err != nil {
		return err
	}
	ways := []string{"topic", "all-topic-partitions", "path-to-json-file"}
	given := slices.DeleteFunc(slices.Clone(ways), func(n string) bool { return !v.Has(n) })
	switch {
	case len(given) != 1:
		return fmt.Errorf("One and only one of the following options is required: %s", strings.Join(ways, ", "))
	case v.Has("topic") && !v.Has("partition"):
		return errors.New("Missing required option(s): partition")
	case v.Has("partition") && !v.Has("topic"):
		return errors.New("Option partition is only allowed if topic is used")
	}
	return nil
}

// electionTypes are the values of --election-type by their number in requests.
var electionTypes = []string{"PREFERRED", "UNCLEAN"}

func runElection(ctx context.Context, env *Env, v *opt.Values) error {
	if err := checkElectionArgs(v); err != nil {
		return err
	}
	how := slices.Index(electionTypes, strings.ToUpper(v.Get("election-type")))
	if how < 0 {
		return fmt.Errorf("Cannot parse argument '%s' of option election-type", v.Get("election-type"))
	}
	req := kmsg.NewPtrElectLeadersRequest()
	req.ElectionType = int8(how)
	var err error
	if req.Topics, err = electedPartitions(v); err != nil {
		return err
	}
	file := v.Get("command-config")
	if v.Has("admin.config") {
		fmt.Fprintln(env.Out, "Option --admin.config has been deprecated and will be removed in a future version. Use --command-config instead.")
		file = v.Get("admin.config")
	}
	c, err := admin(v.Get("bootstrap-server"), "", file)
	if err != nil {
		return err
	}
	defer c.Close()
	if c.patience == requestTimeout {
		c.patience = leaderElectionPatience
	}
	req.TimeoutMillis = int32(c.patience.Milliseconds())
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	if err = c.await(ctx); err == nil {
		err = elect(ctx, env, c, req)
	}
	if errors.Is(err, kerr.RequestTimedOut) || errors.Is(err, context.DeadlineExceeded) {
		fmt.Fprintln(env.Out, "Timeout waiting for election results")
		return errors.New("Timeout waiting for election results")
	}
	if errors.Is(err, kerr.ClusterAuthorizationFailed) {
		fmt.Fprintln(env.Out, "Not authorized to perform leader election")
		return errors.New("Not authorized to perform leader election")
	}
	return err
}

// electedPartitions are the partitions of the command line, nil for all.
func electedPartitions(v *opt.Values) ([]kmsg.ElectLeadersRequestTopic, error) {
	if v.Has("all-topic-partitions") {
		return nil, nil
	}
	var parts []kafka.TopicPartition
	if v.Has("path-to-json-file") {
		text, err := readText(v.Get("path-to-json-file"))
		if err != nil {
			return nil, fmt.Errorf("java.io.IOException: %w", err)
		}
		if parts, err = parseElections(text); err != nil {
			return nil, err
		}
	} else {
		index, err := strconv.ParseInt(v.Get("partition"), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("Cannot parse argument '%s' of option partition", v.Get("partition"))
		}
		parts = append(parts, kafka.TopicPartition{Topic: v.Get("topic"), Partition: int32(index)})
	}
	topics := []kmsg.ElectLeadersRequestTopic{}
	for _, tp := range parts {
		i := slices.IndexFunc(topics, func(t kmsg.ElectLeadersRequestTopic) bool { return t.Topic == tp.Topic })
		if i < 0 {
			t := kmsg.NewElectLeadersRequestTopic()
			t.Topic = tp.Topic
			topics, i = append(topics, t), len(topics)
		}
		topics[i].Partitions = append(topics[i].Partitions, tp.Partition)
	}
	return topics, nil
}

func parseElections(text []byte) ([]kafka.TopicPartition, error) {
	root, err := parseJSON(text)
	if err != nil {
		return nil, fmt.Errorf("Replica election data is empty\n%w", err)
	}
	fields, err := root.fields()
	if err != nil {
		return nil, err
	}
	list := fields.get("partitions")
	if list == nil {
		return nil, errors.New(`Replica election data is missing "partitions" field`)
	}
	items, err := list.items()
	if err != nil {
		return nil, err
	}
	var parts []kafka.TopicPartition
	var twice []string
	for _, item := range items {
		fields, err := item.fields()
		if err != nil {
			return nil, err
		}
		var tp kafka.TopicPartition
		if tp.Topic, tp.Partition, err = fields.partition(); err != nil {
			return nil, err
		}
		if name := tp.String(); slices.Contains(parts, tp) && !slices.Contains(twice, name) {
			twice = append(twice, name)
		}
		parts = append(parts, tp)
	}
	if len(twice) > 0 {
		return nil, fmt.Errorf("Replica election data contains duplicate partitions: %s", javaList(twice))
	}
	return parts, nil
}

// elect sends the request and prints what came of it.
func elect(ctx context.Context, env *Env, c *cluster, req *kmsg.ElectLeadersRequest) error {
	resp, err := req.RequestWith(ctx, c)
	if err == nil {
		err = withMessage(resp.ErrorCode, nil)
	}
	if err != nil {
		return err
	}
	var parts []kafka.TopicPartition
	outcome := map[kafka.TopicPartition]error{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			tp := kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}
			parts = append(parts, tp)
			outcome[tp] = withMessage(p.ErrorCode, p.ErrorMessage)
		}
	}
	parts = javaOrder(parts, javaCapacity, javaPartitionHash)
	how := electionTypes[req.ElectionType]
	var succeeded, noop []string
	failed := 0
	for _, tp := range parts {
		switch err := outcome[tp]; {
		case err == nil:
			succeeded = append(succeeded, tp.String())
		case errors.Is(err, kerr.ElectionNotNeeded):
			noop = append(noop, tp.String())
		default:
			failed++
		}
	}
	if len(succeeded) > 0 {
		fmt.Fprintf(env.Out, "Successfully completed leader election (%s) for partitions %s\n", how, strings.Join(succeeded, ", "))
	}
	if len(noop) > 0 {
		fmt.Fprintf(env.Out, "Valid replica already elected for partitions %s\n", strings.Join(noop, ", "))
	}
	if failed == 0 {
		return nil
	}
	for _, tp := range parts {
		if err := outcome[tp]; err != nil && !errors.Is(err, kerr.ElectionNotNeeded) {
			fmt.Fprintf(env.Out, "Error completing leader election (%s) for partition: %s: %s\n", how, tp, exception(err))
		}
	}
	return fmt.Errorf("%d replica(s) could not be elected", failed)
}
