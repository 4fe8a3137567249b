// Package vfs is the only place that opens files.
//
// FS and File are what the rest of the program sees of a file system. OS is the machine's. Mem keeps everything in
// memory and knows what a power loss would take away. Fault and NewTrace wrap another FS: one injects errors and short
// writes, the other writes down every operation that changes the disk.
//
// Names are paths as package path/filepath writes them. The package starts no goroutine. All implementations are safe
// for concurrent use; two writers of one byte range are the callers' affair.
//
// Durability: what was written is sure to survive a power loss only after Sync of the file, and a created, renamed or
// removed name only after SyncDir of the directory that holds it. A Sync that failed must never be retried: the
// operating system may have dropped the pages that it could not write.
package vfs
