// Package storage knows the files that make a directory a formatted one:
// meta.properties, bootstrap.checkpoint and the checkpoints (snapshots) of the
// metadata log; and how to format a directory, as kafka-storage does.
//
// It holds codecs and functions only: no goroutine, no lock, no global. All file
// access goes through the vfs.FS that the caller hands in. The bytes are described
// in docs/formats/cluster_metadata.md and docs/formats/checkpoint.md.
package storage
