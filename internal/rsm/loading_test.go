package rsm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// setMany writes several keys in one batch.
func setMany(n int, value string) Op[*toy] {
	return func(_ *toy, _ int64, to coord.Token) coord.Outcome {
		o := coord.Answer(to, text("set"))
		for i := range n {
			o.Records = append(o.Records, coord.Record{Key: fmt.Append(nil, "k", i), Value: []byte(value)})
		}
		return o
	}
}

// TestLoadReplaysTheWholeLog: batches larger and smaller than a read, tombstones, a
// log that begins inside of a batch, and compressed batches.
func TestLoadReplaysTheWholeLog(t *testing.T) {
	for _, codec := range []batch.Codec{batch.CodecNone, batch.CodecLZ4} {
		k := newToyKit(t, alone, func(c *CoordinatorConfig[*toy]) { c.Codec = codec })
		k.active()
		k.want(k.do(setMany(5, "x")), "set", nil)
		k.want(k.do(set("big", strings.Repeat("y", 3000))), "set", nil)
		for i := range 20 {
			k.want(k.do(set("small", fmt.Sprint(i))), "set", nil)
		}
		k.want(k.do(func(_ *toy, _ int64, to coord.Token) coord.Outcome {
			o := coord.Answer(to, text("deleted"))
			o.Records = []coord.Record{{Key: []byte("k4")}}
			return o
		}), "deleted", nil)
		if _, err := k.part().Log().AdvanceStart(2); err != nil {
			t.Fatal(err)
		}
		n := k.events.len()
		k.lead(1, true)
		k.active()
		for key, want := range map[string]string{"k0": "", "k1": "", "k2": "x", "k3": "x", "k4": "", "big": strings.Repeat("y", 3000), "small": "19"} {
			k.want(k.do(get(key, true)), want, nil)
		}
		if got := k.events.since(n); !strings.Contains(got, "loaded 4") {
			t.Errorf("events: %s", got)
		}
	}
}

// TestLoadingIsSaidSo: until the log is replayed requests are told to come again; what
// the broker itself submits runs afterwards.
func TestLoadingIsSaidSo(t *testing.T) {
	k := newToyKit(t, alone, nil)
	k.active()
	k.want(k.do(set("a", "1")), "set", nil)
	k.gate = make(chan struct{})
	k.lead(1, true)
	k.want(k.do(get("a", true)), "", kafka.CoordinatorLoadInProgress)
	k.c.Each(func(m *toy, _ int64, _ coord.Token) coord.Outcome {
		k.events.add("told with %q", m.state["a"])
		return coord.Outcome{}
	})
	close(k.gate)
	k.active()
	k.want(k.do(get("a", true)), "1", nil)
	if got := k.events.since(2); !strings.Contains(got, `told with "1"`) {
		t.Errorf("events: %s", got)
	}
}

// TestUncommittedTailIsNotRead: a new leader has records that its predecessor did not
// see committed. They count, but nobody reads them before they are committed.
func TestUncommittedTailIsNotRead(t *testing.T) {
	k := newToyKit(t, two, nil)
	k.active()
	k.none(k.do(set("a", "1")))
	k.lead(2, true)
	k.lead(1, true)
	k.active()
	read := k.do(get("a", true))
	k.none(read)
	k.want(k.do(get("a", false)), "1", nil)
	k.follow(1)
	k.want(read, "1", nil)
}

// TestResignWhileLoading: a load whose epoch is over ends without being served.
func TestResignWhileLoading(t *testing.T) {
	k := newToyKit(t, alone, nil)
	k.active()
	k.want(k.do(set("a", "1")), "set", nil)
	k.gate = make(chan struct{})
	k.lead(1, true)
	k.lead(2, true)
	close(k.gate)
	k.c.Close()
	if got := k.events.since(2); strings.Contains(got, "loaded") {
		t.Errorf("events: %s", got)
	}
	k.want(k.do(get("a", true)), "", kafka.NotCoordinator)
}
