package brokerapi

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kbin"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/producer"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/server"
)

// Versions of Produce where its encoding or meaning changes.
const (
	produceTxnID       = 3  // transactional id; message format v2 only
	produceLogStart    = 5  // log start offset in the answer
	produceErrors      = 8  // record errors and messages in the answer
	produceFlexible    = 9  // compact encoding, tagged fields
	produceLeaderHints = 10 // current leader in the answer
	produceTopicIDs    = 13 // topics by id
)

// producePart is one partition of a Produce request.
type producePart struct {
	partition int32
	records   []byte // aliases the request's body
	p         *replica.Partition
	slot      replica.AppendSlot
	message   string // for clients, "" for none
	// guard is that of the verification of a transactional batch, txnErr why it failed.
	guard  producer.Guard
	txnErr error
}

// produceTopic is one topic of a Produce request: parts[first:end].
type produceTopic struct {
	name       string // aliases the request's body until produceOp.detach
	id         kafka.TopicID
	first, end int
}

// Limits of what one request may name, so that a few bytes a partition do not become
// hundreds in memory.
const (
	// maxFetchPartitions is far above what one client follows.
	maxFetchPartitions = 1 << 18
	// A topic of a Produce request has a partition and that a batch: fewer bytes than this
	// for each are no request that could succeed.
	minProducePartBytes = 32
	minProduceParts     = 256
)

var errTooManyPartitions = errors.New("more topics or partitions than a request of this size can hold")

// decodeProduce reads a request body into op. Its strings and records alias body. A
// body is refused as a whole, before anything is appended.
func (op *produceOp) decodeProduce(version int16, body []byte) error {
	b := kbin.Reader{Src: body}
	flexible := version >= produceFlexible
	op.txnID = nil
	if version >= produceTxnID {
		if flexible {
			op.txnID = b.UnsafeCompactNullableString()
		} else {
			op.txnID = b.UnsafeNullableString()
		}
	}
	op.acks = b.Int16()
	op.timeoutMs = b.Int32()
	most := minProduceParts + len(body)/minProducePartBytes
	for n := arrayLen(&b, flexible); n > 0 && b.Ok(); n-- {
		if len(op.topics) >= most {
			return errTooManyPartitions
		}
		var t produceTopic
		switch {
		case version >= produceTopicIDs:
			t.id = b.Uuid()
		case flexible:
			t.name = b.UnsafeCompactString()
		default:
			t.name = b.UnsafeString()
		}
		t.first = len(op.parts)
		for m := arrayLen(&b, flexible); m > 0 && b.Ok(); m-- {
			if len(op.parts) >= most {
				return errTooManyPartitions
			}
			op.parts = append(op.parts, producePart{partition: b.Int32()})
			part := &op.parts[len(op.parts)-1]
			if flexible {
				part.records = b.CompactNullableBytes()
				skipTags(&b)
			} else {
				part.records = b.NullableBytes()
			}
		}
		t.end = len(op.parts)
		if flexible {
			skipTags(&b)
		}
		op.topics = append(op.topics, t)
	}
	if flexible {
		skipTags(&b)
	}
	return b.Complete()
}

func arrayLen(b *kbin.Reader, compact bool) int32 {
	if compact {
		return b.CompactArrayLen()
	}
	return b.ArrayLen()
}

func appendArrayLen(dst []byte, n int, compact bool) []byte {
	if compact {
		return kbin.AppendCompactArrayLen(dst, n)
	}
	return kbin.AppendArrayLen(dst, n)
}

func appendNullableString(dst []byte, s string, compact bool) []byte {
	var p *string
	if s != "" {
		p = &s
	}
	if compact {
		return kbin.AppendCompactNullableString(dst, p)
	}
	return kbin.AppendNullableString(dst, p)
}

// encodeProduce appends the response body.
func (op *produceOp) encodeProduce(dst []byte, version int16, l *server.Listener) []byte {
	flexible := version >= produceFlexible
	op.nodes = op.nodes[:0]
	dst = appendArrayLen(dst, len(op.topics), flexible)
	for i := range op.topics {
		t := &op.topics[i]
		switch {
		case version >= produceTopicIDs:
			dst = kbin.AppendUuid(dst, t.id)
		case flexible:
			dst = kbin.AppendCompactString(dst, t.name)
		default:
			dst = kbin.AppendString(dst, t.name)
		}
		dst = appendArrayLen(dst, t.end-t.first, flexible)
		for j := t.first; j < t.end; j++ {
			dst = op.encodePart(dst, version, t, &op.parts[j])
		}
		if flexible {
			dst = append(dst, 0)
		}
	}
	if version >= 1 {
		dst = kbin.AppendInt32(dst, 0) // throttle time
	}
	if flexible {
		if len(op.nodes) > 0 {
			return op.api.appendNodeEndpoints(dst, op.api.Image(), l, op.nodes)
		}
		dst = append(dst, 0)
	}
	return dst
}

func (op *produceOp) encodePart(dst []byte, version int16, t *produceTopic, part *producePart) []byte {
	s := &part.slot
	flexible := version >= produceFlexible
	code := kafka.CodeOf(s.Err)
	dst = kbin.AppendInt32(dst, part.partition)
	dst = kbin.AppendInt16(dst, kafka.NumOf(s.Err))
	dst = kbin.AppendInt64(dst, s.BaseOffset)
	if version >= 2 {
		dst = kbin.AppendInt64(dst, s.LogAppendTime)
	}
	if version >= produceLogStart {
		dst = kbin.AppendInt64(dst, s.LogStartOffset)
	}
	if version >= produceErrors {
		message := part.message
		var errs []batch.RecordError
		if s.RecordErrors != nil {
			errs, message = s.RecordErrors.Errors, s.Err.Error()
		}
		dst = appendArrayLen(dst, len(errs), flexible)
		for _, e := range errs {
			dst = kbin.AppendInt32(dst, e.BatchIndex)
			dst = appendNullableString(dst, e.Message, flexible)
			if flexible {
				dst = append(dst, 0)
			}
		}
		dst = appendNullableString(dst, message, flexible)
	}
	if !flexible {
		return dst
	}
	if version >= produceLeaderHints && code == kafka.NotLeaderOrFollower {
		name := t.name
		img := op.api.Image()
		if version >= produceTopicIDs {
			if topic := img.TopicByID(t.id); topic != nil {
				name = topic.Name
			}
		}
		h := op.api.hint(img, part.p, name, part.partition)
		op.nodes = addNode(op.nodes, h.id)
		return appendLeaderTag(append(dst, 1), 0, h)
	}
	return append(dst, 0)
}
