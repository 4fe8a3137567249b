//go:build !gregor_invariants

package invariant

import (
	"testing"
)

func TestCheckCostsNothingWhenOff(t *testing.T) {
	offset := 5
	if n := testing.AllocsPerRun(100, func() { Check(offset > 3, "offset %d", offset) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
