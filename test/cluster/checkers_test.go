package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/producer"
)

// verdict holds what a checker said against what it must say: nothing, or one thing that
// contains want.
func verdict(t *testing.T, want string, got []string) {
	t.Helper()
	switch {
	case want == "" && len(got) > 0:
		t.Errorf("a good history was called bad: %v", got)
	case want != "" && !strings.Contains(strings.Join(got, "\n"), want):
		t.Errorf("want %q, got %v", want, got)
	}
}

func TestCheckOffsets(t *testing.T) {
	c := func(id string, offset int64, start, end time.Duration, o outcome) commitOp {
		return commitOp{"g 0", id, offset, start, end, o}
	}
	r := func(id string, offset int64, start, end time.Duration) readOp {
		return readOp{"g 0", id, offset, start, end}
	}
	for _, x := range []struct {
		name    string
		commits []commitOp
		reads   []readOp
		want    string
	}{
		{"one after the other", []commitOp{c("a", 1, 1, 2, done), c("b", 2, 5, 6, done)}, []readOp{r("", -1, 0, 1), r("a", 1, 3, 4), r("b", 2, 7, 8)}, ""},
		{"concurrent read of the old value", []commitOp{c("a", 1, 1, 2, done), c("b", 2, 5, 9, done)}, []readOp{r("a", 1, 6, 7), r("b", 2, 8, 10)}, ""},
		{"unknown and done", []commitOp{c("a", 1, 1, 2, done), c("b", 2, 5, 6, unknown)}, []readOp{r("b", 2, 7, 8)}, ""},
		{"unknown and not done", []commitOp{c("a", 1, 1, 2, done), c("b", 2, 5, 6, unknown)}, []readOp{r("a", 1, 7, 8)}, ""},
		{"late unknown", []commitOp{c("a", 1, 1, 2, done), c("b", 2, 5, never, unknown)}, []readOp{r("a", 1, 7, 8), r("b", 2, 9, 10)}, ""},
		{"committed twice, either order", []commitOp{c("a", 1, 1, 4, done), c("b", 1, 2, 3, done)}, []readOp{r("a", 1, 7, 8)}, ""},
		{"lost", []commitOp{c("a", 1, 1, 2, done)}, []readOp{r("", -1, 3, 4)}, `"a" was committed`},
		{"older", []commitOp{c("a", 1, 1, 2, done), c("b", 2, 5, 6, done)}, []readOp{r("a", 1, 7, 8)}, `"b" was committed`},
		{"lost and found", []commitOp{c("a", 1, 1, 2, done), c("b", 1, 5, 6, done)}, []readOp{r("b", 1, 7, 8), r("a", 1, 9, 10)}, `"b" was committed`},
		{"an unknown one came and went", []commitOp{c("a", 1, 1, 2, done), c("b", 2, 3, 9, unknown)}, []readOp{r("b", 2, 4, 5), r("a", 1, 6, 7)}, `"b" was committed`},
		{"unknown took effect after its end", []commitOp{c("a", 1, 1, 2, done), c("b", 2, 3, 4, unknown)}, []readOp{r("a", 1, 6, 7), r("b", 2, 8, 9)}, `yet at`},
		{"refused", []commitOp{c("a", 1, 1, 2, refused)}, []readOp{r("a", 1, 3, 4)}, "was refused"},
		{"invented", nil, []readOp{r("x", 1, 3, 4)}, "nobody had committed"},
		{"from the future", []commitOp{c("a", 1, 5, 6, done)}, []readOp{r("a", 1, 3, 4)}, "nobody had committed"},
		{"other offset", []commitOp{c("a", 1, 1, 2, done)}, []readOp{r("a", 2, 3, 4)}, "committed was 1"},
		{"a lower offset is committed", []commitOp{c("a", 5, 1, 2, done), c("b", 4, 3, 4, done)}, nil, "has offset 4"},
		{"a lower offset, concurrently", []commitOp{c("a", 5, 1, 4, done), c("b", 4, 3, 5, done)}, nil, ""},
	} {
		t.Run(x.name, func(t *testing.T) { verdict(t, x.want, checkOffsets(x.commits, x.reads)) })
	}
}

