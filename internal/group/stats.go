package group

// Counts are what a machine has done since it was made. They only grow, and count what
// was decided, of which a little may not have been written.
type Counts struct {
	// ClassicRebalances are generations of classic groups, ConsumerRebalances epochs of
	// consumer groups.
	ClassicRebalances, ConsumerRebalances int64
	OffsetCommits, ExpiredOffsets         int64 // partitions
}

// Counts returns the counts.
func (m *Machine) Counts() Counts { return m.counts }

// Summary is one group in short.
type Summary struct {
	ID, Kind, State, Protocol string
	Members                   int
}

// Summaries describes every group, in no order.
func (m *Machine) Summaries() []Summary {
	all := make([]Summary, 0, len(m.groups))
	for id, g := range m.groups {
		s := Summary{ID: id, Kind: g.kind(), State: g.stateName(), Protocol: g.protocol()}
		switch g := g.(type) {
		case *classicGroup:
			s.Members = len(g.members)
		case *consumerGroup:
			s.Members = len(g.members)
		}
		all = append(all, s)
	}
	return all
}

// Committed is the offset that a group has committed for a partition.
type Committed struct {
	Group, Topic string
	Partition    int32
	Offset       int64
	// CommitMs is when that was.
	CommitMs int64
}

// CommittedOffsets lists what is committed, in no order.
func (m *Machine) CommittedOffsets() []Committed {
	n := 0
	for _, topics := range m.offsets {
		for _, parts := range topics {
			n += len(parts)
		}
	}
	all := make([]Committed, 0, n)
	for id, topics := range m.offsets {
		for topic, parts := range topics {
			for p, o := range parts {
				all = append(all, Committed{id, topic, p, o.offset, o.commitTimestamp})
			}
		}
	}
	return all
}
