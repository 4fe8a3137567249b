package brokerapi

import (
	"github.com/twmb/franz-go/pkg/kbin"

	"github.com/gregorhq/gregor/internal/fetchsession"
	"github.com/gregorhq/gregor/internal/kafka"
)

// Versions of Fetch where its encoding or meaning changes.
const (
	fetchMaxBytes     = 3  // a limit for the whole answer
	fetchIsolation    = 4  // isolation level; message format v2 in the answer
	fetchLogStart     = 5  // log start offset
	fetchStorageError = 6  // clients know KAFKA_STORAGE_ERROR
	fetchSessions     = 7  // incremental sessions
	fetchLeaderEpoch  = 9  // current leader epoch
	fetchRack         = 11 // rack, preferred read replica, reading from followers
	fetchFlexible     = 12 // compact encoding, tagged fields, last fetched epoch
	fetchTopicIDs     = 13 // topics by id
	fetchReplicaState = 15 // replica id in a tagged field
	fetchLeaderHints  = 16 // current leader in the answer
	noMaxBytes        = 1<<31 - 1
)

// fetchRequest is a decoded Fetch request, apart from its partitions.
type fetchRequest struct {
	replicaID    int32
	replicaEpoch int64
	maxWaitMs    int32
	minBytes     int32
	maxBytes     int32
	isolation    int8
	sessionID    int32
	sessionEpoch int32
	rack         string // aliases the body
}

// decodeFetch reads a request body into op. Topic names in op.entries alias body.
func (op *fetchOp) decodeFetch(version int16, body []byte) error {
	b := kbin.Reader{Src: body}
	flexible := version >= fetchFlexible
	q := &op.q
	*q = fetchRequest{replicaID: -1, replicaEpoch: -1, maxBytes: noMaxBytes, sessionEpoch: fetchsession.FinalEpoch}
	if version < fetchReplicaState {
		q.replicaID = b.Int32()
	}
	q.maxWaitMs, q.minBytes = b.Int32(), b.Int32()
	if version >= fetchMaxBytes {
		q.maxBytes = b.Int32()
	}
	if version >= fetchIsolation {
		q.isolation = b.Int8()
	}
	if version >= fetchSessions {
		q.sessionID, q.sessionEpoch = b.Int32(), b.Int32()
	}
	for n := arrayLen(&b, flexible); n > 0 && b.Ok(); n-- {
		key := op.decodeTopic(&b, version)
		for m := arrayLen(&b, flexible); m > 0 && b.Ok(); m-- {
			if len(op.entries) >= maxFetchPartitions {
				return errTooManyPartitions
			}
			op.entries = append(op.entries, decodePartition(&b, version, key))
		}
		if flexible {
			skipTags(&b)
		}
	}
	if version >= fetchSessions {
		for n := arrayLen(&b, flexible); n > 0 && b.Ok(); n-- {
			key := op.decodeTopic(&b, version)
			for m := arrayLen(&b, flexible); m > 0 && b.Ok(); m-- {
				if len(op.forget) >= maxFetchPartitions {
					return errTooManyPartitions
				}
				key.Partition = b.Int32()
				op.forget = append(op.forget, key)
			}
			if flexible {
				skipTags(&b)
			}
		}
	}
	if version >= fetchRack {
		if flexible {
			q.rack = b.UnsafeCompactString()
		} else {
			q.rack = b.UnsafeString()
		}
	}
	if flexible {
		if err := q.decodeTags(&b, version); err != nil {
			return err
		}
	}
	return b.Complete()
}

func (op *fetchOp) decodeTopic(b *kbin.Reader, version int16) (key fetchsession.Key) {
	switch {
	case version >= fetchTopicIDs:
		key.TopicID = b.Uuid()
	case version >= fetchFlexible:
		key.Topic = b.UnsafeCompactString()
	default:
		key.Topic = b.UnsafeString()
	}
	return key
}

