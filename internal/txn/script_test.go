package txn

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts print into testdata")

// TestScripts runs the scripts in testdata: a command, a line of dashes, and what the
// coordinator writes, answers and asks for, in that order. Commands are documented at
// run.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			w, g := strings.Split(string(text), "\n"), strings.Split(got, "\n")
			for i := range max(len(w), len(g)) {
				if i >= len(w) || i >= len(g) || w[i] != g[i] {
					t.Fatalf("line %d:\nwant %q\n got %q", i+1, w[min(i, len(w)-1)], g[min(i, len(g)-1)])
				}
			}
		})
	}
}

// runScript executes every command and returns the script with fresh output.
func runScript(t *testing.T, text string) string {
	b := newBench()
	var out strings.Builder
	b.event = func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	request, failed := "", (*kafka.Code)(nil)
	b.replied = func(r coord.Reply) { checkCode(t, request, failed, r) }
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case line == "" || line[0] == '#':
			if i < len(lines)-1 || line != "" {
				out.WriteString(line + "\n")
			}
			continue
		case line == "----": // old output, up to the empty line
			for i+1 < len(lines) && lines[i+1] != "" {
				i++
			}
			continue
		}
		out.WriteString(line + "\n----\n")
		request, failed = strings.Fields(line)[0], b.failing
		if err := b.run(strings.Fields(line)); err != nil {
			t.Fatalf("line %d: %s: %v", i+1, line, err)
		}
	}
	return out.String()
}

// come back later, with the same or another coordinator: what every request may be told.
var comeBack = []*kafka.Code{kafka.CoordinatorNotAvailable, kafka.NotCoordinator, kafka.CoordinatorLoadInProgress, kafka.ConcurrentTransactions}

// codesOf are the codes that clients of a request understand, by the command that sends
// it, besides comeBack.
var codesOf = map[string][]*kafka.Code{
	"init":   {kafka.InvalidRequest, kafka.InvalidTransactionTimeout, kafka.InvalidProducerEpoch, kafka.ProducerFenced},
	"add":    {kafka.InvalidRequest, kafka.InvalidProducerIDMapping, kafka.InvalidProducerEpoch, kafka.ProducerFenced},
	"verify": {kafka.InvalidRequest, kafka.InvalidProducerIDMapping, kafka.InvalidProducerEpoch, kafka.ProducerFenced},
	"commit": {kafka.InvalidRequest, kafka.InvalidProducerIDMapping, kafka.InvalidProducerEpoch, kafka.ProducerFenced, kafka.InvalidTxnState},
	"abort":  {kafka.InvalidRequest, kafka.InvalidProducerIDMapping, kafka.InvalidProducerEpoch, kafka.ProducerFenced, kafka.InvalidTxnState},
}

// checkCode refuses replies that a client does not know what to do with (traps.md T3).
func checkCode(t *testing.T, request string, failedWith *kafka.Code, r coord.Reply) {
	t.Helper()
	known, limited := codesOf[request]
	if r.Err == nil || !limited {
		return
	}
	code := kafka.CodeOf(r.Err)
	if code == kafka.UnknownServerError && failedWith == kafka.MessageTooLarge {
		return // as in Kafka: the record of this transactional id fits into no batch
	}
	if !slices.Contains(known, code) && !slices.Contains(comeBack, code) {
		t.Errorf("%s is answered %v, which its clients do not expect", request, r.Err)
	}
}

// words are the arguments of a command: plain ones in order, and key=value.
type words struct {
	plain []string
	named map[string]string
}

func parseWords(list []string) words {
	w := words{named: map[string]string{}}
	for _, s := range list {
		if k, v, ok := strings.Cut(s, "="); ok {
			w.named[k] = v
		} else {
			w.plain = append(w.plain, s)
		}
	}
	return w
}

func (w words) at(i int) string {
	if i < len(w.plain) {
		return w.plain[i]
	}
	return ""
}

func (w words) num(key string, def int64) int64 {
	if v, ok := w.named[key]; ok {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			panic(err)
		}
		return n
	}
	return def
}

func parsePartitions(list string) []kafka.TopicPartition {
	var tps []kafka.TopicPartition
	for _, s := range strings.Split(list, ",") {
		tp, err := kafka.ParseTopicPartition(s)
		if err != nil {
			panic(err)
		}
		tps = append(tps, tp)
	}
	return tps
}

func codeNamed(name string) *kafka.Code {
	for _, c := range kafka.AllCodes() {
		if c.Name() == name {
			return c
		}
	}
	return nil
}

