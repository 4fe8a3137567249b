package fetchsession

import (
	"math/rand/v2"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Cache is one shard of the sessions of a broker.
type Cache struct {
	maxEntries int
	evictionMs int64
	idMin      int32 // inclusive
	idMax      int32 // exclusive
	rng        *rand.Rand

	sessions   map[int32]*Session
	partitions int
	evictions  int64
}

// NewCache returns a shard for at most maxEntries sessions, whose ids lie in
// [idMin, idMax). A session that was not used for evictionMs gives way to any other.
func NewCache(maxEntries int, evictionMs int64, idMin, idMax int32, rng *rand.Rand) *Cache {
	return &Cache{
		maxEntries: maxEntries,
		evictionMs: evictionMs,
		idMin:      max(1, idMin),
		idMax:      idMax,
		rng:        rng,
		sessions:   map[int32]*Session{},
	}
}

// Len is the number of sessions.
func (c *Cache) Len() int { return len(c.sessions) }

// Partitions is the number of partitions in all sessions.
func (c *Cache) Partitions() int { return c.partitions }

// Evictions counts the sessions that gave way to others.
func (c *Cache) Evictions() int64 { return c.evictions }

// Get returns the session with the id, nil for none.
func (c *Cache) Get(id int32) *Session { return c.sessions[id] }

// Remove ends the session with the id and says whether there was one.
func (c *Cache) Remove(id int32) bool {
	s, ok := c.sessions[id]
	if ok {
		c.remove(s)
	}
	return ok
}

func (c *Cache) remove(s *Session) {
	delete(c.sessions, s.ID)
	c.partitions -= s.size
}

// Begin applies an incremental request to its session and returns the session
// whose partitions are to be served. A nil session without an error means that the
// request ended its session by forgetting the last partition: it is answered
// without one.
//
// The errors are FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH and
// FETCH_SESSION_TOPIC_ID_ERROR; they belong to the whole response.
func (c *Cache) Begin(nowMs int64, id, epoch int32, usesIDs bool, req []Entry, forget []Key) (*Session, *kafka.Code) {
	s := c.sessions[id]
	switch {
	case s == nil:
		return nil, kafka.FetchSessionIDNotFound
	case s.epoch != epoch:
		return nil, kafka.InvalidFetchSessionEpoch
	case s.usesIDs != usesIDs:
		return nil, kafka.FetchSessionTopicIDError
	}
	s.update(req, forget)
	if s.Len() == 0 {
		c.remove(s)
		return nil, nil
	}
	c.touch(s, nowMs)
	s.epoch = NextEpoch(s.epoch)
	return s, nil
}

// Current says whether the session is still where Begin left it for a request
// with this epoch: no other request has gone by since.
func (s *Session) Current(requestEpoch int32) bool { return s.epoch == NextEpoch(requestEpoch) }

// Create makes a session out of a full fetch and what was answered to it;
// results[i] belongs to req[i], names[i] is the topic's name, empty when it is not
// known. It returns InvalidSessionID when the cache is full of sessions that are
// worth more. A partition that is named twice counts once, as named last.
func (c *Cache) Create(nowMs int64, privileged, usesIDs bool, req []Entry, names []string, results []Result) int32 {
	if len(c.sessions) >= c.maxEntries && !c.evict(nowMs, privileged, len(req)) {
		return InvalidSessionID
	}
	s := newSession(len(req))
	for i := range req {
		p, ok := s.parts[req[i].Key]
		if ok {
			p.Params = req[i].Params
		} else {
			p = s.add(req[i])
		}
		p.Name = names[i]
		p.highWatermark, p.logStartOffset = results[i].HighWatermark, results[i].LogStartOffset
	}
	s.ID = c.newID()
	s.privileged, s.usesIDs = privileged, usesIDs
	s.createdMs = nowMs
	s.epoch = NextEpoch(InitialEpoch)
	c.sessions[s.ID] = s
	c.touch(s, nowMs)
	return s.ID
}

func (c *Cache) newID() int32 {
	for {
		id := c.idMin + c.rng.Int32N(c.idMax-c.idMin)
		if _, taken := c.sessions[id]; !taken {
			return id
		}
	}
}

// touch notes the use of a session. Sessions that have lived for a while may be
// evicted by anyone, young ones of consumers only by followers, young ones of
// followers by nobody.
func (c *Cache) touch(s *Session, nowMs int64) {
	s.lastUsedMs = nowMs
	c.partitions += s.Len() - s.size
	s.size = s.Len()
	old := nowMs-s.createdMs > c.evictionMs
	s.evictableByAll = old
	s.evictableByPrivileged = old || !s.privileged
}

// evict makes room for a session of the given worth: the one unused for longest
// goes if it is stale, else the least valuable evictable one, if it is worth no
// more than the newcomer. It runs only when the shard is full, and looks at all of
// its sessions.
func (c *Cache) evict(nowMs int64, privileged bool, size int) bool {
	var idle, least *Session
	for _, s := range c.sessions { // the orders are total, the map's is not seen
		if idle == nil || s.lastUsedMs < idle.lastUsedMs || s.lastUsedMs == idle.lastUsedMs && s.ID < idle.ID {
			idle = s
		}
		evictable := s.evictableByAll
		if privileged {
			evictable = s.evictableByPrivileged
		}
		if evictable && (least == nil || worthLess(s, least)) {
			least = s
		}
	}
	victim := least
	switch {
	case idle != nil && nowMs-idle.lastUsedMs > c.evictionMs:
		victim = idle
	case least == nil:
		return false
	case privileged != least.privileged:
		if least.privileged {
			return false
		}
	case size <= least.size:
		// The ids of existing sessions are positive, the newcomer counts as 0: among
		// equals the one that is there stays.
		return false
	}
	c.remove(victim)
	c.evictions++
	return true
}

// worthLess orders by privilege, then by number of partitions, then by id.
func worthLess(a, b *Session) bool {
	if a.privileged != b.privileged {
		return b.privileged
	}
	if a.size != b.size {
		return a.size < b.size
	}
	return a.ID < b.ID
}
