// Package txn is the mind of the transaction coordinator: what one partition of
// __transaction_state knows of its transactional ids, and what each request, timer
// and finished marker does to them. States, invariants and failure cases are in
// docs/architecture/transactions.md.
//
// The package owns no goroutine, reads no clock and opens nothing. A Machine belongs
// to the goroutine of its shard (package rsm). Its hard state is the table of
// Transactions, changed only by Replay of records, plus two things that the log does
// not hold: LastProducerEpoch, and which markers of a decided transaction are
// written. Losing them costs a producer a fencing, or a marker that is written twice.
//
// Invariants: a transaction's outcome is in the log before its first marker is asked
// for; a reply says nothing that is not committed; with the epoch bump of transactions
// v2 a producer's epoch names at most one transaction.
package txn
