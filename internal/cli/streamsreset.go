package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

var streamsResetTable = opt.Table{Options: append([]opt.Option{
	{Name: "application-id", Kind: opt.Value, Arg: "id", Doc: "REQUIRED: The application.id of the Kafka Streams application."},
	{Name: "bootstrap-server", Kind: opt.Value, Arg: "server to connect to", Default: "localhost:9092", Doc: "The server(s) to connect to, in the form HOST1:PORT1,HOST2:PORT2."},
	{Name: "input-topics", Kind: opt.List, Arg: "list", Doc: "Input topics, separated by commas. The offsets of the application in these are reset, to the earliest ones unless another option says where."},
	{Name: "intermediate-topics", Kind: opt.List, Arg: "list", Doc: "[deprecated] Topics that are input and output, separated by commas. The application skips to their end."},
	{Name: "internal-topics", Kind: opt.List, Arg: "list", Doc: "Internal topics to delete, separated by commas, out of those that are deleted without this option; --dry-run shows them."},
	{Name: "to-offset", Kind: opt.Value, Type: "Long", Doc: "Reset to this offset."},
	{Name: "to-datetime", Kind: opt.Value, Doc: "Reset to the first offset since a time in the form 'YYYY-MM-DDThh:mm:ss.sss'."},
	{Name: "by-duration", Kind: opt.Value, Doc: "Reset to the first offset since this long ago, in the form 'PnDTnHnMnS'."},
	{Name: "to-earliest", Doc: "Reset to the earliest offset."},
	{Name: "to-latest", Doc: "Reset to the latest offset."},
	{Name: "from-file", Kind: opt.Value, Doc: "Reset to the offsets of a CSV file with lines TOPIC,PARTITION,OFFSET."},
	{Name: "shift-by", Kind: opt.Value, Type: "Long", Arg: "number-of-offsets", Doc: "Move the current offset by this many, forwards or backwards."},
	{Name: "config-file", Kind: opt.Value, Arg: "file name", Doc: "DEPRECATED: use --command-config."},
	{Name: "command-config", Kind: opt.Value, Arg: "file name", Doc: "A property file with settings for the clients."},
	{Name: "force", Doc: "Remove the members that the group still has, such as those of stopped instances with a long session timeout. Stop the application first."},
	{Name: "dry-run", Doc: "Print what would be done, and do nothing."},
}, helpOptions...)}

// streamsResetTargets are the options that say where to reset to, in the order in which
// conflicts are told.
var streamsResetTargets = []string{"to-offset", "to-datetime", "by-duration", "to-earliest", "to-latest", "from-file", "shift-by"}

const streamsResetWhat = `Resets a Kafka Streams application so that it processes its input again: its offsets in
input topics are moved, to the earliest ones unless told otherwise, and its internal
topics are deleted. Output topics are not touched, nor the state that instances keep on
their disks: call KafkaStreams#cleanUp() or delete it before the next start. Stop all
instances first, and look at what --dry-run prints: nothing of this can be undone.
`

// streamsReset is kafka-streams-application-reset.
func streamsReset(ctx context.Context, env *Env) int {
	v, err := streamsResetTable.Parse(env.Args)
	if err == nil && v.Has("version") {
		_, code, _ := parse(env, &streamsResetTable, streamsResetWhat)
		return code
	}
	switch {
	case err == nil && v.Has("help"):
		err = opt.Usagef("%s", streamsResetWhat)
	case err == nil && !v.Has("application-id"):
		err = opt.Usagef("Missing required option(s) [application-id]")
	}
	if err == nil {
		for i, target := range streamsResetTargets {
			others := slices.Delete(slices.Clone(streamsResetTargets), i, i+1)
			if err = v.Exclude(target, others...); err != nil {
				break
			}
		}
	}
	if err == nil {
		err = v.Exclude("config-file", "command-config")
	}
	if err != nil {
		return wrongUsage(env, &streamsResetTable, err)
	}
	code, err := (&streamsTool{env: env, v: v, app: v.Get("application-id")}).run(ctx)
	if err != nil {
		fmt.Fprintf(env.Err, "ERROR: %v\n", err)
		return 1
	}
	return code
}

// streamsTool is one run of the tool.
type streamsTool struct {
	env    *Env
	v      *opt.Values
	app    string
	c      *cluster
	props  map[string]string
	topics []string // all that are not internal to Kafka, as the tool lists them
}

func (t *streamsTool) printf(format string, args ...any) {
	fmt.Fprintf(t.env.Out, format+"\n", args...)
}

