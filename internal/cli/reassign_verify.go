package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/placement"
)

func (r *reassigning) list(ctx context.Context) error {
	if err := r.c.await(ctx); err != nil {
		return err
	}
	active, err := r.c.reassignmentsUnderWay(ctx, nil)
	if err != nil {
		return err
	}
	if len(active) == 0 {
		fmt.Fprintln(r.env.Out, "No partition reassignments found.")
		return nil
	}
	fmt.Fprintln(r.env.Out, "Current partition reassignments:")
	for _, tp := range active.sorted() {
		p := active[tp]
		line := fmt.Sprintf("%s: replicas: %s.", tp, joinIDs(p.Replicas))
		if len(p.AddingReplicas) > 0 {
			line += fmt.Sprintf(" adding: %s.", joinIDs(p.AddingReplicas))
		}
		if len(p.RemovingReplicas) > 0 {
			line += fmt.Sprintf(" removing: %s.", joinIDs(p.RemovingReplicas))
		}
		fmt.Fprintln(r.env.Out, line)
	}
	return nil
}

func (r *reassigning) verify(ctx context.Context) error {
	wanted, err := r.wanted()
	if err == nil {
		err = r.c.await(ctx)
	}
	if err != nil {
		return err
	}
	active, err := r.c.reassignmentsUnderWay(ctx, nil)
	if err != nil {
		return err
	}
	if err := r.verifyPartitions(ctx, wanted, active); err != nil {
		return err
	}
	moving, err := r.verifyMoves(ctx, wanted)
	if err != nil || moving || len(active) > 0 || r.v.Has("preserve-throttles") {
		return err
	}
	return r.clearThrottles(ctx, wanted)
}

// verifyPartitions prints how far the partitions of the file are.
func (r *reassigning) verifyPartitions(ctx context.Context, wanted *reassignment, active underWay) error {
	there, err := r.c.replicasOf(ctx, wanted.topics())
	if err != nil {
		return err
	}
	targets := map[kafka.TopicPartition][]int32{}
	for _, a := range wanted.parts {
		targets[a.TopicPartition] = a.replicas
	}
	fmt.Fprintln(r.env.Out, "Status of partition reassignment:")
	for _, tp := range wanted.partitions() {
		if _, going := active[tp]; going {
			fmt.Fprintf(r.env.Out, "Reassignment of partition %s is still in progress.\n", tp)
			continue
		}
		now, _ := there.get(tp)
		if slices.Equal(now.replicas, targets[tp]) {
			fmt.Fprintf(r.env.Out, "Reassignment of partition %s is completed.\n", tp)
			continue
		}
		fmt.Fprintf(r.env.Out, "There is no active reassignment of partition %s, but replica set is %s rather than %s.\n", tp, joinIDs(now.replicas), joinIDs(targets[tp]))
	}
	return nil
}

// verifyMoves prints how far the moves between directories are, and says whether any is
// under way or not to be found.
func (r *reassigning) verifyMoves(ctx context.Context, wanted *reassignment) (unfinished bool, err error) {
	replicas := slices.SortedFunc(maps.Keys(wanted.dirs), compareReplicas)
	at, err := r.c.replicaDirs(ctx, replicas)
	if err != nil {
		return false, err
	}
	var lines []string
	for _, replica := range replicas {
		d, target := at[replica], wanted.dirs[replica]
		var line string
		switch {
		case d.current == "":
			unfinished = true
			line = fmt.Sprintf("Partition %s is not found in any live log dir on broker %d. There is likely an offline log directory on the broker.", replica.TopicPartition, replica.broker)
		case d.future == target:
			line, unfinished = fmt.Sprintf("Reassignment of replica %s is still in progress.", replica), true
		case d.future != "":
			line, unfinished = fmt.Sprintf("Partition %s on broker %d is being moved to log dir %s instead of %s.", replica.TopicPartition, replica.broker, d.future, target), true
		case d.current == target:
			line = fmt.Sprintf("Reassignment of replica %s completed successfully.", replica)
		default:
			line = fmt.Sprintf("Partition %s on broker %d is not being moved from log dir %s to %s.", replica.TopicPartition, replica.broker, d.current, target)
		}
		lines = append(lines, line)
	}
	fmt.Fprintln(r.env.Out, strings.Join(lines, "\n"))
	return unfinished, nil
}

