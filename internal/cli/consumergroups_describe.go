package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/gregorhq/gregor/internal/kafka"
)

// absent is what tables show where there is no value.
const absent = "-"

func (t *groupTool) describe(ctx context.Context) error {
	ids, err := t.selected(ctx)
	if err != nil {
		return err
	}
	groups, err := t.described(ctx, ids)
	if err != nil {
		return err
	}
	if t.v.Has("members") {
		for _, g := range groups {
			if err := t.printMembers(g); err != nil {
				return err
			}
		}
		return nil
	}
	if t.v.Has("state") {
		for _, g := range groups {
			if err := t.printState(g); err != nil {
				return err
			}
		}
		return nil
	}
	// All is read before anything is printed: a failure leaves no half table.
	rows := make([][]offsetRow, len(groups))
	for i, g := range groups {
		if rows[i], err = t.offsetRows(ctx, g); err != nil {
			return err
		}
	}
	for i, g := range groups {
		if err := t.printOffsets(g, rows[i]); err != nil {
			return err
		}
	}
	return nil
}

// described describes groups, in order; one that cannot be described fails all.
func (t *groupTool) described(ctx context.Context, ids []string) ([]*describedGroup, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	found := describeGroups(ctx, t.c, ids)
	groups := make([]*describedGroup, 0, len(ids))
	for _, id := range ids {
		if err := found[id].err; err != nil {
			return nil, errors.New(exception(err))
		}
		groups = append(groups, found[id])
	}
	return groups, nil
}

// announce prints what a group's state means for the reader, and says whether its
// table of so many rows is shown.
func (t *groupTool) announce(g *describedGroup, rows int) (bool, error) {
	switch {
	case g.state == stateDead:
		printGroupError(t.env, fmt.Sprintf("Consumer group '%s' does not exist.", g.id))
		return false, nil
	case g.state == stateEmpty:
		fmt.Fprintf(t.env.Err, "\nConsumer group '%s' has no active members.\n", g.id)
	case slices.Contains(rebalancing, g.state):
		fmt.Fprintf(t.env.Err, "\nWarning: Consumer group '%s' is rebalancing.\n", g.id)
	case g.state != stateStable:
		return false, fmt.Errorf("Expected a valid consumer group state, but found '%s'.", g.state)
	}
	return rows > 0, nil
}

// offsetRow is one line of --describe --offsets. end is negative when unknown.
type offsetRow struct {
	kafka.TopicPartition
	committed             committedOffset
	hasCommit             bool
	end                   int64
	member, host, clients string
}

func (r *offsetRow) lag() string {
	if !r.hasCommit || r.end < 0 {
		return absent
	}
	return strconv.FormatInt(r.end-r.committed.offset, 10)
}

// offsetRows are those of the members with the most partitions first, then those of
// partitions that nobody owns.
func (t *groupTool) offsetRows(ctx context.Context, g *describedGroup) ([]offsetRow, error) {
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	committed, err := committedOffsets(ctx, t.c, g.id)
	if err != nil {
		return nil, executionError(err)
	}
	members := slices.Clone(g.members)
	slices.SortStableFunc(members, func(a, b groupMember) int { return cmp.Compare(len(b.assigned), len(a.assigned)) })
	var rows []offsetRow
	owned := map[kafka.TopicPartition]bool{}
	add := func(tp kafka.TopicPartition, member, host, client string) {
		o, ok := committed[tp]
		rows = append(rows, offsetRow{TopicPartition: tp, committed: o, hasCommit: ok, end: -1, member: member, host: host, clients: client})
	}
	for _, m := range members {
		for _, tp := range m.assigned {
			owned[tp] = true
			add(tp, m.id, m.host, m.client)
		}
	}
	for _, tp := range sortedPartitions(committed) {
		if !owned[tp] {
			add(tp, absent, absent, absent)
		}
	}
	partitions := make([]kafka.TopicPartition, len(rows))
	for i := range rows {
		partitions[i] = rows[i].TopicPartition
	}
	ends, err := t.endOffsets(ctx, partitions)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		if end, ok := ends[rows[i].TopicPartition]; ok {
			rows[i].end = end
		}
	}
	return rows, nil
}

// endOffsets are the ends of the partitions that have a leader.
func (t *groupTool) endOffsets(ctx context.Context, partitions []kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	leaders, err := partitionLeaders(ctx, t.c, partitions)
	if err != nil {
		return nil, executionError(err)
	}
	led := slices.DeleteFunc(slices.Clone(partitions), func(tp kafka.TopicPartition) bool {
		leader, ok := leaders[tp]
		return ok && leader < 0
	})
	return t.offsetsAt(ctx, led, offsetTimes["latest"])
}

// offsetsAt are the offsets of a timestamp; the failure of one partition fails all.
func (t *groupTool) offsetsAt(ctx context.Context, partitions []kafka.TopicPartition, stamp int64) (map[kafka.TopicPartition]int64, error) {
	out := map[kafka.TopicPartition]int64{}
	if len(partitions) == 0 {
		return out, nil
	}
	ctx, cancel := t.bounded(ctx)
	defer cancel()
	for tp, o := range listOffsets(ctx, t.c, partitions, stamp) {
		if o.err != nil {
			return nil, executionError(o.err)
		}
		out[tp] = o.offset
	}
	return out, nil
}

