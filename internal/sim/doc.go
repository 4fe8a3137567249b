// Package sim runs whole clusters in one process and breaks them.
//
// A run has a seed. It makes nodes as the binary does, each with a disk in memory
// (vfs.Mem) and a place on a network in memory (netx.Mem), lets clients work on them
// while a schedule drawn from the seed kills nodes, takes unsynced data from their
// disks, cuts and slows links and pauses nodes, heals everything, and then checks what
// clients were told against what is there. docs/architecture/simulator.md says which
// faults and which checks there are.
//
// Time is that of a testing/synctest bubble: it stands still while anybody works and
// jumps when all wait, so minutes of timeouts cost nothing. The schedule, the disks'
// losses and the clients' choices follow the seed exactly; the order in which
// goroutines run does not, so a failing seed is found again nearly always, not always.
//
// A killed node is not stopped from inside: its network is torn away, its disk is
// replaced by what a crash leaves of it, and what the old process still does happens
// to a disk that nobody reads.
package sim
