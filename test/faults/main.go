//go:build linux

package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gregorhq/gregor/test/faults/inject"
)

func main() {
	points := flag.Int("points", 200, "points of each kind of fault")
	kinds := flag.String("faults", "kill,torn,EIO,ENOSPC,EMFILE,lost", "kinds of faults, separated by commas")
	workers := flag.Int("workers", 2, "lives at one time")
	dir := flag.String("dir", defaultDir(), "where the data directories are made")
	seed := flag.Uint64("seed", 1, "seed of the scripts and of the points")
	limit := flag.Duration("limit", 12*time.Hour, "time after which no chain begins")
	verbose := flag.Bool("v", false, "print every point")
	flag.Parse()
	if err := run(*points, strings.Split(*kinds, ","), *workers, *dir, *seed, *limit, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// defaultDir is in memory where that is possible: a kill keeps what is in memory, so
// that a disk under it would show nothing more.
func defaultDir() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

func run(points int, kinds []string, workers int, dir string, seed uint64, limit time.Duration, verbose bool) error {
	base, err := os.MkdirTemp(dir, "gregor-faults-")
	if err != nil {
		return err
	}
	bin := filepath.Join(base, "life")
	build := exec.Command("go", "build", "-o", bin, "./test/faults/life")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the life: %w\n%s", err, out)
	}
	t := newTally(points, kinds, verbose)
	began := time.Now()
	t.until = began.Add(limit)
	stop := make(chan struct{})
	defer close(stop)
	go t.progress(stop)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := uint64(0); !t.finished(); n++ {
				c := &chain{tally: t, bin: bin, seed: seed*1_000_003 + uint64(w) + n*uint64(workers),
					dir: filepath.Join(base, fmt.Sprintf("%d-%d", w, n))}
				c.run()
			}
		}()
	}
	wg.Wait()
	fmt.Print(t.table())
	fmt.Println(t.summary(time.Since(began)))
	if len(t.failures) > 0 {
		return fmt.Errorf("%d failures; what is left is in %s", len(t.failures), base)
	}
	return os.RemoveAll(base)
}

// tally is what all chains found. mu guards it.
type tally struct {
	wanted  int
	until   time.Time
	verbose bool
	kinds   []inject.How

	mu       sync.Mutex
	begun    map[inject.How]int // points that a chain took
	proved   map[inject.How]int // points after which a start found everything
	stride   int
	spans    map[string]int // calls of a life that can be broken, by kind and phase
	where    map[string]map[inject.How]int
	starts   int
	records  int
	ends     map[string]int // how chains ended before their time, and what else there was to note
	missing  int            // acknowledged records that lost writes took
	failures []string
}

// maxFailures ends a run that finds one failure after the other.
const maxFailures = 5

func newTally(points int, kinds []string, verbose bool) *tally {
	t := &tally{wanted: points, verbose: verbose, begun: map[inject.How]int{}, proved: map[inject.How]int{}, spans: map[string]int{},
		where: map[string]map[inject.How]int{}, ends: map[string]int{}}
	for _, k := range kinds {
		t.kinds = append(t.kinds, inject.How(k))
	}
	return t
}

func (t *tally) finished() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.scarcest()
	return !ok
}

// scarcest is the kind of fault that has the fewest points; false if all have enough.
func (t *tally) scarcest() (inject.How, bool) {
	if len(t.failures) >= maxFailures || time.Now().After(t.until) {
		return "", false
	}
	how := slices.MinFunc(t.kinds, func(a, b inject.How) int { return t.begun[a] - t.begun[b] })
	return how, t.begun[how] < t.wanted
}

// next chooses a point: the kind that has the fewest, and a call that steps through a
// life by a stride that has no factor in common with most lengths. Until a life of
// such a phase was counted there is no fault.
func (t *tally) next(early bool) (how inject.How, n int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if how, ok = t.scarcest(); !ok {
		return "", 0, false
	}
	span := t.spans[spanName(how, early)]
	if span == 0 {
		return inject.None, 0, true
	}
	t.begun[how]++
	t.stride += 61
	return how, 1 + t.stride%span, true
}

func spanName(how inject.How, early bool) string { return fmt.Sprint(how, early) }

// ended takes the result of a life: where its fault came, and how many calls there
// were. Lives differ: the span follows the longer ones, and slowly the shorter ones.
func (t *tally) ended(how inject.How, early bool, r inject.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if how != inject.Kill && how != inject.Torn || r.Hit == nil {
		for _, k := range t.kinds {
			name := spanName(k, early)
			t.spans[name] = max(r.Counted[k], t.spans[name]-t.spans[name]/20)
		}
	}
	switch {
	case how == inject.None:
	case r.Hit == nil:
		t.begun[how]--
	default:
		at := r.Hit.Name + " " + class(r.Hit.Path)
		if t.where[at] == nil {
			t.where[at] = map[inject.How]int{}
		}
		t.where[at][how]++
	}
}

// class takes what differs from run to run out of a path.
func class(path string) string {
	var out strings.Builder
	base := filepath.Base(path)
	if i := strings.Index(base, "-delete"); i >= 0 {
		base = "FOLDER-delete"
	}
	digits := false
	for _, r := range base {
		if r >= '0' && r <= '9' {
			if !digits {
				out.WriteByte('N')
			}
			digits = true
			continue
		}
		digits = false
		out.WriteRune(r)
	}
	return out.String()
}

func (t *tally) fail(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := fmt.Sprintf(format, args...)
	t.failures = append(t.failures, s)
	fmt.Fprintf(os.Stderr, "FAILED: %s\n", s)
}

// table says where the points were.
func (t *tally) table() string {
	var names []string
	for name := range t.where {
		names = append(names, name)
	}
	slices.Sort(names)
	var out strings.Builder
	for _, name := range names {
		fmt.Fprintf(&out, "%-58s", name)
		for _, how := range t.kinds {
			if n := t.where[name][how]; n > 0 {
				fmt.Fprintf(&out, " %s %d", how, n)
			}
		}
		out.WriteByte('\n')
	}
	for _, what := range slices.Sorted(maps.Keys(t.ends)) {
		fmt.Fprintf(&out, "%s: %d\n", what, t.ends[what])
	}
	return out.String()
}

// progressEvery is how often a long run says how far it is.
const progressEvery = 30 * time.Second

// progress tells of points proved until stop is closed.
func (t *tally) progress(stop <-chan struct{}) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		t.mu.Lock()
		n := 0
		for _, p := range t.proved {
			n += p
		}
		fmt.Fprintf(os.Stderr, "%d of %d points proved, %d failures\n", n, t.wanted*len(t.kinds), len(t.failures))
		t.mu.Unlock()
	}
}

func (t *tally) summary(took time.Duration) string {
	total, parts := 0, []string{}
	for _, how := range t.kinds {
		total += t.proved[how]
		parts = append(parts, fmt.Sprintf("%s %d", how, t.proved[how]))
	}
	return fmt.Sprintf("faults: %d points proved (%s) in %v: %d starts, all unaided but %d failures; %d times an acknowledged record was looked for, %d lost with a write the disk lost, 0 otherwise unless a failure says so",
		total, strings.Join(parts, ", "), took.Round(time.Second), t.starts, len(t.failures), t.records, t.missing)
}