// run executes one command:
//
//	init ID [timeout=] [id= epoch=] [v=]    InitProducerId
//	add|verify ID T-P,.. id= epoch= [v=] [tv=]  AddPartitionsToTxn
//	commit|abort ID id= epoch= [v=]         EndTxn
//	marked [CODE] [T-P,..]                  the result of the last WriteMarkers
//	remark N CODE                           the result of the Nth WriteMarkers again
//	describe ID, list [states=] [ids=] [duration=] [pattern=] [v=]
//	advance MS, tv N, fail CODE, stall, go, ids hold|go|CODE, reload, show
//	put ID epoch= id= state=                a record that an earlier coordinator wrote
func (b *bench) run(args []string) error {
	w := parseWords(args[1:])
	switch args[0] {
	case "init":
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version = int16(w.num("v", 5))
		id := w.at(0)
		req.TransactionalID, req.TransactionTimeoutMillis = &id, int32(w.num("timeout", 60000))
		req.ProducerID, req.ProducerEpoch = w.num("id", -1), int16(w.num("epoch", -1))
		b.apply(b.m.InitProducerID(b.now, b.to(), req))
	case "add", "verify":
		b.apply(b.m.AddPartitions(b.now, b.to(), &AddPartitions{
			TransactionalID: w.at(0), ProducerID: w.num("id", -1), ProducerEpoch: int16(w.num("epoch", -1)), VerifyOnly: args[0] == "verify",
			Partitions: parsePartitions(w.at(1)), Version: int16(w.num("v", 5)), ClientTransactionVersion: int16(w.num("tv", int64(b.version))),
		}))
	case "commit", "abort":
		req := kmsg.NewPtrEndTxnRequest()
		req.Version = int16(w.num("v", 5))
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = w.at(0), w.num("id", -1), int16(w.num("epoch", -1)), args[0] == "commit"
		b.apply(b.m.EndTxn(b.now, b.to(), req))
	case "marked":
		return b.marked(len(b.markers)-1, w.at(0), w.at(1))
	case "remark":
		n, err := strconv.Atoi(w.at(0))
		if err != nil {
			return err
		}
		return b.marked(n, w.at(1), w.at(2))
	case "describe":
		b.apply(b.m.Describe(b.to(), w.at(0)))
	case "list":
		return b.list(w)
	default:
		return b.control(args[0], w)
	}
	return nil
}

func (b *bench) marked(n int, code, partitions string) error {
	if n < 0 || n >= len(b.markers) {
		return fmt.Errorf("no markers were asked for")
	}
	e := b.markers[n]
	tps := e.Partitions
	if partitions != "" {
		tps = parsePartitions(partitions)
	}
	var results []MarkerResult
	for _, tp := range tps {
		r := MarkerResult{Partition: tp}
		if c := codeNamed(code); c != nil {
			r.Err = c
		}
		results = append(results, r)
	}
	b.apply(b.m.MarkersWritten(b.now, &e, results))
	return nil
}

func (b *bench) list(w words) error {
	req := kmsg.NewPtrListTransactionsRequest()
	req.Version = int16(w.num("v", 2))
	if s := w.named["states"]; s != "" {
		req.StateFilters = strings.Split(s, ",")
	}
	if id := w.num("ids", -1); id >= 0 {
		req.ProducerIDFilters = []int64{id}
	}
	req.DurationFilterMillis = w.num("duration", -1)
	if p, ok := w.named["pattern"]; ok {
		req.TransactionalIDPattern = &p
	}
	f, err := ParseFilter(req)
	if err != nil {
		b.event("error %s", kafka.CodeOf(err).Name())
		return nil
	}
	if len(f.UnknownStates) > 0 {
		b.event("unknown states %v", f.UnknownStates)
	}
	b.apply(b.m.List(b.now, b.to(), f))
	return nil
}

// control are the commands that change the world.
func (b *bench) control(name string, w words) error {
	switch name {
	case "advance":
		ms, err := strconv.ParseInt(w.at(0), 10, 64)
		if err != nil {
			return err
		}
		b.advance(ms)
	case "tv":
		v, err := strconv.Atoi(w.at(0))
		b.version = int16(v)
		return err
	case "fail":
		b.failing = codeNamed(w.at(0))
	case "stall":
		b.stalled = true
	case "go":
		b.stalled = false
		b.settle()
	case "ids":
		b.idsHeld, b.noIDs = w.at(0) == "hold", codeNamed(w.at(0))
		if w.at(0) == "go" {
			b.grant()
		}
	case "reload":
		return b.reload()
	case "show":
		for _, id := range slices.Sorted(maps.Keys(b.m.txns)) {
			b.event("%s", describe(b.m.txns[id]))
		}
	case "put":
		s, ok := ParseState(w.named["state"])
		if !ok {
			return fmt.Errorf("no state %q", w.named["state"])
		}
		t := &Transaction{ID: w.at(0), ProducerID: w.num("id", 1), PreviousProducerID: w.num("id", 1), NextProducerID: w.num("next", -1), ProducerEpoch: int16(w.num("epoch", 0)),
			TimeoutMs: int32(w.num("timeout", 60000)), State: s, StartMs: b.now, LastUpdateMs: b.now, ClientTransactionVersion: int16(w.num("tv", int64(b.version)))}
		if w.at(1) != "" {
			t.Partitions = parsePartitions(w.at(1))
		}
		b.log = append(b.log, t.record(2))
	default:
		return fmt.Errorf("unknown command %s", name)
	}
	return nil
}
