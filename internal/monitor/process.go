package monitor

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/buildinfo"
	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/vfs"
)

// process is what the system tells of this process. What it does not tell is left out:
// on Linux that is nothing, elsewhere most of it.
type process struct {
	cpu                  time.Duration
	hasCPU               bool
	resident, virtual    int64
	startSeconds         float64
	fds                  int64
	hasMemory, hasFDs    bool
	readBytes, wroteByte int64
	hasIO                bool
}

// clockTicks is what /proc counts a second in, on every platform that Go runs on.
const clockTicks = 100

func (x *exporter) readProcess() {
	var p process
	if p.cpu, p.hasCPU = cpuTime(); p.hasCPU {
		x.idle.update(p.cpu, x.now)
	}
	fsys := vfs.OS()
	if b, err := vfs.ReadUpTo(fsys, "/proc/self/stat", maxProc); err == nil {
		p.readStat(b)
	}
	if entries, err := fsys.ReadDir("/proc/self/fd"); err == nil {
		p.fds, p.hasFDs = int64(len(entries)), true
	}
	if b, err := vfs.ReadUpTo(fsys, "/proc/self/io", maxProc); err == nil {
		p.readBytes, p.hasIO = lineValue(b, "read_bytes:")
		p.wroteByte, _ = lineValue(b, "write_bytes:")
	}
	if b, err := vfs.ReadUpTo(fsys, "/proc/stat", maxProc); err == nil && p.startSeconds > 0 {
		boot, _ := lineValue(b, "btime")
		p.startSeconds += float64(boot)
	}
	x.proc = p
}

// maxProc is more than any of the files has.
const maxProc = 256 << 10

// readStat reads memory and start time. The name of the process, in brackets, may have
// spaces.
func (p *process) readStat(b []byte) {
	_, rest, ok := bytes.Cut(b, []byte(") "))
	f := strings.Fields(string(rest))
	if !ok || len(f) < 22 {
		return
	}
	field := func(n int) int64 {
		v, _ := strconv.ParseInt(f[n-3], 10, 64) // a field that is no number is one that is not known
		return v
	}
	p.startSeconds = float64(field(22)) / clockTicks
	p.virtual, p.resident, p.hasMemory = field(23), field(24)*int64(os.Getpagesize()), true
}

// lineValue is the number behind a word that a line begins with.
func lineValue(b []byte, word string) (int64, bool) {
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == word {
			v, err := strconv.ParseInt(f[1], 10, 64)
			return v, err == nil
		}
	}
	return 0, false
}

// known emits a value that the system may not tell.
func known(ok *bool, f func() float64) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if *ok {
			e.Float(f())
		}
	}
}

func (x *exporter) process() {
	x.section = "Process"
	p := &x.proc
	row := func(kind metrics.Kind, name, help, source string, ok *bool, f func() float64) fam {
		return fam{kind, "", "", name, "", help, source, known(ok, f)}
	}
	x.plain(
		row(metrics.Counter, "process_cpu_seconds_total", "Seconds of processor time, of user and system.", "getrusage", &p.hasCPU, func() float64 { return p.cpu.Seconds() }),
		row(metrics.Gauge, "process_resident_memory_bytes", "Resident memory.", "/proc/self/stat", &p.hasMemory, func() float64 { return float64(p.resident) }),
		row(metrics.Gauge, "process_virtual_memory_bytes", "Virtual memory.", "/proc/self/stat", &p.hasMemory, func() float64 { return float64(p.virtual) }),
		row(metrics.Gauge, "process_start_time_seconds", "Unix time of the start.", "/proc/self/stat", &p.hasMemory, func() float64 { return p.startSeconds }),
		row(metrics.Gauge, "process_open_fds", "Open file descriptors.", "/proc/self/fd", &p.hasFDs, func() float64 { return float64(p.fds) }),
		fam{metrics.Gauge, "", "", "process_max_fds", "", "Most file descriptors that may be open.", "getrlimit", func(e *metrics.Emitter) {
			if n := vfs.OpenLimit(); n > 0 {
				e.Int(int64(n))
			}
		}},
	)
	x.add(
		fam{metrics.Gauge, "server", "KafkaServer", "linux-disk-read-bytes", "", "Bytes that the process has had read from disks.", "/proc/self/io", known(&p.hasIO, func() float64 { return float64(p.readBytes) })},
		fam{metrics.Gauge, "server", "KafkaServer", "linux-disk-write-bytes", "", "Bytes that the process has had written to disks.", "/proc/self/io", known(&p.hasIO, func() float64 { return float64(p.wroteByte) })},
	)
}

// nodeInfo emits who the node is.
func (x *exporter) nodeInfo(e *metrics.Emitter) {
	e.Int(1, strconv.Itoa(int(x.NodeID)), x.ClusterID, buildinfo.Version, buildinfo.KafkaVersion)
}

// goVersion is the version of the runtime.
func goVersion() string { return runtime.Version() }
