package txn

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// bench runs a Machine as the runtime does, with a log in memory and a clock that
// tests move.
type bench struct {
	m       *Machine
	version int16 // transaction.version
	now     int64
	log     []coord.Record
	timers  map[string]int64
	// held are the outcomes of which the records are not committed; stalled keeps the
	// high watermark from moving.
	held    []coord.Outcome
	stalled bool
	failing *kafka.Code // what the next append fails with
	// limit is the topic's max.message.bytes, 0 for none; refused counts the batches that
	// were larger.
	limit, refused int
	nextID         int64
	// needs are effects that wait for a producer id while idsHeld, else they get one at
	// once; noIDs is what they get instead.
	needs   []NeedProducerID
	idsHeld bool
	noIDs   *kafka.Code
	// markers are the effects that were run.
	markers []WriteMarkers
	token   coord.Token
	// event is told of everything that can be seen.
	event func(format string, args ...any)
	// replied is told of every reply.
	replied func(coord.Reply)
}

func newBench() *bench {
	b := &bench{version: 2, now: 1000, nextID: 100, timers: map[string]int64{}, event: func(string, ...any) {}, replied: func(coord.Reply) {}}
	b.m = b.machine()
	b.apply(b.m.Loaded(b.now))
	return b
}

func (b *bench) machine() *Machine {
	m := New(Config{
		MaxTimeoutMs: 900_000, RetryMs: 100, ExpirationMs: 7 * 86_400_000, ExpirationIntervalMs: 3_600_000,
		TransactionVersion: func() int16 { return b.version },
	})
	m.BoundBatches(func() int {
		if b.limit == 0 {
			return math.MaxInt
		}
		return b.limit - batch.HeaderSize
	})
	return m
}

// reload is a new leader: it has what is committed, and nothing else.
func (b *bench) reload() error {
	for _, o := range b.held {
		b.log = b.log[:len(b.log)-len(o.Records)]
	}
	b.m.Resigned()
	b.held, b.needs, b.timers, b.stalled = nil, nil, map[string]int64{}, false
	b.m = b.machine()
	for i, r := range b.log {
		if err := b.m.Replay(r, coord.Origin{Offset: int64(i), ProducerID: coord.NoProducerID}); err != nil {
			return err
		}
	}
	b.apply(b.m.Loaded(b.now))
	return nil
}

func (b *bench) apply(o coord.Outcome) {
	for _, t := range o.Timers {
		b.timers[t.Key] = t.AtMs
	}
	if len(o.Records) == 0 {
		if o.ReadBarrier && len(b.held) > 0 {
			b.held = append(b.held, o)
			return
		}
		b.finish(o)
		return
	}
	if code := b.failing; code != nil {
		b.failing = nil
		b.event("append failed: %s", code.Name())
		b.apply(b.m.AppendFailed(o, code, b.now))
		return
	}
	if b.limit > 0 && batchSize(o.Records) > b.limit {
		b.refused++
		b.apply(b.m.AppendFailed(o, kafka.MessageTooLarge, b.now))
		return
	}
	for _, r := range o.Records {
		b.event("%s", describeRecord(r))
		b.log = append(b.log, r)
		if err := b.m.Replay(r, coord.Origin{Offset: int64(len(b.log)), ProducerID: coord.NoProducerID}); err != nil {
			panic(err)
		}
	}
	b.held = append(b.held, o)
	b.settle()
}

// batchSize is how long the batch of the records is in the log.
func batchSize(all []coord.Record) int {
	b := batch.NewBuilder(0)
	for _, r := range all {
		b.Append(0, r.Key, r.Value, nil)
	}
	return b.Size()
}

// settle commits what is held.
func (b *bench) settle() {
	for len(b.held) > 0 && !b.stalled {
		o := b.held[0]
		b.held = b.held[1:]
		var after coord.Outcome
		if o.Op != nil {
			after = b.m.Committed(o.Op, b.now)
		}
		b.finish(o)
		b.apply(after)
	}
}

func (b *bench) finish(o coord.Outcome) {
	for _, r := range o.Replies {
		b.event("%s", describeReply(r))
		b.replied(r)
	}
	for _, e := range o.Effects {
		switch e := e.(type) {
		case WriteMarkers:
			b.event("markers %s", describeMarkers(&e))
			b.markers = append(b.markers, e)
		case NeedProducerID:
			b.needs = append(b.needs, e)
		}
	}
	if !b.idsHeld {
		b.grant()
	}
}

// grant gives ids to those who wait for them.
func (b *bench) grant() {
	needs := b.needs
	b.needs = nil
	for _, n := range needs {
		if b.noIDs != nil {
			b.apply(b.m.ProducerIDReady(b.now, n, NoProducerID, b.noIDs))
			continue
		}
		b.nextID++
		b.apply(b.m.ProducerIDReady(b.now, n, b.nextID-1, nil))
	}
}

