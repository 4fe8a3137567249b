package vfs

// OpenLimit is 0: Windows has no limit of its own that is worth keeping within.
func OpenLimit() int { return 0 }
