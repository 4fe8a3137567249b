package cluster

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Topics and timeouts of the crash test.
const (
	workTopic = "work"      // consumed by groups
	txnTopic  = "txn"       // written by transactions
	inTopic   = "in"        // copied to out and out848, exactly once
	outTopic  = "out"       // by a classic group
	out848    = "out848"    // by a consumer group
	workParts = int32(4)    // partitions of workTopic
	txnParts  = int32(3)    // of the others
	txnLimit  = time.Second // the timeout of all transactions

	abortInterval = 500 * time.Millisecond
)

// crash is one run: brokers that are killed again and again, clients, and what they
// know. mu guards all below it.
type crash struct {
	t       *testing.T
	seeds   []string      // the brokers' addresses
	moving  bool          // leaders and coordinators move between brokers: none is known by its address
	clients io.Writer     // what clients log, nil if nobody wants it
	pace    time.Duration // the longest pause of the producers without transaction
	began   time.Time
	serial  atomic.Int64

	mu       sync.Mutex
	commits  []commitOp
	reads    []readOp
	holds    []hold
	txns     map[string][]sentTxn // by producer
	outages  []outage
	acked    map[string]int64 // partition -> the first offset behind what was acknowledged
	counters map[string]int64 // key of a register -> the offset committed last by a raw member
	polled   map[string]map[int64]bool
	silent   map[string]time.Duration // address of a broker -> until when it is not tried again
	progress map[string]time.Duration // partition or topic -> when the youngest was sent of what is acknowledged
	counts   map[string]int
	bad      []string
}

func newCrash(t *testing.T, seeds ...string) *crash {
	return &crash{t: t, seeds: seeds, pace: 20 * time.Millisecond, began: time.Now(), txns: map[string][]sentTxn{}, acked: map[string]int64{},
		counters: map[string]int64{}, polled: map[string]map[int64]bool{}, progress: map[string]time.Duration{}, silent: map[string]time.Duration{}, counts: map[string]int{}}
}

func (cr *crash) now() time.Duration { return time.Since(cr.began) }

func (cr *crash) count(what string, n int) {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	cr.counts[what] += n
}

func (cr *crash) violation(format string, args ...any) {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	cr.bad = append(cr.bad, fmt.Sprintf(format, args...))
}

func (cr *crash) sent(x sentTxn) {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	cr.txns[x.producer] = append(cr.txns[x.producer], x)
	for _, r := range x.records {
		cr.acked[r.tp] = max(cr.acked[r.tp], r.offset+1)
	}
	if len(x.records) > 0 {
		cr.counts[map[outcome]string{done: "committed", refused: "aborted", unknown: "unknown"}[x.outcome]+" "+strings.Split(x.producer, "-")[0]]++
	}
}

// progressed is told that what was sent at these places at this time is acknowledged.
func (cr *crash) progressed(began time.Duration, places ...string) {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	for _, p := range places {
		cr.progress[p] = max(cr.progress[p], began)
	}
}

func tpName(topic string, partition int32) string { return fmt.Sprintf("%s-%d", topic, partition) }

// lifeline is the network of one client. Severing it is the client's kill -9: no
// request that it had not sent leaves it.
type lifeline struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (l *lifeline) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	cut := l.cut
	l.mu.Unlock()
	if cut {
		return nil, net.ErrClosed
	}
	c, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	abortive(c)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		c.Close()
		return nil, net.ErrClosed
	}
	l.conns = append(l.conns, c)
	return c, nil
}

// abortive makes the end of a connection take back what it has not sent yet: a request
// that was given up must not arrive when a link is healed.
func abortive(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it fails only on a connection that is closed
	}
}

func (l *lifeline) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for _, c := range l.conns {
		c.Close()
	}
}

// options are those of a franz-go client that comes back quickly after a kill.
func (cr *crash) options(l *lifeline, opts ...kgo.Opt) []kgo.Opt {
	base := []kgo.Opt{
		kgo.SeedBrokers(cr.seeds...), kgo.Dialer(l.dial), kgo.MetadataMinAge(20 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 15 * time.Millisecond }),
		kgo.ConcurrentTransactionsBackoff(10 * time.Millisecond), kgo.DisableClientMetrics(), kgo.AlwaysRetryEOF(),
	}
	if cr.clients != nil {
		base = append(base, kgo.WithLogger(kgo.BasicLogger(cr.clients, kgo.LogLevelInfo, clientPrefix())))
	}
	if cr.moving {
		// Brokers learn of a topic one after the other, on a busy machine not within five tries.
		base = append(base, kgo.UnknownTopicRetries(-1))
		// A broker that is paused or cut off must not hold a client up for long: franz-go has
		// one queue a broker, in which each request waits for the time-out of those before.
		base = append(base, kgo.RequestTimeoutOverhead(400*time.Millisecond), kgo.ProduceRequestTimeout(time.Second), kgo.Dialer(cr.dialer(l)))
	}
	return append(base, opts...)
}

// clientPrefix names the lines of a client's log: when, and whose.
func clientPrefix() func() string {
	id := fmt.Sprintf("c%d ", clientNumber.Add(1))
	return func() string { return time.Now().Format("15:04:05.000 ") + id }
}

var clientNumber atomic.Int64

// pause waits, or less if the run ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func crashNode(t *testing.T) *node {
	return newNode(t, "offsets.topic.num.partitions=3", "transaction.state.log.num.partitions=3",
		"group.min.session.timeout.ms=200", "group.initial.rebalance.delay.ms=20",
		"group.consumer.min.heartbeat.interval.ms=20", "group.consumer.heartbeat.interval.ms=40",
		"group.consumer.min.session.timeout.ms=200", "group.consumer.session.timeout.ms=1000",
		"group.consumer.assignment.interval.ms=0",
		fmt.Sprintf("transaction.abort.timed.out.transaction.cleanup.interval.ms=%d", abortInterval.Milliseconds()))
}

