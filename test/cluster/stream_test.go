package cluster

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// stream is one idempotent producer that writes to all partitions of a topic, without an
// end to its retries. mu guards all below it.
type stream struct {
	cr    *crash
	topic string
	parts int32
	size  int // of a value

	mu      sync.Mutex
	n       int
	txns    []sentTxn
	last    time.Duration // when a record was acknowledged last
	longest time.Duration // between two acknowledgements
}

func (cr *crash) stream(topic string, parts int32, size int) *stream {
	return &stream{cr: cr, topic: topic, parts: parts, size: size}
}

// write writes rounds of one record a partition until ctx ends or there were so many, and
// waits for the acknowledgements.
func (s *stream) write(ctx context.Context, rounds int, pace time.Duration) {
	cl, err := kgo.NewClient(s.cr.options(&lifeline{}, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.StopProducerOnDataLossDetected(), kgo.MaxBufferedRecords(1000), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		s.cr.violation("producer of %s: %v", s.topic, err)
		return
	}
	defer cl.Close()
	s.last = s.cr.now()
	for range rounds {
		if ctx.Err() != nil {
			break
		}
		for p := range s.parts {
			s.produce(cl, p)
		}
		pause(ctx, pace)
	}
	flush, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := cl.Flush(flush); err != nil {
		s.cr.violation("records of %s are not acknowledged in the end: %v", s.topic, err)
	}
}

func (s *stream) produce(cl *kgo.Client, p int32) {
	s.mu.Lock()
	s.n++
	key := fmt.Sprintf("%s-%d-%d", s.topic, p, s.n)
	s.mu.Unlock()
	value := key + "|" + strings.Repeat(".", max(0, s.size-len(key)-1))
	cl.Produce(context.Background(), &kgo.Record{Topic: s.topic, Partition: p, Value: []byte(value)}, func(r *kgo.Record, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		x := sentTxn{tpName(s.topic, p), []sentRecord{{tpName(s.topic, p), key, r.Offset}}, done}
		if err != nil {
			x.outcome, x.records[0].offset = unknown, -1
			s.cr.violation("at %v a record of %s failed: %v", s.cr.now(), s.topic, err)
		} else {
			s.longest, s.last = max(s.longest, s.cr.now()-s.last), s.cr.now()
		}
		s.txns = append(s.txns, x)
	})
}

// verify reads the topic to its end and holds it against what was acknowledged.
func (s *stream) verify() (acked int) {
	s.cr.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range append(s.cr.bad, checkTransactions(s.txns, []reading{s.cr.readAll(s.topic, s.parts)})...) {
		s.cr.t.Errorf("%s", b)
	}
	return len(s.txns)
}

// readAll reads a topic from its beginning to its end; a value is what stands before "|".
func (cr *crash) readAll(topic string, parts int32) reading {
	cr.t.Helper()
	out := reading{}
	r := cr.routed()
	defer r.cl.Close()
	req := kmsg.NewPtrListOffsetsRequest()
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	from := map[int32]kgo.Offset{}
	for p := range parts {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = p, -1
		rt.Partitions = append(rt.Partitions, rp)
		from[p] = kgo.NewOffset().At(0)
	}
	req.Topics = append(req.Topics, rt)
	resp, err := r.do(req)
	if err != nil {
		cr.t.Fatalf("the ends of %s: %v", topic, err)
	}
	ends := map[int32]int64{}
	for _, p := range resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
		if p.ErrorCode != 0 {
			cr.t.Fatalf("the end of %s-%d: error %d", topic, p.Partition, p.ErrorCode)
		}
		if p.Offset > 0 {
			ends[p.Partition] = p.Offset
		}
	}
	cl, err := kgo.NewClient(cr.options(&lifeline{}, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		cr.t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for len(ends) > 0 {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			cr.t.Fatalf("%s was not read to the end within a minute: %v", topic, ends)
		}
		f.EachRecord(func(r *kgo.Record) {
			value, _, _ := strings.Cut(string(r.Value), "|")
			out[tpName(topic, r.Partition)] = append(out[tpName(topic, r.Partition)], readRecord{r.Offset, value})
			if r.Offset+1 >= ends[r.Partition] {
				delete(ends, r.Partition)
			}
		})
	}
	return out
}
