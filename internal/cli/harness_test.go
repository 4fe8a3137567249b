package cli_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gregorhq/gregor/broker"
	"github.com/gregorhq/gregor/internal/cli"
)

// shared is one broker in memory for all tests; each uses topics of its own.
var shared struct {
	once   sync.Once
	broker *broker.Broker
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.broker != nil && shared.broker.Close() != nil && code == 0 {
		code = 1
	}
	os.Exit(code)
}

// addr is the address of the shared broker, which it starts.
func addr(t *testing.T) string {
	t.Helper()
	shared.once.Do(func() {
		if shared.broker, shared.err = broker.Open(broker.Config{}); shared.err == nil {
			shared.err = shared.broker.Start(context.Background())
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.broker.Addr()
}

// result is what a command left.
type result struct {
	out, err string
	code     int
}

// call runs a command line in this process. args are words; ADDR in them is the
// shared broker's address.
func call(t *testing.T, in string, args ...string) result {
	t.Helper()
	return callWith(t.Context(), strings.NewReader(in), withAddr(t, args))
}

// callWith runs a command line with the context and the input of the test.
func callWith(ctx context.Context, in io.Reader, args []string) result {
	var out, errs bytes.Buffer
	env := &cli.Env{In: in, Out: &out, Err: &errs, Getenv: func(string) string { return "" }}
	code := cli.Dispatch(ctx, cli.Commands(), append([]string{"gregor"}, args...), env)
	return result{out.String(), errs.String(), code}
}

// withAddr puts the shared broker's address in the place of ADDR.
func withAddr(t *testing.T, args []string) []string {
	t.Helper()
	for i, a := range args {
		if strings.Contains(a, "ADDR") {
			args[i] = strings.ReplaceAll(a, "ADDR", addr(t))
		}
	}
	return args
}

// ends runs a command line that must not go on for longer than limit.
func ends(ctx context.Context, t *testing.T, limit time.Duration, in io.Reader, line string) result {
	t.Helper()
	args := withAddr(t, strings.Fields(line))
	done := make(chan result, 1)
	go func() { done <- callWith(ctx, in, args) }()
	select {
	case r := <-done:
		return r
	case <-time.After(limit):
		t.Fatalf("%s: goes on after %v", line, limit)
		return result{}
	}
}

// firstErr is the first line of the error stream, which tools share with Kafka's.
func (r result) firstErr() string {
	line, _, _ := strings.Cut(r.err, "\n")
	return line
}

// step is a command line with what it must print; err is the first line only.
type step struct {
	line     string
	out, err string
	code     int
}

// script runs steps in order. Words of a line stand apart by spaces, and TOOL ADDR
// and "--bootstrap-server ADDR" need not be repeated: tool comes before each line.
func script(t *testing.T, tool string, steps []step) {
	t.Helper()
	for _, s := range steps {
		got := call(t, "", append(strings.Fields(tool), strings.Fields(s.line)...)...)
		s.out, s.err = strings.ReplaceAll(s.out, "ADDR", addr(t)), strings.ReplaceAll(s.err, "ADDR", addr(t))
		if got.out != s.out || got.firstErr() != s.err || got.code != s.code {
			t.Errorf("%s %s\n got code %d, out %q, err %q\nwant code %d, out %q, err %q", tool, s.line, got.code, got.out, got.firstErr(), s.code, s.out, s.err)
		}
	}
}

// must runs a command that has to succeed and returns its output.
func must(t *testing.T, in, line string) string {
	t.Helper()
	r := call(t, in, strings.Fields(line)...)
	if r.code != 0 {
		t.Fatalf("%s: code %d: %s%s", line, r.code, r.out, r.err)
	}
	return r.out
}

// file writes a file of the test and returns its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
