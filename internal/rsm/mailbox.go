package rsm

import (
	"slices"
	"sync"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// CoordinatorMailbox bounds the requests that wait for one shard. Work that the
// broker makes for itself (timers, results of effects, new images) has bounds of its
// own and is never refused: a shard has one timer a key.
const CoordinatorMailbox = 10_000

// item is something for a shard's loop: an operation or a timer that is due.
type item[M coord.Machine] struct {
	op    Op[M]
	done  Done // nil when nobody waits
	timer *deadline
	image bool // op tells of a metadata image
}

// mailbox is the way into a shard.
type mailbox[M coord.Machine] struct {
	// signal has a token when there may be something to do.
	signal chan struct{}
	limit  int

	mu     sync.Mutex
	items  []item[M] // guarded by mu
	closed bool      // guarded by mu
}

func newMailbox[M coord.Machine](limit int) *mailbox[M] {
	return &mailbox[M]{signal: make(chan struct{}, 1), limit: limit}
}

// put adds it; bounded says that it may be refused when too many wait.
func (m *mailbox[M]) put(it item[M], bounded bool) error {
	m.mu.Lock()
	switch {
	case m.closed:
		m.mu.Unlock()
		return kafka.NotCoordinator
	case bounded && len(m.items) >= m.limit:
		m.mu.Unlock()
		// Not the code of a load, which a heartbeat is not told of since sessions begin
		// anew after it: here they end while nobody gets to hear of the heartbeat.
		return kafka.CoordinatorNotAvailable.Errorf("%d requests wait for the coordinator", m.limit)
	}
	m.items = append(m.items, it)
	m.mu.Unlock()
	m.poke()
	return nil
}

// poke makes the loop look around.
func (m *mailbox[M]) poke() {
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

// take returns what waits, in order, and whether the mailbox is closed. spare is
// memory of an earlier take that may be used again.
func (m *mailbox[M]) take(spare []item[M]) ([]item[M], bool) {
	clear(spare)
	m.mu.Lock()
	defer m.mu.Unlock()
	items := m.items
	m.items = spare[:0]
	return items, m.closed
}

// dropImages drops the images that wait. Who calls it goes on with the newest, so that
// those of a long load are not kept.
func (m *mailbox[M]) dropImages() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.items = slices.DeleteFunc(m.items, func(it item[M]) bool { return it.image })
}

// close refuses everything from now on. What waits can still be taken.
func (m *mailbox[M]) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.poke()
}

func (m *mailbox[M]) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}
