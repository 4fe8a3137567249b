package fetchsession

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

func newTestCache(max int) *Cache {
	return NewCache(max, 120_000, 0, 1000, rand.New(rand.NewPCG(1, 2)))
}

func entry(topic string, partition int32, offset int64) Entry {
	return Entry{Key{Topic: topic, Partition: partition}, Params{FetchOffset: offset, MaxBytes: 100, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1}}
}

// create makes a session with n partitions of topic t at high watermark 10.
func create(c *Cache, now int64, privileged bool, n int) int32 {
	var req []Entry
	for i := range n {
		req = append(req, entry("t", int32(i), 0))
	}
	res := slices.Repeat([]Result{{HighWatermark: 10}}, n)
	return c.Create(now, privileged, false, req, make([]string, n), res)
}

func TestNextEpochWrapsToOne(t *testing.T) {
	for in, want := range map[int32]int32{-1: -1, 0: 1, 1: 2, 1<<31 - 1: 1} {
		if got := NextEpoch(in); got != want {
			t.Errorf("NextEpoch(%d) = %d, want %d", in, got, want)
		}
	}
	if !IsFull(0) || !IsFull(-1) || IsFull(1) {
		t.Error("IsFull is true for 0 and -1 only")
	}
}

func TestBeginRefuses(t *testing.T) {
	c := newTestCache(10)
	id := create(c, 0, false, 1)
	for name, f := range map[string]func() *kafka.Code{
		"FETCH_SESSION_ID_NOT_FOUND":  func() *kafka.Code { _, e := c.Begin(0, id+1, 1, false, nil, nil); return e },
		"INVALID_FETCH_SESSION_EPOCH": func() *kafka.Code { _, e := c.Begin(0, id, 2, false, nil, nil); return e },
		"FETCH_SESSION_TOPIC_ID_ERROR": func() *kafka.Code {
			_, e := c.Begin(0, id, 1, true, nil, nil)
			return e
		},
	} {
		if got := f(); got == nil || got.Name() != name {
			t.Errorf("got %v, want %s", got, name)
		}
	}
	if s, e := c.Begin(0, id, 1, false, nil, nil); s == nil || e != nil {
		t.Errorf("the session is gone after refusals: %v", e)
	}
}

func TestForgettingEverythingEndsTheSession(t *testing.T) {
	c := newTestCache(10)
	id := create(c, 0, false, 1)
	s, e := c.Begin(0, id, 1, false, nil, []Key{{Topic: "t"}})
	if s != nil || e != nil || c.Len() != 0 || c.Partitions() != 0 {
		t.Fatalf("session %v, error %v, %d sessions, %d partitions", s, e, c.Len(), c.Partitions())
	}
}

func TestEviction(t *testing.T) {
	const fresh, old = 1000, 130_000
	for _, tc := range []struct {
		name       string
		existing   []bool // privileged
		size       int    // of each
		touchedMs  int64  // when they were last used, after their creation at 0
		now        int64
		privileged bool
		newSize    int
		want       bool
	}{
		{"young sessions of consumers stay", []bool{false}, 1, fresh, fresh, false, 5, false},
		{"a follower replaces a young session of a consumer", []bool{false}, 5, fresh, fresh, true, 1, true},
		{"a follower does not replace a young follower", []bool{true}, 1, fresh, fresh, true, 5, false},
		{"an unused session goes", []bool{false}, 9, 0, old, false, 1, true},
		{"an unused follower goes for a consumer", []bool{true}, 9, 0, old, false, 1, true},
		{"an old session in use yields to a larger one", []bool{false}, 2, old, old, false, 3, true},
		{"but not to one of its size", []bool{false}, 2, old, old, false, 2, false},
		{"an old follower in use does not yield to a consumer", []bool{true}, 1, old, old, false, 9, false},
		{"an old follower in use yields to a larger follower", []bool{true}, 1, old, old, true, 2, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newTestCache(len(tc.existing))
			for _, p := range tc.existing {
				id := create(c, 0, p, tc.size)
				if tc.touchedMs > 0 {
					c.Begin(tc.touchedMs, id, 1, false, nil, nil)
				}
			}
			got := create(c, tc.now, tc.privileged, tc.newSize) != InvalidSessionID
			if got != tc.want || c.Len() != len(tc.existing) {
				t.Fatalf("created: %v, want %v; %d sessions", got, tc.want, c.Len())
			}
			if wantEvictions := int64(0); tc.want {
				wantEvictions++
				if c.Evictions() != wantEvictions {
					t.Fatalf("%d evictions", c.Evictions())
				}
			}
		})
	}
}

// model is a session as its definition has it: lists, searched from the front.
type model struct {
	epoch int32
	parts []modelPart
}

type modelPart struct {
	e         Entry
	hw, start int64
}

func (m *model) find(k Key) int {
	return slices.IndexFunc(m.parts, func(p modelPart) bool { return p.e.Key == k })
}