// advance moves the clock and runs the timers that become due, in order.
func (b *bench) advance(ms int64) {
	end := b.now + ms
	for {
		key, at := "", end+1
		for k, t := range b.timers {
			if t < at || t == at && k < key {
				key, at = k, t
			}
		}
		if key == "" {
			break
		}
		delete(b.timers, key)
		b.now = max(b.now, at)
		b.apply(b.m.OnTimer(key, b.now))
	}
	b.now = end
}

func (b *bench) to() coord.Token {
	b.token++
	return b.token
}

func describeRecord(r coord.Record) string {
	id, _, _ := ParseKey(r.Key)
	if r.Value == nil {
		return "log " + id + " tombstone"
	}
	v, _, err := ParseValue(r.Value)
	if err != nil {
		return err.Error()
	}
	t, err := fromValue(id, &v)
	if err != nil {
		return err.Error()
	}
	return "log " + describe(t) + fmt.Sprintf(" updated=%d", t.LastUpdateMs)
}

func describe(t *Transaction) string {
	s := fmt.Sprintf("%s %s id=%d epoch=%d", t.ID, t.State, t.ProducerID, t.ProducerEpoch)
	if t.PreviousProducerID != t.ProducerID && t.PreviousProducerID != NoProducerID {
		s += fmt.Sprintf(" previous=%d", t.PreviousProducerID)
	}
	if t.NextProducerID != NoProducerID {
		s += fmt.Sprintf(" next=%d", t.NextProducerID)
	}
	if t.LastProducerEpoch != NoProducerEpoch {
		s += fmt.Sprintf(" lastEpoch=%d", t.LastProducerEpoch)
	}
	s += fmt.Sprintf(" timeout=%d start=%d", t.TimeoutMs, t.StartMs)
	if len(t.Partitions) > 0 {
		s += " " + joinPartitions(t.Partitions)
	}
	if t.ClientTransactionVersion != 0 {
		s += fmt.Sprintf(" tv%d", t.ClientTransactionVersion)
	}
	return s
}

func joinPartitions(tps []kafka.TopicPartition) string {
	var names []string
	for _, tp := range tps {
		names = append(names, tp.String())
	}
	return strings.Join(names, ",")
}

func describeMarkers(w *WriteMarkers) string {
	verdict := "abort"
	if w.Commit {
		verdict = "commit"
	}
	return fmt.Sprintf("%s %s id=%d epoch=%d tv%d %s", w.TransactionalID, verdict, w.ProducerID, w.ProducerEpoch, w.TransactionVersion, joinPartitions(w.Partitions))
}

func describeReply(r coord.Reply) string {
	if r.Err != nil {
		if code := kafka.CodeOf(r.Err); code != nil {
			return "reply " + code.Name()
		}
		return "reply " + r.Err.Error()
	}
	switch resp := r.Response.(type) {
	case *kmsg.InitProducerIDResponse:
		return fmt.Sprintf("reply id=%d epoch=%d", resp.ProducerID, resp.ProducerEpoch)
	case *kmsg.EndTxnResponse:
		return fmt.Sprintf("reply ok id=%d epoch=%d", resp.ProducerID, resp.ProducerEpoch)
	case *kmsg.AddPartitionsToTxnResponse:
		var parts []string
		for _, topic := range resp.Transactions[0].Topics {
			for _, p := range topic.Partitions {
				code := "ok"
				if c := kafka.CodeForNum(p.ErrorCode); c != nil {
					code = c.Name()
				}
				parts = append(parts, fmt.Sprintf("%s-%d=%s", topic.Topic, p.Partition, code))
			}
		}
		return "reply " + strings.Join(parts, " ")
	case *kmsg.DescribeTransactionsResponse:
		s := resp.TransactionStates[0]
		if c := kafka.CodeForNum(s.ErrorCode); c != nil {
			return "reply " + c.Name()
		}
		var parts []string
		for _, topic := range s.Topics {
			parts = append(parts, fmt.Sprintf("%s%v", topic.Topic, topic.Partitions))
		}
		return fmt.Sprintf("reply %s %s id=%d epoch=%d timeout=%d start=%d %s", s.TransactionalID, s.State, s.ProducerID, s.ProducerEpoch, s.TimeoutMillis, s.StartTimestamp, strings.Join(parts, " "))
	case *kmsg.ListTransactionsResponse:
		var parts []string
		for _, s := range resp.TransactionStates {
			parts = append(parts, fmt.Sprintf("%s/%d/%s", s.TransactionalID, s.ProducerID, s.TransactionState))
		}
		slices.Sort(parts)
		return "reply [" + strings.Join(parts, " ") + "]"
	}
	return fmt.Sprintf("reply %T", r.Response)
}
