package cluster

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// shell is one bash in a directory with bin/gregor, on a network of its own where that is
// possible: examples have fixed ports.
type shell struct {
	t     *testing.T
	in    io.WriteCloser
	lines chan string
	n     int
}

func newShell(t *testing.T, ports ...string) *shell {
	t.Helper()
	dir := t.TempDir()
	bin, err := filepath.Abs(gregor(t))
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, "bin"), 0o755)
	}
	if err == nil {
		err = os.Symlink(bin, filepath.Join(dir, "bin", "gregor"))
	}
	if err != nil {
		t.Fatal(err)
	}
	line := []string{"bash"}
	if n, err := newNamespaces(t, 1); err == nil {
		line = append(n.command(1), line...)
	} else {
		t.Logf("network namespaces cannot be made (%v): the ports must be free on this machine", err)
		for _, p := range ports {
			l, err := net.Listen("tcp", net.JoinHostPort("localhost", p))
			if err != nil {
				t.Skipf("the README's example runs word for word and needs port %s: it is taken, and a network namespace, in which it is free, needs root: %v", p, err)
			}
			l.Close()
		}
	}
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, in: in, lines: make(chan string)}
	go func() {
		for sc := bufio.NewScanner(r); sc.Scan(); {
			s.lines <- sc.Text()
		}
		close(s.lines)
	}()
	t.Cleanup(func() {
		fmt.Fprintln(in, "kill -9 $(jobs -p); wait")
		in.Close()
		go func() {
			for range s.lines { // nobody reads what the end prints
			}
		}()
		_ = cmd.Wait() // killed processes have the exit code of that
		w.Close()
	})
	return s
}

// run gives the lines to the shell and returns what they print.
func (s *shell) run(script string) string {
	s.t.Helper()
	s.n++
	end := fmt.Sprintf("--- end of part %d", s.n)
	fmt.Fprintf(s.in, "%s\necho '%s'\n", script, end)
	var out []string
	limit := time.After(time.Minute)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok || line == end {
				return strings.Join(out, "\n")
			}
			out = append(out, line)
		case <-limit:
			s.t.Fatalf("no end within a minute:\n%s\n%s", script, strings.Join(out, "\n"))
		}
	}
}

// shows runs a part and then its last line again until that prints so many lines of the
// kind.
func (s *shell) shows(part string, n int, kind string) {
	s.t.Helper()
	out := s.run(part)
	lines := strings.Split(strings.TrimSpace(part), "\n")
	re := regexp.MustCompile(kind)
	last := within(recovery, func() string {
		if len(re.FindAllString(out, -1)) == n {
			return ""
		}
		shown := out
		out = s.run(lines[len(lines)-1])
		return shown
	})
	if last != "" {
		s.t.Fatalf("not %d lines like %q:\n%s", n, kind, last)
	}
}

// examples are the parts of a section of the README that are set off.
func examples(t *testing.T, section string) (parts []string) {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(b), "### "+section+"\n")
	if !ok {
		t.Fatalf("the README has no section %q", section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var part []string
	for _, line := range append(strings.Split(text, "\n"), "") {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			part = append(part, code)
		} else if len(part) > 0 {
			parts, part = append(parts, strings.Join(part, "\n")), nil
		}
	}
	return parts
}

// TestReadmeThreeNodes follows the README word for word.
func TestReadmeThreeNodes(t *testing.T) {
	parts := examples(t, "Three nodes")
	if len(parts) != 4 {
		t.Fatalf("the README has %d parts, not begin, create, kill and restart", len(parts))
	}
	s := newShell(t, "19091", "19092", "19093", "19191", "19192", "19193")
	s.run(parts[0])
	s.shows(parts[1], 6, `Leader: [123]\tReplicas: [123],[123],[123]\tIsr: [123],[123],[123]\t`)
	s.shows(parts[2], 6, `Leader: [13]\tReplicas: [123],[123],[123]\tIsr: (1,3|3,1)\t`)
	s.shows(parts[3], 6, `Leader: [123]\tReplicas: [123],[123],[123]\tIsr: [123],[123],[123]\t`)
}

// TestDevCluster runs what the README calls three nodes in one process.
func TestDevCluster(t *testing.T) {
	s := newShell(t, "9092", "9093", "9094", "9095", "9096", "9097")
	s.shows("bin/gregor dev --nodes 3 >log 2>&1 &\ngrep -c 'Kafka Server started' log", 1, `(?m)^3$`)
	s.shows("bin/gregor kafka-topics --bootstrap-server localhost:9092 --create --topic orders --partitions 6 --replication-factor 3\n"+
		"bin/gregor kafka-topics --bootstrap-server localhost:9092 --describe --topic orders", 6, `Leader: [123]\tReplicas: [123],[123],[123]\tIsr: [123],[123],[123]\t`)
	s.shows("kill %1\nwait %1; echo \"ended with $?\"", 1, `ended with 0`)
}
