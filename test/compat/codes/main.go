// Command codes tries the table of test/codes with other people's clients: it stands
// between the client's program and a broker, puts a code into a response, and holds what
// became of the client against the table.
//
//	codes -client java -listen localhost:9192 -broker localhost:9092 COMMAND...
//
// With -part 2/3 it tries every third row, from the second one on.
//
// The command is the client's program. It reads a line a row, "SCENARIO NAME WHEN", says
// "arm" when the code may come and waits for "go", is told "injected" when the code was
// put in, and says "outcome WORD TEXT" in the end. WHEN is "first", before the client is
// made, "later", when it works, or "quiet": the same, but a member commits nothing until
// the code was put in, which comes while it is idle. The listeners that the broker
// advertises must be the address that this program listens on.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/test/codes"
)

const (
	out      = "codes"
	in       = "in"
	inCount  = 20000
	rowLimit = 60 * time.Second
	// patience is how long a client may stay silent that will go on.
	patience = 4 * time.Second
)

type run struct {
	client, broker string
	relay          codes.Relay
	command        []string
	program        *exec.Cmd
	stdin          io.WriteCloser
	lines          chan string
	part, parts    int
	passed, failed int
	tried          []codes.Row
}

func main() {
	client := flag.String("client", "java", "the column of the table")
	listen := flag.String("listen", "localhost:9192", "the address that clients are told")
	broker := flag.String("broker", "localhost:9092", "the broker")
	only := flag.String("only", "", "rows whose name holds this")
	r := &run{part: 1, parts: 1}
	flag.Func("part", "which rows of how many parts, 2/3", func(s string) error {
		if _, err := fmt.Sscanf(s, "%d/%d", &r.part, &r.parts); err != nil || r.part < 1 || r.part > r.parts {
			return fmt.Errorf("%q is no part such as 2/3", s)
		}
		return nil
	})
	flag.Parse()
	r.client, r.broker = *client, *broker
	if err := r.all(*listen, *only, flag.Args()); err != nil {
		fmt.Println("FAIL ", err)
		os.Exit(1)
	}
	fmt.Printf("%s: %d codes as in the table, %d not\n", r.client, r.passed, r.failed)
	if r.failed > 0 {
		os.Exit(1)
	}
}

func (r *run) all(listen, only string, command []string) error {
	rows, err := codes.Rows()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	defer l.Close()
	go r.accept(l)
	cl, err := kgo.NewClient(kgo.SeedBrokers(listen), kgo.AllowAutoTopicCreation(), kgo.ConsumeTopics(out), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := prepare(cl); err != nil {
		return err
	}
	r.command = append(command, listen)
	if err := r.start(); err != nil {
		return err
	}
	defer func() { r.stop() }()
	for _, old := range []bool{false, true} {
		version := int16(2)
		if old {
			version = 1
		}
		if err := transactionVersion(cl, version); err != nil {
			return err
		}
		for i, row := range rows {
			if i%r.parts != r.part-1 || row.Scenario.OldTxns != old || row.Want[r.client] == codes.Untried || !strings.Contains(row.Name(), only) {
				continue
			}
			if err := r.try(row); err != nil {
				return fmt.Errorf("%s: %w", row.Name(), err)
			}
		}
	}
	return r.audit(cl)
}

func (r *run) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", r.broker)
		if err != nil {
			_ = c.Close()
			continue
		}
		go r.relay.Serve(c, b)
	}
}

// prepare writes what the members read.
func prepare(cl *kgo.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	records := make([]*kgo.Record, inCount+1)
	for i := range inCount {
		records[i] = &kgo.Record{Topic: in, Value: fmt.Append(nil, i)}
	}
	records[inCount] = &kgo.Record{Topic: out, Value: []byte("first")}
	return cl.ProduceSync(ctx, records...).FirstErr()
}

// transactionVersion raises or lowers transaction.version.
func transactionVersion(cl *kgo.Client, version int16) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req := kmsg.NewPtrUpdateFeaturesRequest()
	f := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	f.Feature, f.MaxVersionLevel, f.UpgradeType = "transaction.version", version, 1
	if version < 2 {
		f.UpgradeType, f.AllowDowngrade = 2, true
	}
	req.FeatureUpdates = append(req.FeatureUpdates, f)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for _, r := range resp.Results {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return fmt.Errorf("transaction.version: %w", err)
		}
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