func killsWanted(t *testing.T, usual int) int {
	s := os.Getenv("GREGOR_KILLS")
	if s == "" {
		return usual
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("GREGOR_KILLS: %v", err)
	}
	return n
}

// TestKillDuringGroupsAndTransactions kills the broker at random moments while members
// join, leave and die, commit offsets, and transactions begin, commit, abort and are
// left open; then it holds everything that clients were told against the rules.
func TestKillDuringGroupsAndTransactions(t *testing.T) {
	kills := killsWanted(t, 3)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	n := crashNode(t)
	n.start()
	cr := newCrash(t, n.addr)
	for topic, parts := range topicParts() {
		createParts(t, n.addr, topic, parts, nil)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var clients, watchers sync.WaitGroup
	cr.startGroups(ctx, &clients)
	cr.startTransactions(ctx, &clients)
	cr.startCopiers(ctx, &clients)
	watching, stopWatching := context.WithCancel(context.Background())
	defer stopWatching()
	w := cr.startWatchers(watching, &watchers)
	for i := range kills {
		up := time.Duration(30+rng.IntN(700)) * time.Millisecond
		if i%10 == 4 {
			up += 2 * time.Second // long enough for sessions and transactions to time out
		}
		time.Sleep(up) // the random moment is what is tested
		cr.mu.Lock()
		cr.outages = append(cr.outages, outage{cr.now(), never})
		cr.mu.Unlock()
		n.kill()
		n.start()
		cr.mu.Lock()
		cr.outages[len(cr.outages)-1].to = cr.now()
		bad := len(cr.bad)
		cr.mu.Unlock()
		if bad > 0 {
			break
		}
	}
	pause(ctx, 300*time.Millisecond)
	cancel()
	cr.await(&clients, "clients")
	cr.settle()
	stopWatching()
	cr.await(&watchers, "observers")
	cr.judge(w)
	cr.report(kills, w)
}

// await waits for those who have been told to end. With a broker that runs they do so
// soon; if not, what was seen so far is told.
func (cr *crash) await(wg *sync.WaitGroup, who string) {
	cr.t.Helper()
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		cr.mu.Lock()
		defer cr.mu.Unlock()
		cr.t.Fatalf("the %s have not ended a minute after they were told to; %v", who, cr.bad)
	}
}

// judge runs all checkers and returns how much is wrong.
func (cr *crash) judge(w *watch) (wrong int) {
	final := cr.finalReading()
	var txns []sentTxn
	for _, p := range sortedKeys(cr.txns) {
		txns = append(txns, cr.txns[p]...)
	}
	bad := map[string][]string{
		"by the clients":    cr.bad,
		"offsets":           checkOffsets(cr.commits, cr.reads),
		"owners":            checkOwners(cr.holds),
		"transactions":      checkTransactions(txns, []reading{w.running, final}),
		"copies":            append(checkCopied(topicOf(final, inTopic), topicOf(final, outTopic)), checkCopied(topicOf(final, inTopic), topicOf(final, out848))...),
		"delivery":          checkDelivered(cr.polled, cr.reads),
		"watermarks":        w.marks.bad,
		"open transactions": w.open.bad,
	}
	for _, what := range sortedKeys(bad) {
		wrong += len(bad[what])
		for i, b := range bad[what] {
			if i == 10 {
				cr.t.Errorf("%s: %d more", what, len(bad[what])-i)
				break
			}
			cr.t.Errorf("%s: %s", what, b)
		}
	}
	for _, rs := range final {
		cr.counts["records read_committed"] += len(rs)
	}
	return wrong
}

// topicOf takes one topic out of a reading, with values as the producer of inTopic made
// them.
func topicOf(r reading, topic string) reading {
	out := reading{}
	for tp, records := range r {
		p, ok := strings.CutPrefix(tp, topic+"-")
		if !ok {
			continue
		}
		for _, rec := range records {
			value, _, _ := strings.Cut(rec.value, "#")
			out[p] = append(out[p], readRecord{rec.offset, value})
		}
	}
	return out
}

func (cr *crash) report(kills int, w *watch) {
	for _, c := range cr.commits {
		cr.counts[map[outcome]string{done: "acknowledged", refused: "refused", unknown: "unknown"}[c.outcome]+" commits"]++
	}
	cr.counts["reads of committed offsets"] = len(cr.reads)
	cr.counts["holds"] = len(cr.holds)
	cr.counts["watermark answers"] = w.marks.seen
	cr.counts["open transactions seen"] = w.open.seen
	generations := map[string]int32{}
	for _, h := range cr.holds {
		generations[h.group] = max(generations[h.group], h.last)
	}
	total := int32(0)
	for _, g := range generations {
		total += g
	}
	cr.counts["rebalances"] = int(total)
	var down time.Duration
	for _, o := range cr.outages {
		down += o.to - o.from
	}
	cr.t.Logf("%d kills in %v, of which the broker was down for %v; the longest transaction was open for %v above its timeout; generations %v", len(cr.outages), cr.now().Round(time.Second), down.Round(time.Second), w.open.longest.Round(time.Millisecond), generations)
	for _, k := range sortedKeys(maps.Clone(cr.counts)) {
		cr.t.Logf("%9d %s", cr.counts[k], k)
	}
	for _, must := range []string{"acknowledged commits", "committed tx", "aborted tx", "committed out", "committed out848", "rebalances", "open transactions seen", "records read_committed"} {
		if cr.counts[must] == 0 && (kills >= 20 || must == "acknowledged commits" || must == "committed out") {
			cr.t.Errorf("the run has no %s: it tested nothing", must)
		}
	}
}
