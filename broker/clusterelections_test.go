package broker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// moveLeader makes another replica of partition 0 its first and has it elected; all
// replicas stay in sync, so that the next move may come at once.
func moveLeader(t *testing.T, ctx context.Context, cl *kgo.Client, topic string, move int) {
	t.Helper()
	order := []int32{int32(move%3) + 1, int32((move+1)%3) + 1, int32((move+2)%3) + 1}
	partitions(t, ctx, cl, topic, fullISR)
	reassign(t, ctx, cl, topic, order)
	req := kmsg.NewPtrElectLeadersRequest()
	req.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: topic, Partitions: []int32{0}}}
	req.TimeoutMillis = 10_000
	if _, err := req.RequestWith(ctx, cl); err != nil {
		t.Fatalf("election %d: %v", move, err)
	}
	partitions(t, ctx, cl, topic, func(p kadm.PartitionDetail) bool { return p.Leader == order[0] })
}

// eventually waits for the condition.
func eventually(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not before the test's time was over", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// electionMoves is how often a leader is moved in a test.
const electionMoves = 30

// With five requests in flight, as it has by default, a producer without transactions
// writes through election after election: nothing twice, nothing out of order, and no
// refusal of a sequence number, which would end this producer (T2).
func TestFiveRequestsInFlightDuringElections(t *testing.T) {
	ctx := clusterContext(t)
	c := startCluster(t, ctx)
	adm := clusterClient(t, c)
	if _, err := kadm.NewClient(adm).CreateTopic(ctx, 1, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	p := clusterClient(t, c, kgo.StopProducerOnDataLossDetected(), kgo.ProducerBatchMaxBytes(1024),
		kgo.ProducerLinger(0), kgo.MaxBufferedRecords(200), kgo.DefaultProduceTopic("t"))
	var acked atomic.Int64
	var failed atomic.Value
	stop := make(chan struct{})
	sent := 0
	var done sync.WaitGroup
	done.Go(func() {
		for ; ; sent++ {
			select {
			case <-stop:
				return
			default:
			}
			p.Produce(ctx, &kgo.Record{Value: fmt.Append(nil, sent)}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.CompareAndSwap(nil, err)
				}
				acked.Add(1)
			})
		}
	})
	for move := range electionMoves {
		before := acked.Load()
		moveLeader(t, ctx, adm, "t", move)
		eventually(t, ctx, "records are acknowledged", func() bool { return acked.Load() > before+100 })
	}
	close(stop)
	done.Wait()
	if err := p.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := failed.Load(); err != nil {
		t.Fatalf("a record was refused: %v", err)
	}
	checkInOrder(t, ctx, c, "t", 1, sent)
	end, err := kadm.NewClient(adm).ListEndOffsets(ctx, "t")
	if o, _ := end.Lookup("t", 0); err != nil || o.Offset != int64(sent) {
		t.Errorf("the partition ends at %d, %v, with %d records", o.Offset, err, sent)
	}
}

// watch asks for an offset of partition 0 over and over and fails when it goes back.
func watch(t *testing.T, ctx context.Context, cl *kgo.Client, topic string, isolation int8) {
	last := int64(-1)
	for ctx.Err() == nil {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID, req.IsolationLevel = -1, isolation
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Timestamp = -1
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{part}}}
		resp, err := req.RequestWith(ctx, cl)
		if err != nil || len(resp.Topics) == 0 || resp.Topics[0].Partitions[0].ErrorCode != 0 {
			continue
		}
		at := resp.Topics[0].Partitions[0].Offset
		if at < last {
			t.Errorf("isolation %d: the end is %d, and was %d before", isolation, at, last)
		}
		last = max(last, at)
	}
}

