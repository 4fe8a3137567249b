// Command mutants puts old bugs back, one at a time, and runs the simulator until it
// finds each: a checker that finds nothing in a broken system proves nothing.
//
// A mutant is a change of the source that is compiled in by an overlay, so that the
// program itself carries no trace of it. The text that a mutant replaces must occur
// exactly once; when the code moves on, the run says which mutant has to follow.
//
//	go run ./test/mutants [-only R1,R5] [-seeds 1000] [-limit 10m] [-jobs 2]
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	only := flag.String("only", "", "names of mutants, separated by commas; empty runs all")
	seeds := flag.Int("seeds", 1000, "seeds that a mutant is given at most")
	limit := flag.Duration("limit", 10*time.Minute, "time that a mutant is given at most")
	jobs := flag.Int("jobs", 2, "mutants at a time, each on one core")
	flag.Parse()
	want := strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	queue := make(chan mutant)
	var mu sync.Mutex
	var wg sync.WaitGroup
	found, missed, broken := 0, []string{}, []string{}
	fmt.Println("| mutant | what | seed | seconds | CPU seconds | found by |\n|---|---|---|---|---|---|")
	for range *jobs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for m := range queue {
				v, err := m.run(*seeds, *limit)
				mu.Lock()
				switch {
				case err != nil:
					broken = append(broken, m.name)
					fmt.Fprintf(os.Stderr, "%s: %v\n", m.name, err)
				case v.by == "":
					missed = append(missed, m.name)
					fmt.Printf("| %s | %s | - | %.0f | %.0f | NOT FOUND |\n", m.name, m.what, v.wall.Seconds(), v.cpu.Seconds())
				default:
					found++
					fmt.Printf("| %s | %s | %s | %.0f | %.0f | %s |\n", m.name, m.what, v.seed, v.wall.Seconds(), v.cpu.Seconds(), v.by)
				}
				mu.Unlock()
			}
		}()
	}
	for _, m := range mutants {
		if len(want) == 0 || slices.Contains(want, m.name) {
			queue <- m
		}
	}
	close(queue)
	wg.Wait()
	fmt.Printf("mutants: %d found, %d not found %s, %d that do not build %s\n", found, len(missed), strings.Join(missed, " "), len(broken), strings.Join(broken, " "))
	if len(missed)+len(broken) > 0 {
		os.Exit(1)
	}
}

// edit replaces one text of a file.
type edit struct{ file, old, new string }

// mutant is one bug.
type mutant struct {
	name, what string
	nodes      int
	edits      []edit
}

// verdict is what became of a mutant.
type verdict struct {
	seed, by  string
	wall, cpu time.Duration // without the build
}

// run builds the simulator with the bug and runs it until it complains.
func (m mutant) run(seeds int, limit time.Duration) (v verdict, err error) {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return v, err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(dir)
	if err != nil {
		return v, err
	}
	bin := filepath.Join(dir, "sim.test")
	if out, err := exec.Command("go", "test", "-c", "-overlay", overlay, "-o", bin, "./internal/sim").CombinedOutput(); err != nil {
		return v, fmt.Errorf("building: %w\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "-test.run", "^TestSeeds$", "-test.timeout", "0")
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GREGOR_SIM_WORKERS=1", fmt.Sprintf("GREGOR_SIM_SEEDS=%d", seeds), fmt.Sprintf("GREGOR_SIM_NODES=%d", m.nodes))
	began := time.Now()
	out, err := cmd.CombinedOutput()
	v.wall = time.Since(began)
	if cmd.ProcessState != nil {
		v.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	var exit *exec.ExitError
	switch {
	case err == nil, ctx.Err() != nil:
		return v, nil
	case !errors.As(err, &exit):
		return v, err
	}
	v.seed, v.by = complaint(out)
	return v, nil
}

var seedLine = regexp.MustCompile(`seed (\d+): (.*)\n\s*(.*)`)

// complaint is the seed that failed and what the run says first.
func complaint(out []byte) (seed, by string) {
	by = strings.TrimSpace(string(out[:min(len(out), 200)]))
	if p := seedLine.FindSubmatch(out); p != nil {
		if seed, by = string(p[1]), string(p[2]); by == "<nil>" {
			by = string(p[3])
		}
	} else if i := bytes.Index(out, []byte("panic: ")); i >= 0 {
		line, _, _ := bytes.Cut(out[i:], []byte("\n"))
		seed, by = "?", string(line)
	}
	by = strings.ReplaceAll(by, "|", "/")
	return seed, by[:min(len(by), 110)]
}

// overlay writes the changed files and the list of them.
func (m mutant) overlay(dir string) (string, error) {
	texts := map[string]string{}
	for _, e := range m.edits {
		text, ok := texts[e.file]
		if !ok {
			b, err := os.ReadFile(e.file)
			if err != nil {
				return "", err
			}
			text = string(b)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return "", fmt.Errorf("%s has %d times what the mutant replaces:\n%s", e.file, n, e.old)
		}
		texts[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	replace := map[string]string{}
	for file, text := range texts {
		abs, err := filepath.Abs(file)
		if err != nil {
			return "", err
		}
		to := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
			return "", err
		}
		replace[abs] = to
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, b, 0o644)
}
