//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gregorhq/gregor/test/faults/inject"
)

const (
	chainLives = 12 // lives of one pair of directories
	steps      = 22 // of one script
	lifeLimit  = time.Minute
)

// Exit codes of the life.
const (
	exitWrong   = 3
	exitNoStart = 4
	exitFoul    = 5
)

// chain is a sequence of lives on the same directories, each broken once. It belongs
// to one goroutine.
type chain struct {
	*tally
	bin, dir string
	seed     uint64

	past  []string // what became of every life
	open  []point  // broken since everything was compared last
	short string   // topic-partition of a log whose end may be missing
	lied  bool     // a write was lost since everything was compared last
	over  bool     // no more lives
	loose bool     // a lost write has damaged what decides on other logs
}

// point is one broken call.
type point struct {
	how   inject.How
	n     int
	early bool
	call  inject.Call
	life  int
}

func (p point) String() string {
	phase := "life"
	if p.early {
		phase = "start"
	}
	return fmt.Sprintf("%s of call %d (%s %s) in the %s of life %d", p.how, p.n, p.call.Name, p.call.Path, phase, p.life)
}

// run lives one chain. A directory that failed is kept.
func (c *chain) run() {
	if err := os.MkdirAll(filepath.Join(c.dir, "data"), 0o755); err != nil {
		c.fail("%v", err)
		return
	}
	good := true
	for i := 0; i < chainLives && good && !c.loose && !c.over; i++ {
		early := i%2 == 1
		how, n, ok := c.next(early)
		if !ok {
			break
		}
		good = c.live(i, how, n, early, steps)
	}
	if good && len(c.open) > 0 {
		good = c.live(chainLives, inject.None, 0, false, 0)
	}
	if good {
		os.RemoveAll(c.dir)
	}
}

// live runs one life of so many steps, with a fault unless how is None, and judges its
// end.
func (c *chain) live(i int, how inject.How, n int, early bool, steps int) bool {
	args := []string{"-dir", filepath.Join(c.dir, "data"), "-ledger", filepath.Join(c.dir, "ledger"), "-control", "3",
		"-seed", strconv.FormatUint(c.seed*100+uint64(i), 10), "-short", c.short, "-steps", strconv.Itoa(steps)}
	if early {
		args = append(args, "-early")
	}
	if i%3 != 2 {
		args = append(args, "-close")
	}
	// What the life begins with is kept, should it fail.
	before := filepath.Join(c.dir, "before")
	os.RemoveAll(before)
	if err := os.CopyFS(before, os.DirFS(filepath.Join(c.dir, "data"))); err != nil {
		c.fail("keeping a copy: %v", err)
		return false
	}
	cmd := exec.Command(c.bin, args...)
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1", "GOMAXPROCS=2")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	result, err := inject.Run(cmd, inject.Plan{Under: filepath.Join(c.dir, "data"), How: how, N: n}, lifeLimit)
	if err != nil {
		c.fail("%v", err)
		return false
	}
	p := point{how: how, n: n, early: early, life: i}
	if steps > 0 {
		c.ended(how, early, result)
	}
	hit := result.Hit != nil
	if hit {
		p.call = *result.Hit
	}
	c.past = append(c.past, fmt.Sprintf("%v, hit: %v, exit: %v, -short %q", p, hit, result.Exit, c.short))
	good := c.judge(p, hit, result, stdout.String(), stderr.String())
	if c.verbose {
		fmt.Printf("%s: %v hit=%v %v %s\n", filepath.Base(c.dir), p, hit, result.Exit, strings.ReplaceAll(strings.TrimSpace(stdout.String()), "\n", "; "))
	}
	if !good {
		os.WriteFile(filepath.Join(c.dir, "stderr"), stderr.Bytes(), 0o644)
		os.WriteFile(filepath.Join(c.dir, "stdout"), stdout.Bytes(), 0o644)
	}
	return good
}

var verified = regexp.MustCompile(`(?m)^verified (\d+) records`)
var gap = regexp.MustCompile(`(?m)^gap (\S+)$`)
var beganElsewhere = regexp.MustCompile(`^\{\S+ \d+\} begins at (\d+), had begun at (\d+), asked for \d+$`)
var toldOfStarts = regexp.MustCompile(`(?m)level=WARN msg="unusable checkpoint".* file=log-start-offset-checkpoint `)
var missing = regexp.MustCompile(`(?m)^missing \{\S+ \d+\}: \[([\d ]*)\]`)

