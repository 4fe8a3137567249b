package ledger

import (
	"strings"
	"testing"
)

// TestCheck shows the judge good and bad ends of one life: a plain log p, a log x that
// transactions write, a compacted log c, a group g.
func TestCheck(t *testing.T) {
	const life = `
creating p
created p p.1
send 1 p.1 0 - false 0
acked 1 0
send 2 p.1 0 - false 0
created x x.1
send 4 x.1 0 - false 3
acked 4 0
ending 3 commit
ended 3 commit
send 6 x.1 0 - false 5
acked 6 2
ending 5 abort
ended 5 abort
send 8 x.1 0 - false 7
acked 8 4
ending 7 commit
created c c.1
send 10 c.1 0 a false 0
acked 10 0
send 11 c.1 0 a false 0
send 12 c.1 0 b false 0
acked 12 1
send 13 c.1 0 b true 0
acked 13 2
committing g 20
committed g 20
committing g 21
created d d.1
deleting d
deleted d
`
	p, x, c := Log{"p.1", 0}, Log{"x.1", 0}, Log{"c.1", 0}
	good := func() Seen {
		return Seen{
			Topics:  map[string]string{"p": "p.1", "x": "x.1", "c": "c.1"},
			Offsets: map[string]int64{"g": 20, "tg": 7},
			Logs: map[Log]Reading{
				p: {All: []Value{{1, 0, "", false}}, Committed: []Value{{1, 0, "", false}}},
				x: {All: []Value{{4, 0, "", false}, {6, 2, "", false}, {8, 4, "", false}}, Committed: []Value{{4, 0, "", false}, {8, 4, "", false}}},
				c: {Compacted: true, All: []Value{{10, 0, "a", false}}},
			},
		}
	}
	edit := func(log Log, f func(*Reading)) func(*Seen) {
		return func(s *Seen) { r := s.Logs[log]; f(&r); s.Logs[log] = r }
	}
	for _, tc := range []struct {
		name   string
		change func(*Seen)
		want   string // a part of what is bad; "" is nothing
	}{
		{"as it should be", func(*Seen) {}, ""},
		{"what was not acknowledged is there", edit(p, func(r *Reading) {
			r.All = append(r.All, Value{2, 1, "", false})
			r.Committed = r.All
		}), ""},
		{"the last transaction is not", func(s *Seen) {
			edit(x, func(r *Reading) { r.Committed = r.Committed[:1] })(s)
			s.Offsets["tg"] = 3
		}, ""},
		{"the unacknowledged offset is there", func(s *Seen) { s.Offsets["g"] = 21 }, ""},
		{"a later value of a key", edit(c, func(r *Reading) { r.All = []Value{{11, 5, "a", false}} }), ""},
		{"lost", edit(p, func(r *Reading) { r.All, r.Committed = nil, nil }), "record 1, acknowledged at 0, is lost"},
		{"elsewhere", edit(p, func(r *Reading) { r.All[0].Offset = 1 }), "record 1 is at 1"},
		{"twice", edit(p, func(r *Reading) { r.All = append(r.All, Value{1, 1, "", false}) }), "record 1 is at 0 and at 1"},
		{"invented", edit(p, func(r *Reading) { r.All = append(r.All, Value{99, 1, "", false}) }), "nobody sent there"},
		{"in another log", edit(p, func(r *Reading) { r.All = append(r.All, Value{4, 1, "", false}) }), "nobody sent there"},
		{"backwards", edit(x, func(r *Reading) { r.All[1].Offset = 0 }), "offset 0 after 0"},
		{"begins too late", edit(p, func(r *Reading) { r.Start = 1 }), "begins at 1"},
		{"an aborted record is read", edit(x, func(r *Reading) { r.Committed = r.All }), "record 6 of the aborted transaction 5"},
		{"a committed one is not", edit(x, func(r *Reading) { r.Committed = r.Committed[1:] }), "record 4 is not read"},
		{"records without their offset", func(s *Seen) { s.Offsets["tg"] = 3 }, "the last committed transaction is 7"},
		{"the offset without its records", edit(x, func(r *Reading) { r.Committed = r.Committed[:1] }), "record 8 is not read"},
		{"an offset went back", func(s *Seen) { s.Offsets["g"] = 19 }, "has committed 19"},
		{"an offset is gone", func(s *Seen) { delete(s.Offsets, "g") }, "has committed -1"},
		{"an offset from nowhere", func(s *Seen) { s.Offsets["g"] = 22 }, "has committed 22"},
		{"a key is lost", edit(c, func(r *Reading) { r.All = nil }), "has record 0 (0 is none), acknowledged was 10"},
		{"a key has an older value", edit(c, func(r *Reading) { r.All = append(r.All, Value{12, 1, "b", false}) }), `key "b" has record 12`},
		{"a topic is lost", func(s *Seen) { delete(s.Topics, "p"); delete(s.Logs, p) }, "topic p is gone"},
		{"a topic is another", func(s *Seen) { s.Topics["p"] = "p.2" }, "has the id p.2"},
		{"a deleted topic is back", func(s *Seen) { s.Topics["d"] = "d.1" }, "is back"},
		{"a topic from nowhere", func(s *Seen) { s.Topics["y"] = "y.1" }, "nobody created it"},
	} {
		l, err := Read(strings.NewReader(strings.TrimSpace(life)))
		if err != nil {
			t.Fatal(err)
		}
		seen := good()
		tc.change(&seen)
		bad := strings.Join(l.Check(seen, "tg", nil).Bad, "\n")
		if tc.want == "" && bad != "" || tc.want != "" && !strings.Contains(bad, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, bad, tc.want)
		}
	}
}

// TestWhatWasSeenStays: a check writes down what it found, and the next one holds the
// broker to it.
func TestWhatWasSeenStays(t *testing.T) {
	log := Log{"p.1", 0}
	l := New()
	apply := func(lines ...string) {
		t.Helper()
		for _, line := range lines {
			if err := l.Apply(line); err != nil {
				t.Fatal(err)
			}
		}
	}
	seen := func(ids ...int) Seen {
		r := Reading{}
		for i, id := range ids {
			r.All = append(r.All, Value{ID: id, Offset: int64(i)})
		}
		r.Committed = r.All
		return Seen{Topics: map[string]string{"p": "p.1"}, Logs: map[Log]Reading{log: r}}
	}
	apply("created p p.1", Sending(1, log, "-", false, 0), Sending(2, log, "-", false, 0))
	v := l.Check(seen(1), "", nil)
	if len(v.Bad) > 0 {
		t.Fatal(v.Bad)
	}
	apply(v.Lines...)
	if v := l.Check(seen(1), "", nil); len(v.Bad) > 0 {
		t.Error(v.Bad)
	}
	if v := l.Check(seen(), "", nil); len(v.Bad) != 1 {
		t.Errorf("a record that was seen may go: %v", v.Bad)
	}
	if v := l.Check(seen(1, 2), "", nil); len(v.Foul) != 2 {
		t.Errorf("a record that was not there may come: %v", v.Bad)
	}
	if v := l.Check(seen(), "", map[Log]bool{log: true}); len(v.Bad) > 0 || len(v.Lost[log]) != 1 {
		t.Errorf("the end of a log that may be short is missing: %v", v)
	}
}