func (r *run) start() error {
	r.program = exec.Command(r.command[0], r.command[1:]...)
	r.program.Stderr = os.Stderr
	var err error
	if r.stdin, err = r.program.StdinPipe(); err != nil {
		return err
	}
	stdout, err := r.program.StdoutPipe()
	if err != nil {
		return err
	}
	r.lines = make(chan string, 100)
	go func() {
		defer close(r.lines)
		s := bufio.NewScanner(stdout)
		for s.Scan() {
			r.lines <- s.Text()
		}
	}()
	return r.program.Start()
}

func (r *run) stop() {
	_ = r.stdin.Close()
	_ = r.program.Process.Kill()
	_ = r.program.Wait()
}

// try runs one row.
func (r *run) try(row codes.Row) error {
	when := "first"
	switch {
	case isHeartbeat(row):
		when = "quiet"
	case row.Scenario.Running:
		when = "later"
	}
	fmt.Fprintf(r.stdin, "%s %s %s\n", row.Scenario.Name, row.Name(), when)
	limit := time.After(rowLimit)
	var injected, again <-chan struct{}
	var silent <-chan time.Time
	for {
		select {
		case <-limit:
			return fmt.Errorf("no outcome in %v", rowLimit)
		case <-injected:
			injected, silent = nil, time.After(patience)
			if !isHeartbeat(row) {
				again, silent = nil, time.After(0)
			}
		case <-again:
			again, silent = nil, time.After(0)
		case <-silent:
			silent = nil
			fmt.Fprintln(r.stdin, "injected")
		case line, ok := <-r.lines:
			word, rest, _ := strings.Cut(line, " ")
			switch {
			case !ok:
				return fmt.Errorf("the client's program ended")
			case word == "arm":
				injected, again = r.relay.Arm(row.Name(), row.Key, row.Code.Num())
				fmt.Fprintln(r.stdin, "go")
			case word == "outcome":
				return r.judge(row, rest)
			}
		}
	}
}

// isHeartbeat: what the client makes of the code it does in the background, and is known
// only when it sends the next one.
func isHeartbeat(row codes.Row) bool {
	return row.Key == int16(kmsg.Heartbeat) || row.Key == int16(kmsg.ConsumerGroupHeartbeat)
}

// judge holds the outcome against the table. A member that could not go on may never end;
// it is left behind with its program.
func (r *run) judge(row codes.Row, said string) error {
	word, text, _ := strings.Cut(said, " ")
	got := codes.Outcome(word)
	if got == codes.GoesOn && row.MayRejoin() && r.relay.Rejoined() {
		got = codes.Rejoins
	}
	name := fmt.Sprintf("%s %s %s", row.API, row.Scenario.Written, row.Code.Name())
	switch {
	case r.relay.Disarm():
		r.failed++
		fmt.Printf("FAIL  %s: there was no such request; %s\n", name, said)
	case got != row.Want[r.client]:
		r.failed++
		fmt.Printf("FAIL  %s: %s, not %s; %s\n", name, got, row.Want[r.client], text)
	default:
		r.passed++
		r.tried = append(r.tried, row)
		fmt.Printf("ok    %s: %s\n", name, got)
	}
	if got != codes.Fatal || row.Scenario.Name == "txn" {
		return nil
	}
	r.stop()
	return r.start()
}

// audit reads what the transactions left: the record of one that went on once, and
// nothing twice.
func (r *run) audit(cl *kgo.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: out, Value: []byte("last")}).FirstErr(); err != nil {
		return err
	}
	count := map[string]int{}
	for count["last"] == 0 {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("the last record is not read: %w", ctx.Err())
		}
		f.EachRecord(func(rec *kgo.Record) { count[string(rec.Value)]++ })
	}
	for _, row := range r.tried {
		if row.Scenario.Name != "txn" {
			continue
		}
		first, second := count[row.Name()+"/1"], count[row.Name()+"/2"]
		want := map[codes.Outcome][2]bool{
			codes.GoesOn: {first == 1, second == 0}, codes.Repeats: {first == 1, second == 0},
			codes.Abortable: {first <= 1, second == 1}, codes.Fatal: {first <= 1, second == 0},
		}[row.Want[r.client]]
		if !want[0] || !want[1] {
			r.failed++
			fmt.Printf("FAIL  %s: its first record is there %d times, the second %d\n", row.Name(), first, second)
		}
	}
	return nil
}