func TestCheckOwners(t *testing.T) {
	h := func(member string, first, last int32, from, to time.Duration) hold {
		return hold{"g", member, 0, first, last, from, to, true}
	}
	untimed := func(h hold) hold { h.timed = false; return h }
	for _, x := range []struct {
		name  string
		holds []hold
		want  string
	}{
		{"handed over", []hold{h("a", 1, 2, 10, 20), h("b", 3, 3, 21, 30), h("a", 4, 4, 31, 40)}, ""},
		{"kept over rebalances", []hold{h("a", 1, 2, 10, 20), h("a", 2, 4, 20, 30), h("b", 5, 5, 30, 40)}, ""},
		{"one generation", []hold{h("a", 1, 2, 10, 20), h("b", 2, 3, 21, 30)}, "one epoch"},
		{"in the middle", []hold{h("a", 1, 9, 10, 20), h("b", 3, 3, 21, 30)}, "one epoch"},
		{"hidden behind a short one", []hold{h("a", 1, 9, 10, 20), h("b", 2, 2, 21, 22), h("b", 8, 8, 23, 30)}, "epochs 8 to 8"},
		{"one time", []hold{h("a", 1, 2, 10, 20), h("b", 3, 3, 19, 30)}, "one time"},
		{"one time, unproven", []hold{untimed(h("a", 1, 2, 10, 20)), h("b", 3, 3, 19, 30)}, ""},
		{"another's hidden behind one's own", []hold{h("a", 1, 1, 10, 50), h("b", 2, 2, 60, 70), h("b", 3, 3, 71, 72), h("a", 4, 4, 69, 80)}, "one time"},
	} {
		t.Run(x.name, func(t *testing.T) { verdict(t, x.want, checkOwners(x.holds)) })
	}
}

func TestCheckTransactions(t *testing.T) {
	x := func(o outcome, records ...sentRecord) sentTxn { return sentTxn{"p", records, o} }
	a0, a1 := sentRecord{"t-0", "a0", 3}, sentRecord{"t-1", "a1", -1}
	b0, b1 := sentRecord{"t-0", "b0", -1}, sentRecord{"t-0", "b1", -1}
	read := func(values ...string) (rs []readRecord) {
		for i, v := range values {
			rs = append(rs, readRecord{int64(3 + i), v})
		}
		return rs
	}
	for _, c := range []struct {
		name     string
		txns     []sentTxn
		readings []reading
		want     string
	}{
		{"whole", []sentTxn{x(done, a0, a1), x(done, b0, b1)}, []reading{{"t-0": read("a0")}, {"t-0": read("a0", "b0", "b1"), "t-1": read("a1")}}, ""},
		{"unknown, there", []sentTxn{x(unknown, b0, b1)}, []reading{{"t-0": read("b0", "b1")}}, ""},
		{"unknown, not there", []sentTxn{x(unknown, b0, b1)}, []reading{{}}, ""},
		{"aborted", []sentTxn{x(refused, b0, b1)}, []reading{{}}, ""},
		{"aborted, read", []sentTxn{x(refused, b0, b1)}, []reading{{"t-0": read("b0", "b1")}}, "aborted \"b0\""},
		{"aborted, read for a while", []sentTxn{x(refused, b0)}, []reading{{"t-0": read("b0")}, {}}, "aborted \"b0\""},
		{"torn", []sentTxn{x(unknown, a0, a1)}, []reading{{"t-0": read("a0")}}, "of 2 records of one transaction 1"},
		{"committed in part", []sentTxn{x(done, a0, a1)}, []reading{{"t-0": read("a0")}}, "of 2 records of a committed transaction 1"},
		{"committed, lost", []sentTxn{x(done, a0, a1)}, []reading{{}}, "of a committed transaction 0"},
		{"committed, elsewhere", []sentTxn{x(done, a0)}, []reading{{"t-0": []readRecord{{4, "a0"}}}}, "acknowledged at t-0 offset 3"},
		{"twice", []sentTxn{x(done, a0)}, []reading{{"t-0": read("a0", "a0")}}, "at offset 3 and at 4"},
		{"reordered in itself", []sentTxn{x(done, b0, b1)}, []reading{{"t-0": read("b1", "b0")}}, "sent after"},
		{"reordered", []sentTxn{x(done, b0), x(done, b1)}, []reading{{"t-0": read("b1", "b0")}}, "sent after"},
		{"from nowhere", nil, []reading{{"t-0": read("z")}}, "nobody sent it"},
		{"a reader that skips", []sentTxn{x(done, b0, b1)}, []reading{{"t-0": []readRecord{{4, "b1"}}}, {"t-0": read("b0", "b1")}}, "in the end there is"},
		{"a reader that goes back", []sentTxn{x(done, b0, b1)}, []reading{{"t-0": []readRecord{{4, "b1"}, {3, "b0"}}}}, "offset 3 after 4"},
		{"two values at one offset", []sentTxn{x(done, b0), x(unknown, b1)}, []reading{{"t-0": read("b1")}, {"t-0": read("b0")}}, "in the end there is"},
	} {
		t.Run(c.name, func(t *testing.T) { verdict(t, c.want, checkTransactions(c.txns, c.readings)) })
	}
}

func TestCheckCopied(t *testing.T) {
	in := reading{"0": []readRecord{{0, "a"}, {1, "b"}}}
	verdict(t, "", checkCopied(in, reading{"0": []readRecord{{5, "a"}, {9, "b"}}}))
	verdict(t, "of which 1 have", checkCopied(in, reading{"0": []readRecord{{5, "a"}}}))
	verdict(t, "3 copies", checkCopied(in, reading{"0": []readRecord{{5, "a"}, {9, "b"}, {10, "b"}}}))
	verdict(t, "copy 0 is \"b\"", checkCopied(in, reading{"0": []readRecord{{5, "b"}, {9, "a"}}}))
}

