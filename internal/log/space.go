package log

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/gregorhq/gregor/internal/kafka"
)

const (
	// headroomShare bounds the headroom on a small file system: one part in so many.
	headroomShare = 16
	// spaceStep is how much may be written before a file system is asked again how
	// much room it has; spaceUnit is what an append is counted as at least.
	spaceStep = 64 << 20
	spaceUnit = 4 << 10
	// fullAskMs is how often appends that are refused ask again.
	fullAskMs = 50
)

// space is what a directory knows of the room on its file system
// (docs/architecture/recovery.md, full disks). Records of users are refused before
// the headroom is touched: what is left belongs to everything that keeps the node
// going, and that brings room back.
//
// mu guards askedMs, sinceMs and blind; the atomics may be read by anyone.
type space struct {
	headroom int64 // as configured

	budget  atomic.Int64 // bytes that may be appended before the next look
	full    atomic.Bool
	refused atomic.Int64 // appends, since the start

	mu      sync.Mutex
	askedMs int64
	sinceMs int64
	// blind says that a write found no room though the file system shows some (a
	// quota, inodes): only a write that succeeds ends that.
	blind bool
}

// SpaceInfo says how a directory stands with the room on its file system.
type SpaceInfo struct {
	Full    bool
	SinceMs int64 // when it became full, 0 if it is not
	Refused int64 // appends that were refused for want of room, since the start
}

// passing says that a failed operation may succeed later with nothing repaired.
func passing(err error) bool {
	return noRoom(err) || outOfFiles(err)
}

func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Passing says whether a failure may pass by itself: the disk was full, or no
// descriptors were left, and the directory is not offline for it.
func Passing(err error) bool {
	offline := (*offlineError)(nil)
	return passing(err) && !errors.As(err, &offline)
}

// look asks the file system for its room above the headroom. ok is false when it
// does not say; then nothing is refused.
func (d *dataDir) look() (room, headroom int64, ok bool) {
	s, err := d.env.fs.Space(d.path)
	if err != nil || s.Total <= 0 {
		return 0, 0, false
	}
	headroom = min(d.space.headroom, s.Total/headroomShare)
	return s.Usable - headroom, headroom, true
}

// attempt is an append that was let through to find out whether a directory that
// counts as full has room again.
type attempt bool

// done ends the state if the append succeeded.
func (a attempt) done(d *dataDir, err error) {
	if !a || err != nil {
		return
	}
	d.space.mu.Lock()
	defer d.space.mu.Unlock()
	d.hasRoom()
}

// admit lets n bytes of users' records be appended, or refuses them because the
// directory is full. The error is one that producers retry.
func (d *dataDir) admit(n int) (attempt, error) {
	need := max(int64(n), spaceUnit)
	if d.space.budget.Add(-need) >= 0 && !d.space.full.Load() {
		return false, nil
	}
	return d.admitSlowly(need)
}

func (d *dataDir) admitSlowly(need int64) (attempt, error) {
	s := &d.space
	s.mu.Lock()
	defer s.mu.Unlock()
	now := d.env.clock.Now().UnixMilli()
	full := s.full.Load()
	if full && !s.blind && now >= s.askedMs && now-s.askedMs < fullAskMs {
		return false, d.refuse()
	}
	s.askedMs = now
	room, headroom, ok := d.look()
	if !ok {
		s.budget.Store(spaceStep)
		return attempt(full), nil
	}
	if full {
		// A little more than what is asked for, so that a disk at its limit does not
		// come and go with every segment that is deleted.
		need += headroom / 8
	}
	if room < need {
		d.becomeFull(now, room+headroom, headroom, nil)
		return false, d.refuse()
	}
	// Half of it, because indexes and other writers take from it too.
	s.budget.Store(min(room/2, spaceStep))
	return attempt(full), nil
}

// refuse is the answer to an append for which there is no room.
func (d *dataDir) refuse() error {
	d.space.refused.Add(1)
	return kafka.KafkaStorageError.Errorf("log directory %s is full: %w", d.path, syscall.ENOSPC)
}

// becomeFull notes the state and says so; space.mu is held.
func (d *dataDir) becomeFull(nowMs, usable, headroom int64, cause error) {
	s := &d.space
	if s.full.Swap(true) {
		return
	}
	s.sinceMs = nowMs
	d.env.logger.Warn("log directory is full: records are refused until there is room", "dir", d.path,
		"usableBytes", usable, "headroomBytes", headroom, "cause", cause)
}

// ranOut notes that a write found no room.
func (d *dataDir) ranOut(cause error) {
	s := &d.space
	s.mu.Lock()
	defer s.mu.Unlock()
	now := d.env.clock.Now().UnixMilli()
	s.askedMs = now
	room, headroom, ok := d.look()
	s.blind = !ok || room > headroom/8
	d.becomeFull(now, room+headroom, headroom, cause)
}

// hasRoom ends the state; space.mu is held.
func (d *dataDir) hasRoom() {
	s := &d.space
	s.blind = false
	if !s.full.Swap(false) {
		return
	}
	d.env.logger.Info("log directory has room again: records are accepted", "dir", d.path,
		"fullForMs", d.env.clock.Now().UnixMilli()-s.sinceMs, "refusedAppends", s.refused.Load())
	s.sinceMs = 0
}

// admitWork lets compaction write n bytes. It may use half of the headroom, since it
// brings room back, and none of the other half, by which the node lives meanwhile.
func (d *dataDir) admitWork(n int) error {
	room, headroom, ok := d.look()
	if ok && room+headroom/2 < int64(n) {
		return kafka.KafkaStorageError.Errorf("log directory %s is full: %w", d.path, syscall.ENOSPC)
	}
	return nil
}

// CheckSpace looks at the room of every directory, so that its state is known, and
// told, while nobody appends. The node calls it every second.
func (m *Manager) CheckSpace() {
	now := m.env.clock.Now().UnixMilli()
	for _, d := range m.dirs {
		if !d.data || d.err() != nil {
			continue
		}
		room, headroom, ok := d.look()
		if !ok {
			continue
		}
		s := &d.space
		s.mu.Lock()
		switch {
		case room <= 0:
			d.becomeFull(now, room+headroom, headroom, nil)
		case s.full.Load() && !s.blind && room > headroom/8:
			d.hasRoom()
			s.budget.Store(min(room/2, spaceStep))
		default:
			s.budget.Store(min(room/2, spaceStep))
		}
		s.mu.Unlock()
	}
}

// spaceInfo describes the directory's room.
func (d *dataDir) spaceInfo() SpaceInfo {
	d.space.mu.Lock()
	defer d.space.mu.Unlock()
	return SpaceInfo{Full: d.space.full.Load(), SinceMs: d.space.sinceMs, Refused: d.space.refused.Load()}
}
