package invariant

import (
	"errors"
	"strings"
	"testing"
)

// caught runs f and returns the Violation it panicked with, or nil.
func caught(f func()) (v error) {
	defer func() {
		if r := recover(); r != nil {
			v = r.(Violation)
		}
	}()
	f()
	return nil
}

func TestCheck(t *testing.T) {
	if v := caught(func() { Check(true, "holds") }); v != nil {
		t.Fatalf("a condition that holds panicked: %v", v)
	}
	v := caught(func() { Check(false, "offset %d behind %d", 3, 5) })
	if !Enabled {
		if v != nil {
			t.Fatalf("panicked while off: %v", v)
		}
		return
	}
	if v == nil || !strings.Contains(v.Error(), "offset 3 behind 5") {
		t.Fatalf("panicked with %v", v)
	}
}

func TestUnreachablePanicsInEveryBuild(t *testing.T) {
	v := caught(func() { Unreachable("state %q", "x") })
	var violation Violation
	if !errors.As(v, &violation) || !strings.Contains(violation.Message, `state "x"`) {
		t.Fatalf("panicked with %v", v)
	}
}

func TestSometimes(t *testing.T) {
	defer ResetPoints()
	Sometimes("truncated below the high watermark", false)
	Sometimes("truncated below the high watermark", true)
	points := Points()
	if !Enabled {
		if len(points) != 0 {
			t.Fatalf("recorded while off: %v", points)
		}
		return
	}
	if got := points["truncated below the high watermark"]; got != (Count{Passed: 2, Held: 1}) {
		t.Fatalf("recorded %+v", got)
	}
	ResetPoints()
	if len(Points()) != 0 {
		t.Fatal("points are left after ResetPoints")
	}
}