// judge decides what the end of a life says about it and about the points before it.
func (c *chain) judge(p point, hit bool, r inject.Result, stdout, stderr string) bool {
	code := exitCode(r.Exit)
	complain := func(what string) bool {
		c.fail("%s: %s\n  this life: %v (%v)\n  broken before: %v\n  all lives: %s\n%s%s", c.dir, what, p, r.Exit, c.open, strings.Join(c.past, "\n    "), stdout, lastLines(stderr, 12))
		return false
	}
	m := verified.FindStringSubmatch(stdout)
	for _, g := range gap.FindAllStringSubmatch(stdout, -1) {
		told := regexp.MustCompile(`level=(WARN|ERROR).* partition=` + g[1] + ` `).MatchString(stderr)
		c.note(fmt.Sprintf("lost write: the end of a closed segment is missing, the log says so: %v", told))
	}
	if m != nil {
		c.prove(m[1], missing.FindAllStringSubmatch(stdout, -1))
	}
	killed := hit && (p.how == inject.Kill || p.how == inject.Torn)
	// The life's own fault may have taken a directory offline at its start, and what
	// is in it cannot be read now.
	offline := hit && p.early && strings.Contains(stderr, "log directory goes offline")
	switch {
	case errors.Is(r.Exit, os.ErrDeadlineExceeded):
		return complain("it does not end")
	case killed && r.Exit != nil && code == -1:
	case offline && code == exitWrong:
		// It compares before it writes, so that the next life can judge both.
		c.note("a directory was offline at the start: left to the next life")
	case code == exitFoul:
		return complain("it has what nobody wrote")
	case code == exitWrong && (c.loose || hit && p.how == inject.Lost):
		c.settle("lost write of a deciding file: the ledger differs")
		return true
	case code == exitNoStart && c.lied:
		c.settle("lost write: told at the start or to a reader")
		return true
	case code == exitWrong && hit && p.early && strings.Contains(p.call.Path, "checkpoint"):
		c.settle("a checkpoint could not be read at the start: not judged")
		return true
	case code == exitWrong && c.lied && trimsForgotten(stderr):
		c.settle("lost write of log-start-offset-checkpoint: told at the start, deleted records are back")
		return true
	case code == exitWrong:
		return complain("it differs from the ledger")
	case code == exitNoStart && !(hit && p.early):
		return complain("it does not start")
	case code != 0 && code != exitNoStart:
		return complain("it broke down")
	case m == nil && !(hit && p.early):
		return complain("it compared nothing")
	}
	if hit {
		c.add(p)
	}
	return true
}

// trimsForgotten tells whether all that differs is that logs begin earlier than they had,
// and the log says that the checkpoint of that could not be used.
func trimsForgotten(stderr string) bool {
	_, differing, ok := strings.Cut(strings.TrimSpace(stderr), "life: the broker differs from the ledger:\n")
	if !ok || !toldOfStarts.MatchString(stderr) {
		return false
	}
	for l := range strings.Lines(differing) {
		m := beganElsewhere.FindStringSubmatch(strings.TrimSpace(l))
		if m == nil {
			return false
		}
		now, _ := strconv.ParseInt(m[1], 10, 64)
		before, _ := strconv.ParseInt(m[2], 10, 64)
		if now >= before {
			return false
		}
	}
	return true
}

// add notes a point that the next comparison has to prove.
func (c *chain) add(p point) {
	c.open = append(c.open, p)
	if p.how != inject.Lost {
		return
	}
	c.lied = true
	folder := filepath.Base(filepath.Dir(p.call.Path))
	if strings.HasPrefix(folder, "__") || strings.HasPrefix(folder, "txns-") {
		c.loose = true
	}
	if strings.Contains(p.call.Path, ".log") {
		c.short = folder
	}
}

// prove counts the points before a comparison that found everything.
func (c *chain) prove(records string, lost [][]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starts++
	n, _ := strconv.Atoi(records)
	c.records += n
	for _, l := range lost {
		c.missing += len(strings.Fields(l[1]))
	}
	for _, p := range c.open {
		c.proved[p.how]++
	}
	c.open, c.short, c.lied = nil, "", false
}

// note counts something that happened.
func (c *chain) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends[what]++
}

// settle counts the points of a chain that ends here.
func (c *chain) settle(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends[what]++
	if c.lied {
		for _, p := range c.open {
			c.proved[p.how]++
		}
	}
	c.open, c.over = nil, true
}

// exitCode is -1 for a process that a signal ended.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n") + "\n"
}
