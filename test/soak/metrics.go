//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// measure is one series of a process: its name in /metrics, and by how much it may vary.
type measure struct {
	title, metric string
	unit          float64 // what it is divided by, to be read
	slack         float64 // in units
}

// measures of which each is judged. The heap's goal follows what is alive, the heap itself
// has what is dead, too.
var measures = []measure{
	{"heap MiB", "go_memstats_alloc_bytes", 1 << 20, 16},
	{"heap goal MiB", "go_memstats_next_gc_bytes", 1 << 20, 16},
	{"RSS MiB", "process_resident_memory_bytes", 1 << 20, 48},
	{"fds", "process_open_fds", 1, 16},
	{"goroutines", "go_goroutines", 1, 24},
}

// never are counters and gauges that must be 0.
var never = []string{
	"gregor_handler_panics_total", "gregor_damaged_segments_found_total", "gregor_log_directory_refused_appends_total",
	"kafka_log_logcleaner_deadthreadcount", "kafka_log_logcleanermanager_uncleanable_partitions_count", "kafka_log_logmanager_offlinelogdirectorycount",
}

// scrape reads /metrics of a node: the sum over all labels of each wanted name.
func scrape(ctx context.Context, addr string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/metrics of %s: %s", addr, resp.Status)
	}
	return parseMetrics(resp.Body)
}

func parseMetrics(r io.Reader) (map[string]float64, error) {
	out := map[string]float64{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		end := strings.IndexAny(line, "{ ")
		if end < 0 || !wanted[line[:end]] {
			continue
		}
		v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		out[line[:end]] += v
	}
	return out, lines.Err()
}

var wanted = func() map[string]bool {
	out := map[string]bool{}
	for _, m := range measures {
		out[m.metric] = true
	}
	for _, name := range never {
		out[name] = true
	}
	return out
}()
