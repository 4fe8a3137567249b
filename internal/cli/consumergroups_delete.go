package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

func (t *groupTool) delete(ctx context.Context) error {
	ids, err := t.selected(ctx)
	if err != nil {
		return err
	}
	results := map[string]error{}
	if len(ids) > 0 {
		ctx, cancel := t.bounded(ctx)
		defer cancel()
		answers, err := t.c.Admin.DeleteGroups(ctx, ids...)
		for _, id := range ids {
			a, ok := answers[id]
			switch {
			case ok:
				results[id] = messageOr(a.Err, "")
			case err != nil:
				results[id] = err
			default:
				results[id] = errors.New("the broker did not answer for this group")
			}
		}
	}
	t.printDeleted(results)
	return nil
}

// printDeleted prints how the deletion of each group went; nil stands for success.
func (t *groupTool) printDeleted(results map[string]error) {
	var deleted, failed []string
	for id, err := range results {
		if err == nil {
			deleted = append(deleted, "'"+id+"'")
		} else {
			failed = append(failed, id)
		}
	}
	slices.Sort(deleted)
	slices.Sort(failed)
	if len(failed) == 0 {
		fmt.Fprintf(t.env.Out, "Deletion of requested consumer groups (%s) was successful.\n", strings.Join(deleted, ", "))
		return
	}
	printGroupError(t.env, "Deletion of some consumer groups failed:")
	for _, id := range failed {
		fmt.Fprintf(t.env.Out, "* Group '%s' could not be deleted due to: %s\n", id, exception(results[id]))
	}
	if len(deleted) > 0 {
		fmt.Fprintf(t.env.Out, "\nThese consumer groups were deleted successfully: %s\n", strings.Join(deleted, ", "))
	}
}

// deleteOffsets forgets a group's positions in partitions.
func (t *groupTool) deleteOffsets(ctx context.Context) error {
	group := t.v.Get("group")
	results := map[kafka.TopicPartition]error{}
	var wanted []kafka.TopicPartition
	for _, word := range t.v.All("topic") {
		if strings.Contains(word, ":") {
			listed, err := parsePartitions(word)
			if err != nil {
				return err
			}
			wanted = append(wanted, listed...)
			continue
		}
		asking, cancel := t.bounded(ctx)
		leaders, err := topicLeaders(asking, t.c, []string{word})
		cancel()
		if err != nil {
			results[kafka.TopicPartition{Topic: word, Partition: -1}] = err
		}
		wanted = append(wanted, sortedPartitions(leaders)...)
	}
	slices.SortFunc(wanted, comparePartitions)
	wanted = slices.Compact(wanted)

	asking, cancel := t.bounded(ctx)
	defer cancel()
	answers, err := requestOffsetDelete(asking, t.c, group, wanted)
	first := err // the first failure stands for the whole
	for _, tp := range wanted {
		a, ok := answers[tp]
		if !ok {
			a = errors.New("the broker did not answer for this partition")
		}
		results[tp] = firstError(err, a)
		first = firstError(first, results[tp])
	}
	t.printOffsetsDeleted(group, first, results)
	return nil
}

func requestOffsetDelete(ctx context.Context, c *cluster, group string, partitions []kafka.TopicPartition) (map[kafka.TopicPartition]error, error) {
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = group
	for i, tp := range partitions {
		if i == 0 || partitions[i-1].Topic != tp.Topic {
			topic := kmsg.NewOffsetDeleteRequestTopic()
			topic.Topic = tp.Topic
			req.Topics = append(req.Topics, topic)
		}
		topic := &req.Topics[len(req.Topics)-1]
		topic.Partitions = append(topic.Partitions, kmsg.OffsetDeleteRequestTopicPartition{Partition: tp.Partition})
	}
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := withMessage(resp.ErrorCode, nil); err != nil {
		return nil, err
	}
	out := map[kafka.TopicPartition]error{}
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			out[kafka.TopicPartition{Topic: topic.Topic, Partition: p.Partition}] = withMessage(p.ErrorCode, nil)
		}
	}
	return out, nil
}

func (t *groupTool) printOffsetsDeleted(group string, first error, results map[kafka.TopicPartition]error) {
	is := func(codes ...error) bool {
		return slices.ContainsFunc(codes, func(code error) bool { return errors.Is(first, code) })
	}
	var ke *kerr.Error
	switch {
	case first == nil:
		fmt.Fprintf(t.env.Out, "Request succeeded for deleting offsets from group %s.\n", group)
	case is(kerr.InvalidGroupID, kerr.GroupIDNotFound, kerr.GroupAuthorizationFailed, kerr.NonEmptyGroup):
		printGroupError(t.env, reason(first))
	case is(kerr.GroupSubscribedToTopic, kerr.TopicAuthorizationFailed, kerr.UnknownTopicOrPartition):
		printGroupError(t.env, "Encountered some partition-level error, see the follow-up details.")
	case errors.As(first, &ke):
		printGroupError(t.env, "Encountered some unknown error: "+ke.Message)
	default:
		printGroupError(t.env, "Encountered some unknown error: UNKNOWN_SERVER_ERROR")
	}
	width := 15
	for tp := range results {
		width = max(width, len(tp.Topic))
	}
	// By topic and partition run together as text: 10 comes before 2.
	key := func(tp kafka.TopicPartition) string { return tp.Topic + strconv.Itoa(int(tp.Partition)) }
	order := sortedPartitions(results)
	slices.SortFunc(order, func(a, b kafka.TopicPartition) int { return strings.Compare(key(a), key(b)) })
	line := func(topic, partition, status string) {
		fmt.Fprintf(t.env.Out, "\n%-*s %-10s %-15s", width, topic, partition, status)
	}
	line("TOPIC", "PARTITION", "STATUS")
	for _, tp := range order {
		partition, status := absent, "Successful"
		if tp.Partition >= 0 {
			partition = strconv.Itoa(int(tp.Partition))
		}
		if err := results[tp]; err != nil {
			status = "Error: " + exception(err)
		}
		line(tp.Topic, partition, status)
	}
	fmt.Fprintln(t.env.Out)
}