// Transactions are committed and aborted in turn while the partition's leader moves: the
// last stable offset and the high watermark never go back, and a reader of committed
// records gets every committed value once, in order, and no other (T12, R11).
func TestLastStableOffsetDuringElections(t *testing.T) {
	ctx := clusterContext(t)
	c := startCluster(t, ctx)
	adm := clusterClient(t, c)
	if _, err := kadm.NewClient(adm).CreateTopic(ctx, 1, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	watching, enough := context.WithCancel(ctx)
	var done sync.WaitGroup
	for _, isolation := range []int8{0, 1} {
		done.Go(func() { watch(t, watching, clusterClient(t, c), "t", isolation) })
	}
	var ended atomic.Int64
	stop := make(chan struct{})
	committed := 0
	done.Go(func() {
		committed = transact(t, ctx, clusterClient(t, c, kgo.TransactionalID("x"), kgo.DefaultProduceTopic("t")), &ended, stop)
	})
	for move := range electionMoves {
		before := ended.Load()
		moveLeader(t, ctx, adm, "t", move)
		eventually(t, ctx, "transactions end", func() bool { return ended.Load() > before+3 })
	}
	close(stop)
	eventually(t, ctx, "the producer ends", func() bool { return ended.Load() < 0 })
	enough()
	done.Wait()
	r := clusterClient(t, c, kgo.ConsumeTopics("t"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for next := 0; next < committed; {
		f := r.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d committed values", next, committed)
		}
		f.EachRecord(func(rec *kgo.Record) {
			if string(rec.Value) != fmt.Sprint(next) {
				t.Fatalf("offset %d holds %s, not %d", rec.Offset, rec.Value, next)
			}
			next++
		})
	}
}

// transact commits the values 0, 1, 2 ... one by one, with an aborted one after each, and
// says how many it has committed. In the end it sets ended below zero.
func transact(t *testing.T, ctx context.Context, cl *kgo.Client, ended *atomic.Int64, stop chan struct{}) (committed int) {
	defer ended.Store(-1)
	for n := 0; ; n++ {
		select {
		case <-stop:
			return committed
		default:
		}
		value, how := fmt.Sprint(committed), kgo.TryCommit
		if n%2 == 1 {
			value, how = "aborted", kgo.TryAbort
		}
		err := cl.BeginTransaction()
		if err == nil {
			err = cl.ProduceSync(ctx, &kgo.Record{Value: []byte(value)}).FirstErr()
		}
		err = errors.Join(err, cl.EndTransaction(ctx, how))
		if err != nil {
			t.Errorf("transaction %d: %v", n, err)
			return committed
		}
		if how == kgo.TryCommit {
			committed++
		}
		ended.Add(1)
	}
}

// Offsets are committed and fetched while the coordinator of the groups moves: a fetch
// never answers an older offset than the last one acknowledged, nor none (G1, G2).
func TestCommittedOffsetsDuringElections(t *testing.T) {
	ctx := clusterContext(t)
	c := startCluster(t, ctx)
	adm := clusterClient(t, c)
	if _, err := kadm.NewClient(adm).CreateTopic(ctx, 1, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	var rounds atomic.Int64
	stop := make(chan struct{})
	var done sync.WaitGroup
	for g := range 3 {
		done.Go(func() {
			commitAndFetch(t, ctx, kadm.NewClient(clusterClient(t, c)), fmt.Sprint("group", g), &rounds, stop)
		})
	}
	eventually(t, ctx, "offsets are committed", func() bool { return rounds.Load() > 3 })
	for move := range electionMoves {
		before := rounds.Load()
		moveLeader(t, ctx, adm, "__consumer_offsets", move)
		eventually(t, ctx, "offsets are committed", func() bool { return rounds.Load() > before+6 })
	}
	close(stop)
	done.Wait()
	t.Logf("%d commits were acknowledged, each read back", rounds.Load())
}

func commitAndFetch(t *testing.T, ctx context.Context, adm *kadm.Client, group string, rounds *atomic.Int64, stop chan struct{}) {
	acked, next := int64(-1), int64(0)
	for ctx.Err() == nil {
		select {
		case <-stop:
			return
		default:
		}
		var offsets kadm.Offsets
		offsets.Add(kadm.Offset{Topic: "t", At: next, LeaderEpoch: -1})
		resp, err := adm.CommitOffsets(ctx, group, offsets)
		if err == nil {
			err = resp.Error()
		}
		if err == nil {
			acked = next
			rounds.Add(1)
		}
		next++
		got, err := adm.FetchOffsets(ctx, group)
		if err == nil {
			err = got.Error()
		}
		if err != nil {
			continue
		}
		o, ok := got.Lookup("t", 0)
		if acked >= 0 && (!ok || o.At < acked) {
			t.Errorf("%s: %d was acknowledged, %d is read (%t)", group, acked, o.At, ok)
			return
		}
		if o.At >= next {
			t.Errorf("%s: %d is read, which was never committed", group, o.At)
			return
		}
	}
}
