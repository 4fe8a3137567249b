package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

// describedTopic is a topic as --describe shows it.
type describedTopic struct {
	name       string
	id         kafka.TopicID
	partitions []describedPartition
	configs    []kadm.Config
	minISR     int
}

type describedPartition struct {
	index              int32
	leader             int32
	replicas, isr      []int32
	elr, lastKnown     []int32
	hasELR             bool
	adding, removing   []int32
	reassigning, alive bool
}

// describeTopics prints a line a topic and a line a partition, filtered as asked.
func describeTopics(ctx context.Context, env *Env, c *cluster, v *opt.Values) error {
	ctx, cancel := within(ctx)
	defer cancel()
	topics, err := topicsToDescribe(ctx, c, v)
	if err != nil || len(topics) == 0 {
		return err
	}
	if err := addConfigs(ctx, c, topics); err != nil {
		return err
	}
	if err := addReassignments(ctx, c, topics); err != nil {
		return err
	}
	report := reportFilter(v)
	for _, t := range topics {
		overridden := slices.ContainsFunc(t.configs, nonDefault)
		if report == nil && (!v.Has("topics-with-overrides") || overridden) {
			fmt.Fprintln(env.Out, t.line())
		}
		if v.Has("topics-with-overrides") {
			continue
		}
		for _, p := range t.partitions {
			if report == nil || report(t, p) {
				fmt.Fprintln(env.Out, p.line(t.name))
			}
		}
	}
	return nil
}

