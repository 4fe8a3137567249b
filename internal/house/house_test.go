package house

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gregorhq/gregor/internal/cli"
	"github.com/gregorhq/gregor/internal/kafka"
)

// output is a buffer that a command writes to while a test reads it.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	seen chan string // receives once when want has been written
	want string
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.buf.Write(p)
	if o.want != "" && strings.Contains(o.buf.String(), o.want) {
		o.seen <- o.buf.String()
		o.want = ""
	}
	return n, err
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// run runs a command in place and returns its code and what it printed.
func run(t *testing.T, command func(context.Context, *cli.Env) int, args ...string) (int, string, string) {
	t.Helper()
	var out, errs output
	env := &cli.Env{Name: "test", Args: args, In: strings.NewReader(""), Out: &out, Err: &errs, Getenv: func(string) string { return "" }}
	code := command(context.Background(), env)
	return code, out.String(), errs.String()
}

func properties(t *testing.T, lines ...string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "server.properties")
	text := "process.roles=broker,controller\nnode.id=7\nlisteners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0\nadvertised.listeners=PLAINTEXT://127.0.0.1:9092\ncontroller.listener.names=CONTROLLER\nlog.dirs=" + filepath.Join(dir, "data") + "\n" + strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const testCluster = "5L6g3nShT-eMCtK--X86sw"

func TestStorageFormatsOnce(t *testing.T) {
	file := properties(t, "controller.quorum.voters=7@127.0.0.1:9093")
	code, out, errs := run(t, storageTool, "format", "-t", testCluster, "-c", file)
	if code != 0 || !strings.Contains(out, "Formatting metadata directory ") || !strings.Contains(out, "with metadata.version 4.3-IV0.") {
		t.Fatalf("code %d: %s%s", code, out, errs)
	}
	code, out, _ = run(t, storageTool, "info", "-c", file)
	if code != 0 || !strings.Contains(out, "cluster.id="+testCluster) || !strings.Contains(out, "node.id=7") {
		t.Errorf("info, code %d: %s", code, out)
	}
	code, _, errs = run(t, storageTool, "format", "-t", testCluster, "-c", file)
	if code != 1 || !strings.Contains(errs, "is already formatted. Use --ignore-formatted to ignore this directory and format the others.") {
		t.Errorf("the second time, code %d: %s", code, errs)
	}
	code, out, errs = run(t, storageTool, "format", "-t", testCluster, "-c", file, "--ignore-formatted")
	if code != 0 || !strings.Contains(out, "All of the log directories are already formatted.") {
		t.Errorf("ignored, code %d: %s%s", code, out, errs)
	}
}

func TestStorageRefusesWhatItCannotFormat(t *testing.T) {
	dynamic := properties(t, "controller.quorum.bootstrap.servers=127.0.0.1:9093")
	static := properties(t, "controller.quorum.voters=7@127.0.0.1:9093")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"format", "-c", static}, "argument --cluster-id/-t is required"},
		{[]string{"format", "-t", testCluster, "-c", dynamic}, "Because controller.quorum.voters is not set on this controller, you must specify one of the following: --standalone, --initial-controllers, or --no-initial-controllers."},
		{[]string{"format", "-t", testCluster, "-c", static, "--standalone"}, "You cannot specify controller.quorum.voters and format the node with --initial-controllers or --standalone."},
		{[]string{"format", "-t", testCluster, "-c", dynamic, "-N", "--standalone"}, "argument --standalone/-s: not allowed with argument --no-initial-controllers/-N"},
		{[]string{"format", "-t", testCluster, "-c", properties(t, "process.roles=broker", "listeners=PLAINTEXT://127.0.0.1:0", "controller.quorum.bootstrap.servers=127.0.0.1:9093"), "--standalone"}, "You can only use --standalone on a controller."},
		{[]string{"format", "-t", testCluster, "-c", static, "--feature", "x"}, "Invalid feature format: x. Expected format: 'feature=version' (e.g. 'group.version=1')"},
		{[]string{"format", "-t", testCluster, "-c", static, "--release-version", "2.0"}, "2.0"},
		{[]string{"format", "-t", testCluster, "-c", "absent.properties"}, "absent.properties"},
		{[]string{"wipe"}, "invalid choice: 'wipe'"},
		{nil, "too few arguments"},
	} {
		code, _, errs := run(t, storageTool, c.args...)
		if code != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("%v: code %d, %q; want %q", c.args, code, errs, c.want)
		}
	}
}

func TestStorageTellsVersionsAndIds(t *testing.T) {
	code, out, errs := run(t, storageTool, "version-mapping", "-r", "4.3-IV0")
	want := "metadata.version=30 (4.3-IV0)\nkraft.version=1\ntransaction.version=2\ngroup.version=1\neligible.leader.replicas.version=1\nshare.version=1\nstreams.version=1\n"
	if code != 0 || out != want {
		t.Errorf("version-mapping, code %d:\n%s%s", code, out, errs)
	}
	code, out, errs = run(t, storageTool, "feature-dependencies", "-f", "eligible.leader.replicas.version=1", "-f", "metadata.version=30")
	want = "eligible.leader.replicas.version=1 requires:\n    metadata.version=23 (4.0-IV1)\nmetadata.version=30 (4.3-IV0) has no dependencies.\n"
	if code != 0 || out != want {
		t.Errorf("feature-dependencies, code %d:\n%s%s", code, out, errs)
	}
	_, out, _ = run(t, storageTool, "random-uuid")
	if _, err := kafka.ParseUUID(strings.TrimSpace(out)); err != nil {
		t.Errorf("random-uuid printed %q: %v", out, err)
	}
}

