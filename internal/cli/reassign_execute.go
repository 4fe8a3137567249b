package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/gregorhq/gregor/internal/kafka"
)

const (
	reassigningAlready = "Cannot execute because there is an existing partition assignment.  Use --additional to override this and create a new partition assignment in addition to the existing one. The --additional flag can also be used to change the throttle by resubmitting the current reassignment."
	verifyReminder     = "Warning: You must run --verify periodically, until the reassignment completes, to ensure the throttle is removed."
)

// movePause is the time between two tries to begin moves between directories.
const movePause = 100 * time.Millisecond

func (r *reassigning) execute(ctx context.Context) error {
	wanted, err := r.wanted()
	if err == nil {
		err = wanted.checkExecutable()
	}
	if err != nil {
		return err
	}
	rate, err := r.number("throttle")
	if err != nil {
		return err
	}
	rateOfDirs, err := r.number("replica-alter-log-dirs-throttle")
	if err == nil {
		err = r.c.await(ctx)
	}
	if err != nil {
		return err
	}
	active, err := r.c.reassignmentsUnderWay(ctx, nil)
	switch {
	case err != nil:
		return err
	case len(active) > 0 && !r.v.Has("additional"):
		return terse{errors.New(reassigningAlready)}
	}
	now, err := r.current(ctx, wanted)
	if err != nil {
		return err
	}
	if rate >= 0 || rateOfDirs >= 0 {
		fmt.Fprintln(r.env.Out, verifyReminder)
	}
	if rate >= 0 {
		if err := r.throttleMoves(ctx, moves(active, wanted.parts, now), rate); err != nil {
			return err
		}
	}
	if rateOfDirs >= 0 {
		if err := r.throttleDirs(ctx, wanted.dirs, rateOfDirs); err != nil {
			return err
		}
	}
	failed, err := r.c.alterReassignments(ctx, wanted.parts, !r.v.Has("disallow-replication-factor-change"))
	if err != nil {
		return err
	}
	if len(failed) > 0 {
		return terse{fmt.Errorf("Error reassigning partition(s):\n%s", refusals(failed))}
	}
	fmt.Fprintf(r.env.Out, "Successfully started partition reassignment%s for %s\n", plural(len(wanted.parts)), partitionNames(wanted.partitions()))
	return r.moveReplicas(ctx, wanted.dirs)
}

// refusals are a line a partition, by name and index.
func refusals(failed map[kafka.TopicPartition]error) string {
	var lines []string
	for _, tp := range slices.SortedFunc(maps.Keys(failed), comparePartitions) {
		lines = append(lines, fmt.Sprintf("%s: %s", tp, reason(failed[tp])))
	}
	return strings.Join(lines, "\n")
}

// current checks that the brokers and partitions of a reassignment exist, prints where
// the partitions are, and returns it.
func (r *reassigning) current(ctx context.Context, wanted *reassignment) (map[kafka.TopicPartition][]int32, error) {
	n, err := r.c.describe(ctx)
	if err != nil {
		return nil, err
	}
	var ids []int32
	for _, a := range wanted.parts {
		ids = append(ids, a.replicas...)
	}
	slices.Sort(ids)
	for _, id := range javaOrder(slices.Compact(ids), javaCapacity, func(id int32) int32 { return id }) {
		if !n.has(id) {
			return nil, fmt.Errorf("Unknown broker id %d", id)
		}
	}
	there, err := r.c.replicasOf(ctx, wanted.topics())
	if err != nil {
		return nil, err
	}
	for _, name := range wanted.topics() {
		if there.parts[name] == nil {
			return nil, topicNotFound(name)
		}
	}
	var parts []assignment
	var live []partitionReplica
	var missing []string
	now := map[kafka.TopicPartition][]int32{}
	for _, tp := range wanted.partitions() {
		a, ok := there.get(tp)
		if !ok {
			missing = append(missing, tp.String())
			continue
		}
		parts, live = append(parts, a), append(live, there.live(a)...)
		now[tp] = a.replicas
	}
	if len(missing) > 0 {
		return nil, messageOr(kerr.UnknownTopicOrPartition, "Unable to find partition: "+strings.Join(missing, ", "))
	}
	text, err := r.locations(ctx, parts, live)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(r.env.Out, "Current partition replica assignment\n\n%s\n\nSave this to use as the --reassignment-json-file option during rollback\n", text)
	return now, nil
}

