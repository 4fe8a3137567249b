package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	movedTopic = "moved"
	movedParts = int32(20)
	throttle   = 1 << 20  // bytes a second
	preload    = 10 << 20 // bytes of the topic
)

// TestReassignmentUnderLoad moves twenty partitions, with the command, while they are
// written to: in the time that the throttle gives, over the death of the active controller
// and of a broker, and back by a cancellation. Nothing is lost, nothing is there twice, no
// throttle is left.
func TestReassignmentUnderLoad(t *testing.T) {
	// Fetches are small: a throttle is looked at before a fetch, and counts it afterwards.
	// Sessions are long: here only what is dead, not what is slow, should lose its leaders.
	f := newFleet(t, shape{brokers: 5, combined: true, overrides: []string{"replica.fetch.response.max.bytes=131072", "replica.fetch.max.bytes=65536",
		"broker.session.timeout.ms=9000", "replica.lag.time.max.ms=10000", "controller.quorum.election.timeout.ms=1000"}})
	home, away := placements()
	f.place(movedTopic, home)
	f.until(recovery, f.unhealthy)
	cr := newCrash(t, f.seeds()...)
	cr.moving = true
	cr.clients = f.clientLog()
	s := cr.stream(movedTopic, movedParts, 8<<10)
	s.write(context.Background(), preload/int(movedParts)/s.size, time.Millisecond)
	s.size = 100
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var load sync.WaitGroup
	load.Go(func() { s.write(ctx, math.MaxInt, 50*time.Millisecond) })

	took, bytes := f.move(away, throttle, nil)
	says := time.Duration(float64(bytes) / throttle * float64(time.Second))
	ratio := float64(took) / float64(says)
	t.Logf("moved %d bytes to each of two brokers in %v, the throttle says %v: %.2f times", bytes, took.Round(time.Millisecond), says.Round(time.Millisecond), ratio)
	if ratio < 0.9 || ratio > 2 {
		t.Errorf("it took %.2f times what the throttle says", ratio)
	}
	f.move(home, throttle, func() {
		if h := f.active(); h != nil {
			f.kill(h)
			f.start(h)
		}
		f.stillMoving()
		f.kill(f.hosts[4])
		f.start(f.hosts[4])
		f.stillMoving()
	})
	f.cancelled(home, away)

	cancel()
	load.Wait()
	f.until(recovery, f.unhealthy)
	acked := s.verify()
	var out tally
	f.audit(&out)
	t.Logf("%d records acknowledged over three reassignments, longest gap %v; 0 lost, 0 twice; %d bytes of %d partitions identical", acked, s.longest.Round(time.Millisecond), out.bytes, out.partitions)
}

// placements are where the partitions are, and where they go: two of three replicas move.
func placements() (home, away [][]int32) {
	for p := range movedParts {
		a, b, c := 1+p%3, 1+(p+1)%3, 1+(p+2)%3
		home = append(home, []int32{a, b, c})
		away = append(away, []int32{4 + p%2, 5 - p%2, a})
	}
	return home, away
}

