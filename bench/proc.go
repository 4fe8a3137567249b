package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what the kernel has charged a process for so far.
type usage struct {
	cpu time.Duration
	rss int64 // bytes
}

func usageOf(pid int) (usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 22 {
		return usage{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	pages, err := strconv.ParseInt(f[21], 10, 64)
	if err != nil {
		return usage{}, fmt.Errorf("/proc/%d/stat is not as expected", pid)
	}
	// The process's CPU clock is what /proc/pid/stat shows in ticks of 10 ms, in
	// nanoseconds: an idle server and a short phase use less than a tick.
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return usage{}, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return usage{cpu: time.Duration(ts.Nano()), rss: pages * int64(os.Getpagesize())}, nil
}
