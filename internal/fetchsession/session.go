package fetchsession

import "github.com/gregorhq/gregor/internal/kafka"

// Session epochs with a meaning of their own.
const (
	InvalidSessionID = 0  // no session
	InitialEpoch     = 0  // a full fetch that asks for a session
	FinalEpoch       = -1 // a full fetch that asks for none, and ends the one named
)

// IsFull says whether a request with this epoch names all of its partitions.
func IsFull(epoch int32) bool { return epoch == InitialEpoch || epoch == FinalEpoch }

// NextEpoch is the epoch that follows: it wraps to 1, since 0 asks for a session.
func NextEpoch(epoch int32) int32 {
	switch {
	case epoch < 0:
		return FinalEpoch
	case epoch == 1<<31-1:
		return 1
	default:
		return epoch + 1
	}
}

// Key is the identity of a partition within a session. Requests that carry topic
// ids leave Topic empty, those that carry names leave TopicID zero.
type Key struct {
	TopicID   kafka.TopicID
	Topic     string
	Partition int32
}

// Params is what a client asked for one partition.
type Params struct {
	FetchOffset        int64
	LogStartOffset     int64 // the fetcher's own
	MaxBytes           int32
	CurrentLeaderEpoch int32 // -1 when the client knows none
	LastFetchedEpoch   int32 // -1 when the client knows none
}

// Entry is one partition of a request.
type Entry struct {
	Key
	Params
}

// Result is what the answer for one partition says, as far as sessions care.
type Result struct {
	HighWatermark  int64
	LogStartOffset int64
	RecordsSize    int
	Failed         bool // the answer carries an error code
	Diverging      bool // the answer carries a diverging epoch
	Preferred      bool // the answer names a preferred read replica
}

// Partition is one partition of a session.
type Partition struct {
	Entry
	// Name is the topic's name as the session has resolved it; with names in the
	// requests it equals Topic. It is empty until the id is known.
	Name string

	highWatermark  int64
	logStartOffset int64
	prev, next     *Partition
}

// Session is what the broker remembers of one client's fetches.
type Session struct {
	ID int32

	privileged bool
	usesIDs    bool
	createdMs  int64
	lastUsedMs int64
	epoch      int32
	size       int // partitions, as counted when last touched
	// Set when touched: who may evict the session. See Cache.touch.
	evictableByAll, evictableByPrivileged bool

	parts map[Key]*Partition
	// root is the sentinel of the ring that orders the partitions: those that had
	// data move to its end, so that every partition gets its turn.
	root Partition
}

func newSession(n int) *Session {
	s := &Session{parts: make(map[Key]*Partition, n)}
	s.root.prev, s.root.next = &s.root, &s.root
	return s
}

// Len is the number of partitions.
func (s *Session) Len() int { return len(s.parts) }

// Epoch is the epoch that the next request has to carry.
func (s *Session) Epoch() int32 { return s.epoch }

// UsesTopicIDs says whether the session's requests name topics by id.
func (s *Session) UsesTopicIDs() bool { return s.usesIDs }

// First returns the first partition in the order to serve, nil for none.
func (s *Session) First() *Partition { return s.after(&s.root) }

// Next returns the partition to serve after p, nil at the end.
func (s *Session) Next(p *Partition) *Partition { return s.after(p) }

func (s *Session) after(p *Partition) *Partition {
	if p.next == &s.root {
		return nil
	}
	return p.next
}

// Has says whether p is still a partition of the session.
func (s *Session) Has(p *Partition) bool { return s.parts[p.Key] == p }

func (s *Session) add(e Entry) *Partition {
	p := &Partition{Entry: e, Name: e.Topic, highWatermark: -1, logStartOffset: -1}
	s.parts[e.Key] = p
	s.pushBack(p)
	return p
}

func (s *Session) pushBack(p *Partition) {
	last := s.root.prev
	last.next, p.prev = p, last
	p.next, s.root.prev = &s.root, p
}

func unlink(p *Partition) {
	p.prev.next, p.next.prev = p.next, p.prev
	p.prev, p.next = nil, nil
}

// update applies what a request changes.
func (s *Session) update(req []Entry, forget []Key) {
	for i := range req {
		if p, ok := s.parts[req[i].Key]; ok {
			p.Params = req[i].Params
		} else {
			s.add(req[i])
		}
	}
	for _, k := range forget {
		if p, ok := s.parts[k]; ok {
			unlink(p)
			delete(s.parts, k)
		}
	}
}

// MustRespond says whether the answer has to contain the partition, without
// remembering anything.
func (p *Partition) MustRespond(r Result) bool {
	return r.RecordsSize > 0 || r.Failed || r.Diverging || r.Preferred ||
		p.highWatermark != r.HighWatermark || p.logStartOffset != r.LogStartOffset
}

// Responded is MustRespond that also remembers what the client is told. A
// partition with data goes to the end of the order.
func (s *Session) Responded(p *Partition, r Result) bool {
	must := p.MustRespond(r)
	p.highWatermark, p.logStartOffset = r.HighWatermark, r.LogStartOffset
	if r.Failed {
		// When the error goes away the partition has to be sent again.
		p.highWatermark = -1
	}
	if must && r.RecordsSize > 0 && p.next != nil {
		unlink(p)
		s.pushBack(p)
	}
	return must
}
