package replica

import (
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
)

// mover copies replicas to other directories of this broker and puts the copies in their
// place (docs/architecture/directories.md, "Moving a replica"). Up to
// num.replica.alter.log.dirs.threads goroutines take moves off a queue, a turn at a time;
// they exist only while there is something to do.
//
// mu comes below Partition.mu. Whoever ends a move holds Partition.mu, so that a swap is
// done wholly or not at all.
type mover struct {
	m *Manager

	mu      sync.Mutex
	moves   map[*Partition]*move
	queue   []*move
	workers int
}

// moveState is how far a move is.
type moveState uint8

const (
	moveCopying  moveState = iota
	moveAssigned           // the controller is being told
	moveAccepted           // it has taken the new directory
	moveOver               // done or given up
)

// move is one replica on its way. The fields of the first group never change, those of the
// second are guarded by mover.mu, those of the third belong to the goroutine at work.
type move struct {
	p              *Partition
	source, future *log.Log
	from, to       kafka.UUID
	toPath         string

	state   moveState
	told    bool // the controller may think that the replica is in the new directory
	queued  bool
	working bool
	again   bool // something happened while it was worked on

	begun  bool   // no round of compaction is under way any more
	known  bool   // gen is of when both logs were last reconciled
	gen    uint64 // of the source
	errors uint
	swaps  uint // attempts
	buf    []byte
}

func (v *mover) init(m *Manager) { v.m, v.moves = m, map[*Partition]*move{} }

// begin starts to copy. Compaction keeps away from here on, not from the first turn: the
// copy may be what a crash left, and a start compacts once the image is applied. Caller
// holds Manager.mu, as does whoever ends a move but by the swap, after which nobody
// compacts the source.
func (v *mover) begin(p *Partition, source, future *log.Log) {
	_, from := source.Dir()
	path, to := future.Dir()
	x := &move{p: p, source: source, future: future, from: from, to: to, toPath: path}
	v.m.logger.Info("moving a replica to another log directory", "partition", p.tp, "to", path, "from", source.Folder(), "logEndOffset", future.LogEndOffset())
	v.mu.Lock()
	v.moves[p] = x
	v.mu.Unlock()
	source.BeginMoving()
	v.ready(x)
}

// target is the directory that p is on its way to, zero for none.
func (v *mover) target(p *Partition) kafka.UUID {
	v.mu.Lock()
	defer v.mu.Unlock()
	if x := v.moves[p]; x != nil {
		return x.to
	}
	return kafka.ZeroUUID
}

// told says whether the controller is being told, or was, that p is where it moves to.
func (v *mover) told(p *Partition) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	x := v.moves[p]
	return x != nil && x.told
}

// drop ends the move of p, if there is one, and leaves its future log as it is. told says
// that the controller may think that the replica is where it was to go.
func (v *mover) drop(p *Partition) (told bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v.mu.Lock()
	x := v.moves[p]
	if x == nil {
		v.mu.Unlock()
		return false
	}
	v.over(x)
	v.mu.Unlock()
	x.source.EndMoving()
	return x.told
}

// over takes a move off. Caller holds mu.
func (v *mover) over(x *move) {
	x.state = moveOver
	delete(v.moves, x.p)
}

// cancel gives a move up and deletes its copy. Caller holds Manager.mu.
func (v *mover) cancel(p *Partition, why string) {
	if v.target(p).IsZero() {
		return
	}
	told := v.drop(p)
	l := p.Log()
	future := v.m.logs.Future(p.tp)
	if l == nil || future == nil {
		return // it was just done
	}
	v.m.logger.Info("a move to another log directory is given up", "partition", p.tp, "reason", why)
	v.m.deleteFuture(p.tp)
	if _, id := l.Dir(); told {
		v.m.assign(p, id, nil)
	}
}

// targetFailed ends the move of p if it goes to the directory at path, which failed. told
// is as for drop.
func (v *mover) targetFailed(p *Partition, path string) (told bool) {
	v.mu.Lock()
	x := v.moves[p]
	v.mu.Unlock()
	if x == nil || x.toPath != path {
		return false
	}
	v.m.logger.Warn("a move to another log directory is given up because that failed", "partition", p.tp, "dir", path)
	return v.drop(p)
}

// ready puts a move into the queue.
func (v *mover) ready(x *move) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case x.state == moveOver || x.queued:
		return
	case x.working:
		x.again = true
		return
	}
	v.enqueue(x)
}

// enqueue caller holds mu.
func (v *mover) enqueue(x *move) {
	x.queued = true
	v.queue = append(v.queue, x)
	if v.workers < v.m.settings.Load().moveThreads && !v.m.manual && v.m.start(v.work) {
		v.workers++
	}
}

// later puts a move into the queue after a while.
func (v *mover) later(x *move, d time.Duration) {
	v.m.clock.AfterFunc(d, func() { v.ready(x) })
}

// work is a goroutine of the mover: it ends when the queue is empty.
func (v *mover) work() {
	for v.m.ctx.Err() == nil {
		if !v.turn() {
			return
		}
	}
	v.mu.Lock()
	v.workers--
	v.mu.Unlock()
}

// turn gives the first move of the queue one turn; false, and one worker less, when there
// is none.
func (v *mover) turn() bool {
	v.mu.Lock()
	if len(v.queue) == 0 {
		v.workers--
		v.mu.Unlock()
		return false
	}
	x := v.queue[0]
	v.queue[0] = nil
	v.queue = v.queue[1:]
	x.queued, x.working = false, true
	v.mu.Unlock()
	next := x.step(v)
	v.mu.Lock()
	x.working = false
	more := x.state != moveOver && (x.again || next == 0)
	if x.again = false; more {
		v.enqueue(x)
	}
	v.mu.Unlock()
	if !more && next > 0 {
		v.later(x, next)
	}
	return true
}

// stage is the state of a move.
func (v *mover) stage(x *move) moveState {
	v.mu.Lock()
	defer v.mu.Unlock()
	return x.state
}

// asked notes that the controller is being told of the new directory. It returns false when
// the move is over.
func (v *mover) asked(x *move) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if x.state != moveCopying {
		return false
	}
	x.state, x.told = moveAssigned, true
	return true
}

// accepted notes that the controller has taken the new directory; when it was not taken
// because the partition is gone, the move ends with the partition.
func (v *mover) accepted(x *move, taken bool) {
	v.mu.Lock()
	if taken && x.state == moveAssigned {
		x.state = moveAccepted
	}
	v.mu.Unlock()
	v.ready(x)
}
