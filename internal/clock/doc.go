// Package clock is the only place that reads time.
//
// Clock has two implementations: Real follows the machine, Virtual moves only when a test or a simulator advances it.
// Wheel keeps any number of deadlines on one timer of a Clock.
//
// Goroutines: Real uses the runtime's timers, so a function given to AfterFunc runs on a goroutine of its own. Virtual
// starts no goroutine: AfterFunc functions run on the goroutine that calls Advance, in the order of their deadlines and,
// where these are equal, of their creation. A Wheel fires on its clock's timer goroutine, one entry at a time.
//
// Invariants: no timer fires before its deadline; a Virtual clock never goes back, but for the wall time of a Settable
// one.
package clock
