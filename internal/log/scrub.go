package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
)

const (
	// scrubWindow is how much is read between two pauses.
	scrubWindow = 256 << 10
	// scrubRound is how often everything is read at most.
	scrubRound = 24 * time.Hour
	// scrubRetry is the pause before a segment that could not be mended is tried again.
	scrubRetry = time.Minute
)

// Damage is a closed segment in which bytes are not what was written.
type Damage struct {
	Partition kafka.TopicPartition
	File      string
	Position  int64 // of the first batch that is not whole and valid
	Base      int64 // the segment's offsets are [Base, Next)
	Next      int64
	Err       error
}

// suspect is a segment in which a reader met bytes that are not a batch.
type suspect struct {
	log  *Log
	base int64
}

// suspected tells the scrubber of a segment; without one, or with its hands full, the
// next round finds the segment too.
func (e *env) suspected(l *Log, base int64) {
	select {
	case e.suspects <- suspect{l, base}:
	default:
	}
}

// ScrubStats is what a Scrubber has done since it began.
type ScrubStats struct {
	Bytes, Rounds, Found, Mended int64
	// Damaged are the segments that are damaged now.
	Damaged []Damage
}

// Scrubber reads closed segments in the background and has damaged ones mended
// (docs/architecture/recovery.md, damaged bytes). Run is its only goroutine; mu guards
// stats and known.
type Scrubber struct {
	m     *Manager
	rate  int64
	mend  func(ctx context.Context, l *Log, d Damage) error
	mu    sync.Mutex
	stats ScrubStats
	known map[suspect]*knownDamage
}

type knownDamage struct {
	Damage
	tried time.Time
}

// NewScrubber makes a Scrubber that reads rate bytes a second, or with 0 only the
// segments that a reader complained of. mend puts a replica's bytes in the place of a
// damaged segment's; nil when there is no replica.
func (m *Manager) NewScrubber(rate int64, mend func(ctx context.Context, l *Log, d Damage) error) *Scrubber {
	return &Scrubber{m: m, rate: rate, mend: mend, known: map[suspect]*knownDamage{}}
}

// Stats says how it goes.
func (s *Scrubber) Stats() ScrubStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	for _, k := range s.known {
		st.Damaged = append(st.Damaged, k.Damage)
	}
	return st
}

// Run scrubs until ctx ends. A round begins with any log, so that a node which is
// restarted often gets round all the same.
func (s *Scrubber) Run(ctx context.Context) {
	c := s.m.env.clock
	for first := true; ctx.Err() == nil; first = false {
		pause := scrubRound
		if s.rate > 0 {
			began := c.Now()
			if !s.round(ctx, first) {
				return
			}
			pause = max(scrubRound-c.Since(began), time.Second)
		}
		s.rest(ctx, pause)
	}
}

// round reads everything once.
func (s *Scrubber) round(ctx context.Context, anywhere bool) bool {
	logs := s.m.Logs()
	at := 0
	if anywhere && len(logs) > 0 {
		at = int(s.m.env.unique()[0]) * len(logs) / 256
	}
	for i := range logs {
		l := logs[(at+i)%len(logs)]
		for _, seg := range l.SegmentSizes() {
			if ctx.Err() != nil {
				return false
			}
			s.look(ctx, nil)
			if !seg.Active {
				s.check(ctx, suspect{l, seg.BaseOffset}, true)
			}
		}
	}
	s.mu.Lock()
	s.stats.Rounds++
	s.mu.Unlock()
	return ctx.Err() == nil
}

// rest waits for the next round, and looks at suspects and at what could not be
// mended meanwhile.
func (s *Scrubber) rest(ctx context.Context, d time.Duration) {
	c := s.m.env.clock
	until := c.Now().Add(d)
	for ctx.Err() == nil {
		left := until.Sub(c.Now())
		if left <= 0 {
			return
		}
		s.mu.Lock()
		if len(s.known) > 0 {
			left = min(left, scrubRetry)
		}
		s.mu.Unlock()
		t := c.NewTimer(left)
		s.look(ctx, t.C())
		t.Stop()
		s.again(ctx)
	}
}

// look checks the segments that readers complained of; with a channel it waits for the
// first, or for the channel.
func (s *Scrubber) look(ctx context.Context, wait <-chan time.Time) {
	if wait != nil {
		select {
		case <-ctx.Done():
			return
		case <-wait:
		case k := <-s.m.env.suspects:
			s.complaint(ctx, k)
		}
	}
	for {
		select {
		case k := <-s.m.env.suspects:
			s.complaint(ctx, k)
		default:
			return
		}
	}
}

// complaint checks a segment; the active one is closed first, since only a closed one
// can be mended.
func (s *Scrubber) complaint(ctx context.Context, k suspect) {
	if k.log.view.Load().active().base == k.base {
		if err := k.log.Roll(); err != nil {
			return
		}
	}
	s.check(ctx, k, false)
}

