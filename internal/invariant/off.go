//go:build !gregor_invariants

package invariant

// Enabled tells whether assertions are compiled in.
const Enabled = false

// Check panics with a Violation unless cond holds; in this build it does nothing.
func Check(cond bool, format string, args ...any) {}

// Sometimes records that the point called name was passed; in this build it does nothing.
func Sometimes(name string, cond bool) {}

// Points returns a copy of what Sometimes recorded, by name; in this build it is empty.
func Points() map[string]Count { return nil }

// ResetPoints forgets what Sometimes recorded.
func ResetPoints() {}
