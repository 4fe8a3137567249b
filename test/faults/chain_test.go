//go:build linux

package main

import "testing"

func TestTrimsForgotten(t *testing.T) {
	const told = `time=2026-01-01T00:00:00Z level=WARN msg="unusable checkpoint" logger=x dir=a file=log-start-offset-checkpoint error="empty"` + "\n"
	const head = "life: the broker differs from the ledger:\n"
	const back = "{plain.id 2} begins at 0, had begun at 3, asked for 3\n"
	for _, c := range []struct {
		name, stderr string
		want         bool
	}{
		{"told", told + head + back, true},
		{"not told", head + back, false},
		{"begins later", told + head + "{plain.id 2} begins at 4, had begun at 3, asked for 3\n", false},
		{"something else", told + head + back + "topic x is gone, its creation was acknowledged\n", false},
		{"another end", told, false},
	} {
		if got := trimsForgotten(c.stderr); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
