package log

import (
	"maps"
	"sync"

	"github.com/gregorhq/gregor/internal/kafka"
)

// ghosts are the partitions of a directory that have no log there any more, while its
// checkpoints on disk may still name them. A topic that is created again under the name
// must not find what they say of the old one after a crash: its log would begin where
// the old one began, count as flushed and as replicated as far as the old one was. So a
// log is made only when no checkpoint names a ghost of it (L10). mu guards all.
type ghosts struct {
	mu sync.Mutex
	in map[kafka.TopicPartition]ghostFiles
}

// ghostFiles is the set of checkpoints that may name a ghost.
type ghostFiles uint8

const (
	inRecoveryPoints ghostFiles = 1 << iota
	inHighWatermarks
	inLogStartOffsets
)

var ghostFile = map[string]ghostFiles{fileRecoveryPoints: inRecoveryPoints, fileHighWatermarks: inHighWatermarks, fileLogStartOffsets: inLogStartOffsets}

// leave notes that a log is not in the directory any more, after it has left the
// manager's maps.
func (d *dataDir) leave(tp kafka.TopicPartition) {
	d.ghosts.mu.Lock()
	defer d.ghosts.mu.Unlock()
	d.ghosts.add(tp, inRecoveryPoints|inHighWatermarks|inLogStartOffsets)
}

func (g *ghosts) add(tp kafka.TopicPartition, files ghostFiles) {
	if g.in == nil {
		g.in = map[kafka.TopicPartition]ghostFiles{}
	}
	g.in[tp] |= files
}

// haunted notes the partitions that a checkpoint names and of which Open found no log.
func (d *dataDir) haunted(name string, offsets map[kafka.TopicPartition]int64, there func(kafka.TopicPartition) bool) {
	d.ghosts.mu.Lock()
	defer d.ghosts.mu.Unlock()
	for tp := range offsets {
		if !there(tp) {
			d.ghosts.add(tp, ghostFile[name])
		}
	}
}

// before returns the ghosts that a checkpoint which is gathered from now on does not
// name.
func (g *ghosts) before() map[kafka.TopicPartition]ghostFiles {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.in)
}

// written takes the ghosts away that a new checkpoint does not name.
func (g *ghosts) written(name string, before map[kafka.TopicPartition]ghostFiles) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for tp := range before {
		if g.in[tp] &^= ghostFile[name]; g.in[tp] == 0 {
			delete(g.in, tp)
		}
	}
}

// exorcise makes sure that no checkpoint of the directory names a ghost of tp.
func (m *Manager) exorcise(d *dataDir, tp kafka.TopicPartition) error {
	d.ghosts.mu.Lock()
	files := d.ghosts.in[tp]
	d.ghosts.mu.Unlock()
	for _, f := range []struct {
		in    ghostFiles
		raise func()
		write func() error
	}{
		{inRecoveryPoints, func() { d.rpDirty.Store(true) }, m.CheckpointRecoveryPoints},
		{inHighWatermarks, func() { d.hwDirty.Store(true) }, m.CheckpointHighWatermarks},
		{inLogStartOffsets, func() { d.startDirty.Store(true) }, m.CheckpointLogStartOffsets},
	} {
		if files&f.in == 0 {
			continue
		}
		f.raise()
		if err := f.write(); err != nil && d.err() != nil {
			return err
		}
	}
	d.ghosts.mu.Lock()
	defer d.ghosts.mu.Unlock()
	if d.ghosts.in[tp] != 0 {
		return kafka.KafkaStorageError.Errorf("the checkpoints in %s still have the offsets of an older log of %s", d.path, tp)
	}
	return nil
}
