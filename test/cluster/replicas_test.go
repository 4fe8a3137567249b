package cluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/producer"
)

// replica is one partition as it lies in one directory after a clean stop.
type replica struct {
	host      int32
	data      []byte
	ends      map[int64]int // end offset of each batch -> where it ends in data
	end       int64
	epochs    []string // lines of leader-epoch-checkpoint of epochs that have records
	producers []producer.Entry
}

// audit stops the fleet in order and compares the replicas. Those of the run's topics are
// equal, with leader epochs and producers. Internal topics may take records while the
// brokers stop one after the other; what all have is equal.
func (f *fleet) audit(out *tally) {
	f.t.Helper()
	f.until(recovery, f.unhealthy)
	for _, h := range f.hosts { // brokers come first
		f.stop(h)
	}
	for _, name := range f.replicated() {
		var replicas []replica
		for _, h := range f.brokers() {
			r, err := readReplica(filepath.Join(h.data(), name))
			if err != nil {
				f.t.Errorf("%s on broker %d: %v", name, h.id, err)
				return
			}
			r.host = h.id
			replicas = append(replicas, r)
		}
		bad := differences(name, replicas)
		for _, b := range bad {
			f.t.Errorf("replicas: %s", b)
		}
		out.bad += len(bad)
		out.partitions++
		out.bytes += int64(len(replicas[0].data))
	}
}

// replicated are the folders of all partitions.
func (f *fleet) replicated() (out []string) {
	for _, h := range f.brokers() {
		entries, err := os.ReadDir(h.data())
		if err != nil {
			f.t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() && strings.Contains(e.Name(), "-") && !strings.HasPrefix(e.Name(), "__cluster_metadata") && !slices.Contains(out, e.Name()) {
				out = append(out, e.Name())
			}
		}
	}
	return out
}

func readReplica(dir string) (replica, error) {
	r := replica{ends: map[int64]int{0: 0}}
	segments, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(segments) == 0 {
		return r, fmt.Errorf("no segments: %w", err)
	}
	slices.Sort(segments)
	for _, s := range segments {
		b, err := os.ReadFile(s)
		if err != nil {
			return r, err
		}
		r.data = append(r.data, b...)
	}
	infos, err := batch.Infos(r.data)
	if err != nil {
		return r, err
	}
	for _, i := range infos {
		r.end = i.LastOffset + 1
		r.ends[r.end] = i.Pos + i.Size
	}
	if r.ends[r.end] != len(r.data) {
		return r, fmt.Errorf("%d bytes behind the last batch", len(r.data)-r.ends[r.end])
	}
	if r.epochs, err = epochsBelow(filepath.Join(dir, "leader-epoch-checkpoint"), r.end); err != nil {
		return r, err
	}
	snapshot, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%020d.snapshot", r.end)))
	if err != nil && r.end > 0 {
		return r, err
	}
	if r.end > 0 {
		r.producers, err = producer.DecodeSnapshot(snapshot)
		return r, err
	}
	return r, nil
}

// epochsBelow reads a leader-epoch-checkpoint. An epoch that begins at the end has no
// record: only its leader knows it.
func epochsBelow(file string, end int64) (out []string, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for _, line := range lines[min(2, len(lines)):] {
		var epoch, start int64
		if _, err := fmt.Sscan(line, &epoch, &start); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", file, line, err)
		}
		if start < end {
			out = append(out, line)
		}
	}
	return out, nil
}

// differences says in what replicas differ.
func differences(name string, replicas []replica) (bad []string) {
	internal := strings.HasPrefix(name, "__")
	a := replicas[0]
	for _, b := range replicas[1:] {
		end := min(a.end, b.end)
		switch {
		case a.end != b.end && !internal:
			bad = append(bad, fmt.Sprintf("%s ends at %d on broker %d and at %d on broker %d", name, a.end, a.host, b.end, b.host))
		case a.ends[end] != b.ends[end] || !bytes.Equal(a.data[:a.ends[end]], b.data[:b.ends[end]]):
			bad = append(bad, fmt.Sprintf("%s differs on brokers %d and %d below offset %d", name, a.host, b.host, end))
		case a.end == b.end && !slices.Equal(a.epochs, b.epochs):
			bad = append(bad, fmt.Sprintf("%s has leader epochs %v on broker %d and %v on broker %d", name, a.epochs, a.host, b.epochs, b.host))
		case a.end == b.end && !slices.Equal(a.producers, b.producers):
			bad = append(bad, fmt.Sprintf("%s has producers %+v on broker %d and %+v on broker %d", name, a.producers, a.host, b.producers, b.host))
		}
	}
	return bad
}
