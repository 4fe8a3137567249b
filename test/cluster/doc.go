// Package cluster tests gregor as real processes on real sockets: killed, paused,
// restarted. What was acknowledged is known exactly, either because clients speak raw
// requests and never retry, or because every value and every commit of a run is unique.
//
// TestKillDuringProduce is about one log. TestKillDuringGroupsAndTransactions runs
// members of all protocols, transactions of both versions and copiers; the checkers of
// history.go, ownership.go, transactions.go and watermarks.go then judge what clients
// and observers were told. checkers_test.go shows each of them a bad history.
//
// TestChaos does the same to clusters of three brokers and three controllers, which are
// killed, paused, stopped and cut off from each other one way and both; in the end all
// replicas are compared. Each process has a network namespace of its own; where these
// cannot be made a proxy before each process takes their place.
//
// GREGOR_KILLS sets how many kills a test makes; the default keeps `make test` short.
// GREGOR_FAULTS does so for TestChaos, GREGOR_LAYOUT picks separate or combined roles,
// GREGOR_FAULT_KIND the faults whose name it is part of, GREGOR_LINKS=proxy the proxies;
// GREGOR_KEEP is where directories and logs of a failed run are kept.
// GREGOR_BIN names a binary to test instead of building one.
package cluster
