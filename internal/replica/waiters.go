package replica

// fetchWait is one fetch on the list of one partition. While listed, the partition's
// mu guards it.
type fetchWait struct {
	op   *FetchOp
	part *FetchPart
	view *view // as of the last read
	// seen is the end that the fetch knows of: the larger of its offset and what was
	// readable when last looked at.
	seen int64
	// end is the log's end offset as of the last read, and quiet says that there was
	// neither data nor anything else to tell then.
	end   int64
	quiet bool
	// counted is what the partition contributes to op.avail.
	counted    int
	listed     bool
	prev, next *fetchWait
}

// park puts the fetch on the lists of its partitions, unless one of them has moved
// on since it was read. size is what the read found.
func (op *FetchOp) park(size int) {
	op.state.Store(fetchRegistering)
	op.avail.Store(int64(size))
	op.parked = true
	op.m.Stats.DelayedFetchRequests.Add(1)
	moved := false
	for i := range op.Parts {
		part := &op.Parts[i]
		part.wait.op, part.wait.part = op, part
		if part.P.parkFetch(&part.wait) {
			moved = true
			break
		}
	}
	if !moved {
		op.timed = true
		op.holds.Add(1)
		if op.timer.Fire == nil {
			op.timer.Fire = op.expire
		}
		op.m.wheel.Schedule(&op.timer, op.MaxWait)
		if op.state.CompareAndSwap(fetchRegistering, fetchParked) {
			return
		}
	}
	// Nobody else has claimed it: fetchEarly leaves the completion to this goroutine.
	op.state.Store(fetchClaimed)
	op.complete()
}

// claim takes the right to complete a parked fetch. False means that somebody else
// has it, or will have it as soon as the fetch is registered.
func (op *FetchOp) claim() bool {
	for {
		switch s := op.state.Load(); s {
		case fetchParked:
			if op.state.CompareAndSwap(s, fetchClaimed) {
				return true
			}
		case fetchRegistering:
			if op.state.CompareAndSwap(s, fetchEarly) {
				return false
			}
		default:
			return false
		}
	}
}

// expire is the deadline. The timer's hold goes first when nobody else will complete
// the fetch, so that its owner can use it again.
func (op *FetchOp) expire() {
	if !op.claim() {
		op.holds.Add(-1)
		return
	}
	op.timed = false
	op.holds.Add(-1)
	op.complete()
}

// complete answers a fetch that this goroutine has claimed: it leaves the lists, is
// read again and handed to its owner. No lock is held.
//
// What is read here is small: had there been more than MinBytes before the records
// that woke it, the fetch would not have waited. Data comes as spans, not as copies.
func (op *FetchOp) complete() {
	for i := range op.Parts {
		if w := &op.Parts[i].wait; w.op != nil {
			op.Parts[i].P.unparkFetch(w)
			w.op = nil
		}
	}
	if op.timed && op.m.wheel.Cancel(&op.timer) {
		op.holds.Add(-1)
	}
	op.m.Stats.DelayedFetchRequests.Add(-1)
	op.read(false)
	op.answer()
}

// parkFetch puts a fetch on the partition's list. It says true, and does not, when
// the fetch is to be completed at once.
func (p *Partition) parkFetch(w *fetchWait) (ready bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v := p.view.Load(); v != w.view && (v.log == nil || v.leaderEpoch != w.view.leaderEpoch || v.leader != w.view.leader) {
		return true
	}
	w.counted = 0
	if p.ready(w, p.end(w.op.Isolation)) {
		return true
	}
	p.fetches.push(w)
	return false
}

func (p *Partition) unparkFetch(w *fetchWait) {
	p.mu.Lock()
	if w.listed {
		p.fetches.remove(w)
	}
	p.mu.Unlock()
}

// end is how far a fetch of that isolation may read now. Caller holds mu.
func (p *Partition) end(i Isolation) int64 {
	l := p.view.Load().log
	switch i {
	case ToHighWatermark:
		return l.HighWatermark()
	case ToLastStable:
		return min(l.LastStableOffset(), l.HighWatermark())
	default:
		return l.LogEndOffset()
	}
}

// ready counts what has become readable since the fetch last looked, and says whether
// the fetch has enough. Caller holds mu.
func (p *Partition) ready(w *fetchWait, end int64) bool {
	if end <= w.seen {
		return false
	}
	op := w.op
	if op.MinBytes <= 1 {
		return true
	}
	data, err := p.view.Load().log.Read(w.seen, w.part.MaxBytes, end, true)
	if err != nil {
		return true // the answer says what is wrong
	}
	n := min(data.Size, w.part.MaxBytes-w.counted)
	data.Release()
	w.seen = end
	w.counted += n
	return op.avail.Add(int64(n)) >= int64(op.MinBytes)
}

// wakeFetches collects the fetches that have enough to return. Caller holds mu.
func (p *Partition) wakeFetches(out *wakes) {
	for w := p.fetches.first; w != nil; {
		next := w.next
		if p.ready(w, p.end(w.op.Isolation)) {
			p.fetches.remove(w)
			if w.op.claim() {
				out.fetches = append(out.fetches, w.op)
			}
		}
		w = next
	}
}

// wakeAllFetches collects all fetches: something has changed that each of them has to
// look at. Caller holds mu.
func (p *Partition) wakeAllFetches(out *wakes) {
	for w := p.fetches.first; w != nil; w = p.fetches.first {
		p.fetches.remove(w)
		if w.op.claim() {
			out.fetches = append(out.fetches, w.op)
		}
	}
}

// fetchList is a list of parked fetches in order of arrival: who waited longest is
// served first.
type fetchList struct{ first, last *fetchWait }

func (l *fetchList) push(w *fetchWait) {
	w.prev, w.next, w.listed = l.last, nil, true
	if l.last != nil {
		l.last.next = w
	} else {
		l.first = w
	}
	l.last = w
}

func (l *fetchList) remove(w *fetchWait) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		l.last = w.prev
	}
	w.prev, w.next, w.listed = nil, nil, false
}
