package replica

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
)

// finish acts on the answer to f.req and returns how long to wait before the next
// request.
func (f *fetcher) finish(answer kmsg.Response, err error) time.Duration {
	f.setWaiting(false)
	resp, ok := answer.(*kmsg.FetchResponse)
	if err == nil && !ok {
		err = fmt.Errorf("a fetch was answered with %T", answer)
	}
	if err != nil {
		f.session.Reset()
		f.disconnect()
		return f.failed(err)
	}
	code := kafka.CodeForNum(resp.ErrorCode)
	if f.express {
		if code != nil {
			return f.failed(code)
		}
	} else if !f.session.Answered(code, resp.SessionID) {
		if code == nil {
			code = kafka.InvalidFetchSessionEpoch
		}
		return f.failed(code)
	}
	f.errors = 0
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			if o := f.answered(resp.Version, t, &t.Partitions[j]); o != nil {
				f.part(o, &t.Partitions[j])
			}
		}
	}
	f.wakes.run()
	f.outOfRange()
	return 0
}

// answered finds the partition that a part of the answer is about, nil when it is
// followed no more or was not asked for.
func (f *fetcher) answered(version int16, t *kmsg.FetchResponseTopic, part *kmsg.FetchResponseTopicPartition) *following {
	id := kafka.TopicID(t.TopicID)
	if version < 13 {
		e := f.m.table.find(t.Topic)
		if e == nil {
			return nil
		}
		id = e.id
	}
	o := f.parts[partKey{id, part.Partition}]
	if o == nil || !o.inSession {
		return nil
	}
	return o
}

// failed is a whole fetch that came to nothing. The pause grows with each in a row.
func (f *fetcher) failed(err error) time.Duration {
	if f.ctx.Err() != nil {
		return 0
	}
	limit := time.Duration(f.m.settings.Load().backoffMs) * time.Millisecond
	d := min(firstDelay<<min(f.errors, 16), max(limit, firstDelay))
	if f.errors++; f.errors == 1 {
		f.m.logger.Info("fetching from a leader failed", "leader", f.leader, "error", err)
	} else {
		f.m.logger.Debug("fetching from a leader failed again", "leader", f.leader, "times", f.errors, "error", err)
	}
	f.m.Stats.FailedReplicaFetches.Add(1)
	return d
}

// part acts on one partition of the answer.
func (f *fetcher) part(o *following, part *kmsg.FetchResponseTopicPartition) {
	var err error
	if code := kafka.CodeForNum(part.ErrorCode); code != nil {
		err = code
	} else {
		var r replication
		r, err = o.p.replicate(o.sent, o.epoch, part, &f.infos, &f.wakes)
		f.m.throttles.replicated(o.p, r.bytes)
		f.m.Stats.ReplicationBytesIn.Add(int64(r.bytes))
		if err == nil && r.stuck {
			err = errors.New("truncation to the leader's log finds no common offset")
		}
	}
	switch {
	case err == nil:
		o.errors = 0
		o.p.noteLag(part.HighWatermark)
		f.touch(o)
	case errors.Is(err, errNotFollowing):
		// The partition is looked at again; with another epoch it goes away.
		f.touch(o)
	case errors.Is(err, kafka.OffsetOutOfRange):
		f.ranged = append(f.ranged, o)
	default:
		f.partFailed(o, err)
	}
}

// partFailed delays a partition. What passes with the next metadata is not worth a line.
func (f *fetcher) partFailed(o *following, err error) {
	switch kafka.CodeOf(err) {
	case kafka.NotLeaderOrFollower, kafka.UnknownLeaderEpoch, kafka.FencedLeaderEpoch, kafka.UnknownTopicOrPartition,
		kafka.UnknownTopicID, kafka.InconsistentTopicID:
		f.m.logger.Debug("fetching a partition failed", "partition", o.p.tp, "leader", f.leader, "leaderEpoch", o.epoch, "error", err)
	default:
		f.m.logger.Error("replicating a partition failed", "partition", o.p.tp, "leader", f.leader, "leaderEpoch", o.epoch,
			"offset", o.sent.offset, "error", err)
	}
	f.delay(o)
}

// outOfRange brings back the partitions whose offset the leader does not have. Each of
// them waits or goes on by itself.
func (f *fetcher) outOfRange() {
	if len(f.ranged) == 0 {
		return
	}
	ends, err := f.listOffsets(log.LatestTimestamp)
	var starts map[partKey]listed
	if err == nil {
		starts, err = f.listOffsets(log.EarliestTimestamp)
	}
	for i, o := range f.ranged {
		f.ranged[i] = nil
		if o.gone {
			continue
		}
		// Whatever comes of it, it leaves the session: its next turn begins afresh.
		failure := err
		if failure == nil {
			end, start := ends[o.key], starts[o.key]
			if failure = errors.Join(end.err, start.err); failure == nil {
				failure = o.p.beginAgain(o.sent, o.epoch, start.offset, end.offset)
			}
		}
		if failure != nil && !errors.Is(failure, errNotFollowing) {
			f.m.logger.Info("an offset that is out of range cannot be replaced yet", "partition", o.p.tp, "leader", f.leader, "error", failure)
		}
		f.delay(o)
	}
	f.ranged = f.ranged[:0]
}

// listed is the leader's answer about one partition.
type listed struct {
	offset int64
	err    error
}

// listOffsets asks the leader for the ends or starts of the partitions in ranged.
func (f *fetcher) listOffsets(timestamp int64) (map[partKey]listed, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = f.m.nodeID
	out := make(map[partKey]listed, len(f.ranged))
	for _, o := range f.ranged {
		out[o.key] = listed{err: kafka.UnknownServerError.Errorf("the leader does not answer for %s", o.p.tp)}
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = o.p.tp.Topic
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.Timestamp = o.key.index, o.epoch, timestamp
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
	}
	answer, err := f.ask(req)
	if err != nil {
		f.session.Reset()
		f.disconnect()
		return nil, err
	}
	resp, ok := answer.(*kmsg.ListOffsetsResponse)
	if !ok {
		return nil, fmt.Errorf("ListOffsets was answered with %T", answer)
	}
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			for _, o := range f.ranged {
				if o.p.tp.Topic != t.Topic || o.key.index != p.Partition {
					continue
				}
				a := listed{offset: p.Offset}
				if code := kafka.CodeForNum(p.ErrorCode); code != nil {
					a.err = code
				} else if p.Offset < 0 {
					a.err = kafka.UnknownServerError.Errorf("the leader of %s gives offset %d", o.p.tp, p.Offset)
				}
				out[o.key] = a
			}
		}
	}
	return out, nil
}