func decodePartition(b *kbin.Reader, version int16, key fetchsession.Key) fetchsession.Entry {
	e := fetchsession.Entry{Key: key}
	e.Partition = b.Int32()
	e.CurrentLeaderEpoch, e.LastFetchedEpoch, e.LogStartOffset = kafka.NoEpoch, kafka.NoEpoch, -1
	if version >= fetchLeaderEpoch {
		e.CurrentLeaderEpoch = b.Int32()
	}
	e.FetchOffset = b.Int64()
	if version >= fetchFlexible {
		e.LastFetchedEpoch = b.Int32()
	}
	if version >= fetchLogStart {
		e.LogStartOffset = b.Int64()
	}
	e.MaxBytes = b.Int32()
	if version >= fetchFlexible {
		skipTags(b) // the replica's directory and high watermark mean something to controllers only
	}
	return e
}

// decodeTags reads the request's own tagged fields: from version 15 on the replica
// state is one of them.
func (q *fetchRequest) decodeTags(b *kbin.Reader, version int16) error {
	for n := b.Uvarint(); n > 0 && b.Ok(); n-- {
		tag := b.Uvarint()
		field := kbin.Reader{Src: b.Span(int(b.Uvarint()))}
		if tag != 1 || version < fetchReplicaState {
			continue
		}
		q.replicaID, q.replicaEpoch = field.Int32(), field.Int64()
		skipTags(&field)
		if err := field.Complete(); err != nil {
			return err
		}
	}
	return nil
}

// encodeFetch encodes the answer into op.buf and op.cuts: the records are cut in at
// their positions by spans.
func (op *fetchOp) encodeFetch(version int16, code *kafka.Code, sessionID int32) {
	flexible := version >= fetchFlexible
	dst := op.buf[:0]
	op.cuts, op.nodes = op.cuts[:0], op.nodes[:0]
	if version >= 1 {
		dst = kbin.AppendInt32(dst, 0) // throttle time
	}
	if version >= fetchSessions {
		num := int16(0)
		if code != nil {
			num = code.Num()
		}
		dst = kbin.AppendInt16(dst, num)
		dst = kbin.AppendInt32(dst, sessionID)
	}
	groups := 0
	for i := op.nextKept(0); i < len(op.items); groups++ {
		i, _ = op.group(i)
	}
	dst = appendArrayLen(dst, groups, flexible)
	for i := op.nextKept(0); i < len(op.items); {
		end, n := op.group(i)
		key := &op.items[i].key
		switch {
		case version >= fetchTopicIDs:
			dst = kbin.AppendUuid(dst, key.TopicID)
		case flexible:
			dst = kbin.AppendCompactString(dst, key.Topic)
		default:
			dst = kbin.AppendString(dst, key.Topic)
		}
		dst = appendArrayLen(dst, n, flexible)
		for ; i < end; i++ {
			if op.items[i].keep {
				dst = op.encodePart(dst, version, i)
			}
		}
		if flexible {
			dst = append(dst, 0)
		}
	}
	if flexible {
		if len(op.nodes) > 0 {
			dst = op.api.appendNodeEndpoints(dst, op.api.Image(), op.req.Listener, op.nodes)
		} else {
			dst = append(dst, 0)
		}
	}
	op.buf = dst
}

// nextKept returns the index of the first partition at or after i that goes into the
// answer.
func (op *fetchOp) nextKept(i int) int {
	for i < len(op.items) && !op.items[i].keep {
		i++
	}
	return i
}

// group returns where the run of answered partitions of the topic at i ends, and how
// many it holds. end is an index to go on from.
func (op *fetchOp) group(i int) (end, n int) {
	first := &op.items[i].key
	for i < len(op.items) {
		k := &op.items[i].key
		if k.TopicID != first.TopicID || k.Topic != first.Topic {
			return i, n
		}
		n++
		i = op.nextKept(i + 1)
	}
	return i, n
}

