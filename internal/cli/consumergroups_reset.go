package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

// newOffsets are the offsets that a group is to be reset to.
type newOffsets map[kafka.TopicPartition]int64

func (t *groupTool) reset(ctx context.Context) error {
	ids, err := t.selected(ctx)
	if err != nil {
		return err
	}
	groups := map[string]*describedGroup{}
	if len(ids) > 0 {
		asking, cancel := t.bounded(ctx)
		groups = describeGroups(asking, t.c, ids)
		cancel()
	}
	plans := make([]newOffsets, len(ids))
	for i, id := range ids {
		g := groups[id]
		switch {
		case g.err != nil && !errors.Is(g.err, kerr.GroupIDNotFound):
			return executionError(g.err)
		case g.err != nil, g.state == stateEmpty, g.state == stateDead:
			if plans[i], err = t.resetGroup(ctx, id); err != nil {
				return err
			}
		default:
			printGroupError(t.env, fmt.Sprintf("Assignments can only be reset if the group '%s' is inactive, but the current state is %s.", id, g.state))
		}
	}
	if t.v.Has("export") {
		fmt.Fprintln(t.env.Out, exportOffsets(ids, plans, len(t.v.All("group")) == 1))
		return nil
	}
	t.printReset(ids, plans)
	return nil
}

// resetGroup plans the offsets of a group without members and, when that was asked
// for, commits them.
func (t *groupTool) resetGroup(ctx context.Context, id string) (newOffsets, error) {
	scope, err := t.resetScope(ctx, id)
	if err != nil {
		return nil, err
	}
	plan, err := t.planReset(ctx, id, scope)
	if err != nil || !t.v.Has("execute") || len(plan) == 0 {
		return plan, err
	}
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	if err := commitOffsets(ctx, t.c, id, plan); err != nil {
		return nil, errors.New(reason(err))
	}
	return plan, nil
}

// commitOffsets moves a group without members.
func commitOffsets(ctx context.Context, c *cluster, group string, plan newOffsets) error {
	offsets := kadm.Offsets{}
	for tp, at := range plan {
		offsets.Add(kadm.Offset{Topic: tp.Topic, Partition: tp.Partition, At: at, LeaderEpoch: -1})
	}
	answers, err := c.Admin.CommitOffsets(ctx, group, offsets)
	if err != nil {
		return err
	}
	for _, o := range answers.Sorted() {
		if o.Err != nil {
			return messageOr(o.Err, "")
		}
	}
	return nil
}

// resetScope are the partitions that the command line names, in order.
func (t *groupTool) resetScope(ctx context.Context, id string) ([]kafka.TopicPartition, error) {
	switch {
	case t.v.Has("all-topics"):
		ctx, cancel := t.bounded(ctx)
		defer cancel()
		committed, err := committedOffsets(ctx, t.c, id)
		if err != nil {
			return nil, executionError(err)
		}
		return sortedPartitions(committed), nil
	case t.v.Has("topic"):
		ctx, cancel := t.bounded(ctx)
		defer cancel()
		scope, err := parseScope(ctx, t.c, t.v.All("topic"))
		if err != nil && !errors.Is(err, opt.ErrUsage) {
			err = errors.New(reason(err))
		}
		return scope, err
	case t.v.Has("from-file"):
		return nil, nil
	}
	return nil, opt.Usagef("One of the reset scopes should be defined: --all-topics, --topic.")
}

// parseScope reads "topic" and "topic:0,1" and finds the partitions of the former.
func parseScope(ctx context.Context, c *cluster, words []string) ([]kafka.TopicPartition, error) {
	var topics []string
	var scope []kafka.TopicPartition
	for _, word := range words {
		if !strings.Contains(word, ":") {
			topics = append(topics, word)
			continue
		}
		listed, err := parsePartitions(word)
		if err != nil {
			return nil, err
		}
		scope = append(scope, listed...)
	}
	leaders, err := topicLeaders(ctx, c, topics)
	if err != nil {
		return nil, err
	}
	scope = append(scope, sortedPartitions(leaders)...)
	slices.SortFunc(scope, comparePartitions)
	return slices.Compact(scope), nil
}

