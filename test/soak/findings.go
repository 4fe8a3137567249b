//go:build linux

package main

import (
	"fmt"
	"os"
	"sync"
)

// maxFindings ends a run that finds one failure after the other.
const maxFindings = 20

// findings are the failures of a run. mu guards what is below it.
type findings struct {
	quiet bool   // do not print, tests look at list
	full  func() // called once there are maxFindings

	mu   sync.Mutex
	list []string
	more int // failures that are not in list
}

func (f *findings) add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) >= maxFindings {
		f.more++
		return
	}
	f.list = append(f.list, fmt.Sprintf(format, args...))
	if !f.quiet {
		fmt.Fprintf(os.Stderr, "FAILED: %s\n", f.list[len(f.list)-1])
	}
	if len(f.list) == maxFindings && f.full != nil {
		f.full()
	}
}

func (f *findings) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.list) + f.more
}
