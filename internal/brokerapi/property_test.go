package brokerapi

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// ledger is what producers were promised: the value at each acknowledged offset.
type ledger struct {
	mu    sync.Mutex
	acked [2]map[int64]string
}

func (l *ledger) ack(partition int32, offset int64, value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[partition][offset] = value
}

// TestNothingAcknowledgedIsLost runs producers with five requests in flight and readers
// with all kinds of limits at once, on topics with and without flushing, while leader
// epochs and configurations change. Readers must see each partition without a gap and
// the high watermark never go back; at the end every acknowledged value is at its offset
// and no value is there twice.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	for _, flush := range []string{"9223372036854775807", "1", "7"} {
		t.Run("flush.messages="+flush, func(t *testing.T) {
			k := newKit(t, nil)
			id := k.topic("t", 2, []int32{1}, "flush.messages", flush, "segment.bytes", "1048576")
			l := &ledger{acked: [2]map[int64]string{{}, {}}}
			var stop atomic.Bool
			var producers, readers sync.WaitGroup
			for n := range int64(4) {
				producers.Go(func() { produceLoop(k, l, n) })
			}
			seen := make([][2][]string, 3)
			for n := range seen {
				readers.Go(func() { readLoop(k, &seen[n], n, &stop) })
			}
			done := make(chan struct{})
			go func() { producers.Wait(); stop.Store(true); readers.Wait(); close(done) }()
			rng := rand.New(rand.NewPCG(1, 2))
			for running := true; running; {
				select {
				case <-done:
					running = false
				default:
					k.clock.Advance(time.Millisecond)
					if !stop.Load() && rng.IntN(20) == 0 {
						k.disturb(id, rng)
					}
					runtime.Gosched()
				}
			}
			k.audit(l, seen)
		})
	}
}

// disturb begins a leader epoch or changes the topic's configuration.
func (k *kit) disturb(id kafka.TopicID, rng *rand.Rand) {
	if rng.IntN(2) == 0 {
		k.change(id, rng.Int32N(2), func(r *records.PartitionChangeRecord) { r.Leader = 1 })
		return
	}
	value := fmt.Sprint(1000 + rng.IntN(1000))
	r := records.NewConfigRecord()
	r.ResourceType, r.ResourceName, r.Name, r.Value = 2, "t", "max.message.bytes", &value
	k.apply(r)
}

// produceLoop writes 50 batches of an idempotent producer, five in flight, and repeats
// some of them.
func produceLoop(k *kit, l *ledger, n int64) {
	c := k.client()
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	var seq [2]int32
	for range 10 {
		var reqs []*kmsg.ProduceRequest
		var sent []string
		for range 5 {
			p := rng.Int32N(2)
			v := fmt.Sprintf("%d/%d/%d", n, p, seq[p])
			r := rec{pid: n, seq: seq[p], ts: testEpochMs}
			seq[p]++
			acks := int16(-1)
			if rng.IntN(3) == 0 {
				acks = 1
			}
			req := produceReq(12, "t", kafka.TopicID{}, p, acks, r.encode(v))
			req.TimeoutMillis = 1_000_000
			for range 1 + rng.IntN(2) {
				c.send(req)
				reqs, sent = append(reqs, req), append(sent, v)
			}
		}
		for i, req := range reqs {
			resp := c.receive(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
			if resp.ErrorCode != 0 {
				panic(fmt.Sprintf("produce %s: %v", sent[i], kafka.CodeForNum(resp.ErrorCode)))
			}
			l.ack(resp.Partition, resp.BaseOffset, sent[i])
		}
	}
}

// readLoop follows both partitions until everything was read after the producers ended.
func readLoop(k *kit, seen *[2][]string, n int, stop *atomic.Bool) {
	c := k.client()
	rng := rand.New(rand.NewPCG(uint64(n), 4))
	var hw [2]int64
	for {
		last := stop.Load()
		req := fetchReq("t", 0, 0, 1)
		req.IsolationLevel = int8(n % 2)
		req.MinBytes = []int32{1, 1, 300}[n]
		req.MaxBytes = []int32{1 << 20, 1, 500}[n]
		req.MaxWaitMillis = int32(rng.IntN(20))
		for p := range req.Topics[0].Partitions {
			req.Topics[0].Partitions[p].FetchOffset = int64(len(seen[p]))
		}
		moved := false
		for _, p := range c.do(req).(*kmsg.FetchResponse).Topics[0].Partitions {
			if p.ErrorCode != 0 {
				panic(fmt.Sprintf("fetch: %v", kafka.CodeForNum(p.ErrorCode)))
			}
			if p.HighWatermark < hw[p.Partition] || p.LastStableOffset > p.HighWatermark {
				panic(fmt.Sprintf("high watermark %d after %d, last stable offset %d", p.HighWatermark, hw[p.Partition], p.LastStableOffset))
			}
			hw[p.Partition] = p.HighWatermark
			v := values(k.t, p.RecordBatches, int64(len(seen[p.Partition])))
			seen[p.Partition] = append(seen[p.Partition], v...)
			if int64(len(seen[p.Partition])) > p.HighWatermark {
				panic("read above the high watermark")
			}
			moved = moved || len(v) > 0
		}
		if last && !moved && int64(len(seen[0])) >= hw[0] && int64(len(seen[1])) >= hw[1] {
			return
		}
	}
}

// audit compares what was promised with what everybody read.
func (k *kit) audit(l *ledger, seen [][2][]string) {
	k.t.Helper()
	for p := range int32(2) {
		log := k.reps.Get("t", p).Log()
		at := map[string]int64{}
		for off, v := range seen[0][p] {
			if prev, twice := at[v]; twice {
				k.t.Fatalf("partition %d: %s is at %d and at %d", p, v, prev, off)
			}
			at[v] = int64(off)
		}
		for n := range seen {
			if int64(len(seen[n][p])) != log.LogEndOffset() {
				k.t.Fatalf("partition %d: reader %d saw %d records of %d", p, n, len(seen[n][p]), log.LogEndOffset())
			}
			for off, v := range l.acked[p] {
				if seen[n][p][off] != v {
					k.t.Fatalf("partition %d: %s was acknowledged at %d, reader %d saw %s", p, v, off, n, seen[n][p][off])
				}
			}
		}
	}
	if n := k.reps.Stats.DelayedFetchRequests.Load() + k.reps.Stats.DelayedProduceRequests.Load(); n != 0 {
		k.t.Fatalf("%d requests still wait", n)
	}
	if n := k.wheel.Len(); n != 0 {
		k.t.Fatalf("%d deadlines are left", n)
	}
}
