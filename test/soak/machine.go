//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
)

// machine is what the machine gave to others so far: a run that shares it is slower, and
// its latencies say nothing of the broker's.
type machine struct {
	total, stolen uint64 // ticks of all CPUs
	stalled       uint64 // microseconds in which something waited for the disk
}

// machineNow reads /proc; what a system does not tell stays 0.
func machineNow() (m machine) {
	if b, err := os.ReadFile("/proc/stat"); err == nil {
		line, _, _ := strings.Cut(string(b), "\n")
		m.total, m.stolen = parseCPU(line)
	}
	if b, err := os.ReadFile("/proc/pressure/io"); err == nil {
		line, _, _ := strings.Cut(string(b), "\n")
		if _, at, ok := strings.Cut(line, "total="); ok {
			_, _ = fmt.Sscan(at, &m.stalled)
		}
	}
	return m
}

// parseCPU adds up the first line of /proc/stat; the eighth number is what a hypervisor
// gave to others. The last two are parts of the first two.
func parseCPU(line string) (total, stolen uint64) {
	for i, f := range strings.Fields(strings.TrimPrefix(line, "cpu")) {
		var n uint64
		if _, err := fmt.Sscan(f, &n); err != nil || i > 7 {
			break
		}
		total += n
		if i == 7 {
			stolen = n
		}
	}
	return total, stolen
}

// stolenSince is how many percent of the CPUs' time others had from before to m.
func (m machine) stolenSince(before machine) float64 {
	if m.total <= before.total {
		return 0
	}
	return 100 * float64(m.stolen-before.stolen) / float64(m.total-before.total)
}

// since is the line's part for the time from before to m.
func (m machine) since(before machine, seconds float64) string {
	return fmt.Sprintf("stolen CPU %.1f %%, waiting for the disk %.0f %%", m.stolenSince(before), float64(m.stalled-before.stalled)/(1e4*seconds))
}
