package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	buildOnce sync.Once
	binPath   string
	buildErr  error
)

// gregor returns the binary of GREGOR_BIN, or builds one once a test run.
func gregor(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("GREGOR_BIN"); bin != "" {
		return bin
	}
	buildOnce.Do(func() {
		dir, err := os.MkdirTemp("", "gregor-test-")
		if err != nil {
			buildErr = err
			return
		}
		binPath = filepath.Join(dir, "gregor")
		cmd := exec.Command("go", "build", "-o", binPath, "../../cmd/gregor")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			buildErr = fmt.Errorf("building gregor: %w\n%s", err, out)
		}
	})
	if buildErr != nil {
		t.Fatal(buildErr)
	}
	return binPath
}

func TestMain(m *testing.M) {
	code := m.Run()
	if binPath != "" {
		os.RemoveAll(filepath.Dir(binPath))
	}
	os.Exit(code)
}

// node is one gregor process on a directory; it can be started again.
type node struct {
	t         *testing.T
	dir, addr string
	prefix    []string // a command that runs the command that follows it, such as `ip netns exec`
	args      []string
	starts    int
	cmd       *exec.Cmd
	out       *os.File
	done      chan struct{}
}

// freePort finds a port that is free, as is the next one, which the controller takes.
// It is below those that the system gives to outgoing connections: while the node is
// down between a kill and its restart, a client must not get its port.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := 15000 + rand.IntN(17000)
		first, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		next, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+1)))
		first.Close()
		if err == nil {
			next.Close()
			return strconv.Itoa(port)
		}
	}
	t.Fatal("no free ports")
	return ""
}

func newNode(t *testing.T, overrides ...string) *node {
	t.Helper()
	port := freePort(t)
	addr := net.JoinHostPort("127.0.0.1", port)
	n := &node{t: t, dir: t.TempDir(), addr: addr}
	n.args = []string{"dev", "--port", port, "--data", filepath.Join(n.dir, "data")}
	for _, o := range overrides {
		n.args = append(n.args, "--override", o)
	}
	t.Cleanup(func() {
		if n.cmd != nil {
			n.kill()
		}
		if t.Failed() {
			t.Logf("the node's last words:\n%s", n.tail())
		}
	})
	return n
}

func (n *node) log() string { return filepath.Join(n.dir, "log") }

func (n *node) tail() string {
	b, _ := os.ReadFile(n.log())
	if len(b) > 4000 {
		b = b[len(b)-4000:]
	}
	return string(b)
}

// start runs the process and waits until it says that it runs.
func (n *node) start() {
	n.t.Helper()
	n.launch()
	n.serving()
}

// launch runs the process. The log of the run before is kept beside the new one.
func (n *node) launch() {
	n.t.Helper()
	var err error
	if n.starts++; n.starts > 1 {
		if err = os.Rename(n.log(), fmt.Sprintf("%s.%d", n.log(), n.starts-1)); err != nil {
			n.t.Fatal(err)
		}
	}
	if n.out, err = os.Create(n.log()); err != nil {
		n.t.Fatal(err)
	}
	line := append(append(n.prefix[:len(n.prefix):len(n.prefix)], gregor(n.t)), n.args...)
	n.cmd = exec.Command(line[0], line[1:]...)
	n.cmd.Stdout, n.cmd.Stderr = n.out, n.out
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) { cmd.Wait(); close(done) }(n.cmd, n.done)
}

// serving waits until the process says that it runs.
func (n *node) serving() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(n.tail(), "Kafka Server started") {
		select {
		case <-tick.C:
		case <-n.done:
			n.t.Fatalf("the node ended at its start:\n%s", n.tail())
		case <-ctx.Done():
			n.t.Fatalf("the node did not start within 30 s:\n%s", n.tail())
		}
	}
}

// kill ends the process as kill -9 does, and waits for its end.
func (n *node) kill() {
	n.cmd.Process.Kill()
	<-n.done
	n.out.Close()
	n.cmd = nil
}

// stop ends the process as SIGTERM does.
func (n *node) stop() {
	n.t.Helper()
	n.cmd.Process.Signal(syscall.SIGTERM)
	n.ended()
}

// ended waits for the process, which was asked to end, and holds it to its exit code.
func (n *node) ended() {
	n.t.Helper()
	select {
	case <-n.done:
	case <-time.After(30 * time.Second):
		n.t.Fatalf("the node did not stop within 30 s:\n%s", n.tail())
	}
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		n.t.Fatalf("the node stopped with exit code %d:\n%s", code, n.tail())
	}
	n.out.Close()
	n.cmd = nil
}
