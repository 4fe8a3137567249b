// Package floors holds the test of the house's shape: imports go down only, minds
// stay pure, only vfs opens files, only netx opens sockets, only clock reads
// time, and files and functions keep their size.
//
// Run it with -count=1: Go's test cache does not see the tree that it reads.
package floors