// again tries the damaged segments that are due.
func (s *Scrubber) again(ctx context.Context) {
	c := s.m.env.clock
	s.mu.Lock()
	var due []suspect
	for k, d := range s.known {
		if c.Since(d.tried) >= scrubRetry {
			due = append(due, k)
		}
	}
	s.mu.Unlock()
	for _, k := range due {
		s.check(ctx, k, false)
	}
}

// check reads a segment, and has it mended if it is damaged.
func (s *Scrubber) check(ctx context.Context, k suspect, slowly bool) {
	logger := s.m.env.logger
	d, err := k.log.verify(k.base, func(n int) error {
		s.mu.Lock()
		s.stats.Bytes += int64(n)
		s.mu.Unlock()
		if !slowly {
			return ctx.Err()
		}
		return s.m.env.clock.Sleep(ctx, time.Duration(n)*time.Second/time.Duration(s.rate))
	})
	if err != nil {
		if ctx.Err() == nil {
			logger.Warn("a segment could not be checked", "partition", k.log.tp.String(), "segment", k.base, "error", err)
		}
		return
	}
	s.mu.Lock()
	old := s.known[k]
	if d == nil {
		delete(s.known, k)
		s.mu.Unlock()
		return
	}
	s.known[k] = &knownDamage{*d, s.m.env.clock.Now()}
	if old == nil {
		s.stats.Found++
	}
	s.mu.Unlock()
	if old == nil {
		logger.Error("damaged bytes in a closed segment", "partition", d.Partition.String(), "file", d.File, "position", d.Position,
			"firstOffset", d.Base, "nextOffset", d.Next, "error", d.Err)
	} else if s.m.env.clock.Since(old.tried) < scrubRetry {
		return
	}
	err = errors.New("the partition has no other replica")
	if s.mend != nil {
		err = s.mend(ctx, k.log, *d)
	}
	if err != nil {
		if old == nil && ctx.Err() == nil {
			logger.Error("a damaged segment is not mended yet", "partition", d.Partition.String(), "file", d.File, "cause", err)
		}
		return
	}
	logger.Info("a damaged segment was mended from a replica", "partition", d.Partition.String(), "file", d.File)
	s.mu.Lock()
	delete(s.known, k)
	s.stats.Mended++
	s.mu.Unlock()
}

// verify reads a closed segment and returns its damage, nil if there is none or if the
// segment is not there any more. each is told how much was read.
func (l *Log) verify(base int64, each func(n int) error) (*Damage, error) {
	if l.err() != nil {
		return nil, l.errForNow()
	}
	v := l.view.Load()
	i := v.floor(base)
	s := v.segs[i]
	if s.base != base || i == len(v.segs)-1 {
		return nil, l.errForNow()
	}
	f, err := l.openLog(s)
	if err != nil {
		return nil, l.goneOrError(s, err)
	}
	defer f.unpin()
	next := base
	var unfit error
	at := int64(0)
	end, damaged, err := scanBatches(slowReader{f.File, each}, 0, s.size(), func(infos []batch.Info) error {
		for k := range infos {
			at = int64(infos[k].Pos)
			if unfit = inSegment(&infos[k], base, next); unfit != nil {
				return unfit
			}
			next = infos[k].LastOffset + 1
		}
		return nil
	})
	switch {
	case unfit != nil:
		end, damaged = at, unfit
	case err != nil && errors.Is(err, io.ErrUnexpectedEOF):
		damaged = err
	case err != nil:
		return nil, l.goneOrError(s, err)
	case damaged == nil && next > v.segs[i+1].base:
		damaged = kafka.CorruptMessage.Errorf("the segment ends at offset %d, the next one begins at %d", next, v.segs[i+1].base)
	}
	if damaged == nil || l.err() != nil || !l.holds(s) {
		return nil, l.errForNow()
	}
	return &Damage{Partition: l.tp, File: l.path(base, suffixLog), Position: end, Base: base, Next: v.segs[i+1].base, Err: damaged}, nil
}

// errForNow is why the log does not serve, nil if it does or never will again: of a
// log that was deleted, or whose directory is offline, there is nothing left to check.
func (l *Log) errForNow() error {
	if l.retired.Load() || l.dir.err() != nil {
		return nil
	}
	return l.err()
}

// goneOrError judges a failed read of a segment that may have been deleted meanwhile.
func (l *Log) goneOrError(s *segment, err error) error {
	if l.err() != nil || !l.holds(s) {
		return l.errForNow()
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing", l.path(s.base, suffixLog))
	}
	return l.ioError(fmt.Sprintf("checking segment %d", s.base), err)
}

// slowReader reads in small pieces, with a pause after each.
type slowReader struct {
	f    io.ReaderAt
	each func(n int) error
}

func (r slowReader) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = r.f.ReadAt(b[n:min(len(b), n+scrubWindow)], off+int64(n))
		n += k
		if err == nil && k == 0 {
			err = io.ErrNoProgress
		}
		if k > 0 && (err == nil || n == len(b)) {
			if stop := r.each(k); stop != nil {
				return 0, stop
			}
		}
	}
	if n == len(b) {
		err = nil
	}
	return n, err
}
