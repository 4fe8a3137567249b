package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// goOn is the time within which every topic must take records again, counted from the
	// begin of a fault. Topics that are written with what a group reads have more: a broker that
	// is cut off from all but the clients still answers as coordinator of groups and
	// transactions. Clients find out by time-outs of several seconds, and ask any broker
	// for the coordinator, the one that is cut off too.
	goOn       = 15 * time.Second
	goOnCopies = 30 * time.Second
	// recovery is the time within which every replica must be in sync after a fault.
	recovery = 30 * time.Second
	// A round is one cluster and its checks; a long run is made of many.
	faultsOfRound = 100
)

// TestChaos breaks clusters of three brokers and three controllers under load, in six
// processes and in three, and holds what clients were told and what replicas hold against
// the rules. GREGOR_FAULTS is the number of faults, GREGOR_LAYOUT picks "separate" or
// "combined". The share of faults with progress is judged from a hundred faults on.
func TestChaos(t *testing.T) {
	layouts := []string{"separate", "combined"}
	if l := os.Getenv("GREGOR_LAYOUT"); l != "" {
		layouts = strings.Split(l, ",")
	}
	faults := envInt(t, "GREGOR_FAULTS", 10)
	var total tally
	for round := 0; total.faults < faults && !t.Failed(); round++ {
		layout := layouts[round%len(layouts)]
		n := min((faults+len(layouts)-1)/len(layouts), faultsOfRound, faults-total.faults)
		t.Run(fmt.Sprintf("%s-%d", layout, round), func(t *testing.T) { total.add(chaosRound(t, layout == "combined", n)) })
	}
	t.Logf("chaos: %s", total)
	// Whether it is 99 of a hundred takes a hundred to tell. Where the machine does other
	// work beside, a few faults show what is lost, not how long things take.
	if faults >= faultsOfRound && total.stuck*100 > total.faults {
		t.Errorf("no progress during %d of %d faults", total.stuck, total.faults)
	}
}