func TestLinksAreMadeAndNeverReplaceFiles(t *testing.T) {
	all := func() []cli.Command {
		return []cli.Command{{Name: "kafka-topics", KafkaName: true}, {Name: "dev"}}
	}
	dir := t.TempDir()
	for range 2 {
		if code, _, errs := run(t, installLinks(all), dir); code != 0 {
			t.Fatal(errs)
		}
	}
	for _, name := range []string{"kafka-topics", "kafka-topics.sh"} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err != nil || info.Mode()&os.ModeSymlink == 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "dev")); err == nil {
		t.Error("a link was made for a name that is not Kafka's")
	}
	if err := os.Remove(filepath.Join(dir, "kafka-topics")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kafka-topics"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := run(t, installLinks(all), dir); code != 1 || !strings.Contains(errs, "exists and is not a link") {
		t.Errorf("code %d: %s", code, errs)
	}
	if text, _ := os.ReadFile(filepath.Join(dir, "kafka-topics")); string(text) != "mine" {
		t.Error("a file was replaced")
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// startDev runs gregor dev until the test ends it and returns what it printed up to
// the moment at which it was ready.
func startDev(t *testing.T, terminal bool, ready, port, data string) (printed string, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out := &output{want: ready, seen: make(chan string, 1)}
	env := &cli.Env{Args: []string{"--port", port, "--data", data}, Out: out, Err: out, Getenv: func(string) string { return "" }, Terminal: terminal}
	code := make(chan int, 1)
	go func() { code <- dev(ctx, env) }()
	select {
	case printed = <-out.seen:
	case c := <-code:
		cancel()
		t.Fatalf("gregor dev ended with %d: %s", c, out)
	}
	return printed, func() int { cancel(); return <-code }
}

func TestDevIsReadyWhenItSaysSo(t *testing.T) {
	data, port := filepath.Join(t.TempDir(), "data"), freePort(t)
	printed, stop := startDev(t, false, "[KafkaServer id=1] started", port, data)
	for _, line := range []string{
		"INFO [BrokerLifecycleManager id=1] The broker has been unfenced. Transitioning from RECOVERY to RUNNING. (kafka.server.BrokerLifecycleManager)",
		"INFO [KafkaRaftServer nodeId=1] Kafka Server started (kafka.server.KafkaRaftServer)",
		"INFO [KafkaServer id=1] started (kafka.server.KafkaServer)",
	} {
		if !strings.Contains(printed, line) {
			t.Errorf("the log lacks %q:\n%s", line, printed)
		}
	}
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Errorf("a client cannot connect: %v", err)
	} else {
		c.Close()
	}
	// A second node finds the port taken and says what to do.
	code, _, errs := run(t, dev, "--port", port, "--data", filepath.Join(t.TempDir(), "other"))
	if code != 1 || !strings.Contains(errs, "in use") || !strings.Contains(errs, "--port") {
		t.Errorf("on a busy port, code %d: %s", code, errs)
	}
	if code := stop(); code != 0 {
		t.Errorf("stopped with %d", code)
	}
	if _, err := os.Stat(filepath.Join(data, ".kafka_cleanshutdown")); err != nil {
		t.Errorf("no mark of a clean shutdown: %v", err)
	}
}

func TestDevGreetsOnATerminal(t *testing.T) {
	port := freePort(t)
	printed, stop := startDev(t, true, "Ctrl-C stops it", port, filepath.Join(t.TempDir(), "data"))
	defer stop()
	for _, want := range []string{"localhost:" + port, fmt.Sprintf("gregor produce hello -b localhost:%s", port), "gregor consume hello"} {
		if !strings.Contains(printed, want) {
			t.Errorf("the banner lacks %q:\n%s", want, printed)
		}
	}
	if strings.Contains(printed, "INFO") {
		t.Errorf("log lines stand in the banner:\n%s", printed)
	}
}

func TestServerStartNeedsItsProperties(t *testing.T) {
	if code, _, errs := run(t, serverStart); code != 1 || !strings.HasPrefix(errs, serverStartUsage) {
		t.Errorf("code %d: %s", code, errs)
	}
	code, _, errs := run(t, serverStart, properties(t, "controller.quorum.voters=7@127.0.0.1:9093"))
	if code != 1 || !strings.Contains(errs, "kafka-storage format") {
		t.Errorf("on a directory that is not formatted, code %d: %s", code, errs)
	}
	code, _, errs = run(t, serverStart, properties(t, "num.partitions=many"))
	if code != 1 || !strings.Contains(errs, "Invalid value many for configuration num.partitions") {
		t.Errorf("with a bad value, code %d: %s", code, errs)
	}
}

func TestWhatRunsAServer(t *testing.T) {
	for line, want := range map[string]bool{
		"/usr/bin/gregor kafka-server-start server.properties": true,
		"bin/gregor dev":                true,
		"kafka-server-start.sh x":       true,
		"gregor kafka-topics --list":    false,
		"vi kafka-server-start":         false,
		"java kafka.Kafka x.properties": false,
	} {
		if got := runsServer(strings.Fields(line)); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}
