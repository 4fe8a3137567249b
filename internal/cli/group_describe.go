package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

// agePatience is how long records are read for their age; a partition that has not
// answered by then shows none.
const agePatience = 10 * time.Second

func groupDescribe(ctx context.Context, env *Env, c *cluster, v *opt.Values) error {
	bar := &statusLine{env: env}
	defer bar.end()
	bar.show("asking the coordinator")
	g, err := describeOne(ctx, c, v.Rest[0])
	if err != nil {
		return err
	}
	committed, err := committedOffsets(ctx, c, g.id)
	if err != nil {
		return err
	}
	owners := map[kafka.TopicPartition]*groupMember{}
	all := map[kafka.TopicPartition]bool{}
	for i := range g.members {
		for _, tp := range g.members[i].assigned {
			owners[tp], all[tp] = &g.members[i], true
		}
	}
	for tp := range committed {
		all[tp] = true
	}
	partitions, err := chooseTopics(sortedPartitions(all), v.All("topic"))
	if err != nil {
		return err
	}
	ends := map[kafka.TopicPartition]listedOffset{}
	if len(partitions) > 0 {
		bar.show("finding the ends of %d partitions", len(partitions))
		ends = listOffsets(ctx, c, partitions, offsetTimes["latest"])
	}
	behind := map[kafka.TopicPartition]int64{}
	lags := map[kafka.TopicPartition]int64{}
	for _, tp := range partitions {
		o, ok := committed[tp]
		if end := ends[tp]; ok && end.err == nil && end.offset >= 0 {
			lags[tp] = max(0, end.offset-o.offset)
			if lags[tp] > 0 {
				behind[tp] = o.offset
			}
		}
	}
	var ages map[kafka.TopicPartition]time.Time
	if !v.Has("no-age") {
		ages = recordTimes(ctx, c, behind, bar)
	}
	bar.end()
	fmt.Fprintln(env.Out, groupHeadline(g))
	return printPositions(env, g, partitions, committed, ends, lags, ages, owners)
}

// groupHeadline is one line about the group as a whole.
func groupHeadline(g *describedGroup) string {
	protocol := "classic protocol"
	if g.consumer {
		protocol = fmt.Sprintf("consumer protocol, epoch %d", g.epoch)
	}
	parts := []string{g.state, protocol, countOf(len(g.members), "member")}
	if g.assignor != "" {
		parts = append(parts, "assignor "+g.assignor)
	}
	return fmt.Sprintf("%s: %s, coordinator %s:%d (id %d)", g.id, strings.Join(parts, ", "), g.coordinator.Host, g.coordinator.Port, g.coordinator.NodeID)
}

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func printPositions(env *Env, g *describedGroup, partitions []kafka.TopicPartition, committed map[kafka.TopicPartition]committedOffset,
	ends map[kafka.TopicPartition]listedOffset, lags map[kafka.TopicPartition]int64, ages map[kafka.TopicPartition]time.Time, owners map[kafka.TopicPartition]*groupMember) error {
	if len(partitions) == 0 {
		fmt.Fprintln(env.Out, "It has no position in these partitions.")
		return nil
	}
	now, total := time.Now(), int64(0)
	w := tableOf(env, "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "AGE", "MEMBER", "HOST")
	for _, tp := range partitions {
		at, end, lag, age, member, host := absent, absent, absent, absent, absent, absent
		if o, ok := committed[tp]; ok {
			at = strconv.FormatInt(o.offset, 10)
		}
		if o := ends[tp]; o.err == nil && o.offset >= 0 {
			end = strconv.FormatInt(o.offset, 10)
		}
		if n, ok := lags[tp]; ok {
			lag = strconv.FormatInt(n, 10)
			total += n
		}
		if t, ok := ages[tp]; ok {
			age = ageText(now.Sub(t))
		}
		if m := owners[tp]; m != nil {
			member, host = m.id, m.host
		}
		row(w, tp.Topic, strconv.Itoa(int(tp.Partition)), at, end, lag, age, member, host)
	}
	if len(partitions) > 1 {
		row(w, "total", "", "", "", strconv.FormatInt(total, 10))
	}
	return w.Flush()
}

// recordTimes are the timestamps of the first records at or after offsets. Records
// that retention has deleted are passed over.
func recordTimes(ctx context.Context, c *cluster, at map[kafka.TopicPartition]int64, bar *statusLine) map[kafka.TopicPartition]time.Time {
	found := map[kafka.TopicPartition]time.Time{}
	if len(at) == 0 {
		return found
	}
	ctx, cancel := context.WithTimeout(ctx, agePatience)
	defer cancel()
	from := map[string]map[int32]kgo.Offset{}
	for tp, offset := range at {
		if from[tp.Topic] == nil {
			from[tp.Topic] = map[int32]kgo.Offset{}
		}
		from[tp.Topic][tp.Partition] = kgo.NewOffset().At(offset)
	}
	c.AddConsumePartitions(from)
	for len(found) < len(at) && ctx.Err() == nil {
		bar.show("reading the oldest unread records: %d of %d partitions", len(found), len(at))
		done := map[string][]int32{}
		c.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			tp := kafka.TopicPartition{Topic: r.Topic, Partition: r.Partition}
			if _, ok := found[tp]; !ok {
				found[tp] = r.Timestamp
				done[r.Topic] = append(done[r.Topic], r.Partition)
			}
		})
		c.RemoveConsumePartitions(done)
	}
	return found
}

// ageText is a duration in its two largest units.
func ageText(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
}
