package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

const (
	leaderRate       = "leader.replication.throttled.rate"
	followerRate     = "follower.replication.throttled.rate"
	dirRate          = "replica.alter.log.dirs.io.max.bytes.per.second"
	leaderReplicas   = "leader.replication.throttled.replicas"
	followerReplicas = "follower.replication.throttled.replicas"
)

// copying is from which brokers a partition is read during a reassignment, and which it
// goes to.
type copying struct{ sources, destinations []int32 }

// moves are all that move: what is under way and what this call asks for. A partition
// that moves already keeps its sources.
func moves(active underWay, wanted []assignment, now map[kafka.TopicPartition][]int32) map[kafka.TopicPartition]copying {
	out := map[kafka.TopicPartition]copying{}
	for tp, p := range active {
		out[tp] = copying{minusIDs(p.Replicas, p.AddingReplicas), p.AddingReplicas}
	}
	for _, a := range wanted {
		sources := now[a.TopicPartition]
		if m, ok := out[a.TopicPartition]; ok {
			sources = m.sources
		}
		out[a.TopicPartition] = copying{sources, minusIDs(a.replicas, sources)}
	}
	return out
}

// minusIDs is a without the elements of b.
func minusIDs(a, b []int32) []int32 {
	return slices.DeleteFunc(slices.Clone(a), func(id int32) bool { return slices.Contains(b, id) })
}

// throttledReplicas is the list of "partition:broker" of each topic, by which a topic
// names the replicas whose copying is throttled.
func throttledReplicas(all map[kafka.TopicPartition]copying, side func(copying) []int32) map[string]string {
	items := map[string][]string{}
	for tp, m := range all {
		if items[tp.Topic] == nil {
			items[tp.Topic] = []string{} // a topic without any gets an empty list
		}
		for _, id := range side(m) {
			items[tp.Topic] = append(items[tp.Topic], fmt.Sprintf("%d:%d", tp.Partition, id))
		}
	}
	out := map[string]string{}
	for topic, list := range items {
		slices.Sort(list)
		out[topic] = strings.Join(slices.Compact(list), ",")
	}
	return out
}

// throttleMoves names the moving replicas in their topics' configs and sets the rate of
// every broker that takes part.
func (r *reassigning) throttleMoves(ctx context.Context, all map[kafka.TopicPartition]copying, rate int64) error {
	topics, brokers := map[string][]configEdit{}, map[string][]configEdit{}
	for topic, list := range throttledReplicas(all, func(m copying) []int32 { return m.sources }) {
		topics[topic] = append(topics[topic], configEdit{leaderReplicas, &list})
	}
	for topic, list := range throttledReplicas(all, func(m copying) []int32 { return minusIDs(m.destinations, m.sources) }) {
		topics[topic] = append(topics[topic], configEdit{followerReplicas, &list})
	}
	text := strconv.FormatInt(rate, 10)
	for _, m := range all {
		for _, id := range slices.Concat(m.sources, m.destinations) {
			brokers[strconv.Itoa(int(id))] = []configEdit{{leaderRate, &text}, {followerRate, &text}}
		}
	}
	if err := r.c.editConfigs(ctx, kmsg.ConfigResourceTypeTopic, topics); err != nil {
		return err
	}
	if err := r.c.editConfigs(ctx, kmsg.ConfigResourceTypeBroker, brokers); err != nil {
		return err
	}
	fmt.Fprintf(r.env.Out, "The inter-broker throttle limit was set to %d B/s\n", rate)
	return nil
}

// throttleDirs sets the rate of moves between directories on the brokers that have any.
func (r *reassigning) throttleDirs(ctx context.Context, dirs map[partitionReplica]string, rate int64) error {
	brokers, text := map[string][]configEdit{}, strconv.FormatInt(rate, 10)
	for replica := range dirs {
		brokers[strconv.Itoa(int(replica.broker))] = []configEdit{{dirRate, &text}}
	}
	if err := r.c.editConfigs(ctx, kmsg.ConfigResourceTypeBroker, brokers); err != nil {
		return err
	}
	fmt.Fprintf(r.env.Out, "The replica-alter-dir throttle limit was set to %d B/s\n", rate)
	return nil
}

// clearThrottles removes the throttles of all brokers and of the topics of the file:
// nobody knows any more which brokers took part.
func (r *reassigning) clearThrottles(ctx context.Context, wanted *reassignment) error {
	n, err := r.c.describe(ctx)
	if err != nil {
		return err
	}
	ids := map[int32]bool{}
	for _, id := range n.ids() {
		ids[id] = true
	}
	for _, a := range wanted.parts {
		for _, id := range a.replicas {
			ids[id] = true
		}
	}
	brokers := javaOrder(slices.Sorted(maps.Keys(ids)), javaCapacity, func(id int32) int32 { return id })
	fmt.Fprintf(r.env.Out, "Clearing broker-level throttles on broker%s %s\n", plural(len(brokers)), joinIDs(brokers))
	edits := map[string][]configEdit{}
	for _, id := range brokers {
		edits[strconv.Itoa(int(id))] = []configEdit{{key: leaderRate}, {key: followerRate}, {key: dirRate}}
	}
	if err := r.c.editConfigs(ctx, kmsg.ConfigResourceTypeBroker, edits); err != nil {
		return err
	}
	topics := javaOrder(wanted.topics(), javaCapacity, javaStringHash)
	fmt.Fprintf(r.env.Out, "Clearing topic-level throttles on topic%s %s\n", plural(len(topics)), strings.Join(topics, ","))
	edits = map[string][]configEdit{}
	for _, name := range topics {
		edits[name] = []configEdit{{key: leaderReplicas}, {key: followerReplicas}}
	}
	return r.c.editConfigs(ctx, kmsg.ConfigResourceTypeTopic, edits)
}
