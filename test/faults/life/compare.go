//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/test/faults/ledger"
)

// txnID is the transactional id of the script; txnGroup is the group whose offset its
// transactions commit, plainGroup the one that commits without.
const (
	txnID      = "txn"
	txnGroup   = "txn-group"
	plainGroup = "group"
)

// compare reads everything and holds it against the ledger; what is known from then on
// is written down. short is topic/partition of a log whose end may be missing.
func (lf *life) compare(ctx context.Context, short string) (v ledger.Verdict, err error) {
	// A transaction that was open is decided before anything is read.
	if lf.txnal, err = lf.init(txnID); err != nil {
		return v, err
	}
	seen, err := lf.readAll(ctx)
	if err != nil {
		return v, err
	}
	may := map[ledger.Log]bool{}
	for log := range seen.Logs {
		if short == fmt.Sprintf("%s-%d", topicOf(log), log.Partition) {
			may[log] = true
		}
	}
	v = lf.ledger.Check(seen, txnGroup, may)
	for log, ids := range v.Lost {
		fmt.Printf("missing %v: %v\n", log, ids)
	}
	for _, log := range v.Gaps {
		fmt.Printf("gap %s-%d\n", topicOf(log), log.Partition)
	}
	if len(v.Bad) > 0 {
		return v, nil
	}
	for _, line := range v.Lines {
		lf.write(line)
	}
	return v, nil
}

func (lf *life) readAll(ctx context.Context) (ledger.Seen, error) {
	seen := ledger.Seen{Topics: map[string]string{}, Logs: map[ledger.Log]ledger.Reading{}, Offsets: map[string]int64{}}
	meta, err := lf.metadata(ctx)
	if err != nil {
		return seen, err
	}
	for _, t := range meta.Topics {
		if t.IsInternal {
			continue
		}
		id := *t.Topic + "." + hex(t.TopicID)
		seen.Topics[*t.Topic] = id
		for _, p := range t.Partitions {
			log := ledger.Log{Topic: id, Partition: p.Partition}
			reading := ledger.Reading{Compacted: *t.Topic == compactTopic}
			if reading.Start, reading.All, err = lf.readLog(ctx, log, 0); err != nil {
				return seen, fmt.Errorf("%v: %w", log, err)
			}
			if _, reading.Committed, err = lf.readLog(ctx, log, 1); err != nil {
				return seen, fmt.Errorf("%v, committed: %w", log, err)
			}
			seen.Logs[log] = reading
		}
	}
	for _, group := range []string{plainGroup, txnGroup} {
		offset, err := lf.committed(group)
		if err != nil {
			return seen, fmt.Errorf("offset of %s: %w", group, err)
		}
		if offset >= 0 {
			seen.Offsets[group] = offset
		}
	}
	return seen, nil
}

// readLog reads one log from its start to the end that readers of the isolation level
// have.
func (lf *life) readLog(ctx context.Context, log ledger.Log, isolation int8) (start int64, out []ledger.Value, err error) {
	start, next := int64(-1), int64(0)
	for tries := 0; ; tries++ {
		p, err := lf.fetchSettled(ctx, log, next, isolation)
		switch {
		case errors.Is(err, kerr.OffsetOutOfRange) && tries == 0:
			if next, err = lf.earliest(ctx, log); err != nil {
				return 0, nil, err
			}
			continue
		case err != nil:
			return 0, nil, fmt.Errorf("at %d: %w", next, err)
		}
		if start < 0 {
			start = p.LogStartOffset
			next = max(next, start)
		}
		end := p.HighWatermark
		if isolation == 1 {
			end = p.LastStableOffset
			if end != p.HighWatermark {
				return 0, nil, fmt.Errorf("the last stable offset is %d of %d, no transaction is open", end, p.HighWatermark)
			}
		}
		if next >= end {
			return start, out, nil
		}
		before := next
		if out, next, err = values(out, p, next, isolation == 1); err != nil {
			return 0, nil, err
		}
		if next == before {
			return 0, nil, fmt.Errorf("nothing is read at %d of %d", next, end)
		}
	}
}

