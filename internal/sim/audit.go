package sim

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/vfs"
)

// audit stops all nodes as SIGTERM does and compares what is on their disks: every
// replica of a partition must hold the same bytes.
func (r *run) audit() []string {
	var faults []string
	for _, h := range r.c.hosts {
		if err := h.stop(time.Minute); err != nil {
			faults = append(faults, fmt.Sprintf("stopping %s: %v", h.name, err))
		}
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
	ea, err := vfs.ReadFile(a.disk, path.Join(dir, "leader-epoch-checkpoint"))
	if err != nil {
		return err
	}
	eb, err := vfs.ReadFile(b.disk, path.Join(dir, "leader-epoch-checkpoint"))
	if err != nil {
		return err
	}
	if !bytes.Equal(ea, eb) {
		return fmt.Errorf("epoch caches differ: %s on %s has %q, on %s %q", path.Base(dir), a.name, ea, b.name, eb)
	}
	return nil
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
