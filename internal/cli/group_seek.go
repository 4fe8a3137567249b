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

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

// seekTarget is where to: an offset, or the offset of a timestamp of ListOffsets.
type seekTarget struct {
	offset int64
	stamp  int64
	byTime bool
}

func parseSeekTarget(text string, now time.Time) (seekTarget, error) {
	switch text {
	case "earliest", "latest":
		return seekTarget{stamp: offsetTimes[text], byTime: true}, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		return seekTarget{offset: n}, nil
	}
	wrong := fmt.Errorf("--to is %q; it can be earliest, latest, an offset, a time such as 2006-01-02T15:04:05Z, @milliseconds or an age such as -2h or -7d", text)
	if age, ok := strings.CutPrefix(text, "-"); ok {
		d, err := parseAge(age)
		if err != nil {
			return seekTarget{}, wrong
		}
		return seekTarget{stamp: max(0, now.Add(-d).UnixMilli()), byTime: true}, nil
	}
	if _, err := time.ParseDuration(text); err == nil {
		return seekTarget{}, wrong // 2h without a sign could mean either way
	}
	ms, err := parseTime(strings.TrimPrefix(text, "@"), now)
	if err != nil || ms < 0 {
		return seekTarget{}, wrong
	}
	return seekTarget{stamp: ms, byTime: true}, nil
}

// parseAge reads a duration that may begin with days: 7d, 1d12h, 90m.
func parseAge(text string) (time.Duration, error) {
	total := time.Duration(0)
	if days, rest, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, err
		}
		total = time.Duration(n) * 24 * time.Hour
		if text = rest; text == "" {
			return total, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = errors.New("the age is negative")
	}
	return total + d, err
}

func groupSeek(ctx context.Context, env *Env, c *cluster, v *opt.Values) error {
	id := v.Rest[0]
	target, err := parseSeekTarget(v.Get("to"), time.Now())
	if err != nil {
		return err
	}
	g, err := describeOne(ctx, c, id)
	switch {
	case errors.Is(err, kerr.GroupIDNotFound) && v.Has("topic"):
		g = &describedGroup{id: id, state: stateEmpty} // the commit makes it
	case errors.Is(err, kerr.GroupIDNotFound):
		return fmt.Errorf("the group %s does not exist; name topics with --topic to make it", id)
	case err != nil:
		return err
	}
	if v.Has("execute") && len(g.members) > 0 {
		return inUse(g)
	}
	committed, err := committedOffsets(ctx, c, id)
	if err != nil {
		return err
	}
	scope := sortedPartitions(committed)
	if v.Has("topic") {
		if scope, err = parseScope(ctx, c, v.All("topic")); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(v.All("topic"), ", "), err)
		}
	}
	if len(scope) == 0 {
		return fmt.Errorf("the group %s has no position anywhere; name topics with --topic", id)
	}
	moves, err := planSeek(ctx, c, scope, target)
	if err != nil {
		return err
	}
	if v.Has("execute") {
		if err := commitOffsets(ctx, c, id, offsetsAfter(moves)); err != nil {
			return notMoved(ctx, c, id, err)
		}
	}
	if err := printMoves(env, moves, committed); err != nil {
		return err
	}
	switch {
	case v.Has("execute"):
		fmt.Fprintf(env.Err, "Moved %s in %s.\n", id, countOf(len(moves), "partition"))
	case len(g.members) > 0:
		fmt.Fprintf(env.Err, "Nothing was changed, and nothing can be now: %v\n", inUse(g))
	default:
		fmt.Fprintln(env.Err, "Nothing was changed. Add --execute to do it.")
	}
	return nil
}

// inUse says who holds a group and what can be done about that.
func inUse(g *describedGroup) error {
	var b strings.Builder
	fmt.Fprintf(&b, "the group %s is in use (%s) by %s, which would overwrite its positions:\n", g.id, g.state, countOf(len(g.members), "member"))
	for _, m := range g.members {
		fmt.Fprintf(&b, "  %s  client %s  host %s  holds %s\n", m.id, m.client, m.host, assignmentText(m.assigned))
	}
	b.WriteString("Stop these consumers, wait until \"gregor group list\" shows the group as Empty, and run this again.")
	return errors.New(b.String())
}

// notMoved explains a commit that was refused: a member may have joined meanwhile.
func notMoved(ctx context.Context, c *cluster, id string, err error) error {
	joined := []error{kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.StaleMemberEpoch, kerr.RebalanceInProgress}
	if slices.ContainsFunc(joined, func(code error) bool { return errors.Is(err, code) }) {
		if g, derr := describeOne(ctx, c, id); derr == nil && len(g.members) > 0 {
			return inUse(g)
		}
	}
	return fmt.Errorf("committing the new positions of %s: %w", id, err)
}

// move is where a partition is to go, within its log.
type move struct {
	kafka.TopicPartition
	after, end int64
	note       string
}

func offsetsAfter(moves []move) newOffsets {
	plan := newOffsets{}
	for _, m := range moves {
		plan[m.TopicPartition] = m.after
	}
	return plan
}

func planSeek(ctx context.Context, c *cluster, scope []kafka.TopicPartition, target seekTarget) ([]move, error) {
	starts := listOffsets(ctx, c, scope, offsetTimes["earliest"])
	ends := listOffsets(ctx, c, scope, offsetTimes["latest"])
	wanted := map[kafka.TopicPartition]listedOffset{}
	if target.byTime {
		wanted = listOffsets(ctx, c, scope, target.stamp)
	}
	var moves []move
	for _, tp := range scope {
		start, end, at := starts[tp], ends[tp], listedOffset{offset: target.offset}
		if target.byTime {
			at = wanted[tp]
		}
		if err := firstError(start.err, end.err, at.err); err != nil {
			return nil, fmt.Errorf("%s: %s", tp, reason(err))
		}
		m := move{TopicPartition: tp, after: at.offset, end: end.offset}
		switch {
		case target.byTime && at.offset < 0:
			m.after, m.note = end.offset, "no record since; to the end"
		case at.offset > end.offset:
			m.after, m.note = end.offset, "the log ends here"
		case at.offset < start.offset:
			m.after, m.note = start.offset, "the log begins here"
		}
		moves = append(moves, m)
	}
	return moves, nil
}

func printMoves(env *Env, moves []move, committed map[kafka.TopicPartition]committedOffset) error {
	w := tableOf(env, "TOPIC", "PARTITION", "BEFORE", "AFTER", "CHANGE", "LAG AFTER", "NOTE")
	for _, m := range moves {
		before, change := absent, absent
		if o, ok := committed[m.TopicPartition]; ok {
			before, change = strconv.FormatInt(o.offset, 10), fmt.Sprintf("%+d", m.after-o.offset)
		}
		row(w, m.Topic, strconv.Itoa(int(m.Partition)), before, strconv.FormatInt(m.after, 10), change, strconv.FormatInt(m.end-m.after, 10), orDefault(m.note, absent))
	}
	return w.Flush()
}
