package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

// startTransactions starts producers of transactions of both versions.
func (cr *crash) startTransactions(ctx context.Context, wg *sync.WaitGroup) {
	for i := range 3 {
		var opts []kgo.Opt
		if i == 0 {
			opts = append(opts, kgo.MaxVersions(kversion.V3_6_0()))
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				cr.transact(ctx, fmt.Sprintf("tx-%d", i), opts)
			}
		})
	}
	// These leave a transaction open under an id that nobody uses again.
	wg.Go(func() {
		for ctx.Err() == nil {
			cr.abandon(ctx, fmt.Sprintf("left-%d", cr.serial.Add(1)))
			pause(ctx, time.Duration(rand.IntN(1000))*time.Millisecond)
		}
	})
}

// abandon begins a transaction and dies.
func (cr *crash) abandon(ctx context.Context, id string) {
	line := &lifeline{}
	cl, err := kgo.NewClient(cr.options(line, kgo.TransactionalID(id), kgo.TransactionTimeout(txnLimit), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		cr.violation("%s: %v", id, err)
		return
	}
	defer cl.Close()
	defer line.sever()
	if cl.BeginTransaction() != nil {
		return
	}
	limit, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r := &kgo.Record{Topic: txnTopic, Partition: rand.Int32N(txnParts), Value: []byte(id)}
	err = cl.ProduceSync(limit, r).FirstErr()
	cr.sent(sentTxn{id, []sentRecord{{tpName(txnTopic, r.Partition), id, -1}}, refused})
	if err == nil {
		cr.count("transactions left open for ever", 1)
	}
}

// startCopiers starts two for each kind of group.
func (cr *crash) startCopiers(ctx context.Context, wg *sync.WaitGroup) {
	kinds := map[string][]kgo.Opt{
		outTopic: {kgo.Balancers(kgo.CooperativeStickyBalancer())},
		out848:   {kgo.Balancers(kgo.RangeBalancer()), kgo.ServerSideBalancer()},
	}
	for topic, opts := range kinds {
		for i := range 2 {
			kind := opts
			if topic == outTopic && i == 0 {
				kind = append(opts[:1:1], kgo.MaxVersions(kversion.V3_6_0()))
			}
			wg.Go(func() {
				for ctx.Err() == nil {
					cr.copy(ctx, topic, fmt.Sprintf("%s-%d", topic, i), kind)
				}
			})
		}
	}
}

// transact is the life of one transactional producer: some transactions, of which it
// leaves the last open and dies, or closes itself in order.
func (cr *crash) transact(ctx context.Context, id string, opts []kgo.Opt) {
	line := &lifeline{}
	cl, err := kgo.NewClient(cr.options(line, append([]kgo.Opt{kgo.TransactionalID(id), kgo.TransactionTimeout(txnLimit),
		kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)...)
	if err != nil {
		cr.violation("%s: %v", id, err)
		return
	}
	defer cl.Close()
	defer line.sever()
	for range 1 + rand.IntN(30) {
		if ctx.Err() != nil || !cr.transaction(ctx, cl, id) {
			return
		}
		pause(ctx, time.Duration(rand.IntN(20))*time.Millisecond)
	}
}

// transaction makes one transaction; false says that the client is not to be used any
// more.
func (cr *crash) transaction(ctx context.Context, cl *kgo.Client, id string) bool {
	if cl.BeginTransaction() != nil {
		return false
	}
	// The limit ends a producer whose transaction has been aborted while it waits.
	limit, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	began := cr.now()
	x := sentTxn{producer: id, outcome: refused} // until a commit is asked for, it cannot be
	records := make([]*kgo.Record, 1+rand.IntN(10))
	for i := range records {
		p := rand.Int32N(txnParts)
		value := fmt.Sprintf("%s-%d", id, cr.serial.Add(1))
		records[i] = &kgo.Record{Topic: txnTopic, Partition: p, Value: []byte(value)}
		x.records = append(x.records, sentRecord{tpName(txnTopic, p), value, -1})
	}
	split := rand.IntN(len(records) + 1)
	err := cl.ProduceSync(limit, records[:split]...).FirstErr()
	if err == nil && split > 0 {
		cr.progressed(began, txnTopic)
	}
	if rand.IntN(8) == 0 {
		pause(ctx, time.Duration(rand.IntN(1500))*time.Millisecond) // a slow one, some beyond the timeout
	}
	if err == nil {
		err = cl.ProduceSync(limit, records[split:]...).FirstErr()
	}
	defer func() { cr.sent(x) }()
	if rand.IntN(10) == 0 {
		return false // it dies
	}
	if err != nil || rand.IntN(4) == 0 {
		_ = cl.AbortBufferedRecords(limit)
		return cl.EndTransaction(limit, kgo.TryAbort) == nil
	}
	x.outcome = unknown
	if err := cl.EndTransaction(limit, kgo.TryCommit); err != nil {
		return false
	}
	x.outcome = done
	for i, r := range records {
		x.records[i].offset = r.Offset
	}
	return true
}

// copy is the life of one copier: each record of inTopic to the same partition of
// another topic, its offset and its copy in one transaction.
func (cr *crash) copy(ctx context.Context, topic, id string, opts []kgo.Opt) {
	line := &lifeline{}
	s, err := kgo.NewGroupTransactSession(cr.options(line, append([]kgo.Opt{kgo.TransactionalID(id), kgo.TransactionTimeout(txnLimit),
		kgo.ConsumerGroup("copiers-" + topic), kgo.ConsumeTopics(inTopic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.SessionTimeout(time.Second), kgo.RebalanceTimeout(time.Second), kgo.HeartbeatInterval(40 * time.Millisecond)},
		opts...)...)...)
	if err != nil {
		cr.violation("%s: %v", id, err)
		return
	}
	defer s.Close()
	dies := rand.IntN(2) == 0
	if dies {
		defer line.sever()
	}
	for end := cr.now() + time.Duration(1000+rand.IntN(5000))*time.Millisecond; ctx.Err() == nil && cr.now() < end; {
		poll, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		f := s.PollRecords(poll, 50)
		cancel()
		if f.NumRecords() > 0 && !cr.copyBatch(s, f, topic, id) || cr.outOfRange(f) {
			return
		}
	}
}

func (cr *crash) copyBatch(s *kgo.GroupTransactSession, f kgo.Fetches, topic, id string) bool {
	if s.Begin() != nil {
		return false
	}
	limit, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	began := cr.now()
	x := sentTxn{producer: id, outcome: refused}
	var records []*kgo.Record
	f.EachRecord(func(r *kgo.Record) {
		value := fmt.Sprintf("%s#%d", r.Value, cr.serial.Add(1))
		records = append(records, &kgo.Record{Topic: topic, Partition: r.Partition, Value: []byte(value)})
		x.records = append(x.records, sentRecord{tpName(topic, r.Partition), value, -1})
	})
	defer func() { cr.sent(x) }()
	if s.ProduceSync(limit, records...).FirstErr() != nil {
		_, err := s.End(limit, kgo.TryAbort)
		return err == nil
	}
	cr.progressed(began, topic)
	x.outcome = unknown
	committed, err := s.End(limit, kgo.TryCommit)
	switch {
	case committed && err == nil:
		x.outcome = done
		for i, r := range records {
			x.records[i].offset = r.Offset
		}
	case err == nil:
		x.outcome = refused
	}
	return err == nil
}
