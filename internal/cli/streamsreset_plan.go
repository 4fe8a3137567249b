package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// target is where the command line wants the offsets of partitions.
func (t *streamsTool) target(ctx context.Context, partitions []kafka.TopicPartition) (newOffsets, error) {
	switch {
	case t.v.Has("to-offset"):
		at, err := t.number("to-offset")
		if err != nil {
			return nil, err
		}
		plan := newOffsets{}
		for _, tp := range partitions {
			plan[tp] = at
		}
		return t.withinLog(ctx, partitions, plan, len(partitions))
	case t.v.Has("to-latest"):
		return t.offsetsAt(ctx, partitions, offsetTimes["latest"])
	case t.v.Has("shift-by"):
		by, err := t.number("shift-by")
		if err != nil {
			return nil, err
		}
		plan, err := t.positions(ctx, partitions)
		if err != nil {
			return nil, err
		}
		for tp := range plan {
			plan[tp] += by
		}
		return t.withinLog(ctx, partitions, plan, len(partitions))
	case t.v.Has("to-datetime"):
		ms, err := parseJavaDateTime(t.v.Get("to-datetime"))
		if err != nil {
			return nil, t.refused(fmt.Errorf("java.text.ParseException: %w", err))
		}
		return t.sinceTime(ctx, partitions, ms)
	case t.v.Has("by-duration"):
		ms, err := parseJavaDuration(t.v.Get("by-duration"))
		if err != nil {
			return nil, fmt.Errorf("java.time.format.DateTimeParseException: %w", err)
		}
		return t.sinceTime(ctx, partitions, time.Now().UnixMilli()-ms)
	case t.v.Has("from-file"):
		return t.fromFile(ctx, partitions)
	}
	return t.offsetsAt(ctx, partitions, offsetTimes["earliest"])
}

func (t *streamsTool) number(option string) (int64, error) {
	n, err := strconv.ParseInt(t.v.Get(option), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("joptsimple.OptionArgumentConversionException: Cannot parse argument '%s' of option %s", t.v.Get(option), option)
	}
	return n, nil
}

// refused is a target that cannot be read, which the tool says twice.
func (t *streamsTool) refused(err error) error {
	fmt.Fprintln(t.env.Err, "ERROR: Resetting offsets failed.")
	return err
}

// offsetsAt are the offsets of a timestamp; the failure of one partition fails all.
func (t *streamsTool) offsetsAt(ctx context.Context, partitions []kafka.TopicPartition, stamp int64) (newOffsets, error) {
	out := newOffsets{}
	if len(partitions) == 0 {
		return out, nil
	}
	ctx, cancel := within(ctx)
	defer cancel()
	for tp, o := range listOffsets(ctx, t.c, partitions, stamp) {
		if o.err != nil {
			return nil, errors.New(exception(o.err))
		}
		out[tp] = o.offset
	}
	return out, nil
}

// withinLog moves offsets to the nearest end of partitions where they lie outside.
// capacity is that of the hash table in whose order the tool tells it.
func (t *streamsTool) withinLog(ctx context.Context, partitions []kafka.TopicPartition, plan newOffsets, capacity int) (newOffsets, error) {
	first, err := t.offsetsAt(ctx, partitions, offsetTimes["earliest"])
	if err != nil {
		return nil, err
	}
	ends, err := t.offsetsAt(ctx, partitions, offsetTimes["latest"])
	if err != nil {
		return nil, err
	}
	out := newOffsets{}
	for _, tp := range javaOrder(sortedPartitions(plan), capacity, javaPartitionHash) {
		at := plan[tp]
		end, ok := ends[tp]
		switch {
		case !ok:
			return nil, fmt.Errorf("java.lang.NullPointerException: %s is not one of the input partitions", tp)
		case at >= end:
			t.printf("New offset (%d) is higher than latest offset. Value will be set to %d", at, end)
			out[tp] = end
		case at > first[tp]:
			out[tp] = at
		default:
			t.printf("New offset (%d) is lower than earliest offset. Value will be set to %d", at, first[tp])
			out[tp] = first[tp]
		}
	}
	return out, nil
}

