package sim

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
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

const (
	// progressEvery is how many seeds lie between two lines on standard error.
	progressEvery = 100
	// fewSeeds are run by one process.
	fewSeeds = 8
	// reportMark begins the line in which a worker tells of one seed.
	reportMark = "report "
	// gcPercent is for speed: what a seed allocates is garbage at its end.
	gcPercent = 400
	// stuckAfter is how long a seed may take by the clock of the machine. In a bubble a
	// goroutine that waits for a mutex stops time.
	stuckAfter = 90 * time.Second
)

// campaign is the seeds of a run of TestSeeds.
type campaign struct {
	first, n, step int64
	nodes          int
}

// TestSeeds runs GREGOR_SIM_SEEDS seeds from GREGOR_SIM_FIRST on, on clusters of
// GREGOR_SIM_NODES nodes, in GREGOR_SIM_WORKERS processes.
func TestSeeds(t *testing.T) {
	c := campaign{number(t, "GREGOR_SIM_FIRST", 1), number(t, "GREGOR_SIM_SEEDS", 4), number(t, "GREGOR_SIM_STEP", 1), int(number(t, "GREGOR_SIM_NODES", 1))}
	workers := number(t, "GREGOR_SIM_WORKERS", int64(runtime.NumCPU()))
	began, sum := time.Now(), newTotals()
	if workers > 1 && c.n >= fewSeeds {
		c.share(t, workers, sum)
	} else {
		c.work(t, sum)
	}
	t.Logf("%d seeds of %d nodes, %s; %.2f seeds a second", c.n, c.nodes, sum, float64(sum.Seeds)/time.Since(began).Seconds())
}

// work runs the seeds in this process.
func (c campaign) work(t *testing.T, sum *totals) {
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	debug.SetTraceback("all")
	logger := slog.New(slog.DiscardHandler)
	if name := os.Getenv("GREGOR_SIM_LOG"); name != "" {
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		logger = slog.New(slog.NewTextHandler(f, nil))
	}
	for seed := c.first; seed < c.first+c.n*c.step; seed += c.step {
		var rep *Report
		var err error
		stuck := time.AfterFunc(stuckAfter, func() { panic(fmt.Sprintf("seed %d: stuck for %v", seed, stuckAfter)) })
		synctest.Test(t, func(t *testing.T) { rep, err = Run(Draw(seed, c.nodes, logger)) })
		stuck.Stop()
		if err != nil || len(rep.Faults) > 0 {
			t.Fatalf("seed %d: %v\n%s\nschedule:\n%s\nagain: GREGOR_SIM_FIRST=%d GREGOR_SIM_SEEDS=1 GREGOR_SIM_NODES=%d go test -run TestSeeds ./internal/sim",
				seed, err, strings.Join(rep.Faults, "\n"), rep.Schedule, seed, c.nodes)
		}
		sum.add(newTotals().of(rep))
		if os.Getenv("GREGOR_SIM_REPORT") != "" {
			line, _ := json.Marshal(newTotals().of(rep))
			fmt.Printf("%s%s\n", reportMark, line)
		}
	}
}

// share deals the seeds out to processes of one thread each: a seed uses little more
// than that, and what follows a seed is more the same.
func (c campaign) share(t *testing.T, workers int64, sum *totals) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range workers {
		mine := campaign{c.first + w*c.step, (c.n - w + workers - 1) / workers, c.step * workers, c.nodes}
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestSeeds$", "-test.v", "-test.timeout", "0")
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GREGOR_SIM_WORKERS=1", "GREGOR_SIM_REPORT=1", fmt.Sprint("GREGOR_SIM_FIRST=", mine.first),
			fmt.Sprint("GREGOR_SIM_SEEDS=", mine.n), fmt.Sprint("GREGOR_SIM_STEP=", mine.step))
		out, err := cmd.StdoutPipe()
		cmd.Stderr = cmd.Stdout
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			var said []string
			for lines := bufio.NewScanner(out); lines.Scan(); {
				line, ok := strings.CutPrefix(lines.Text(), reportMark)
				one := newTotals()
				if !ok || json.Unmarshal([]byte(line), one) != nil {
					said = append(said, lines.Text())
					continue
				}
				mu.Lock()
				sum.add(one)
				if sum.Seeds%progressEvery == 0 {
					fmt.Fprintf(os.Stderr, "%d of %d seeds\n", sum.Seeds, c.n)
				}
				mu.Unlock()
			}
			if err := cmd.Wait(); err != nil && ctx.Err() == nil {
				cancel()
				t.Errorf("worker: %v\n%s", err, strings.Join(said, "\n"))
			}
		}()
	}
	wg.Wait()
}

// totals are the sums of many reports.
type totals struct {
	Seeds, Acked, Aborted, Unknown, Reads, Commits, Ghosts int
	Virtual                                                time.Duration
	Kinds                                                  map[string]int
}

func newTotals() *totals { return &totals{Kinds: map[string]int{}} }

func (s *totals) of(r *Report) *totals {
	return &totals{1, r.Acked, r.Aborted, r.Unknown, r.Reads, r.Commits, r.Ghosts, r.Virtual, r.Kinds}
}

func (s *totals) add(o *totals) {
	s.Seeds, s.Acked, s.Aborted, s.Unknown = s.Seeds+o.Seeds, s.Acked+o.Acked, s.Aborted+o.Aborted, s.Unknown+o.Unknown
	s.Reads, s.Commits, s.Ghosts, s.Virtual = s.Reads+o.Reads, s.Commits+o.Commits, s.Ghosts+o.Ghosts, s.Virtual+o.Virtual
	for k, v := range o.Kinds {
		s.Kinds[k] += v
	}
}

func (s *totals) String() string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(s.Kinds)) {
		parts = append(parts, fmt.Sprintf("%d x %s", s.Kinds[k], k))
	}
	return fmt.Sprintf("%v of their time: %d records acknowledged, %d aborted, %d with unknown outcome, %d offsets committed, %d reads, %d ghosts refused; %s; 0 violations",
		s.Virtual.Round(time.Second), s.Acked, s.Aborted, s.Unknown, s.Commits, s.Reads, s.Ghosts, strings.Join(parts, ", "))
}
