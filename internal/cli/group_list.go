package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

// tableOf makes columns that are as wide as they need to be. Flush it.
func tableOf(env *Env, columns ...string) *tabwriter.Writer {
	w := tabwriter.NewWriter(env.Out, 0, 0, 2, ' ', 0)
	row(w, columns...)
	return w
}

func row(w *tabwriter.Writer, cells ...string) { fmt.Fprintln(w, strings.Join(cells, "\t")) }

// groupList prints the groups with the sum of their lag; a + behind it says that the
// end of some partition is not known.
func groupList(ctx context.Context, env *Env, c *cluster, v *opt.Values) error {
	var states []string
	for _, given := range v.All("state") {
		state := canonical(given, groupStates)
		if state == stateUnknown {
			return fmt.Errorf("there is no state %q; there are %s", given, strings.Join(groupStates[1:], ", "))
		}
		states = append(states, state)
	}
	bar := &statusLine{env: env}
	defer bar.end()
	bar.show("asking the brokers for their groups")
	listed, err := listConsumerGroups(ctx, c, nil, states)
	if err != nil {
		return err
	}
	ids := make([]string, len(listed))
	for i, g := range listed {
		ids[i] = g.id
	}
	bar.show("describing %d groups", len(ids))
	described := describeGroups(ctx, c, ids)
	committed, err := allCommitted(ctx, c, ids)
	if err != nil {
		return err
	}
	union := map[kafka.TopicPartition]bool{}
	for _, offsets := range committed {
		for tp := range offsets {
			union[tp] = true
		}
	}
	bar.show("finding the ends of %d partitions", len(union))
	ends := map[kafka.TopicPartition]listedOffset{}
	if len(union) > 0 {
		ends = listOffsets(ctx, c, sortedPartitions(union), offsetTimes["latest"])
	}
	bar.end()
	w := tableOf(env, "GROUP", "PROTOCOL", "STATE", "MEMBERS", "LAG")
	for _, l := range listed {
		state, members := l.state, absent
		// A group that went away in between keeps what the list said.
		if g := described[l.id]; g.err == nil {
			state, members = g.state, strconv.Itoa(len(g.members))
		}
		row(w, l.id, strings.ToLower(orDefault(l.typ, stateUnknown)), orDefault(state, stateUnknown), members, totalLag(committed[l.id], ends))
	}
	return w.Flush()
}

func totalLag(committed map[kafka.TopicPartition]int64, ends map[kafka.TopicPartition]listedOffset) string {
	sum, known, more := int64(0), false, ""
	for tp, at := range committed {
		if end := ends[tp]; end.err != nil || end.offset < 0 {
			more = "+"
		} else {
			sum, known = sum+max(0, end.offset-at), true
		}
	}
	if !known {
		return absent
	}
	return strconv.FormatInt(sum, 10) + more
}

// allCommitted are the positions of many groups. Groups and partitions that cannot
// be read are left out.
func allCommitted(ctx context.Context, c *cluster, ids []string) (map[string]map[kafka.TopicPartition]int64, error) {
	const atOnce = 500 // groups in one request
	out := map[string]map[kafka.TopicPartition]int64{}
	for some := range slices.Chunk(ids, atOnce) {
		req := kmsg.NewPtrOffsetFetchRequest()
		for _, id := range some {
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group = id
			req.Groups = append(req.Groups, g)
		}
		for _, shard := range c.RequestSharded(ctx, req) {
			if shard.Err != nil {
				return nil, shard.Err
			}
			for _, g := range shard.Resp.(*kmsg.OffsetFetchResponse).Groups {
				offsets := map[kafka.TopicPartition]int64{}
				for _, t := range g.Topics {
					for _, p := range t.Partitions {
						if p.ErrorCode == 0 && p.Offset >= 0 {
							offsets[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = p.Offset
						}
					}
				}
				out[g.Group] = offsets
			}
		}
	}
	return out, nil
}