// fetchSettled waits, as clients do, for a leader that is being elected: a partition of a
// directory that was offline has none until the controller heard that it is back.
func (lf *life) fetchSettled(ctx context.Context, log ledger.Log, offset int64, isolation int8) (*kmsg.FetchResponseTopicPartition, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*callLimit)
	defer cancel()
	for {
		p, err := lf.fetch(ctx, log, offset, isolation)
		if err == nil || ctx.Err() != nil || !isYoung(err) {
			return p, err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (lf *life) fetch(ctx context.Context, log ledger.Log, offset int64, isolation int8) (*kmsg.FetchResponseTopicPartition, error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel = 0, 0, 1<<20, isolation
	req.SessionEpoch = -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = log.Partition, offset, 1<<20, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID, t.Partitions = topicOf(log), idOf(log), []kmsg.FetchRequestTopicPartition{p}
	req.Topics = []kmsg.FetchRequestTopic{t}
	kresp, err := lf.br.RetriableRequest(ctx, req)
	if err != nil {
		return nil, err
	}
	resp := kresp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, fmt.Errorf("the answer has %d topics", len(resp.Topics))
	}
	got := &resp.Topics[0].Partitions[0]
	return got, kerr.ErrorForCode(got.ErrorCode)
}

func (lf *life) earliest(ctx context.Context, log ledger.Log) (int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp, p.CurrentLeaderEpoch = log.Partition, -2, -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic, t.Partitions = topicOf(log), []kmsg.ListOffsetsRequestTopicPartition{p}
	req.Topics = []kmsg.ListOffsetsRequestTopic{t}
	kresp, err := lf.br.RetriableRequest(ctx, req)
	if err != nil {
		return 0, err
	}
	got := kresp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	return got.Offset, kerr.ErrorForCode(got.ErrorCode)
}

// values adds the records of a response from offset next on, without those of aborted
// transactions if the reader wants committed ones.
func values(out []ledger.Value, p *kmsg.FetchResponseTopicPartition, next int64, committed bool) ([]ledger.Value, int64, error) {
	infos, err := batch.Infos(p.RecordBatches)
	if err != nil {
		return nil, next, fmt.Errorf("the batches at %d: %w", next, err)
	}
	aborted := map[int64]bool{}
	pending := slices.Clone(p.AbortedTransactions)
	for i := range infos {
		info := &infos[i]
		pending = slices.DeleteFunc(pending, func(a kmsg.FetchResponseTopicPartitionAbortedTransaction) bool {
			begun := a.FirstOffset <= info.LastOffset
			if begun {
				aborted[a.ProducerID] = true
			}
			return begun
		})
		skip := committed && info.IsTransactional && aborted[info.ProducerID]
		if info.IsControl {
			skip = true
			delete(aborted, info.ProducerID)
		}
		if !skip {
			if out, err = appendValues(out, p.RecordBatches[info.Pos:info.End()], next); err != nil {
				return nil, next, err
			}
		}
		next = max(next, info.LastOffset+1)
	}
	return out, next, nil
}

func appendValues(out []ledger.Value, data []byte, from int64) ([]ledger.Value, error) {
	var it batch.Iter
	if err := it.Reset(data, 1<<20); err != nil {
		return nil, err
	}
	defer it.Close()
	var rec batch.Record
	for it.Next(&rec) {
		if rec.Offset < from {
			continue
		}
		v := ledger.Value{Offset: rec.Offset, Key: string(rec.Key), Null: rec.Value == nil}
		// A tombstone has its number in a header.
		text := string(rec.Value)
		for _, h := range rec.Headers() {
			text = string(h.Value)
		}
		number, _, _ := strings.Cut(text, ".")
		v.ID, _ = strconv.Atoi(number)
		if !v.Null && text != valueOf(v.ID) {
			v.ID = 0
		}
		out = append(out, v)
	}
	return out, it.Err()
}

// valueOf is the value of a record: its number and a filling that depends on it alone.
func valueOf(id int) string {
	return fmt.Sprintf("%d.%s", id, strings.Repeat(string(rune('a'+id%26)), 20+id*37%160))
}

// committed returns the offset that a group has for partition 0 of the first topic.
func (lf *life) committed(group string) (int64, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	t := kmsg.NewOffsetFetchRequestGroupTopic()
	t.Topic, t.Partitions = offsetsOf, []int32{0}
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.Topics = group, []kmsg.OffsetFetchRequestGroupTopic{t}
	req.Groups, req.RequireStable = []kmsg.OffsetFetchRequestGroup{g}, true
	// The client spreads the old form of the request as well.
	req.Group, req.Topics = group, []kmsg.OffsetFetchRequestTopic{{Topic: offsetsOf, Partitions: []int32{0}}}
	resp, err := ask(lf, lf.cl, req, func(r *kmsg.OffsetFetchResponse) int16 {
		if len(r.Groups) == 1 {
			return r.Groups[0].ErrorCode
		}
		return r.ErrorCode
	})
	if err != nil {
		return 0, err
	}
	if len(resp.Groups) != 1 || len(resp.Groups[0].Topics) != 1 {
		return -1, nil
	}
	p := resp.Groups[0].Topics[0].Partitions[0]
	return p.Offset, kerr.ErrorForCode(p.ErrorCode)
}
