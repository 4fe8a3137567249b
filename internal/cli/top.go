package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/netx"
)

var topTable = opt.Table{Options: []opt.Option{
	{Name: "interval", Aliases: []string{"i"}, Kind: opt.Value, Type: "Number", Arg: "seconds", Default: "2", Doc: "Time between two looks, over which rates are taken."},
	{Name: "rows", Kind: opt.Value, Type: "Integer", Arg: "count", Default: "10", Doc: "Most topics and most groups to show."},
	{Name: "once", Doc: "Look twice, print once and end."},
	{Name: "help", Aliases: []string{"h"}, Doc: "Print this text."},
}}

const topUsage = `Usage: gregor top [HOST:PORT]... [OPTION]...
Shows what nodes do, live: their load, their partitions, the busiest topics and the
groups that are furthest behind. The addresses are those of gregor.http.listener, one a
node; 127.0.0.1:9404 without any. Where the output is no terminal it is printed block
by block.
`

// defaultHTTP is the default of gregor.http.listener.
const defaultHTTP = "127.0.0.1:9404"

func top(ctx context.Context, env *Env) int {
	v, err := topTable.Parse(env.Args)
	if err == nil && v.Has("help") {
		fmt.Fprint(env.Out, topUsage, "\n", topTable.Help())
		return 0
	}
	t := &topView{clock: clock.Real(), dial: netx.OS().Dial, out: env.Out, terminal: env.Terminal}
	if err == nil {
		err = t.options(v)
	}
	if err != nil {
		fmt.Fprintf(env.Err, "gregor top: %v\n%s", err, topUsage)
		return 2
	}
	if err := t.run(ctx, v.Has("once")); err != nil && ctx.Err() == nil {
		fmt.Fprintf(env.Err, "gregor top: %v\n", err)
		return 1
	}
	return 0
}

// topView draws tables of what nodes say of themselves. It belongs to one goroutine.
type topView struct {
	clock    clock.Clock
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	out      io.Writer
	terminal bool

	nodes    []string
	interval time.Duration
	rows     int
}

func (t *topView) options(v *opt.Values) error {
	seconds, err := strconv.ParseFloat(v.Get("interval"), 64)
	if err != nil || seconds < 0.1 || seconds > 3600 {
		return fmt.Errorf("--interval is %q; it must be between 0.1 and 3600", v.Get("interval"))
	}
	t.interval = time.Duration(seconds * float64(time.Second))
	if t.rows, err = strconv.Atoi(v.Get("rows")); err != nil || t.rows < 0 {
		return fmt.Errorf("--rows is %q; it must be a number, not negative", v.Get("rows"))
	}
	t.nodes = v.Rest
	if len(t.nodes) == 0 {
		t.nodes = []string{defaultHTTP}
	}
	for _, n := range t.nodes {
		if _, _, err := net.SplitHostPort(n); err != nil {
			return fmt.Errorf("%q is no address as host:port", n)
		}
	}
	return nil
}

// look is what a node said at one time, or why it did not.
type look struct {
	at   time.Time
	data map[string][]metrics.Sample
	err  error
}

// run looks and draws until ctx ends. It is an error when no node answers the first
// time.
func (t *topView) run(ctx context.Context, once bool) error {
	old := t.lookAll(ctx)
	answered := 0
	for _, l := range old {
		if l.err == nil {
			answered++
		}
	}
	if answered == 0 {
		return fmt.Errorf("%s: %w", t.nodes[0], old[0].err)
	}
	for {
		if t.clock.Sleep(ctx, t.interval) != nil {
			return nil
		}
		now := t.lookAll(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var b bytes.Buffer
		if t.terminal && !once {
			b.WriteString("\x1b[H\x1b[2J")
		}
		t.draw(&b, old, now)
		if !t.terminal && !once {
			b.WriteByte('\n')
		}
		if _, err := t.out.Write(b.Bytes()); err != nil || once {
			return err
		}
		old = now
	}
}

// lookAll asks all nodes at the same time.
func (t *topView) lookAll(ctx context.Context) []look {
	looks := make([]look, len(t.nodes))
	done := make(chan struct{})
	for i, n := range t.nodes {
		go func() {
			data, err := t.scrape(ctx, n)
			looks[i] = look{t.clock.Now(), data, err}
			done <- struct{}{}
		}()
	}
	for range t.nodes {
		<-done
	}
	return looks
}

// scrapeTimeout bounds one look at one node.
const scrapeTimeout = 5 * time.Second

// scrape reads a node's /metrics. The answer ends with the connection.
func (t *topView) scrape(ctx context.Context, addr string) (map[string][]metrics.Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	c, err := t.dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if _, err := fmt.Fprintf(c, "GET /metrics HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", addr); err != nil {
		return nil, err
	}
	in := bufio.NewReader(c)
	status, err := in.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if f := strings.Fields(status); len(f) < 2 || f[1] != "200" {
		return nil, fmt.Errorf("answered %q", strings.TrimSpace(status))
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("reading the answer: %w", err)
		}
		if strings.TrimSpace(line) == "" {
			return metrics.Parse(in)
		}
	}
}
