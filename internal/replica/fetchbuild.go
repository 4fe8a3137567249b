package replica

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/fetchsession"
)

// expressWait bounds how long a fetch of the second fetcher is parked: it too must take
// in who comes next.
const expressWait = 20 * time.Millisecond

// prepare builds the next request into f.req. Without anything to ask for it returns
// false and how long to wait, negative for until there is news.
func (f *fetcher) prepare() (ok bool, wait time.Duration) {
	f.takeInbox()
	now := f.m.clock.Now()
	next := f.wakeDelayed(now)
	s := f.m.settings.Load()
	full := f.express || f.session.Full()
	if full {
		f.beginFull()
	}
	f.resetRequest()
	for i, o := range f.dirty {
		f.dirty[i] = nil
		o.dirty = false
		f.consider(o, full, s)
	}
	f.dirty = f.dirty[:0]
	// Considering may have delayed partitions.
	for _, o := range f.delayed {
		if !o.dueAt.IsZero() && (next.IsZero() || o.dueAt.Before(next)) {
			next = o.dueAt
		}
	}
	if f.inSess == 0 {
		// The session, if there is one, is closed by the next full request.
		f.session.Reset()
		f.forget = f.forget[:0]
		f.setWaiting(false)
		if next.IsZero() {
			return false, -1
		}
		return false, max(time.Millisecond, next.Sub(now))
	}
	maxWait := s.fetchWait
	if f.express {
		maxWait = min(maxWait, expressWait)
	}
	if !next.IsZero() {
		maxWait = max(time.Millisecond, min(maxWait, next.Sub(now)))
	}
	f.fillRequest(full, s, maxWait)
	return true, 0
}

func (f *fetcher) setWaiting(w bool) {
	f.mu.Lock()
	f.waiting = w
	f.mu.Unlock()
}

// beginFull has every partition named that is not delayed. Those that are not followed
// any more leave the order here.
func (f *fetcher) beginFull() {
	f.forget = f.forget[:0]
	keep := f.order[:0]
	for _, o := range f.order {
		o.inSession = false
		if o.gone {
			continue
		}
		keep = append(keep, o)
		if o.dueAt.IsZero() {
			f.touch(o)
		}
	}
	clear(f.order[len(keep):])
	f.order = keep
	f.inSess = 0
}

// consider puts a partition into the request if the session does not know it so.
func (f *fetcher) consider(o *following, full bool, s *settings) {
	if o.gone || !o.dueAt.IsZero() {
		return
	}
	pos, err := o.p.position(o.epoch)
	switch {
	case errors.Is(err, errNotFollowing):
		// Another epoch, or the order to leave, is on its way through the inbox.
		f.leave(o)
		return
	case err != nil:
		f.partFailed(o, err)
		return
	}
	if wait := f.m.throttles.followerWait(o.p, o.epoch); wait > 0 {
		f.delayFor(o, wait)
		return
	}
	if o.inSession && pos == o.sent && !full {
		return
	}
	if !o.inSession {
		o.inSession = true
		f.inSess++
	}
	o.sent = pos
	topic := f.topicOf(o)
	topic.Partitions = append(topic.Partitions, kmsg.NewFetchRequestTopicPartition())
	p := &topic.Partitions[len(topic.Partitions)-1]
	p.Partition, p.CurrentLeaderEpoch = o.key.index, o.epoch
	p.FetchOffset, p.LastFetchedEpoch, p.LogStartOffset = pos.offset, pos.lastEpoch, pos.start
	p.PartitionMaxBytes = s.partitionBytes
}

// resetRequest empties the request and keeps its memory.
func (f *fetcher) resetRequest() {
	topics := f.req.Topics[:0]
	f.req = kmsg.NewFetchRequest()
	f.req.Topics = topics
}

// topicOf returns the request's last topic if it is o's, else another.
func (f *fetcher) topicOf(o *following) *kmsg.FetchRequestTopic {
	n := len(f.req.Topics)
	if n > 0 && f.req.Topics[n-1].TopicID == o.key.id {
		return &f.req.Topics[n-1]
	}
	if n < cap(f.req.Topics) {
		f.req.Topics = f.req.Topics[:n+1]
	} else {
		f.req.Topics = append(f.req.Topics, kmsg.FetchRequestTopic{})
	}
	t := &f.req.Topics[n]
	parts := t.Partitions[:0]
	*t = kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID, t.Partitions = o.p.tp.Topic, o.key.id, parts
	return t
}

// fillRequest sets what concerns the whole request.
func (f *fetcher) fillRequest(full bool, s *settings, maxWait time.Duration) {
	r := &f.req
	r.ReplicaID = f.m.nodeID
	r.ReplicaState.ID, r.ReplicaState.Epoch = f.m.nodeID, f.m.brokerEpoch()
	r.MaxWaitMillis = int32(maxWait / time.Millisecond)
	r.MinBytes, r.MaxBytes = s.fetchMinBytes, s.fetchMaxBytes
	r.SessionID, r.SessionEpoch = f.session.Next()
	if f.express {
		r.SessionID, r.SessionEpoch = fetchsession.InvalidSessionID, fetchsession.FinalEpoch
	}
	if full {
		return
	}
	for _, k := range f.forget {
		if o := f.parts[k]; o != nil && o.inSession {
			continue // it has come back since
		}
		n := len(r.ForgottenTopics)
		if n == 0 || r.ForgottenTopics[n-1].TopicID != k.id {
			t := kmsg.NewFetchRequestForgottenTopic()
			t.TopicID = k.id
			r.ForgottenTopics = append(r.ForgottenTopics, t)
			n++
		}
		t := &r.ForgottenTopics[n-1]
		t.Partitions = append(t.Partitions, k.index)
	}
	f.forget = f.forget[:0]
}
