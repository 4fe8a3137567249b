package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// watch is what observers see during the run. The loop of observe owns marks and open,
// that of read owns running; both are looked at when the loops have ended.
type watch struct {
	marks   *watermarks
	open    *openTransactions
	running reading
}

// topicParts are the partitions of the run.
func topicParts() map[string]int32 {
	return map[string]int32{workTopic: workParts, txnTopic: txnParts, inTopic: txnParts, outTopic: txnParts, out848: txnParts}
}

func (cr *crash) startWatchers(ctx context.Context, wg *sync.WaitGroup) *watch {
	w := &watch{marks: newWatermarks(), running: reading{},
		open: &openTransactions{interval: abortInterval, load: 500 * time.Millisecond, slack: 3 * time.Second}}
	wg.Go(func() { cr.observe(ctx, w) })
	wg.Go(func() {
		for ctx.Err() == nil {
			cr.readOn(ctx, w.running)
		}
	})
	return w
}

// readOn reads on behind what has been read, until the run ends or a leader does not know
// an offset.
func (cr *crash) readOn(ctx context.Context, into reading) {
	cl := cr.reader(into)
	defer cl.Close()
	for ctx.Err() == nil {
		f := cl.PollFetches(ctx)
		f.EachError(func(topic string, p int32, err error) {
			var loss *kgo.ErrDataLoss
			var answer *kerr.Error
			switch {
			case errors.As(err, &loss):
				cr.count("positions that franz-go looked up again", 1)
			case errors.Is(err, kerr.OffsetOutOfRange) && cr.moving:
			case errors.As(err, &answer) && !answer.Retriable:
				cr.violation("reading %s-%d: %v", topic, p, err)
			}
		})
		f.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				into.add(r)
			}
		})
		if cr.moving && cr.outOfRange(f) {
			return
		}
	}
}

func (r reading) add(rec *kgo.Record) {
	tp := tpName(rec.Topic, rec.Partition)
	r[tp] = append(r[tp], readRecord{rec.Offset, string(rec.Value)})
}

// reader reads everything behind what has been read, read_committed. It has no place to begin
// anew: an offset out of range is an error. It is given control records too, so that
// it knows when it has read everything.
//
// franz-go takes the epoch of its position from the last record that it hands out. If
// aborted records of a later epoch followed, it calls them lost and reads them again;
// that is no violation, for what is given twice or changed the checkers see.
func (cr *crash) reader(behind reading) *kgo.Client {
	from := map[string]map[int32]kgo.Offset{}
	for topic, n := range topicParts() {
		from[topic] = map[int32]kgo.Offset{}
		for p := range n {
			next := int64(0)
			if read := behind[tpName(topic, p)]; len(read) > 0 {
				next = read[len(read)-1].offset + 1
			}
			from[topic][p] = kgo.NewOffset().At(next)
		}
	}
	cl, err := kgo.NewClient(cr.options(&lifeline{}, kgo.KeepControlRecords(), kgo.ConsumePartitions(from), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		panic(err) // the options are constants
	}
	return cl
}

// asker answers one request after the other.
type asker interface {
	do(kmsg.Request) (kmsg.Response, error)
}

// observe asks all questions on one connection, one after the other.
func (cr *crash) observe(ctx context.Context, w *watch) {
	if cr.moving {
		cr.observeBrokers(ctx, w)
		return
	}
	var c *raw
	for ctx.Err() == nil {
		var err error
		if c == nil {
			if c, err = dial(cr.seeds[0]); err != nil {
				pause(ctx, 5*time.Millisecond)
				continue
			}
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if err = cr.observeAll(c, w); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				cr.violation("an observer got no answer for 10 s")
			}
			c.Close()
			c = nil
		}
		pause(ctx, 15*time.Millisecond)
	}
	if c != nil {
		c.Close()
	}
}

func (cr *crash) observeAll(c asker, w *watch) error {
	for _, group := range []string{"raw-classic", "raw-consumer", "eager", "cooperative", "consumer", "static"} {
		if err := cr.readOffsets(c, group, workTopic, workParts, func(r readOp) { cr.reads = append(cr.reads, r) }); err != nil {
			return err
		}
	}
	// What transactions commit is only seen to grow.
	for _, topic := range []string{outTopic, out848} {
		err := cr.readOffsets(c, "copiers-"+topic, inTopic, txnParts, func(r readOp) { w.marks.observe("offset of "+r.key, r.offset, -1, 0, r.end) })
		if err != nil {
			return err
		}
	}
	if err := cr.observeMarks(c, w.marks); err != nil {
		return err
	}
	return cr.observeTransactions(c, w.open)
}

// readOffsets reads the committed offsets of a group; each is called under cr.mu.
func (cr *crash) readOffsets(c asker, group, topic string, parts int32, each func(readOp)) error {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.SetVersion(7)
	req.Group = group
	rt := kmsg.NewOffsetFetchRequestTopic()
	rt.Topic = topic
	for p := range parts {
		rt.Partitions = append(rt.Partitions, p)
	}
	req.Topics = append(req.Topics, rt)
	start := cr.now()
	r, err := c.do(req)
	if err != nil {
		return err
	}
	end := cr.now()
	resp := r.(*kmsg.OffsetFetchResponse)
	cr.mu.Lock()
	defer cr.mu.Unlock()
	if resp.ErrorCode != 0 {
		cr.counts[fmt.Sprintf("OffsetFetch with error %d", resp.ErrorCode)]++
		return nil
	}
	for _, p := range resp.Topics[0].Partitions {
		if p.ErrorCode != 0 {
			continue
		}
		op := readOp{key: key(group, p.Partition), offset: p.Offset, start: start, end: end}
		if p.Metadata != nil {
			op.id = *p.Metadata
		}
		each(op)
	}
	return nil
}

