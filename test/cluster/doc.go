// Package cluster tests gregor as real processes on real sockets: killed, paused,
// restarted. Its clients speak raw requests and never retry, so that what was
// acknowledged is known exactly.
//
// GREGOR_KILLS sets how many kills TestKillDuringProduce makes; the default keeps
// `make test` short.
package cluster
