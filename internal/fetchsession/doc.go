// Package fetchsession decides incremental fetch sessions (KIP-227): which
// partitions a fetch is about when the request names only what changed, and which
// partitions of the answer may be left out because the client knows them already.
//
// It is a mind: one Cache is one shard of the sessions, it takes the time and the
// random source as parameters, and the caller serialises all access to a Cache and
// to the Sessions and Partitions it hands out.
//
// Invariants: a Cache never holds more than its limit of sessions; session ids stay
// within the shard's range and are never 0; a session is touched by one fetch at a
// time, which its epoch enforces.
package fetchsession
