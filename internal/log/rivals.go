package log

import "github.com/gregorhq/gregor/internal/kafka"

// A topic may be deleted and created again while the directory of its old log is
// offline. Once all directories are back there are two current logs of one name with
// different topic ids. Which of them is the cluster's, only the metadata says, and that
// is not known when the directories are opened: the second one is kept as a rival until
// Create says the id. The one that has another id is a stray.

// addRival keeps l beside the log of its partition that was found first; false says
// that the two belong to one topic, or that their ids cannot be read. A log whose
// creation failed before its id was written belongs to none. m.mu is not held: whoever
// has a log's lock may wait for it.
func (m *Manager) addRival(first, l *Log) bool {
	a, errA := first.TopicID()
	b, errB := l.TopicID()
	if errA != nil || errB != nil || a == b {
		return false
	}
	m.env.logger.Warn("two logs of one partition and different topics, the metadata will tell which is right",
		"partition", l.tp.String(), "folder", first.Folder(), "topicId", a.String(), "otherFolder", l.Folder(), "otherTopicId", b.String())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rivals[l.tp] = append(m.rivals[l.tp], l)
	return true
}

// settleRivals makes the log that has the topic's id the log of tp, and sets its rivals
// aside. m.create is held, so that nobody else changes what the maps have of tp.
func (m *Manager) settleRivals(tp kafka.TopicPartition, id kafka.TopicID) {
	m.mu.RLock()
	rivals, current := m.rivals[tp], m.logs[tp]
	m.mu.RUnlock()
	if len(rivals) == 0 {
		return
	}
	for i, l := range rivals {
		if hasID(l, id) && !hasID(current, id) {
			rivals[i], current = current, l
		}
	}
	m.mu.Lock()
	if current != nil {
		m.logs[tp] = current
	}
	delete(m.rivals, tp)
	m.mu.Unlock()
	for _, l := range rivals {
		if l == nil {
			continue
		}
		m.env.logger.Warn("stray log set aside", "partition", tp.String(), "folder", l.Folder())
		if err := m.retire(l, folderStray); err != nil {
			m.env.logger.Error("cannot set stray log aside", "partition", tp.String(), "error", err)
			continue
		}
		l.dir.leave(tp)
		m.mu.Lock()
		m.strays = append(m.strays, l.Folder())
		m.mu.Unlock()
	}
}

func hasID(l *Log, id kafka.TopicID) bool {
	if l == nil {
		return false
	}
	have, err := l.TopicID()
	return err == nil && have == id
}
