package sim

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// number is an environment variable with a default.
func number(t *testing.T, name string, otherwise int64) int64 {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func plan(seed int64, nodes int, logger *slog.Logger) Plan {
	replicas := strconv.Itoa(min(3, nodes))
	return Plan{
		Seed: seed, Storm: 30 * time.Second, Step: 4 * time.Second, Partitions: 3,
		Options: Options{Nodes: nodes, Logger: logger, Properties: map[string]string{
			"min.insync.replicas": strconv.Itoa(min(2, nodes)), "default.replication.factor": replicas,
			"offsets.topic.num.partitions": "1", "offsets.topic.replication.factor": replicas,
			"transaction.state.log.num.partitions": "1", "transaction.state.log.replication.factor": replicas,
			"transaction.state.log.min.isr": strconv.Itoa(min(2, nodes)), "log.index.interval.bytes": "256",
		}},
	}
}

// progressEvery is how many seeds lie between two lines on standard error.
const progressEvery = 10

// TestSeeds runs GREGOR_SIM_SEEDS seeds from GREGOR_SIM_FIRST on, on clusters of
// GREGOR_SIM_NODES nodes.
func TestSeeds(t *testing.T) {
	first, n, nodes := number(t, "GREGOR_SIM_FIRST", 1), number(t, "GREGOR_SIM_SEEDS", 4), int(number(t, "GREGOR_SIM_NODES", 1))
	var sum Report
	kinds := map[string]int{}
	logger := slog.New(slog.DiscardHandler)
	if name := os.Getenv("GREGOR_SIM_LOG"); name != "" {
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		logger = slog.New(slog.NewTextHandler(f, nil))
	}
	for seed := first; seed < first+n; seed++ {
		var rep *Report
		var err error
		synctest.Test(t, func(t *testing.T) { rep, err = Run(plan(seed, nodes, logger)) })
		if err != nil || len(rep.Faults) > 0 {
			t.Fatalf("seed %d: %v\n%s\nschedule:\n%s\nagain: GREGOR_SIM_FIRST=%d GREGOR_SIM_SEEDS=1 GREGOR_SIM_NODES=%d go test -run TestSeeds ./internal/sim",
				seed, err, strings.Join(rep.Faults, "\n"), rep.Schedule, seed, nodes)
		}
		if done := seed - first + 1; done%progressEvery == 0 {
			fmt.Fprintf(os.Stderr, "%d of %d seeds\n", done, n)
		}
		sum.Acked, sum.Aborted, sum.Unknown = sum.Acked+rep.Acked, sum.Aborted+rep.Aborted, sum.Unknown+rep.Unknown
		sum.Reads, sum.Commits, sum.Virtual = sum.Reads+rep.Reads, sum.Commits+rep.Commits, sum.Virtual+rep.Virtual
		for k, v := range rep.Kinds {
			kinds[k] += v
		}
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		parts = append(parts, fmt.Sprintf("%d x %s", kinds[k], k))
	}
	t.Logf("%d seeds of %d nodes, %v of their time: %d records acknowledged, %d aborted, %d with unknown outcome, %d offsets committed, %d reads; %s; 0 violations",
		n, nodes, sum.Virtual.Round(time.Second), sum.Acked, sum.Aborted, sum.Unknown, sum.Commits, sum.Reads, strings.Join(parts, ", "))
}