// plan writes the file that the command reads.
func (f *fleet) plan(to [][]int32) string {
	f.t.Helper()
	type part struct {
		Topic     string  `json:"topic"`
		Partition int     `json:"partition"`
		Replicas  []int32 `json:"replicas"`
	}
	var parts []part
	for p, r := range to {
		parts = append(parts, part{movedTopic, p, r})
	}
	b, err := json.Marshal(map[string]any{"version": 1, "partitions": parts})
	if err == nil {
		err = os.WriteFile(filepath.Join(f.dir, "plan.json"), b, 0o644)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return filepath.Join(f.dir, "plan.json")
}

// move executes a reassignment and verifies it. It returns how long it took and how many
// bytes the broker with most of them has got.
func (f *fleet) move(to [][]int32, rate int, meanwhile func()) (took time.Duration, bytes int64) {
	f.t.Helper()
	plan := f.plan(to)
	began := time.Now()
	f.tool("kafka-reassign-partitions", "--reassignment-json-file", plan, "--execute", "--throttle", fmt.Sprint(rate))
	if meanwhile != nil {
		meanwhile()
	}
	f.until(time.Minute, func() string {
		if n := f.moving(); n != 0 {
			return fmt.Sprintf("%d partitions are moving", n)
		}
		return ""
	})
	took = time.Since(began)
	for _, h := range f.brokers() {
		sum := int64(0)
		for p, r := range to {
			if slices.Contains(r, h.id) {
				segments, _ := filepath.Glob(filepath.Join(h.data(), fmt.Sprintf("%s-%d", movedTopic, p), "*.log"))
				for _, s := range segments {
					if info, err := os.Stat(s); err == nil {
						sum += info.Size()
					}
				}
			}
		}
		bytes = max(bytes, sum)
	}
	f.until(recovery, f.unhealthy)
	out := f.tool("kafka-reassign-partitions", "--reassignment-json-file", plan, "--verify")
	if got := strings.Count(out, "is completed"); got != int(movedParts) {
		f.t.Errorf("%d of %d partitions are verified:\n%s", got, movedParts, out)
	}
	f.placed(to, slices.Equal[[]int32])
	f.unthrottled()
	return took, bytes
}

// moving counts the partitions of which reassignments are under way, -1 if nobody says.
func (f *fleet) moving() int {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	resp, err := kmsg.NewPtrListPartitionReassignmentsRequest().RequestWith(ctx, f.admin)
	if err != nil || resp.ErrorCode != 0 {
		return -1
	}
	n := 0
	for _, t := range resp.Topics {
		n += len(t.Partitions)
	}
	return n
}

// stillMoving holds that what happened before happened during a reassignment.
func (f *fleet) stillMoving() {
	f.t.Helper()
	n := -1
	f.until(recovery, func() string {
		if n = f.moving(); n < 0 {
			return "nobody says what is moving"
		}
		return ""
	})
	if n == 0 {
		f.t.Error("the reassignment had ended before: nothing was tested")
	}
}

// placed holds the replicas against the plan.
func (f *fleet) placed(want [][]int32, equal func(a, b []int32) bool) {
	f.t.Helper()
	parts, err := f.partitions()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, p := range parts {
		if p.topic == movedTopic && !equal(p.replicas, want[p.number]) {
			f.t.Errorf("%s-%d is on %v, wanted %v", p.topic, p.number, p.replicas, want[p.number])
		}
	}
}

// unthrottled holds that no throttle is left, neither on a broker nor on a topic.
func (f *fleet) unthrottled() {
	f.t.Helper()
	for _, entity := range []string{"brokers", "topics"} {
		if out := f.tool("kafka-configs", "--describe", "--entity-type", entity); strings.Contains(out, "throttled") {
			f.t.Errorf("a throttle is left:\n%s", out)
		}
	}
}

// cancelled begins a reassignment that would take minutes and cancels it.
func (f *fleet) cancelled(home, away [][]int32) {
	f.t.Helper()
	plan := f.plan(away)
	f.tool("kafka-reassign-partitions", "--reassignment-json-file", plan, "--execute", "--throttle", fmt.Sprint(throttle/20))
	f.until(recovery, func() string {
		// Some of it has been copied by the time that it is cancelled.
		segments, _ := filepath.Glob(filepath.Join(f.hosts[3].data(), movedTopic+"-*", "*.log"))
		for _, s := range segments {
			if info, err := os.Stat(s); err == nil && info.Size() > 0 {
				return ""
			}
		}
		return "nothing has been copied"
	})
	f.stillMoving()
	f.tool("kafka-reassign-partitions", "--reassignment-json-file", plan, "--cancel")
	if n := f.moving(); n != 0 {
		f.t.Errorf("after the cancellation %d partitions are moving", n)
	}
	f.until(recovery, f.unhealthy)
	// As in Apache Kafka the replicas that were being removed come back in the order of their ids.
	f.placed(home, func(a, b []int32) bool {
		return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
	})
	f.unthrottled()
}
