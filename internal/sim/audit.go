package sim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/vfs"
)

// audit ends all nodes, once no transaction can be open any more, and compares what is
// on their disks: every replica of a partition must hold the same bytes.
func (r *run) audit() []string {
	var faults []string
	time.Sleep(time.Minute)
	for _, h := range r.c.hosts {
		h.kill(r.rng, vfs.ProcessKill)
	}
	first := map[string]*host{}
	for _, h := range r.c.hosts {
		entries, err := h.disk.ReadDir("/data")
		if err != nil {
			return append(faults, err.Error())
		}
		for _, e := range entries {
			if !e.IsDir() || strings.HasPrefix(e.Name(), "__cluster_metadata") {
				continue
			}
			name := e.Name()
			if first[name] == nil {
				first[name] = h
				continue
			}
			if err := sameLog(first[name], h, path.Join("/data", name)); err != nil {
				faults = append(faults, err.Error())
			}
		}
	}
	return faults
}

// sameLog compares a partition on two disks: the batches, whatever their division into
// segments, and the start of every leader epoch.
func sameLog(a, b *host, dir string) error {
	x, err := batches(a.disk, dir)
	if err != nil {
		return err
	}
	y, err := batches(b.disk, dir)
	if err != nil {
		return err
	}
	if !bytes.Equal(x, y) {
		at := 0
		for at < len(x) && at < len(y) && x[at] == y[at] {
			at++
		}
		return fmt.Errorf("replicas differ: %s on %s has %d bytes, on %s %d; the first difference is at byte %d", path.Base(dir), a.name, len(x), b.name, len(y), at)
	}
	ea, err := epochs(a.disk, dir, logEnd(x))
	if err != nil {
		return err
	}
	eb, err := epochs(b.disk, dir, logEnd(y))
	if err != nil {
		return err
	}
	if !slices.Equal(ea, eb) {
		return fmt.Errorf("epoch caches differ: %s on %s has %q, on %s %q", path.Base(dir), a.name, ea, b.name, eb)
	}
	return nil
}

// epochs are the leader epochs that have records. A leader notes its own before it has
// any, which followers hear of with the first record.
func epochs(disk *vfs.Mem, dir string, end int64) ([]string, error) {
	data, err := vfs.ReadFile(disk, path.Join(dir, "leader-epoch-checkpoint"))
	if err != nil {
		return nil, err
	}
	var out []string
	for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if i < 2 { // version and count
			continue
		}
		var epoch, start int64
		if _, err := fmt.Sscan(line, &epoch, &start); err != nil {
			return nil, fmt.Errorf("%s/leader-epoch-checkpoint: %q: %w", dir, line, err)
		}
		if start < end {
			out = append(out, line)
		}
	}
	return out, nil
}

// logEnd is one past the last offset of a run of batches.
func logEnd(b []byte) int64 {
	end := int64(0)
	for len(b) >= 61 {
		size := 12 + int(binary.BigEndian.Uint32(b[8:]))
		end = int64(binary.BigEndian.Uint64(b)) + int64(binary.BigEndian.Uint32(b[23:])) + 1
		b = b[min(size, len(b)):]
	}
	return end
}

// batches are the bytes of all segments in order.
func batches(disk *vfs.Mem, dir string) ([]byte, error) {
	entries, err := disk.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".log") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	var out []byte
	for _, n := range names {
		data, err := vfs.ReadFile(disk, path.Join(dir, n))
		if err != nil {
			return nil, err
		}
		out = append(out, data...)
	}
	return out, nil
}
