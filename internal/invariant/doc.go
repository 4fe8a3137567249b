// Package invariant holds the assertions of the program.
//
// The build tag gregor_invariants turns them on. Without it Check and Sometimes are empty functions that the compiler
// removes, and Enabled is a false constant, so that a costly check can be put behind "if invariant.Enabled".
//
// A broken invariant is always a bug of this program, never a consequence of what a peer, a disk or a user did: those
// are errors and are returned. The package starts no goroutine. Its registry of Sometimes points is guarded by one
// mutex.
package invariant

import "fmt"

// Violation is the value that a broken invariant panics with.
type Violation struct {
	Message string
}

// Error makes a Violation readable in a recovered panic.
func (v Violation) Error() string { return "invariant violated: " + v.Message }

// Unreachable panics in every build. It is for the branch that the code above it has excluded, where going on would
// work on a state that cannot be described.
func Unreachable(format string, args ...any) {
	panic(Violation{Message: "unreachable: " + fmt.Sprintf(format, args...)})
}

// Count says how often a Sometimes point was passed and how often its condition held.
type Count struct {
	Passed int64
	Held   int64
}