func topicNotFound(name string) error {
	return messageOr(kerr.UnknownTopicOrPartition, "Topic "+name+" not found.")
}

// locations is the JSON of partitions as they are, with the directories of the replicas
// whose brokers are alive.
func (r *reassigning) locations(ctx context.Context, parts []assignment, live []partitionReplica) (string, error) {
	at, err := r.c.replicaDirs(ctx, live)
	if err != nil {
		return "", err
	}
	dirs := map[partitionReplica]string{}
	for replica, d := range at {
		if d.current != "" {
			dirs[replica] = d.current
		}
	}
	return reassignmentJSON(parts, dirs)
}

// moveReplicas begins moves between directories. A broker that is yet to get the replica
// refuses until it has it, and is asked again until --timeout.
func (r *reassigning) moveReplicas(ctx context.Context, dirs map[partitionReplica]string) error {
	patience, err := r.number("timeout")
	if err != nil {
		return err
	}
	start := time.Now()
	pending := maps.Clone(dirs)
	for len(pending) > 0 {
		begun, err := r.c.moveDirs(ctx, pending)
		if err != nil {
			return err
		}
		for _, replica := range begun {
			fmt.Fprintf(r.env.Out, "Successfully started moving log directory to %s for replica %s with broker %d \n", pending[replica], replica.TopicPartition, replica.broker)
			delete(pending, replica)
		}
		switch {
		case len(pending) == 0:
			return nil
		case time.Since(start) >= time.Duration(patience)*time.Millisecond:
			var names []string
			for _, replica := range slices.SortedFunc(maps.Keys(pending), compareReplicas) {
				names = append(names, replica.String())
			}
			return terse{fmt.Errorf("Timed out before log directory move%s could be started for: %s", plural(len(pending)), strings.Join(names, ","))}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(movePause):
		}
	}
	return nil
}

func (r *reassigning) cancel(ctx context.Context) error {
	wanted, err := r.wanted()
	if err == nil {
		err = r.c.await(ctx)
	}
	if err != nil {
		return err
	}
	active := underWay{}
	if parts := wanted.partitions(); len(parts) > 0 {
		if active, err = r.c.reassignmentsUnderWay(ctx, parts); err != nil {
			return err
		}
	}
	var back []assignment
	for _, tp := range active.sorted() {
		back = append(back, assignment{TopicPartition: tp})
	}
	if len(back) == 0 {
		fmt.Fprintln(r.env.Out, "None of the specified partition reassignments are active.")
	} else {
		failed, err := r.c.alterReassignments(ctx, back, true)
		switch {
		case err != nil:
			return err
		case len(failed) > 0:
			return terse{fmt.Errorf("Error cancelling partition reassignment%s for:\n%s", plural(len(failed)), refusals(failed))}
		}
		fmt.Fprintf(r.env.Out, "Successfully cancelled partition reassignment%s for: %s\n", plural(len(back)), partitionNames(active.sorted()))
	}
	if err := r.cancelMoves(ctx, wanted); err != nil || r.v.Has("preserve-throttles") {
		return err
	}
	return r.clearThrottles(ctx, wanted)
}

// cancelMoves sends replicas that move between directories back to where they are.
func (r *reassigning) cancelMoves(ctx context.Context, wanted *reassignment) error {
	at, err := r.c.replicaDirs(ctx, slices.Collect(maps.Keys(wanted.dirs)))
	if err != nil {
		return err
	}
	back := map[partitionReplica]string{}
	for replica := range wanted.dirs {
		if d := at[replica]; d.current != "" && d.future != "" {
			back[replica] = d.current
		}
	}
	if len(back) == 0 {
		// Kafka's tool ends this line without a line feed.
		fmt.Fprint(r.env.Out, "None of the specified partition moves are active.")
		return nil
	}
	return r.moveReplicas(ctx, back)
}