func (op *fetchOp) encodePart(dst []byte, version int16, i int) []byte {
	it, part := &op.items[i], &op.f.Parts[i]
	flexible := version >= fetchFlexible
	code := kafka.CodeOf(part.Err)
	num := kafka.NumOf(part.Err)
	if code == kafka.KafkaStorageError && version < fetchStorageError {
		// Clients of that age would not retry the code they do not know.
		num = kafka.NotLeaderOrFollower.Num()
	}
	dst = kbin.AppendInt32(dst, it.key.Partition)
	dst = kbin.AppendInt16(dst, num)
	dst = kbin.AppendInt64(dst, part.HighWatermark)
	if version >= fetchIsolation {
		dst = kbin.AppendInt64(dst, part.LastStableOffset)
	}
	if version >= fetchLogStart {
		dst = kbin.AppendInt64(dst, part.LogStartOffset)
	}
	if version >= fetchIsolation {
		dst = op.encodeAborted(dst, i, flexible, code)
	}
	if version >= fetchRack {
		dst = kbin.AppendInt32(dst, part.Preferred)
	}
	n := part.Data.Size
	if it.converted != nil {
		n = len(it.converted)
	}
	if flexible {
		dst = kbin.AppendUvarint(dst, uint32(n)+1)
	} else {
		dst = kbin.AppendInt32(dst, int32(n))
	}
	if n > 0 {
		op.cuts = append(op.cuts, cut{pos: len(dst), item: i})
	}
	if flexible {
		dst = op.encodeTags(dst, version, i, code)
	}
	return dst
}

// encodeAborted appends the aborted transactions: null for those who do not ask, and with
// errors, but of what is unknown, which has none either way.
func (op *fetchOp) encodeAborted(dst []byte, i int, flexible bool, code *kafka.Code) []byte {
	part := &op.f.Parts[i]
	null := !op.committed() || code != nil
	if code == kafka.UnknownTopicOrPartition || code == kafka.UnknownTopicID {
		null = false
	}
	if flexible {
		dst = kbin.AppendCompactNullableArrayLen(dst, len(part.Aborted), null)
	} else {
		dst = kbin.AppendNullableArrayLen(dst, len(part.Aborted), null)
	}
	for _, t := range part.Aborted {
		dst = kbin.AppendInt64(dst, t.ProducerID)
		dst = kbin.AppendInt64(dst, t.FirstOffset)
		if flexible {
			dst = append(dst, 0)
		}
	}
	return dst
}

// encodeTags appends the tagged fields of a partition, in the order of their tags:
// diverging epoch, current leader.
func (op *fetchOp) encodeTags(dst []byte, version int16, i int, code *kafka.Code) []byte {
	it, part := &op.items[i], &op.f.Parts[i]
	diverges := part.DivergingEpoch != kafka.NoEpoch
	hinted := version >= fetchLeaderHints && (code == kafka.NotLeaderOrFollower || code == kafka.FencedLeaderEpoch)
	tags := byte(0)
	if diverges {
		tags++
	}
	if hinted {
		tags++
	}
	dst = append(dst, tags)
	if diverges {
		dst = append(dst, 0, 13)
		dst = kbin.AppendInt32(dst, part.DivergingEpoch)
		dst = kbin.AppendInt64(dst, part.DivergingEnd)
		dst = append(dst, 0)
	}
	if hinted {
		h := op.api.hint(op.api.Image(), part.P, it.name, it.key.Partition)
		if op.q.replicaID < 0 { // followers know where brokers are
			op.nodes = addNode(op.nodes, h.id)
		}
		dst = appendLeaderTag(dst, 1, h)
	}
	return dst
}

// cut is a place in op.buf where a partition's records stand in the answer.
type cut struct{ pos, item int }

// gather lists the spans of the answer behind the first cut, and returns what stands
// before it.
func (op *fetchOp) gather() (prefix []byte) {
	op.spans = op.spans[:0]
	for c := range op.cuts {
		it := &op.items[op.cuts[c].item]
		if it.converted != nil {
			op.spans = append(op.spans, memSpan(it.converted))
		} else {
			op.spans = append(op.spans, op.f.Parts[op.cuts[c].item].Data.Spans...)
		}
		end := len(op.buf)
		if c+1 < len(op.cuts) {
			end = op.cuts[c+1].pos
		}
		if b := op.buf[op.cuts[c].pos:end]; len(b) > 0 {
			op.spans = append(op.spans, memSpan(b))
		}
	}
	return op.buf[:op.cuts[0].pos]
}