// positions are where the group stands: at its committed offset, or where
// auto.offset.reset lets a consumer begin.
func (t *streamsTool) positions(ctx context.Context, partitions []kafka.TopicPartition) (newOffsets, error) {
	committed, err := committedOffsets(ctx, t.c, t.app)
	if err != nil {
		return nil, errors.New(exception(err))
	}
	out := newOffsets{}
	var without []kafka.TopicPartition
	for _, tp := range partitions {
		if o, ok := committed[tp]; ok {
			out[tp] = o.offset
			continue
		}
		without = append(without, tp)
	}
	if len(without) == 0 {
		return out, nil
	}
	reset := orDefault(t.props["auto.offset.reset"], "latest")
	stamp, ok := offsetTimes[reset]
	if !ok || reset != "latest" && reset != "earliest" {
		return nil, fmt.Errorf("org.apache.kafka.clients.consumer.NoOffsetForPartitionException: Undefined offset with no reset policy for partitions: %v", without)
	}
	start, err := t.offsetsAt(ctx, without, stamp)
	for tp, at := range start {
		out[tp] = at
	}
	return out, err
}

// sinceTime are the first offsets at or after a time, and the ends of partitions that
// have no record since.
func (t *streamsTool) sinceTime(ctx context.Context, partitions []kafka.TopicPartition, ms int64) (newOffsets, error) {
	if ms < 0 {
		return nil, fmt.Errorf("java.lang.IllegalArgumentException: The target time for partition %s is %d. The target time cannot be negative.", partitions[0], ms)
	}
	plan, err := t.offsetsAt(ctx, partitions, ms)
	if err != nil {
		return nil, err
	}
	var without []kafka.TopicPartition
	for _, tp := range partitions {
		if plan[tp] < 0 {
			t.printf("Partition %d from topic %s is empty, without a committed record. Falling back to latest known offset.", tp.Partition, tp.Topic)
			without = append(without, tp)
		}
	}
	ends, err := t.offsetsAt(ctx, without, offsetTimes["latest"])
	for tp, end := range ends {
		plan[tp] = end
	}
	return plan, err
}

// fromFile are the offsets of a file of lines TOPIC,PARTITION,OFFSET.
func (t *streamsTool) fromFile(ctx context.Context, partitions []kafka.TopicPartition) (newOffsets, error) {
	path := t.v.Get("from-file")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, t.refused(fmt.Errorf("java.nio.file.NoSuchFileException: %s", path))
	}
	if err != nil {
		return nil, t.refused(fmt.Errorf("java.io.IOException: %w", err))
	}
	if len(text) == 0 {
		return nil, t.refused(errors.New("java.text.ParseException: Error parsing reset plan CSV file. It is empty,"))
	}
	plan := newOffsets{}
	for line := range strings.SplitSeq(strings.TrimRight(string(text), "\n"), "\n") {
		fields := strings.Split(strings.TrimRight(line, ","), ",")
		if len(fields) != 3 {
			return nil, t.refused(errors.New("java.text.ParseException: Reset plan CSV file is not following the format `TOPIC,PARTITION,OFFSET`."))
		}
		partition, err := strconv.ParseInt(fields[1], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("java.lang.NumberFormatException: For input string: %q", fields[1])
		}
		at, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("java.lang.NumberFormatException: For input string: %q", fields[2])
		}
		plan[kafka.TopicPartition{Topic: fields[0], Partition: int32(partition)}] = at
	}
	return t.withinLog(ctx, partitions, plan, javaCapacity)
}

// leaveReason is what the tool tells the coordinator.
const leaveReason = "member was removed by an admin"

// removeMembers has the coordinator remove all members of a group.
func removeMembers(ctx context.Context, c *cluster, g *describedGroup) error {
	why := leaveReason
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = g.id
	for _, m := range g.members {
		leave := kmsg.NewLeaveGroupRequestMember()
		leave.Reason = &why
		if m.instance != "" {
			leave.InstanceID = kmsg.StringPtr(m.instance)
		} else {
			leave.MemberID = m.id
		}
		req.Members = append(req.Members, leave)
	}
	resp, err := req.RequestWith(ctx, c)
	if err == nil {
		err = withMessage(resp.ErrorCode, nil)
	}
	if err != nil {
		return err
	}
	for _, m := range resp.Members {
		if err := kerr.ErrorForCode(m.ErrorCode); err != nil {
			return fmt.Errorf("Encounter exception when trying to remove a member of the group: %w", messageOr(err, ""))
		}
	}
	return nil
}
