// Command mutants puts old bugs back, one at a time, and runs the simulator until it
// finds each: a checker that finds nothing in a broken system proves nothing.
//
// A mutant is a change of the source that is compiled in by an overlay, so that the
// program itself carries no trace of it. The text that a mutant replaces must occur
// exactly once; when the code moves on, the run says which mutant has to follow.
//
//	go run ./test/mutants [-only R1,R5] [-seeds 500] [-limit 10m]
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
	"time"
)

func main() {
	only := flag.String("only", "", "names of mutants, separated by commas; empty runs all")
	seeds := flag.Int("seeds", 500, "seeds that a mutant is given at most")
	limit := flag.Duration("limit", 10*time.Minute, "time that a mutant is given at most")
	flag.Parse()
	want := strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	found, missed := 0, []string{}
	for _, m := range mutants {
		if len(want) > 0 && !slices.Contains(want, m.name) {
			continue
		}
		began := time.Now()
		verdict, err := m.run(*seeds, *limit)
		switch {
		case err != nil:
			fmt.Fprintf(os.Stderr, "%s: %v\n", m.name, err)
			os.Exit(1)
		case verdict == "":
			missed = append(missed, m.name)
			fmt.Printf("%-28s NOT FOUND in %v: %s\n", m.name, time.Since(began).Round(time.Second), m.what)
		default:
			found++
			fmt.Printf("%-28s found in %v: %s\n", m.name, time.Since(began).Round(time.Second), verdict)
		}
	}
	fmt.Printf("mutants: %d found, %d not found %s\n", found, len(missed), strings.Join(missed, " "))
	if len(missed) > 0 {
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

// run builds the simulator with the bug and returns the first line of what it found.
func (m mutant) run(seeds int, limit time.Duration) (string, error) {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(dir)
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "sim.test")
	if out, err := exec.Command("go", "test", "-c", "-overlay", overlay, "-o", bin, "./internal/sim").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building: %w\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "-test.run", "TestSeeds", "-test.timeout", limit.String())
	cmd.Env = append(os.Environ(), fmt.Sprintf("GREGOR_SIM_SEEDS=%d", seeds), fmt.Sprintf("GREGOR_SIM_NODES=%d", m.nodes))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", nil
	case ctx.Err() != nil:
		return "", nil
	case !errors.As(err, &exit):
		return "", err
	}
	return complaint(out), nil
}

var seedLine = regexp.MustCompile(`seed \d+: (.*)\n\s*(.*)`)

// complaint is what the run says first.
func complaint(out []byte) string {
	if p := seedLine.FindSubmatch(out); p != nil {
		if line := string(p[1]); line != "<nil>" {
			return line
		}
		return string(p[2])
	}
	if i := bytes.Index(out, []byte("panic: ")); i >= 0 {
		line, _, _ := bytes.Cut(out[i:], []byte("\n"))
		return string(line)
	}
	return strings.TrimSpace(string(out[:min(len(out), 200)]))
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
