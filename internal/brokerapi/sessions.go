package brokerapi

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/fetchsession"
)

// sessionShards spreads the fetch sessions over several locks, as Kafka does.
const sessionShards = 8

// minEvictionMs is how long a session is safe from being replaced.
const minEvictionMs = 120_000

// sessionShard is one shard with its lock, which guards the cache and the sessions in
// it. Nothing is called under it but the fetchsession mind.
type sessionShard struct {
	mu    sync.Mutex
	cache *fetchsession.Cache
}

// sessions holds the incremental fetch sessions of all clients (KIP-227).
type sessions struct {
	shards  [sessionShards]sessionShard
	idRange int32
	next    atomic.Uint32
}

// newSessions returns a cache for slots sessions in all.
func newSessions(slots int, seed uint64) *sessions {
	s := &sessions{idRange: 1<<31/sessionShards - 1}
	for i := range s.shards {
		lo := int32(i) * s.idRange
		s.shards[i].cache = fetchsession.NewCache(slots/sessionShards, minEvictionMs, lo, lo+s.idRange,
			rand.New(rand.NewPCG(seed, uint64(i))))
	}
	return s
}

// shard returns the shard that a session id belongs to, nil for an id that no session
// can have.
func (s *sessions) shard(id int32) *sessionShard {
	if i := id / s.idRange; id > 0 && i < sessionShards {
		return &s.shards[i]
	}
	return nil
}

// nextShard returns the shard for a new session, in turn.
func (s *sessions) nextShard() *sessionShard {
	return &s.shards[(s.next.Add(1)-1)%sessionShards]
}

// remove ends the session with the id, if there is one.
func (s *sessions) remove(id int32) {
	if sh := s.shard(id); sh != nil {
		sh.mu.Lock()
		sh.cache.Remove(id)
		sh.mu.Unlock()
	}
}

// SessionStats counts the fetch sessions of a broker.
type SessionStats struct {
	Sessions, Partitions int
	Evictions            int64
}

// SessionStats returns the present counts.
func (a *API) SessionStats() SessionStats {
	a.init()
	var st SessionStats
	for i := range a.data.sessions.shards {
		sh := &a.data.sessions.shards[i]
		sh.mu.Lock()
		st.Sessions += sh.cache.Len()
		st.Partitions += sh.cache.Partitions()
		st.Evictions += sh.cache.Evictions()
		sh.mu.Unlock()
	}
	return st
}