// TestSessionAgainstModel sends random requests and answers through a session and
// through the model: partitions, their order and parameters, and what is answered
// must agree, and stale epochs must be refused.
func TestSessionAgainstModel(t *testing.T) {
	for seed := uint64(0); seed < 100; seed++ {
		rng := rand.New(rand.NewPCG(seed, 7))
		c := newTestCache(4)
		id := create(c, 0, false, 3)
		m := &model{epoch: 1}
		for i := range int32(3) {
			m.parts = append(m.parts, modelPart{e: entry("t", i, 0), hw: 10})
		}
		for step := 0; step < 100; step++ {
			if rng.IntN(10) == 0 {
				if _, err := c.Begin(0, id, m.epoch+1+rng.Int32N(3), false, []Entry{entry("t", 0, 77)}, nil); err != kafka.InvalidFetchSessionEpoch {
					t.Fatalf("seed %d: wrong epoch gave %v", seed, err)
				}
				continue
			}
			var req []Entry
			var forget []Key
			for range rng.IntN(3) {
				req = append(req, entry("t", rng.Int32N(6), rng.Int64N(100)))
			}
			for range rng.IntN(2) {
				forget = append(forget, Key{Topic: "t", Partition: rng.Int32N(6)})
			}
			s, err := c.Begin(int64(step), id, m.epoch, false, req, forget)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			m.update(req, forget)
			if len(m.parts) == 0 {
				if s != nil {
					t.Fatalf("seed %d: an empty session lives", seed)
				}
				break
			}
			if got, want := list(s), m.list(); got != want {
				t.Fatalf("seed %d step %d:\ngot  %s\nwant %s", seed, step, got, want)
			}
			if s.Len() != len(m.parts) || c.Partitions() != len(m.parts) {
				t.Fatalf("seed %d: %d partitions, cache says %d, want %d", seed, s.Len(), c.Partitions(), len(m.parts))
			}
			if rng.IntN(8) == 0 {
				continue // the answer never came: the next request goes on
			}
			m.answer(t, rng, s, seed)
		}
	}
}

func (m *model) update(req []Entry, forget []Key) {
	for _, e := range req {
		if i := m.find(e.Key); i >= 0 {
			m.parts[i].e = e
		} else {
			m.parts = append(m.parts, modelPart{e: e, hw: -1, start: -1})
		}
	}
	for _, k := range forget {
		if i := m.find(k); i >= 0 {
			m.parts = slices.Delete(m.parts, i, i+1)
		}
	}
	m.epoch++
}

// answer gives every partition a random outcome, in the session's order.
func (m *model) answer(t *testing.T, rng *rand.Rand, s *Session, seed uint64) {
	if !s.Current(m.epoch - 1) {
		t.Fatalf("seed %d: the session is not current", seed)
	}
	var order []*Partition
	for p := s.First(); p != nil; p = s.Next(p) {
		order = append(order, p)
	}
	for _, p := range order {
		r := Result{HighWatermark: 10 + rng.Int64N(2), LogStartOffset: rng.Int64N(2)}
		if rng.IntN(3) == 0 {
			r.RecordsSize = 5
		}
		r.Failed = rng.IntN(9) == 0
		r.Diverging = rng.IntN(9) == 0
		i := m.find(p.Key)
		mp := m.parts[i]
		want := r.RecordsSize > 0 || mp.hw != r.HighWatermark || mp.start != r.LogStartOffset || r.Failed || r.Diverging
		mp.hw, mp.start = r.HighWatermark, r.LogStartOffset
		if r.Failed {
			mp.hw = -1
		}
		m.parts[i] = mp
		if r.RecordsSize > 0 {
			m.parts = append(slices.Delete(m.parts, i, i+1), mp)
		}
		if got := s.Responded(p, r); got != want {
			t.Fatalf("seed %d: %v with %+v answered: %v, want %v", seed, p.Key, r, got, want)
		}
	}
}

func list(s *Session) string {
	out := ""
	for p := s.First(); p != nil; p = s.Next(p) {
		out += fmt.Sprintf("%d@%d ", p.Partition, p.FetchOffset)
	}
	return out
}

func (m *model) list() string {
	out := ""
	for _, p := range m.parts {
		out += fmt.Sprintf("%d@%d ", p.e.Partition, p.e.FetchOffset)
	}
	return out
}

func TestIDsStayInTheShard(t *testing.T) {
	c := NewCache(3, 1, 5, 8, rand.New(rand.NewPCG(3, 4)))
	seen := map[int32]bool{}
	for range 3 {
		id := c.Create(0, false, true, []Entry{{Key: Key{TopicID: kafka.TopicID{1}}}}, []string{""}, []Result{{}})
		if id < 5 || id >= 8 || seen[id] {
			t.Fatalf("id %d, seen %v", id, seen)
		}
		seen[id] = true
	}
}