func envInt(t *testing.T, name string, usual int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return usual
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// tally is what a run is summed up by.
type tally struct {
	faults, stuck                       int
	records, committed, aborted, offset int
	bad, partitions                     int
	bytes                               int64
	took                                time.Duration
	kinds                               map[string]int
}

func (a *tally) add(b tally) {
	a.faults, a.stuck, a.records, a.committed, a.aborted = a.faults+b.faults, a.stuck+b.stuck, a.records+b.records, a.committed+b.committed, a.aborted+b.aborted
	a.offset, a.bad, a.partitions, a.bytes, a.took = a.offset+b.offset, a.bad+b.bad, a.partitions+b.partitions, a.bytes+b.bytes, a.took+b.took
	for k, n := range b.kinds {
		a.kind(k, n)
	}
}

func (a *tally) kind(k string, n int) {
	if a.kinds == nil {
		a.kinds = map[string]int{}
	}
	a.kinds[k] += n
}

func (a tally) String() string {
	return fmt.Sprintf("%d faults in %v, progress during %d (%.1f %%); %d records acknowledged, %d transactions committed, %d aborted, %d commits of offsets; "+
		"%d lost, reordered, duplicated or gone back; %d bytes of %d partitions identical on all replicas",
		a.faults, a.took.Round(time.Second), a.faults-a.stuck, 100*float64(a.faults-a.stuck)/float64(max(a.faults, 1)), a.records, a.committed, a.aborted, a.offset,
		a.bad, a.bytes, a.partitions)
}

// chaosRound is the life of one cluster.
func chaosRound(t *testing.T, combined bool, faults int) tally {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	f := newFleet(t, shape{brokers: 3, combined: combined})
	cr := newCrash(t, f.seeds()...)
	cr.moving, cr.pace = true, 60*time.Millisecond
	cr.clients = f.clientLog()
	for topic, parts := range topicParts() {
		f.create(topic, parts, nil)
	}
	f.until(recovery, f.unhealthy)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var clients, watchers sync.WaitGroup
	cr.startGroups(ctx, &clients)
	cr.startTransactions(ctx, &clients)
	cr.startCopiers(ctx, &clients)
	watching, stopWatching := context.WithCancel(context.Background())
	defer stopWatching()
	w := cr.startWatchers(watching, &watchers)
	if what, _ := cr.stuck(0); what != "" {
		t.Fatalf("the load does not begin: %s", what)
	}
	var out tally
	for ; out.faults < faults && cr.violations() == 0; out.faults++ {
		kinds := f.wanted(f.kinds(rng))
		x := kinds[rng.IntN(len(kinds))]()
		out.kind(x.kind, 1)
		if what := cr.suffer(ctx, f, x); what != "" {
			out.stuck++
			t.Logf("fault %d, %s: no progress in time: %s", out.faults, x.kind, what)
		}
		pause(ctx, time.Duration(rng.IntN(300))*time.Millisecond)
	}
	cancel()
	cr.await(&clients, "clients")
	cr.settle()
	stopWatching()
	cr.await(&watchers, "observers")
	out.bad = cr.judge(w)
	out.took = cr.now()
	f.audit(&out)
	cr.sum(&out, w)
	t.Logf("%s", out)
	return out
}

// suffer lets one fault happen, with all its consequences, and returns which topic took no
// record in time, "" if all did.
func (cr *crash) suffer(ctx context.Context, f *fleet, x fault) string {
	began := cr.now()
	cr.mu.Lock()
	cr.outages = append(cr.outages, outage{began, never})
	cr.mu.Unlock()
	x.inject()
	stuck, last := cr.stuck(began)
	if pause(ctx, x.hold-(cr.now()-began)); stuck == "" && x.hold > 0 {
		stuck, last = cr.stuck(cr.now()) // by now the fault has all of its consequences
	}
	progress := cr.now()
	x.repair()
	repaired := cr.now()
	f.until(recovery, f.unhealthy)
	cr.mu.Lock()
	defer cr.mu.Unlock()
	cr.outages[len(cr.outages)-1].to = cr.now()
	cr.t.Logf("%-60s progress after %5d ms (last on %s), repaired after %5d ms, in sync after %5d ms", x.kind,
		(progress - began).Milliseconds(), last, (repaired - began).Milliseconds(), (cr.now() - began).Milliseconds())
	return stuck
}

// stuck waits until records that were sent after began are acknowledged: one on each
// partition that is written without transaction, one on each topic that is written with.
// It returns the place that is missing and the one that came last.
func (cr *crash) stuck(began time.Duration) (missing, last string) {
	var written []string
	for p := range workParts {
		written = append(written, tpName(workTopic, p))
	}
	for p := range txnParts {
		written = append(written, tpName(inTopic, p))
	}
	written = append(written, txnTopic)
	for _, x := range []struct {
		places []string
		limit  time.Duration
	}{{written, goOn}, {[]string{outTopic, out848}, goOnCopies}} {
		missing = within(max(x.limit-(cr.now()-began), time.Millisecond), func() string {
			cr.mu.Lock()
			defer cr.mu.Unlock()
			for _, p := range x.places {
				if at, ok := cr.progress[p]; !ok || at < began {
					last = p
					return p
				}
			}
			return ""
		})
		if missing != "" {
			break
		}
	}
	return missing, last
}

func (cr *crash) violations() int {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	return len(cr.bad)
}

// sum counts what the run has done and holds against it what it has not.
func (cr *crash) sum(out *tally, w *watch) {
	for _, txns := range cr.txns {
		for _, x := range txns {
			switch {
			case x.outcome == done && len(x.records) == 1 && strings.HasPrefix(x.producer, workTopic), x.outcome == done && strings.HasPrefix(x.producer, inTopic):
				out.records += len(x.records)
			case x.outcome == done:
				out.records += len(x.records)
				out.committed++
			case x.outcome == refused:
				out.aborted++
			}
		}
	}
	for _, c := range cr.commits {
		if c.outcome == done {
			out.offset++
		}
	}
	cr.counts["reads of committed offsets"] = len(cr.reads)
	cr.counts["holds"] = len(cr.holds)
	cr.counts["watermark answers"] = w.marks.seen
	cr.counts["watermark answers of leaders of the past"] = w.marks.stale
	cr.counts["open transactions seen"] = w.open.seen
	for _, k := range sortedKeys(cr.counts) {
		cr.t.Logf("%9d %s", cr.counts[k], k)
	}
	for _, k := range sortedKeys(out.kinds) {
		cr.t.Logf("%9d %s", out.kinds[k], k)
	}
	for what, n := range map[string]int{"records": out.records, "transactions": out.committed, "commits": out.offset, "reads of offsets": len(cr.reads)} {
		if n == 0 {
			cr.t.Errorf("the run has no %s: it tested nothing", what)
		}
	}
}
