// Package isr is the leader's view of one partition: how far each follower has
// come, which replicas are in sync, and what is therefore committed.
//
// It is a mind: no clock, no I/O, no lock. The owner of a Leader (the partition)
// serialises all calls, gives the time, and acts on what is returned: it raises
// the log's high watermark, wakes waiters, and sends proposals to the controller.
//
// The rules, with where they come from:
//
//   - The high watermark is the smallest end offset among the maximal ISR, that is
//     the committed ISR, whatever is proposed to be added to it (KIP-497) and what it
//     has lost by answers that no image has confirmed, and among followers that are
//     caught up and may join. It never goes back, and it stands still while the ISR is
//     smaller than min.insync.replicas (KIP-966).
//   - Only a follower that has reached the high watermark and the start of the
//     leader's epoch may be proposed for the ISR, and only while it is neither
//     fenced nor shutting down, under the broker epoch of its fetches (KIP-841,
//     KIP-903).
//   - One proposal is in flight at a time. A proposal to shrink does not count until
//     the controller has committed it and an image has it: the answer alone does not
//     say by which min.insync.replicas the controller went (KIP-966).
//
// Fencing by leader epoch (KIP-320) is four rules, which are checks here:
//
//  1. A leader serves only requests that carry its own epoch or none; an older one
//     is fenced, a newer one is not known yet (CheckEpoch).
//  2. Within its epoch a leader only appends: its end offset never goes back
//     (Leader.LocalEnd).
//  3. A follower's offset counts only if the leader has verified that the epoch of
//     the follower's last record and its offset lie in the leader's own log
//     (Diverges comes before Leader.Fetched), and only in the leader epoch in which
//     that was verified.
//  4. A follower's offset counts only if it lies within the leader's log: a follower
//     ahead of the leader has to truncate first (Leader.Fetched).
package isr