func (t *streamsTool) run(ctx context.Context) (int, error) {
	file := t.v.Get("command-config")
	if t.v.Has("config-file") {
		t.printf("Option --config-file has been deprecated and will be removed in a future version. Use --command-config instead.")
		file = t.v.Get("config-file")
	}
	var err error
	if t.props, err = readProperties(file); errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("java.nio.file.NoSuchFileException: %s", file)
	}
	if err == nil {
		t.c, err = connect(t.v.Get("bootstrap-server"), t.props)
	}
	if err != nil {
		return 0, fmt.Errorf("org.apache.kafka.common.KafkaException: Failed to create new KafkaAdminClient\n%w", err)
	}
	defer t.c.Close()
	if err := t.c.await(ctx); err != nil {
		return 0, executionError(err)
	}
	if err := t.removeMembers(ctx); err != nil {
		return 0, err
	}
	all, err := t.c.Admin.ListTopics(ctx)
	if err != nil {
		return 0, executionError(err)
	}
	t.topics = javaOrder(all.Names(), javaCapacity, javaStringHash)
	if t.v.Has("dry-run") {
		t.printf("----Dry run displays the actions which will be performed when running Streams Reset Tool----")
	}
	code, err := t.resetTopics(ctx)
	if err == nil {
		err = t.deleteInternal(ctx)
	}
	return code, err
}

// names are the topics of a list option, in order.
func (t *streamsTool) names(option string) []string {
	var out []string
	for _, list := range t.v.All(option) {
		out = append(out, strings.Split(list, ",")...)
	}
	return out
}

func javaList(names []string) string { return "[" + strings.Join(names, ", ") + "]" }

// found splits names into topics that are there and others, which it prints.
func (t *streamsTool) found(names []string, what, line string) []string {
	there := func(name string) bool { return slices.Contains(t.topics, name) }
	missing := slices.DeleteFunc(slices.Clone(names), there)
	if len(missing) > 0 {
		t.printf("Following %s topics are not found, skipping them", what)
		for _, name := range missing {
			t.printf("%s%s", line, name)
		}
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !there(name) })
}

// resetTopics moves the offsets in the topics of the command line. The code is 1 when a
// topic is not there.
func (t *streamsTool) resetTopics(ctx context.Context) (int, error) {
	if t.v.Has("intermediate-topics") {
		t.printf("WARN: `--intermediate-topics` is deprecated and will be removed in a future release")
	}
	input, between := t.names("input-topics"), t.names("intermediate-topics")
	if len(input)+len(between) == 0 {
		t.printf("No input or intermediate topics specified. Skipping seek.")
		return 0, nil
	}
	if len(input) > 0 {
		t.printf("Reset-offsets for input topics %s", javaList(input))
	}
	if len(between) > 0 {
		t.printf("Seek-to-end for intermediate topics %s", javaList(between))
	}
	foundInput := t.found(input, "input", "Topic: ")
	foundBetween := t.found(between, "intermediate", "Topic:")
	code := 0
	if len(foundInput)+len(foundBetween) < len(input)+len(between) {
		code = 1
	}
	if len(foundInput)+len(foundBetween) == 0 {
		return code, nil
	}
	var both []string
	for _, name := range append(foundInput, foundBetween...) {
		if !slices.Contains(both, name) {
			both = append(both, name)
		}
	}
	partitions, err := t.partitions(ctx, javaOrder(both, len(input)+len(between), javaStringHash))
	if err != nil {
		return 0, err
	}
	isInput := func(tp kafka.TopicPartition) bool { return slices.Contains(input, tp.Topic) }
	ends := javaOrder(slices.DeleteFunc(slices.Clone(partitions), isInput), javaCapacity, javaPartitionHash)
	inputs := javaOrder(slices.DeleteFunc(partitions, func(tp kafka.TopicPartition) bool { return !isInput(tp) }), javaCapacity, javaPartitionHash)
	plan, err := t.plan(ctx, inputs)
	if err != nil {
		return 0, err
	}
	if err := t.skip(ctx, ends, plan); err != nil {
		return 0, err
	}
	if !t.v.Has("dry-run") {
		if err := commitOffsets(ctx, t.c, t.app, plan); err != nil {
			return 0, errors.New(exception(err))
		}
	}
	t.printf("Done.")
	return code, nil
}

// partitions are those of topics, in the order of the topics.
func (t *streamsTool) partitions(ctx context.Context, topics []string) ([]kafka.TopicPartition, error) {
	leaders, err := topicLeaders(ctx, t.c, topics)
	if err != nil {
		return nil, errors.New(exception(err))
	}
	out := sortedPartitions(leaders)
	slices.SortStableFunc(out, func(a, b kafka.TopicPartition) int {
		return slices.Index(topics, a.Topic) - slices.Index(topics, b.Topic)
	})
	return out, nil
}

// plan says where the offsets of input topics go, and prints it.
func (t *streamsTool) plan(ctx context.Context, partitions []kafka.TopicPartition) (newOffsets, error) {
	if len(partitions) == 0 {
		return newOffsets{}, nil
	}
	t.printf("Following input topics offsets will be reset to (for consumer group %s)", t.app)
	plan, err := t.target(ctx, partitions)
	if err != nil {
		return nil, err
	}
	for _, tp := range partitions {
		at, ok := plan[tp]
		if !ok {
			return nil, fmt.Errorf("java.lang.NullPointerException: the file has no offset for %s", tp)
		}
		t.printf("Topic: %s Partition: %d Offset: %d", tp.Topic, tp.Partition, at)
	}
	return plan, nil
}

