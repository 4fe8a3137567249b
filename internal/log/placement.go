package log

import (
	"path/filepath"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Cordon says which directories get no new partitions (KIP-1066); it replaces what was
// said before.
func (m *Manager) Cordon(dirs []string) {
	set := make(map[string]bool, len(dirs))
	for _, dir := range dirs {
		set[clean(dir)] = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cordoned = set
}

func clean(dir string) string {
	if dir == "*" {
		return dir
	}
	return filepath.Clean(dir)
}

// Cordoned says whether the directory at path gets no new partitions.
func (m *Manager) Cordoned(path string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.cordoned["*"] || m.cordoned[clean(path)]
}

// maxPreferred bounds the directories that are remembered for logs to come.
const maxPreferred = 100_000

// Prefer has the log of tp made in the directory with that id when it is made.
func (m *Manager) Prefer(tp kafka.TopicPartition, dirID kafka.UUID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.logs[tp] == nil && len(m.preferred) < maxPreferred {
		m.preferred[tp] = dirID
	}
}

// pickDir chooses the directory for the new log of tp, which is to be in the directory
// with that id as far as the metadata knows. A directory that is offline is never
// replaced by another: the replica may be in it (L4).
func (m *Manager) pickDir(tp kafka.TopicPartition, id kafka.UUID) (*dataDir, error) {
	m.mu.Lock()
	preferred, ok := m.preferred[tp]
	delete(m.preferred, tp)
	m.mu.Unlock()
	if ok {
		if d, err := m.dirByID(preferred); err == nil {
			return d, nil
		}
	}
	if !id.IsZero() && id != unassignedDirectory {
		for _, d := range m.dirs {
			if d.data && d.id == id {
				return d, d.err()
			}
		}
		if err := m.noneOffline(); err != nil {
			return nil, kafka.KafkaStorageError.Errorf("%s is to be in directory %s, which is not among those that are online: %w", tp, id, err)
		}
	}
	return m.leastUsed()
}

// unassignedDirectory is the id that stands for a directory yet to be chosen.
var unassignedDirectory = kafka.UUID{15: 1}

// leastUsed is the online directory with the fewest logs, a cordoned one only when there
// is no other.
func (m *Manager) leastUsed() (*dataDir, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	counts := map[*dataDir]int{}
	for _, l := range m.logs {
		counts[l.dir]++
	}
	for _, l := range m.future {
		counts[l.dir]++
	}
	var best, first *dataDir
	for _, d := range m.dirs {
		if !d.data || d.err() != nil {
			continue
		}
		if first == nil {
			first = d
		}
		if cordoned := m.cordoned["*"] || m.cordoned[d.path]; !cordoned && (best == nil || counts[d] < counts[best]) {
			best = d
		}
	}
	switch {
	case best != nil:
		return best, nil
	case first != nil:
		return first, nil
	}
	return nil, kafka.KafkaStorageError.Errorf("all log directories are offline")
}