// parsePartitions reads "topic:0,1".
func parsePartitions(word string) ([]kafka.TopicPartition, error) {
	parts := strings.Split(strings.TrimRight(word, ":"), ":")
	if len(parts) != 2 {
		return nil, opt.Usagef("Invalid topic arg '%s', expected topic name and partitions", word)
	}
	var out []kafka.TopicPartition
	for _, id := range strings.Split(strings.TrimRight(parts[1], ","), ",") {
		p, err := strconv.ParseInt(id, 10, 32)
		if err != nil {
			return nil, opt.Usagef("Invalid partition '%s' specified in topic arg '%s''", id, word)
		}
		out = append(out, kafka.TopicPartition{Topic: parts[0], Partition: int32(p)})
	}
	return out, nil
}

// planReset says where each partition of the scope is to go.
func (t *groupTool) planReset(ctx context.Context, id string, scope []kafka.TopicPartition) (newOffsets, error) {
	if err := t.checkScope(ctx, scope); err != nil {
		return nil, err
	}
	switch {
	case t.v.Has("to-offset"):
		at, err := strconv.ParseInt(t.v.Get("to-offset"), 10, 64)
		if err != nil {
			return nil, err
		}
		plan := newOffsets{}
		for _, tp := range scope {
			plan[tp] = at
		}
		return t.withinLog(ctx, plan)
	case t.v.Has("to-earliest"):
		return t.offsetsAt(ctx, scope, offsetTimes["earliest"])
	case t.v.Has("to-latest"):
		return t.offsetsAt(ctx, scope, offsetTimes["latest"])
	case t.v.Has("shift-by"):
		return t.planShift(ctx, id, scope)
	case t.v.Has("to-datetime"):
		ms, err := parseJavaDateTime(t.v.Get("to-datetime"))
		if err != nil {
			return nil, fmt.Errorf("java.text.ParseException: %w", err)
		}
		return t.sinceTime(ctx, scope, ms)
	case t.v.Has("by-duration"):
		ms, err := parseJavaDuration(t.v.Get("by-duration"))
		if err != nil {
			return nil, err
		}
		return t.sinceTime(ctx, scope, time.Now().UnixMilli()-ms)
	case t.v.Has("from-file"):
		return t.planFromFile(ctx, id)
	case t.v.Has("to-current"):
		return t.planCurrent(ctx, id, scope)
	}
	names := make([]string, len(resetScenarios))
	for i, s := range resetScenarios {
		names[i] = "[" + s + "]"
	}
	return nil, opt.Usagef("Option '[reset-offsets]' requires one of the following scenarios: [%s]", strings.Join(names, ", "))
}

