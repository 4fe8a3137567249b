// Package cluster tests gregor as real processes on real sockets: killed, paused,
// restarted. What was acknowledged is known exactly, either because clients speak raw
// requests and never retry, or because every value and every commit of a run is unique.
//
// TestKillDuringProduce is about one log. TestKillDuringGroupsAndTransactions runs
// members of all protocols, transactions of both versions and copiers; the checkers of
// history.go, ownership.go, transactions.go and watermarks.go then judge what clients
// and observers were told. checkers_test.go shows each of them a bad history.
//
// GREGOR_KILLS sets how many kills a test makes; the default keeps `make test` short.
// GREGOR_BIN names a binary to test instead of building one.
package cluster
