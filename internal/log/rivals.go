package log

import "github.com/gregorhq/gregor/internal/kafka"

// A topic may be deleted and created again while the directory of its old log is
// offline. Once all directories are back there are two current logs of one name with
// different topic ids. Which of them is the cluster's, only the metadata says, and that
// is not known when the directories are opened: the second one is kept as a rival until
// Create says the id. The one that has another id is a stray.

// addRival keeps l beside the log of its partition that was found first; false says
// that the two belong to one topic, or that their ids cannot be read. A log whose
// creation failed before its id was written belongs to none. m.mu is held.
func (m *Manager) addRival(first, l *Log) bool {
	a, errA := first.TopicID()
	b, errB := l.TopicID()
	if errA != nil || errB != nil || a == b {
		return false
	}
	m.env.logger.Warn("two logs of one partition and different topics, the metadata will tell which is right",
		"partition", l.tp.String(), "folder", first.Folder(), "topicId", a.String(), "otherFolder", l.Folder(), "otherTopicId", b.String())
	m.rivals[l.tp] = append(m.rivals[l.tp], l)
	return true
}

// settleRivals makes the log that has the topic's id the log of tp, and sets its rivals
// aside. m.create is held.
func (m *Manager) settleRivals(tp kafka.TopicPartition, id kafka.TopicID) {
	m.mu.Lock()
	rivals, current := m.rivals[tp], m.logs[tp]
	delete(m.rivals, tp)
	for i, l := range rivals {
		if hasID(l, id) && !hasID(current, id) {
			m.logs[tp], rivals[i] = l, current
			current = l
		}
	}
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