// partitionLeaders are the leaders, -1 for none, of all partitions of the topics
// that the given ones belong to. A topic that is not there is an error.
func partitionLeaders(ctx context.Context, c *cluster, partitions []kafka.TopicPartition) (map[kafka.TopicPartition]int32, error) {
	var topics []string
	for _, tp := range partitions {
		topics = append(topics, tp.Topic)
	}
	slices.Sort(topics)
	return topicLeaders(ctx, c, slices.Compact(topics))
}

func topicLeaders(ctx context.Context, c *cluster, topics []string) (map[kafka.TopicPartition]int32, error) {
	out := map[kafka.TopicPartition]int32{}
	if len(topics) == 0 {
		return out, nil // no names would mean all topics
	}
	found, err := c.Admin.ListTopicsWithInternal(ctx, topics...)
	if err != nil {
		return nil, err
	}
	for _, name := range topics {
		topic, ok := found[name]
		if !ok {
			return nil, messageOr(kerr.UnknownTopicOrPartition, "")
		}
		if topic.Err != nil {
			return nil, messageOr(topic.Err, "")
		}
		for _, p := range topic.Partitions {
			out[kafka.TopicPartition{Topic: name, Partition: p.Partition}] = p.Leader
		}
	}
	return out, nil
}

func (t *groupTool) printOffsets(g *describedGroup, rows []offsetRow) error {
	show, err := t.announce(g, len(rows))
	if err != nil || !show {
		return err
	}
	groupWidth, topicWidth, memberWidth, hostWidth := max(15, len(g.id)), 15, 15, 15
	for _, r := range rows {
		topicWidth, memberWidth, hostWidth = max(topicWidth, len(r.Topic)), max(memberWidth, len(r.member)), max(hostWidth, len(r.host))
	}
	line := func(group, topic, partition, epoch, current, end, lag, member, host, client string) {
		fmt.Fprintf(t.env.Out, "\n%-*s %-*s %-10s ", groupWidth, group, topicWidth, topic, partition)
		if t.v.Has("verbose") {
			fmt.Fprintf(t.env.Out, "%-15s ", epoch)
		}
		fmt.Fprintf(t.env.Out, "%-15s %-15s %-15s %-*s %-*s %s", current, end, lag, memberWidth, member, hostWidth, host, client)
	}
	line("GROUP", "TOPIC", "PARTITION", "LEADER-EPOCH", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST", "CLIENT-ID")
	for _, r := range rows {
		epoch, current, end := absent, absent, absent
		if r.hasCommit {
			current = strconv.FormatInt(r.committed.offset, 10)
			if r.committed.leaderEpoch >= 0 {
				epoch = strconv.Itoa(int(r.committed.leaderEpoch))
			}
		}
		if r.end >= 0 {
			end = strconv.FormatInt(r.end, 10)
		}
		line(g.id, r.Topic, strconv.Itoa(int(r.Partition)), epoch, current, end, r.lag(), r.member, r.host, r.clients)
	}
	fmt.Fprintln(t.env.Out)
	return nil
}

func (t *groupTool) printState(g *describedGroup) error {
	if show, err := t.announce(g, 1); err != nil || !show {
		return err
	}
	coordinator := fmt.Sprintf("%s:%d  (%d)", g.coordinator.Host, g.coordinator.Port, g.coordinator.NodeID)
	width, groupWidth := max(25, len(coordinator)), max(15, len(g.id))
	line := func(group, coordinator, assignor, state, epoch, target, members string) {
		fmt.Fprintf(t.env.Out, "\n%-*s %-*s %-20s %-20s ", groupWidth, group, width, coordinator, assignor, state)
		if t.v.Has("verbose") {
			fmt.Fprintf(t.env.Out, "%-15s %-25s ", epoch, target)
		}
		fmt.Fprint(t.env.Out, members)
	}
	line("GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "GROUP-EPOCH", "TARGET-ASSIGNMENT-EPOCH", "#MEMBERS")
	epoch, target := absent, absent
	if g.consumer {
		epoch, target = strconv.Itoa(int(g.epoch)), strconv.Itoa(int(g.assignmentEpoch))
	}
	line(g.id, coordinator, orDefault(g.assignor, absent), g.state, epoch, target, strconv.Itoa(len(g.members)))
	fmt.Fprintln(t.env.Out)
	return nil
}

// assignmentText is "topic1:0,1;topic2:3".
func assignmentText(partitions []kafka.TopicPartition) string {
	if len(partitions) == 0 {
		return absent
	}
	byTopic := map[string][]string{}
	for _, tp := range partitions { // in the order of partitions already
		byTopic[tp.Topic] = append(byTopic[tp.Topic], strconv.Itoa(int(tp.Partition)))
	}
	var parts []string
	for topic, ids := range byTopic {
		parts = append(parts, topic+":"+strings.Join(ids, ","))
	}
	slices.Sort(parts)
	return strings.Join(parts, ";")
}