func TestWatermarks(t *testing.T) {
	for _, x := range []struct {
		name    string
		observe [][3]int64 // high watermark, last stable offset, acknowledged
		want    string
	}{
		{"growing", [][3]int64{{1, 0, 1}, {-1, 1, 0}, {5, 1, 5}, {5, -1, 2}}, ""},
		{"high watermark back", [][3]int64{{5, 0, 0}, {4, 0, 0}}, "high watermark is 4, it was 5"},
		{"stable offset back", [][3]int64{{5, 3, 0}, {6, 2, 0}}, "last stable offset is 2, it was 3"},
		{"below what was acknowledged", [][3]int64{{5, 3, 6}}, "acknowledged was up to 6"},
		{"stable offset above", [][3]int64{{5, 6, 0}}, "above the high watermark"},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWatermarks()
			for i, o := range x.observe {
				w.observe("t-0", o[0], o[1], o[2], time.Duration(i))
			}
			verdict(t, x.want, w.bad)
		})
	}
}

func TestWatermarksOfLeadersOfThePastAreNotCurrent(t *testing.T) {
	w := newWatermarks()
	for i, want := range []bool{true, true, false, true, false} {
		if got := w.current("t-0", []int32{3, 4, 3, 4, 2}[i]); got != want {
			t.Errorf("answer %d is current: %v", i, got)
		}
	}
	if w.stale != 2 || !w.current("t-1", 0) {
		t.Errorf("%d of 5 answers are of the past", w.stale)
	}
}

func TestOpenTransactions(t *testing.T) {
	const s = time.Second
	for _, x := range []struct {
		name       string
		start, now time.Duration
		outages    []outage
		want       string
	}{
		{"in time", 10 * s, 13 * s, nil, ""},
		{"at the next look", 10 * s, 14*s + s/2, nil, ""},
		{"for ever", 10 * s, 16 * s, nil, "open for 6s"},
		{"the broker was down", 10 * s, 18 * s, []outage{{11 * s, 14 * s}}, ""},
		{"the broker was down before and after", 10 * s, 16 * s, []outage{{1 * s, 9 * s}, {17 * s, 20 * s}}, "the broker ran 6s"},
		{"the broker was down for less", 10 * s, 18 * s, []outage{{11 * s, 12 * s}}, "the broker ran 7s"},
	} {
		t.Run(x.name, func(t *testing.T) {
			o := &openTransactions{interval: s, load: s / 2, slack: s / 2}
			o.observe("x", x.start, 3*s, x.now, x.outages)
			verdict(t, x.want, o.bad)
		})
	}
	o := &openTransactions{}
	if a, b := o.since("x", 3), o.since("x", 5); a != 3 || b != 3 {
		t.Errorf("first seen at %d, then at %d", a, b)
	}
}

func TestDifferencesOfReplicas(t *testing.T) {
	whole := func(host int32) replica {
		return replica{host: host, data: []byte("abcdef"), at: map[int64]int{0: 0, 2: 3, 4: 6}, end: 4, epochs: []string{"0 0", "3 2"},
			producers: []producer.Entry{{ProducerID: 7, LastOffset: 3}}}
	}
	for _, x := range []struct {
		name, topic string
		change      func(*replica)
		want        string
	}{
		{"equal", "t-0", func(*replica) {}, ""},
		{"a byte", "t-0", func(r *replica) { r.data = []byte("abcdeF") }, "differs on brokers 1 and 2 from offset 0 to 4"},
		{"shorter", "t-0", func(r *replica) { r.end = 2 }, "ends at 4 on broker 1 and at 2 on broker 2"},
		{"shorter, internal", "__t-0", func(r *replica) { r.end, r.producers = 2, nil }, ""},
		{"a byte below the shorter end", "__t-0", func(r *replica) { r.end, r.data = 2, []byte("aXc") }, "from offset 0 to 2"},
		{"other batches", "__t-0", func(r *replica) { r.end, r.at = 2, map[int64]int{0: 0, 2: 2} }, "from offset 0 to 2"},
		{"begins later", "t-0", func(r *replica) {
			r.first, r.data, r.at, r.epochs = 2, []byte("def"), map[int64]int{2: 0, 4: 3}, r.epochs[1:]
		}, ""},
		{"begins later, with a byte", "t-0", func(r *replica) { r.first, r.data, r.at = 2, []byte("dXf"), map[int64]int{2: 0, 4: 3} }, "from offset 2 to 4"},
		{"epochs", "t-0", func(r *replica) { r.epochs = r.epochs[:1] }, "leader epochs"},
		{"producers", "t-0", func(r *replica) { r.producers = []producer.Entry{{ProducerID: 7, LastOffset: 2}} }, "producers"},
	} {
		t.Run(x.name, func(t *testing.T) {
			other := whole(2)
			x.change(&other)
			verdict(t, x.want, differences(x.topic, []replica{whole(1), other}))
		})
	}
}