// skip adds the ends of intermediate topics to plan.
func (t *streamsTool) skip(ctx context.Context, partitions []kafka.TopicPartition, plan newOffsets) error {
	if len(partitions) == 0 {
		return nil
	}
	t.printf("Following intermediate topics offsets will be reset to end (for consumer group %s)", t.app)
	for _, tp := range partitions {
		t.printf("Topic: %s", tp.Topic)
	}
	ends, err := t.offsetsAt(ctx, partitions, offsetTimes["latest"])
	if err != nil {
		return err
	}
	for tp, end := range ends {
		plan[tp] = end
	}
	return nil
}

// internalTopic are the endings of topics that Kafka Streams makes for itself.
var internalTopic = regexp.MustCompile(`(-changelog|-repartition|-subscription-registration-topic|-subscription-response-topic|.-KTABLE-FK-JOIN-SUBSCRIPTION-(REGISTRATION|RESPONSE)-\d+-topic)$`)

func (t *streamsTool) deleteInternal(ctx context.Context) error {
	named := append(t.names("input-topics"), t.names("intermediate-topics")...)
	inferred := slices.DeleteFunc(slices.Clone(t.topics), func(name string) bool {
		return slices.Contains(named, name) || !strings.HasPrefix(name, t.app+"-") || !internalTopic.MatchString(name)
	})
	topics, how := inferred, "inferred"
	if specified := t.names("internal-topics"); len(specified) > 0 {
		if slices.ContainsFunc(specified, func(name string) bool { return !slices.Contains(inferred, name) }) {
			return errors.New("java.lang.IllegalArgumentException: Invalid topic specified in the --internal-topics option. Ensure that the topics specified are all internal topics. " +
				"Do a dry run without the --internal-topics option to see the list of all internal topics that can be deleted.")
		}
		topics, how = specified, "specified"
	}
	t.printf("Deleting %s internal topics %s", how, javaList(topics))
	if !t.v.Has("dry-run") && len(topics) > 0 {
		answers, err := t.c.Admin.DeleteTopics(ctx, topics...)
		if err != nil {
			return executionError(err)
		}
		failed := false
		for _, a := range answers.Sorted() {
			if a.Err != nil {
				fmt.Fprintf(t.env.Err, "ERROR: deleting topic %s\n%v\n", a.Topic, executionError(messageOr(a.Err, a.ErrMessage)))
				failed = true
			}
		}
		if failed {
			return errors.New("java.lang.RuntimeException: Encountered an error deleting one or more topics")
		}
	}
	t.printf("Done.")
	return nil
}

// removals is how often members that are gone already are asked for again.
const removals = 3

// removeMembers sees to it that the group has no members.
func (t *streamsTool) removeMembers(ctx context.Context) error {
	for try := 0; ; try++ {
		asking, cancel := context.WithTimeout(ctx, 10*time.Second)
		g := describeGroups(asking, t.c, []string{t.app})[t.app]
		cancel()
		switch {
		case errors.Is(g.err, kerr.GroupIDNotFound), g.err == nil && len(g.members) == 0:
			return nil
		case g.err != nil:
			return executionError(g.err)
		case !t.v.Has("force"):
			texts := make([]string, len(g.members))
			for i, m := range g.members {
				texts[i] = memberText(&m, g.consumer)
			}
			return fmt.Errorf("java.lang.IllegalStateException: Consumer group '%s' is still active and has following members: %s. "+
				"Make sure to stop all running application instances before running the reset tool. You can use option '--force' to remove active members from the group.", t.app, javaList(texts))
		}
		t.printf("Force deleting all active members in the group: %s", t.app)
		err := removeMembers(ctx, t.c, g)
		if err == nil || !errors.Is(err, kerr.UnknownMemberID) || try == removals {
			if err != nil {
				err = executionError(err)
			}
			return err
		}
	}
}

// memberText is a member as Kafka's tool prints one.
func memberText(m *groupMember, consumer bool) string {
	list := func(partitions []kafka.TopicPartition) string {
		texts := make([]string, len(partitions))
		for i, tp := range partitions {
			texts[i] = tp.String()
		}
		return "(topicPartitions=" + strings.Join(texts, ",") + ")"
	}
	target, epoch, upgraded := "Optional.empty", "null", "null"
	if consumer {
		target, epoch = "Optional["+list(m.target)+"]", strconv.Itoa(int(m.epoch))
	}
	if consumer && m.kind >= 0 {
		upgraded = strconv.FormatBool(m.kind == 1)
	}
	return fmt.Sprintf("(memberId=%s, groupInstanceId=%s, rackId=null, clientId=%s, host=%s, assignment=%s, targetAssignment=%s, memberEpoch=%s, upgraded=%s)",
		m.id, orDefault(m.instance, "null"), m.client, m.host, list(m.assigned), target, epoch, upgraded)
}
