package producer

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
)

// Scripts in testdata are commands, each followed by what is expected of it,
// indented by two blanks. kafka.txt was written by Apache Kafka's own classes,
// driven with random commands.
//
//	run NAME                                            begin with an empty state
//	verify PID EPOCH SEQ TV NOW                         begin a verification
//	data PID EPOCH SEQ COUNT txn|plain ORIGIN guard|noguard NOW
//	marker PID EPOCH COORDINATOREPOCH commit|abort TV ORIGIN NOW
//	empty PID EPOCH                                     a control batch without records
//	crash data|marker ...                               check, but do not commit
//	hw OFFSET | logstart OFFSET | expire NOW
//	snapshot NOW [HEX]                                  write a snapshot and load it
//	guards                                              forget verifications
//	late NOW                                            is a transaction late?
type runner struct {
	t     *testing.T
	where string
	s     *State
	guard Guard
	fresh Guard
	end   int64
}

var testConfig = Config{ExpirationMs: 100000, MaxTransactionTimeoutMs: 900000, VerifyTransactions: true}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) { runScript(t, f) })
	}
}

// runScript runs each "run NAME" of a file as a test of that name.
func runScript(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	checked, first := 0, 1
	var run []string
	flush := func() {
		for _, line := range run {
			if name, ok := strings.CutPrefix(line, "run "); ok {
				t.Run(name, func(t *testing.T) { checked += runLines(t, file, first, run) })
			}
		}
		first, run = first+len(run), nil
	}
	for _, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		if strings.HasPrefix(line, "run ") {
			flush()
		}
		run = append(run, line)
	}
	flush()
	if checked < 20 {
		t.Errorf("%s checks only %d results", file, checked)
	}
}

// runLines runs the lines of one run and returns how many results it checked.
func runLines(t *testing.T, file string, first int, lines []string) (checked int) {
	r := &runner{t: t, s: New(testConfig)}
	result := ""
	for n, line := range lines {
		r.where = fmt.Sprintf("%s:%d", file, first+n)
		want, expectation := strings.CutPrefix(line, "  ")
		switch {
		case line == "" || line[0] == '#':
		case !expectation:
			result = r.command(strings.Fields(line))
		default:
			got := result
			if strings.HasPrefix(want, "state") {
				got = r.state()
			}
			checked++
			if got != want {
				t.Fatalf("%s:\n got %s\nwant %s", r.where, got, want)
			}
		}
	}
	return checked
}

func (r *runner) num(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		r.t.Fatalf("%s: %v", r.where, err)
	}
	return n
}

func origin(s string) batch.Origin {
	switch s {
	case "coordinator":
		return batch.OriginCoordinator
	case "replication":
		return batch.OriginReplication
	}
	return batch.OriginClient
}

func (r *runner) command(p []string) string {
	switch p[0] {
	case "run":
		*r = runner{t: r.t, where: r.where, s: New(testConfig)}
	case "verify":
		i := batch.Info{ProducerID: r.num(p[1]), ProducerEpoch: int16(r.num(p[2])), BaseSequence: int32(r.num(p[3]))}
		r.fresh++
		r.guard = r.s.BeginVerification(&i, p[4] == "2", r.num(p[5]), r.fresh)
	case "data", "marker", "empty":
		return r.append(p, true)
	case "crash":
		return r.append(p[1:], false)
	case "hw":
		r.s.OnHighWatermark(r.num(p[1]))
	case "logstart":
		r.s.OnLogStart(r.num(p[1]))
	case "expire":
		r.s.Expire(r.num(p[1]))
	case "guards":
		r.s.ClearVerifications()
	case "late":
		return fmt.Sprint(r.s.HasLateTransaction(r.num(p[1])))
	case "snapshot":
		r.snapshot(p)
	default:
		r.t.Fatalf("%s: unknown command", r.where)
	}
	return ""
}

func (r *runner) snapshot(p []string) {
	b := r.s.AppendSnapshot(nil)
	if len(p) > 2 {
		want, err := hex.DecodeString(p[2])
		if err != nil {
			r.t.Fatal(err)
		}
		if !bytes.Equal(b, want) {
			r.t.Fatalf("%s:\n got %x\nwant %x", r.where, b, want)
		}
	}
	r.s = New(testConfig)
	r.guard = NoGuard
	if err := r.s.Load(b, r.end, r.num(p[1])); err != nil {
		r.t.Fatalf("%s: %v", r.where, err)
	}
}

func (r *runner) info(p []string) (i batch.Info, o batch.Origin, tv int16, guard Guard) {
	i = batch.Info{
		BaseOffset:    r.end,
		ProducerID:    r.num(p[1]),
		ProducerEpoch: int16(r.num(p[2])),
		NumRecords:    1,
		BaseSequence:  batch.NoSequence,
		Magic:         batch.MagicV2,
	}
	tv = TransactionVersionUnknown
	switch p[0] {
	case "data":
		n := int32(r.num(p[4]))
		i.BaseSequence, i.NumRecords, i.LastOffsetDelta = int32(r.num(p[3])), n, n-1
		i.IsTransactional = p[5] == "txn"
		o = origin(p[6])
		if p[7] == "guard" {
			guard = r.guard
		}
		i.MaxTimestamp = r.num(p[8])
	case "marker":
		i.IsControl, i.IsTransactional = true, true
		i.Control = batch.Control{Type: batch.ControlAbort, CoordinatorEpoch: int32(r.num(p[3])), Valid: true}
		if p[4] == "commit" {
			i.Control.Type = batch.ControlCommit
		}
		tv, o = int16(r.num(p[5])), origin(p[6])
		i.MaxTimestamp = r.num(p[7])
	case "empty":
		i.IsControl, i.IsTransactional, i.NumRecords = true, true, 0
		o = batch.OriginReplication
	}
	i.LastOffset = i.BaseOffset + int64(i.LastOffsetDelta)
	return i, o, tv, guard
}

// append checks and, unless the machine crashes in between, commits.
func (r *runner) append(p []string, commit bool) string {
	i, o, tv, guard := r.info(p)
	before := r.state()
	u, dup, err := r.s.Check([]batch.Info{i}, o, tv, guard)
	if after := r.state(); before != after {
		r.t.Fatalf("%s: Check changed the state\nfrom %s\n  to %s", r.where, before, after)
	}
	switch {
	case err != nil:
		return "err " + kafka.CodeOf(err).Name()
	case dup != nil:
		return fmt.Sprintf("dup %d %d", dup.FirstOffset(), dup.LastOffset)
	case !commit:
		return "ok"
	}
	out := "ok"
	r.end = i.LastOffset + 1
	for _, a := range r.s.Commit(u, r.end) {
		out += fmt.Sprintf(" aborted %d %d %d %d", a.ProducerID, a.FirstOffset, a.LastOffset, a.LastStableOffset)
	}
	return out
}

func (r *runner) state() string {
	orNone := func(o int64, ok bool) int64 {
		if !ok {
			return -1
		}
		return o
	}
	var b strings.Builder
	fmt.Fprintf(&b, "state end=%d unstable=%d undecided=%d", r.s.EndOffset(), orNone(r.s.FirstUnstableOffset()), orNone(r.s.FirstUndecidedOffset()))
	for _, e := range r.s.Entries() {
		fmt.Fprintf(&b, " %d:%d:%d:%d:%d:%d:%d:%d", e.ProducerID, e.Epoch, e.LastSequence, e.LastOffset, e.OffsetDelta, e.Timestamp, e.CoordinatorEpoch, e.CurrentTxnFirstOffset)
	}
	return b.String()
}