func (r *reassigning) generate(ctx context.Context) error {
	text, err := readText(r.v.Get("topics-to-move-json-file"))
	if err != nil {
		return err
	}
	var ids []int32
	for _, word := range strings.Split(r.v.Get("broker-list"), ",") {
		id, err := strconv.ParseInt(word, 10, 32)
		if err != nil {
			return fmt.Errorf("For input string: \"%s\"", word)
		}
		ids = append(ids, int32(id))
	}
	if twice := repeated(ids); len(twice) > 0 {
		return fmt.Errorf("Broker list contains duplicate entries: %s", javaIDs(twice))
	}
	topics, err := parseTopicsToMove(text)
	if err != nil {
		return err
	}
	if twice := repeated(topics); len(twice) > 0 {
		return fmt.Errorf("List of topics to reassign contains duplicate entries: [%s]", strings.Join(twice, ", "))
	}
	if err := r.c.await(ctx); err != nil {
		return err
	}
	there, err := r.c.replicasOf(ctx, topics)
	if err != nil {
		return err
	}
	var parts []assignment
	var live []partitionReplica
	for _, name := range topics {
		if there.parts[name] == nil {
			return topicNotFound(name)
		}
		for i, replicas := range there.parts[name] {
			a := assignment{kafka.TopicPartition{Topic: name, Partition: int32(i)}, replicas}
			parts, live = append(parts, a), append(live, there.live(a)...)
		}
	}
	now, err := r.locations(ctx, parts, live)
	if err != nil {
		return err
	}
	brokers, err := r.usable(ctx, ids)
	if err != nil {
		return err
	}
	proposed, err := propose(topics, parts, brokers)
	if err != nil {
		return err
	}
	plan, err := reassignmentJSON(proposed, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.env.Out, "Current partition replica assignment\n%s\n\nProposed partition reassignment configuration\n%s\n", now, plan)
	return nil
}

// usable are the given brokers, those that are alive. Racks count only when all of them
// have one.
func (r *reassigning) usable(ctx context.Context, ids []int32) ([]placement.Broker, error) {
	n, err := r.c.describe(ctx)
	if err != nil {
		return nil, err
	}
	aware, rackless := !r.v.Has("disable-rack-aware"), 0
	var out []placement.Broker
	for _, b := range n.nodes {
		if !slices.Contains(ids, b.NodeID) {
			continue
		}
		broker := placement.Broker{ID: b.NodeID}
		if aware {
			broker.Rack = b.Rack
		}
		if broker.Rack == nil {
			rackless++
		}
		out = append(out, broker)
	}
	if aware && rackless > 0 && rackless < len(out) {
		return nil, errors.New("Not all brokers have rack information. Add --disable-rack-aware in command line to make replica assignment without rack information.")
	}
	return out, nil
}

// propose places the partitions of topics anew. All of a topic get as many replicas as
// the one has that Kafka's tool comes by first.
func propose(topics []string, now []assignment, brokers []placement.Broker) ([]assignment, error) {
	now = javaOrder(now, javaCapacity, func(a assignment) int32 { return javaPartitionHash(a.TopicPartition) })
	var out []assignment
	for _, name := range topics {
		parts := slices.DeleteFunc(slices.Clone(now), func(a assignment) bool { return a.Topic != name })
		if len(parts) == 0 {
			continue
		}
		p, factor := placement.New(brokers, rand.New(rand.NewSource(rand.Int63()))), len(parts[0].replicas)
		if err := p.Check(factor); err != nil {
			return nil, err
		}
		for i := range parts {
			out = append(out, assignment{kafka.TopicPartition{Topic: name, Partition: int32(i)}, p.Place(factor)})
		}
	}
	return out, nil
}
