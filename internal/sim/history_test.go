package sim

import (
	"strings"
	"testing"
)

// bad is one history that must not pass, and the word that says why.
var bad = []struct {
	word string
	make func(h *history, f final)
}{
	{"lost write", func(h *history, f final) {
		h.settle(h.send(&written{value: "a", writer: "w"}), acknowledged, 3)
	}},
	{"duplicate", func(h *history, f final) {
		h.send(&written{value: "a", writer: "w"})
		f.all["a"] = []place{{"t", 0, 1}, {"t", 0, 2}}
	}},
	{"moved", func(h *history, f final) {
		h.settle(h.send(&written{value: "a", writer: "w"}), acknowledged, 3)
		f.all["a"] = []place{{"t", 0, 4}}
		f.committed["a"] = f.all["a"]
	}},
	{"aborted read", func(h *history, f final) {
		h.settle(h.send(&written{value: "a", writer: "w", txn: 1}), aborted, -1)
		f.all["a"] = []place{{"t", 0, 4}}
		f.committed["a"] = f.all["a"]
	}},
	{"torn transaction", func(h *history, f final) {
		h.send(&written{value: "a", writer: "w", txn: 1})
		h.send(&written{value: "b", writer: "w", txn: 1})
		f.all["a"] = []place{{"t", 0, 4}}
		f.committed["a"] = f.all["a"]
	}},
	{"reordered", func(h *history, f final) {
		h.send(&written{value: "a", writer: "w", topic: "t"})
		h.send(&written{value: "b", writer: "w", topic: "t"})
		f.all["a"], f.all["b"] = []place{{"t", 0, 4}}, []place{{"t", 0, 2}}
	}},
	{"inconsistent offset", func(h *history, f final) {
		h.send(&written{value: "a"})
		h.send(&written{value: "b"})
		f.all["a"] = []place{{"t", 0, 1}}
		h.see(place{"t", 0, 1}, "a")
		h.see(place{"t", 0, 1}, "b")
	}},
	{"invented", func(h *history, f final) {
		f.all["a"] = []place{{"t", 0, 1}}
		h.see(place{"t", 0, 1}, "a")
	}},
	{"high watermark going back", func(h *history, f final) {
		h.watermarks("t", 0, 3, 5, -1, marks{})
		h.watermarks("t", 0, 3, 4, -1, h.lower()["t-0"])
	}},
	{"high watermark going back", func(h *history, f final) {
		h.settle(h.send(&written{value: "a", writer: "w", topic: "t"}), acknowledged, 3)
		f.all["a"] = []place{{"t", 0, 3}}
		f.committed["a"] = f.all["a"]
		f.epochs[place{"t", 0, 3}] = 3
		h.watermarks("t", 0, 3, 3, -1, h.lower()["t-0"])
	}},
	{"vanished", func(h *history, f final) {
		h.send(&written{value: "a", writer: "w"})
		h.see(place{"t", 0, 4}, "a")
	}},
	{"two leaders in an epoch", func(h *history, f final) {
		h.leads("t-0", 3, 1)
		h.leads("t-0", 3, 2)
	}},
	{"two owners", func(h *history, f final) {
		h.owns("t-0 of generation 4", "m")
		h.owns("t-0 of generation 4", "n")
	}},
	{"read too early", func(h *history, f final) {
		h.send(&written{value: "a", writer: "w"})
		f.all["a"] = []place{{"t", 0, 4}}
		h.seeCommitted(place{"t", 0, 4}, "a")
	}},
	{"last stable offset going back", func(h *history, f final) {
		h.watermarks("t", 0, 3, -1, 5, marks{})
		h.watermarks("t", 0, 3, -1, 4, h.lower()["t-0"])
	}},
	{"commit going back", func(h *history, f final) {
		h.tryCommit("g", 5)
		h.commitAcked("g", 5)
		h.fetched("g", 4)
	}},
	{"commit going back", func(h *history, f final) {
		h.tryCommit("g", 5)
		h.fetched("g", 6)
	}},
}

func TestChecksSeeEveryAnomaly(t *testing.T) {
	for _, b := range bad {
		h, f := newHistory(), final{all: map[string][]place{}, committed: map[string][]place{}, epochs: map[place]int32{}}
		b.make(h, f)
		if got := h.check(f); len(got) != 1 || !strings.Contains(got[0], b.word) {
			t.Errorf("%s: got %q", b.word, got)
		}
	}
}

func TestChecksPassAGoodHistory(t *testing.T) {
	h, f := newHistory(), final{all: map[string][]place{}, committed: map[string][]place{}, epochs: map[place]int32{}}
	for i, v := range []string{"a", "b", "c"} {
		w := h.send(&written{value: v, writer: "w", topic: "t"})
		p := []place{{"t", 0, int64(i)}}
		if f.all[v] = p; v != "b" {
			f.committed[v] = p
			h.settle(w, acknowledged, int64(i))
		} else {
			h.settle(w, aborted, int64(i))
		}
		h.see(p[0], v)
	}
	h.tryCommit("g", 5)
	h.commitAcked("g", 4)
	h.fetched("g", 5)
	if got := h.check(f); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}