// reportFilter returns the condition of the --...-partitions options, nil without one.
func reportFilter(v *opt.Values) func(*describedTopic, describedPartition) bool {
	filters := map[string]func(*describedTopic, describedPartition) bool{
		"under-replicated-partitions": func(_ *describedTopic, p describedPartition) bool { return p.factor() > len(p.isr) },
		"unavailable-partitions":      func(_ *describedTopic, p describedPartition) bool { return p.leader < 0 || !p.alive },
		"under-min-isr-partitions":    func(t *describedTopic, p describedPartition) bool { return p.leader < 0 || len(p.isr) < t.minISR },
		"at-min-isr-partitions":       func(t *describedTopic, p describedPartition) bool { return len(p.isr) == t.minISR },
	}
	var asked []func(*describedTopic, describedPartition) bool
	for name, f := range filters {
		if v.Has(name) {
			asked = append(asked, f)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	return func(t *describedTopic, p describedPartition) bool {
		return slices.ContainsFunc(asked, func(f func(*describedTopic, describedPartition) bool) bool { return f(t, p) })
	}
}

func nonDefault(c kadm.Config) bool {
	return c.Source != kmsg.ConfigSourceDefaultConfig
}

func (t *describedTopic) line() string {
	var configs []string
	for _, c := range t.configs {
		if nonDefault(c) {
			configs = append(configs, c.Key+"="+c.MaybeValue())
		}
	}
	id := ""
	if !t.id.IsZero() {
		id = "\tTopicId: " + t.id.String()
	}
	factor := 0
	if len(t.partitions) > 0 {
		factor = t.partitions[0].factor()
	}
	return fmt.Sprintf("Topic: %s%s\tPartitionCount: %d\tReplicationFactor: %d\tConfigs: %s", t.name, id, len(t.partitions), factor, strings.Join(configs, ","))
}

// factor leaves out the replicas that a reassignment adds.
func (p *describedPartition) factor() int {
	if p.reassigning {
		return len(p.replicas) - len(p.adding)
	}
	return len(p.replicas)
}

func (p *describedPartition) line(topic string) string {
	leader := "none"
	if p.leader >= 0 {
		leader = strconv.Itoa(int(p.leader))
	}
	s := fmt.Sprintf("\tTopic: %s\tPartition: %d\tLeader: %s\tReplicas: %s\tIsr: %s", topic, p.index, leader, ids(p.replicas), ids(p.isr))
	if p.reassigning {
		s += fmt.Sprintf("\tAdding Replicas: %s\tRemoving Replicas: %s", ids(p.adding), ids(p.removing))
	}
	if !p.hasELR {
		return s + "\tElr: N/A\tLastKnownElr: N/A"
	}
	return s + fmt.Sprintf("\tElr: %s\tLastKnownElr: %s", ids(p.elr), ids(p.lastKnown))
}

func ids(list []int32) string {
	text := make([]string, len(list))
	for i, n := range list {
		text[i] = strconv.Itoa(int(n))
	}
	return strings.Join(text, ",")
}

// topicsToDescribe asks by DescribeTopicPartitions, page by page; a cluster that
// does not know it is asked for its metadata, which has no ELR.
func topicsToDescribe(ctx context.Context, c *cluster, v *opt.Values) ([]*describedTopic, error) {
	names, all, err := topicNames(ctx, c, v, !v.Has("if-exists") && !v.Has("topic-id"))
	if err != nil {
		return nil, err
	}
	if v.Has("topic-id") {
		id, err := kafka.ParseUUID(v.Get("topic-id"))
		if err != nil {
			return nil, err
		}
		if !id.IsZero() {
			names = nil
			for _, t := range all.Sorted() {
				if kafka.TopicID(t.ID) == id {
					names = append(names, t.Topic)
				}
			}
			if len(names) == 0 && !v.Has("if-exists") {
				return nil, fmt.Errorf("TopicId '%s' does not exist as expected", id)
			}
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	limit := int32(2000)
	if v.Has("partition-size-limit-per-response") {
		n, err := strconv.ParseInt(v.Get("partition-size-limit-per-response"), 10, 32)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("Cannot parse argument '%s' of option partition-size-limit-per-response", v.Get("partition-size-limit-per-response"))
		}
		limit = int32(n)
	}
	brokers, err := c.Admin.BrokerMetadata(ctx)
	if err != nil {
		return nil, err
	}
	alive := brokers.Brokers.NodeIDs()
	if !c.supports(ctx, 75) {
		return fromMetadata(names, all, alive), nil
	}
	return pages(ctx, c, names, limit, alive)
}

func fromMetadata(names []string, all kadm.TopicDetails, alive []int32) []*describedTopic {
	var out []*describedTopic
	for _, name := range names {
		t := &describedTopic{name: name, id: kafka.TopicID(all[name].ID)}
		for _, p := range all[name].Partitions.Sorted() {
			t.partitions = append(t.partitions, describedPartition{
				index: p.Partition, leader: p.Leader, replicas: p.Replicas, isr: p.ISR, alive: slices.Contains(alive, p.Leader),
			})
		}
		out = append(out, t)
	}
	return out
}

func pages(ctx context.Context, c *cluster, names []string, limit int32, alive []int32) ([]*describedTopic, error) {
	var out []*describedTopic
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = limit
	for _, n := range names {
		t := kmsg.NewDescribeTopicPartitionsRequestTopic()
		t.Topic = n
		req.Topics = append(req.Topics, t)
	}
	for {
		resp, err := req.RequestWith(ctx, c)
		if err != nil {
			return nil, err
		}
		for _, r := range resp.Topics {
			if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
				return nil, messageOr(err, "")
			}
			if len(out) == 0 || r.Topic == nil || out[len(out)-1].name != *r.Topic {
				out = append(out, &describedTopic{name: *r.Topic, id: kafka.TopicID(r.TopicID)})
			}
			t := out[len(out)-1]
			for _, p := range r.Partitions {
				t.partitions = append(t.partitions, describedPartition{
					index: p.Partition, leader: p.LeaderID, replicas: p.Replicas, isr: p.ISR, alive: slices.Contains(alive, p.LeaderID),
					elr: p.EligibleLeaderReplicas, lastKnown: p.LastKnownELR, hasELR: p.EligibleLeaderReplicas != nil && p.LastKnownELR != nil,
				})
			}
		}
		if resp.NextCursor == nil {
			return out, nil
		}
		cursor := kmsg.NewDescribeTopicPartitionsRequestCursor()
		cursor.Topic, cursor.Partition = resp.NextCursor.Topic, resp.NextCursor.Partition
		req.Cursor = &cursor
	}
}

func addConfigs(ctx context.Context, c *cluster, topics []*describedTopic) error {
	var names []string
	for _, t := range topics {
		names = append(names, t.name)
	}
	configs, err := c.Admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return err
	}
	for _, t := range topics {
		r, err := configs.On(t.name, nil)
		if err == nil {
			err = messageOr(r.Err, r.ErrMessage)
		}
		if err != nil {
			return err
		}
		t.configs = r.Configs
		t.minISR = 1
		for _, cfg := range r.Configs {
			if cfg.Key == "min.insync.replicas" {
				t.minISR, _ = strconv.Atoi(cfg.MaybeValue())
			}
		}
	}
	return nil
}

// addReassignments marks partitions that move. A cluster that does not tell, or
// does not let the caller ask, shows none.
func addReassignments(ctx context.Context, c *cluster, topics []*describedTopic) error {
	if !c.supports(ctx, 46) {
		return nil
	}
	set := kadm.TopicsSet{}
	for _, t := range topics {
		for _, p := range t.partitions {
			set.Add(t.name, p.index)
		}
	}
	moving, err := c.Admin.ListPartitionReassignments(ctx, set)
	if errors.Is(err, kerr.UnsupportedVersion) || errors.Is(err, kerr.ClusterAuthorizationFailed) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, t := range topics {
		for i := range t.partitions {
			p := &t.partitions[i]
			if m, ok := moving[t.name][p.index]; ok {
				p.adding, p.removing, p.reassigning = m.AddingReplicas, m.RemovingReplicas, true
			}
		}
	}
	return nil
}
