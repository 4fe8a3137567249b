package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/vfs"
)

// settling is how long replicas may take to become equal once nobody writes any more.
const settling = time.Minute

// audit compares what the replicas of every partition hold, once no transaction can be
// open any more: the batches, the epochs, the producers.
func (r *run) audit() []string {
	var img *metadata.Image
	var ledgers, faults []string
	for end := time.Now().Add(settling); ; time.Sleep(250 * time.Millisecond) {
		img, ledgers = r.readLedgers()
		if faults = r.compare(img); len(faults) == 0 || time.Now().After(end) {
			break
		}
	}
	faults = append(ledgers, faults...)
	if err := r.alive(); err != nil {
		faults = append(faults, err.Error())
	}
	for _, h := range r.c.hosts {
		h.kill(r.rng, vfs.ProcessKill)
	}
	return faults
}

// compare holds the replicas of every partition against the first.
func (r *run) compare(img *metadata.Image) []string {
	var faults []string
	for _, t := range img.SortedTopics() {
		for i, p := range t.Partitions() {
			dir := path.Join(dataDir, fmt.Sprintf("%s-%d", t.Name, i))
			first := r.c.hosts[p.Replicas[0]-1]
			if t.Name == topicName {
				if err := gapless(first, dir); err != nil {
					faults = append(faults, err.Error())
				}
			}
			if p.HasLeader() {
				if err := knowsItsEpoch(r.c.hosts[p.Leader-1], kafka.TopicPartition{Topic: t.Name, Partition: i}, p.LeaderEpoch); err != nil {
					faults = append(faults, err.Error())
				}
			}
			for _, id := range p.Replicas[1:] {
				h := r.c.hosts[id-1]
				err := sameLog(first, h, dir)
				if err == nil {
					err = sameProducers(first, h, kafka.TopicPartition{Topic: t.Name, Partition: i})
				}
				if err != nil {
					faults = append(faults, err.Error())
				}
			}
		}
	}
	return faults
}

// gapless says that every offset from the first on is there.
func gapless(h *host, dir string) error {
	data, err := batches(h.disk, dir)
	if err != nil {
		return err
	}
	next := int64(-1)
	for len(data) >= batchHeader {
		base := int64(binary.BigEndian.Uint64(data))
		if next >= 0 && base != next {
			return fmt.Errorf("gap: %s on %s goes on at offset %d behind %d", path.Base(dir), h.name, base, next-1)
		}
		next = base + int64(binary.BigEndian.Uint32(data[23:])) + 1
		data = data[min(12+int(binary.BigEndian.Uint32(data[8:])), len(data)):]
	}
	return nil
}

// knowsItsEpoch says that a leader has noted where its epoch begins, records or not: it
// tells followers and clients whether they diverge by that.
func knowsItsEpoch(h *host, tp kafka.TopicPartition, epoch kafka.LeaderEpoch) error {
	if h.run == nil {
		return fmt.Errorf("%s does not run", h.name)
	}
	l := h.run.node.Log(tp)
	if l == nil {
		return fmt.Errorf("%s has no %s", h.name, tp)
	}
	entries := l.EpochEntries()
	if len(entries) == 0 || entries[len(entries)-1].Epoch != epoch {
		return fmt.Errorf("epoch not noted: %s leads %s in epoch %d and knows of %v", h.name, tp, epoch, entries)
	}
	return nil
}

// sameProducers compares what two running replicas know of the producers of a partition.
func sameProducers(a, b *host, tp kafka.TopicPartition) error {
	x, err := producers(a, tp)
	if err != nil {
		return err
	}
	y, err := producers(b, tp)
	if err != nil {
		return err
	}
	if !slices.Equal(x, y) {
		return fmt.Errorf("producers differ: %s on %s knows %q, on %s %q", tp, a.name, x, b.name, y)
	}
	return nil
}

func producers(h *host, tp kafka.TopicPartition) ([]string, error) {
	if h.run == nil {
		return nil, fmt.Errorf("%s does not run", h.name)
	}
	l := h.run.node.Log(tp)
	if l == nil {
		return nil, fmt.Errorf("%s has no %s", h.name, tp)
	}
	all, err := l.ActiveProducers()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range all {
		out = append(out, fmt.Sprintf("%d epoch %d sequence %d at %d, open from %d", e.ProducerID, e.Epoch, e.LastSequence, e.LastOffset, e.CurrentTxnFirstOffset))
	}
	return out, nil
}

// batchHeader is the size of a batch's header.
const batchHeader = 61

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
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the partition never had a leader here
	}
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
	for len(b) >= batchHeader {
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