// partition is the one that the key names.
func (r readOp) partition() (p int32) {
	var group string
	fmt.Sscan(r.key, &group, &p)
	return p
}

// observeMarks asks for both watermarks by ListOffsets, and by Fetch at the last stable
// offset.
func (cr *crash) observeMarks(c asker, m *watermarks) error {
	cr.mu.Lock()
	acked := make(map[string]int64, len(cr.acked))
	for tp, o := range cr.acked {
		acked[tp] = o
	}
	cr.mu.Unlock()
	for _, isolation := range []int8{1, 0} {
		offsets, err := listOffsets(c, isolation)
		if err != nil {
			return err
		}
		for _, tp := range sortedKeys(offsets) {
			if isolation == 1 {
				m.observe(tp, -1, offsets[tp], 0, cr.now())
			} else {
				m.observe(tp, offsets[tp], -1, acked[tp], cr.now())
			}
		}
	}
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(12)
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch, req.IsolationLevel = -1, 0, 0, 1, -1, 1
	for _, topic := range sortedKeys(topicParts()) {
		rt := kmsg.NewFetchRequestTopic()
		rt.Topic = topic
		for p := range topicParts()[topic] {
			rp := kmsg.NewFetchRequestTopicPartition()
			rp.Partition, rp.FetchOffset, rp.CurrentLeaderEpoch, rp.PartitionMaxBytes = p, m.lso[tpName(topic, p)], -1, 1
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
	}
	r, err := c.do(req)
	if err != nil {
		return err
	}
	for _, t := range r.(*kmsg.FetchResponse).Topics {
		for _, p := range t.Partitions {
			tp := tpName(t.Topic, p.Partition)
			switch p.ErrorCode {
			case 0:
				m.observe(tp, p.HighWatermark, p.LastStableOffset, acked[tp], cr.now())
			case 1: // OFFSET_OUT_OF_RANGE
				cr.violation("%s: at %v there is no offset %d, which has been the last stable one", tp, cr.now(), m.lso[tp])
			}
		}
	}
	return nil
}

// askOffsets asks for the ends of all partitions of the run.
func askOffsets(c asker, isolation int8) (*kmsg.ListOffsetsResponse, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.SetVersion(7)
	req.ReplicaID, req.IsolationLevel = -1, isolation
	for _, topic := range sortedKeys(topicParts()) {
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = topic
		for p := range topicParts()[topic] {
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch = p, -1, -1
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
	}
	r, err := c.do(req)
	if err != nil {
		return nil, err
	}
	return r.(*kmsg.ListOffsetsResponse), nil
}

// listOffsets returns those ends that were told.
func listOffsets(c asker, isolation int8) (map[string]int64, error) {
	r, err := askOffsets(c, isolation)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 {
				out[tpName(t.Topic, p.Partition)] = p.Offset
			}
		}
	}
	return out, nil
}

// observeTransactions asks coordinators and partitions what is open.
func (cr *crash) observeTransactions(c asker, o *openTransactions) error {
	states, err := openStates(c)
	if err != nil {
		return err
	}
	cr.mu.Lock()
	outages := slices.Clone(cr.outages)
	cr.mu.Unlock()
	for _, s := range states {
		start := time.UnixMilli(s.StartTimestamp).Sub(cr.began)
		name := fmt.Sprintf("%s (%s, producer %d, epoch %d)", s.TransactionalID, s.State, s.ProducerID, s.ProducerEpoch)
		o.observe(name, start, time.Duration(s.TimeoutMillis)*time.Millisecond, cr.now(), outages)
	}
	req := kmsg.NewPtrDescribeProducersRequest()
	for _, topic := range sortedKeys(topicParts()) {
		rt := kmsg.NewDescribeProducersRequestTopic()
		rt.Topic = topic
		for p := range topicParts()[topic] {
			rt.Partitions = append(rt.Partitions, p)
		}
		req.Topics = append(req.Topics, rt)
	}
	r, err := c.do(req)
	if err != nil {
		return err
	}
	for _, t := range r.(*kmsg.DescribeProducersResponse).Topics {
		for _, p := range t.Partitions {
			for _, a := range p.ActiveProducers {
				if a.CurrentTxnStartOffset < 0 {
					continue
				}
				name := fmt.Sprintf("%s: producer %d from offset %d", tpName(t.Topic, p.Partition), a.ProducerID, a.CurrentTxnStartOffset)
				o.observe(name, o.since(name, cr.now()), txnLimit, cr.now(), outages)
			}
		}
	}
	return nil
}

// openStates describes the transactions that have not ended.
func openStates(c asker) ([]kmsg.DescribeTransactionsResponseTransactionState, error) {
	list := kmsg.NewPtrListTransactionsRequest()
	list.StateFilters = []string{"Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence"}
	r, err := c.do(list)
	if err != nil {
		return nil, err
	}
	describe := kmsg.NewPtrDescribeTransactionsRequest()
	for _, s := range r.(*kmsg.ListTransactionsResponse).TransactionStates {
		describe.TransactionalIDs = append(describe.TransactionalIDs, s.TransactionalID)
	}
	if r, err = c.do(describe); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(r.(*kmsg.DescribeTransactionsResponse).TransactionStates, func(s kmsg.DescribeTransactionsResponseTransactionState) bool {
		return s.ErrorCode != 0 || !slices.Contains(list.StateFilters, s.State)
	}), nil
}
