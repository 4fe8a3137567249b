//go:build gregor_invariants

package invariant

import (
	"fmt"
	"maps"
	"sync"
)

// Enabled tells whether assertions are compiled in.
const Enabled = true

// Check panics with a Violation unless cond holds.
func Check(cond bool, format string, args ...any) {
	if !cond {
		panic(Violation{Message: fmt.Sprintf(format, args...)})
	}
}

var (
	someMu sync.Mutex
	some   = map[string]Count{}
)

// Sometimes records that the point called name was passed, and whether cond held there. A test run reads Points at its
// end and fails if a path that it meant to exercise never held.
func Sometimes(name string, cond bool) {
	someMu.Lock()
	defer someMu.Unlock()
	c := some[name]
	c.Passed++
	if cond {
		c.Held++
	}
	some[name] = c
}

// Points returns a copy of what Sometimes recorded, by name.
func Points() map[string]Count {
	someMu.Lock()
	defer someMu.Unlock()
	return maps.Clone(some)
}

// ResetPoints forgets what Sometimes recorded.
func ResetPoints() {
	someMu.Lock()
	defer someMu.Unlock()
	clear(some)
}
