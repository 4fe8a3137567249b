package rsm

import (
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/coord"
)

// deadline is the timer of one key. entry belongs to the wheel, the rest to the
// shard's loop.
type deadline struct {
	entry clock.Entry
	key   string
	// armed is false once the timer was cancelled or has fired: what the wheel put
	// into the mailbox before is then stale.
	armed bool
}

// setTimer sets, moves or cancels a timer.
func (s *shard[M]) setTimer(t coord.Timer, nowMs int64) {
	d := s.timers[t.Key]
	if t.Cancel {
		if d != nil {
			s.dropTimer(d)
		}
		return
	}
	if d != nil && !s.c.cfg.Wheel.Cancel(&d.entry) {
		d.armed, d = false, nil // it has fired: what is in the mailbox, or will be, is stale
	}
	if d == nil {
		d = &deadline{key: t.Key, armed: true}
		d.entry.Fire = func() {
			// A closed mailbox belongs to a shard that has no timers any more.
			_ = s.mail.put(item[M]{timer: d}, false)
		}
		s.timers[t.Key] = d
	}
	s.c.cfg.Wheel.Schedule(&d.entry, time.Duration(max(t.AtMs-nowMs, 0))*time.Millisecond)
}

// dropTimer forgets a timer. A firing of it that is on its way is ignored.
func (s *shard[M]) dropTimer(d *deadline) {
	s.c.cfg.Wheel.Cancel(&d.entry)
	d.armed = false
	delete(s.timers, d.key)
}

// fire runs a timer that the wheel reported, unless it was cancelled or moved since. It
// goes by the wheel alone: when the wall clock is set back, members that are gone must
// not live for longer.
func (s *shard[M]) fire(d *deadline, nowMs int64) {
	if !d.armed {
		return
	}
	s.dropTimer(d)
	s.apply(s.machine.OnTimer(d.key, nowMs), nowMs)
}

// dropTimers ends all timers.
func (s *shard[M]) dropTimers() {
	for _, d := range s.timers {
		s.dropTimer(d)
	}
	s.c.cfg.Wheel.Cancel(&s.expiry)
}
