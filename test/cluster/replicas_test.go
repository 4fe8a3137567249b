package cluster

import (
	"bytes"
	"errors"
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
	at        map[int64]int // offset of each batch, and of the end -> where that is in data
	first     int64         // offset of the first batch
	end       int64
	epochs    []string // lines of leader-epoch-checkpoint of epochs that have records
	producers []producer.Entry
}

// audit stops the fleet in order and compares the replicas. Those of the run's topics are
// equal, with leader epochs and producers; where records were deleted, from where all
// begin. Internal topics may take records while the
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
			dir := filepath.Join(h.data(), name)
			if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
				continue // it is no replica
			}
			r, err := readReplica(dir)
			if err != nil {
				f.t.Errorf("%s on broker %d: %v", name, h.id, err)
				return
			}
			r.host = h.id
			replicas = append(replicas, r)
		}
		bad := differences(name, replicas)
		if len(replicas) != 3 {
			bad = append(bad, fmt.Sprintf("%s has %d replicas", name, len(replicas)))
		}
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
			// A folder with a dot in its name waits for its deletion.
			if e.IsDir() && strings.Contains(e.Name(), "-") && !strings.Contains(e.Name(), ".") && !strings.HasPrefix(e.Name(), "__cluster_metadata") && !slices.Contains(out, e.Name()) {
				out = append(out, e.Name())
			}
		}
	}
	return out
}

func readReplica(dir string) (replica, error) {
	r := replica{at: map[int64]int{0: 0}}
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
	for n, i := range infos {
		if n == 0 {
			r.first = i.BaseOffset
		}
		r.end = i.LastOffset + 1
		r.at[i.BaseOffset], r.at[r.end] = i.Pos, i.Pos+i.Size
	}
	if r.at[r.end] != len(r.data) {
		return r, fmt.Errorf("%d bytes behind the last batch", len(r.data)-r.at[r.end])
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
	if errors.Is(err, os.ErrNotExist) && end == 0 {
		return nil, nil
	} else if err != nil {
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

// sameBetween says whether two replicas have the same batches between two offsets.
func sameBetween(a, b *replica, first, end int64) bool {
	fromA, ok1 := a.at[first]
	toA, ok2 := a.at[end]
	fromB, ok3 := b.at[first]
	toB, ok4 := b.at[end]
	return ok1 && ok2 && ok3 && ok4 && bytes.Equal(a.data[fromA:toA], b.data[fromB:toB])
}

// differences says in what replicas differ.
func differences(name string, replicas []replica) (bad []string) {
	internal := strings.HasPrefix(name, "__")
	a := replicas[0]
	for _, b := range replicas[1:] {
		first, end := max(a.first, b.first), min(a.end, b.end)
		same := a.end == b.end && a.first == b.first
		switch {
		case a.end != b.end && !internal:
			bad = append(bad, fmt.Sprintf("%s ends at %d on broker %d and at %d on broker %d", name, a.end, a.host, b.end, b.host))
		case first < end && !sameBetween(&a, &b, first, end):
			bad = append(bad, fmt.Sprintf("%s differs on brokers %d and %d from offset %d to %d", name, a.host, b.host, first, end))
		case same && !slices.Equal(a.epochs, b.epochs):
			bad = append(bad, fmt.Sprintf("%s has leader epochs %v on broker %d and %v on broker %d", name, a.epochs, a.host, b.epochs, b.host))
		case same && !slices.Equal(a.producers, b.producers):
			bad = append(bad, fmt.Sprintf("%s has producers %+v on broker %d and %+v on broker %d", name, a.producers, a.host, b.producers, b.host))
		}
	}
	return bad
}