// checkScope refuses partitions that are not there or that have no leader.
func (t *groupTool) checkScope(ctx context.Context, scope []kafka.TopicPartition) error {
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	leaders, err := partitionLeaders(ctx, t.c, scope)
	if err != nil {
		return executionError(err)
	}
	var missing, leaderless []string
	for _, tp := range scope {
		leader, ok := leaders[tp]
		switch {
		case !ok:
			missing = append(missing, tp.String())
		case leader < 0:
			leaderless = append(leaderless, tp.String())
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("The partitions \"%s\" do not exist", strings.Join(missing, ","))
	}
	if len(leaderless) > 0 {
		return fmt.Errorf("The partitions \"%s\" have no leader", strings.Join(leaderless, ","))
	}
	return nil
}

// withinLog moves offsets that lie outside of a partition's log to its nearer end.
func (t *groupTool) withinLog(ctx context.Context, plan newOffsets) (newOffsets, error) {
	partitions := sortedPartitions(plan)
	starts, err := t.offsetsAt(ctx, partitions, offsetTimes["earliest"])
	if err != nil {
		return nil, err
	}
	ends, err := t.offsetsAt(ctx, partitions, offsetTimes["latest"])
	if err != nil {
		return nil, err
	}
	for _, tp := range partitions {
		switch at := plan[tp]; {
		case at > ends[tp]:
			fmt.Fprintf(t.env.Err, "WARN New offset (%d) is higher than latest offset for topic partition %s. Value will be set to %d\n", at, tp, ends[tp])
			plan[tp] = ends[tp]
		case at < starts[tp]:
			fmt.Fprintf(t.env.Err, "WARN New offset (%d) is lower than earliest offset for topic partition %s. Value will be set to %d\n", at, tp, starts[tp])
			plan[tp] = starts[tp]
		}
	}
	return plan, nil
}

func (t *groupTool) planShift(ctx context.Context, id string, scope []kafka.TopicPartition) (newOffsets, error) {
	by, err := strconv.ParseInt(t.v.Get("shift-by"), 10, 64)
	if err != nil {
		return nil, err
	}
	committed, err := t.committed(ctx, id)
	if err != nil {
		return nil, err
	}
	plan := newOffsets{}
	for _, tp := range scope {
		o, ok := committed[tp]
		if !ok {
			return nil, opt.Usagef("Cannot shift offset for partition %s since there is no current committed offset", tp)
		}
		plan[tp] = o.offset + by
	}
	return t.withinLog(ctx, plan)
}

// planCurrent keeps what is committed and puts partitions without at their ends.
func (t *groupTool) planCurrent(ctx context.Context, id string, scope []kafka.TopicPartition) (newOffsets, error) {
	committed, err := t.committed(ctx, id)
	if err != nil {
		return nil, err
	}
	without := slices.DeleteFunc(slices.Clone(scope), func(tp kafka.TopicPartition) bool { _, ok := committed[tp]; return ok })
	plan, err := t.offsetsAt(ctx, without, offsetTimes["latest"])
	if err != nil {
		return nil, err
	}
	for _, tp := range scope {
		if o, ok := committed[tp]; ok {
			plan[tp] = o.offset
		}
	}
	return plan, nil
}

func (t *groupTool) committed(ctx context.Context, id string) (map[kafka.TopicPartition]committedOffset, error) {
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	committed, err := committedOffsets(ctx, t.c, id)
	if err != nil {
		return nil, executionError(err)
	}
	return committed, nil
}

// sinceTime are the first offsets at or after a time, and the ends of partitions
// that have no record since.
func (t *groupTool) sinceTime(ctx context.Context, scope []kafka.TopicPartition, ms int64) (newOffsets, error) {
	plan, err := t.offsetsAt(ctx, scope, ms)
	if err != nil {
		return nil, err
	}
	var without []kafka.TopicPartition
	for _, tp := range scope {
		if plan[tp] < 0 {
			fmt.Fprintf(t.env.Out, "\nWarn: Partition %d from topic %s is empty. Falling back to latest known offset.\n", tp.Partition, tp.Topic)
			without = append(without, tp)
		}
	}
	ends, err := t.offsetsAt(ctx, without, offsetTimes["latest"])
	if err != nil {
		return nil, err
	}
	for tp, end := range ends {
		plan[tp] = end
	}
	return plan, nil
}

func (t *groupTool) printReset(ids []string, plans []newOffsets) {
	groupWidth, topicWidth := 15, 15
	for i, id := range ids {
		groupWidth = max(groupWidth, len(id))
		for tp := range plans[i] {
			topicWidth = max(topicWidth, len(tp.Topic))
		}
	}
	line := func(group, topic, partition, offset string) {
		fmt.Fprintf(t.env.Out, "\n%-*s %-*s %-10s %s", groupWidth, group, topicWidth, topic, partition, offset)
	}
	if len(ids) > 0 {
		line("GROUP", "TOPIC", "PARTITION", "NEW-OFFSET")
	}
	for i, id := range ids {
		for _, tp := range sortedPartitions(plans[i]) {
			line(id, tp.Topic, strconv.Itoa(int(tp.Partition)), strconv.FormatInt(plans[i][tp], 10))
		}
	}
	fmt.Fprintln(t.env.Out)
}
