package broker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestConsumeTransformProduceExactlyOnce: records go from one topic to another in
// transactions that commit the consumed offsets with them, every third of which is
// aborted and done again; a reader of committed records sees each value once.
func TestConsumeTransformProduceExactlyOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), groupTimeout)
	defer cancel()
	b := startBroker(t, ctx, "")
	defer b.Close()
	p := newClient(t, b)
	defer p.Close()
	const n = 50
	produce(t, ctx, p, "in", 0, n)

	s, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(b.Addr()), kgo.Dialer(b.Dial), kgo.AllowAutoTopicCreation(),
		kgo.TransactionalID("copier"), kgo.ConsumerGroup("copiers"), kgo.ConsumeTopics("in"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for done, round := 0, 0; done < n; round++ {
		f := s.PollRecords(ctx, 7)
		if err := ctx.Err(); err != nil {
			t.Fatalf("%d of %d records, then %v", done, n, err)
		}
		if err := s.Begin(); err != nil {
			t.Fatal(err)
		}
		k := 0
		f.EachRecord(func(r *kgo.Record) {
			k++
			s.Produce(ctx, &kgo.Record{Topic: "out", Value: r.Value}, nil)
		})
		// What is buffered an abort would drop, and the log never hold.
		if err := s.Client().Flush(ctx); err != nil {
			t.Fatal(err)
		}
		committed, err := s.End(ctx, kgo.TransactionEndTry(round%3 != 2))
		if err != nil {
			t.Fatal(err)
		}
		if committed {
			done += k
		}
	}

	// The client goes by what it has in memory; whoever comes after it goes by these.
	if sum := stableOffsets(t, ctx, kadm.NewClient(p), "copiers"); sum != n {
		t.Errorf("the committed offsets add up to %d, want %d", sum, n)
	}

	r := newClient(t, b, kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer r.Close()
	seen := map[string]int{}
	for len(seen) < n {
		r.PollFetches(ctx).EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++ })
		if err := ctx.Err(); err != nil {
			t.Fatalf("%d of %d values, then %v", len(seen), n, err)
		}
	}
	for i := range n {
		if seen[fmt.Sprint(i)] != 1 {
			t.Errorf("value %d came %d times", i, seen[fmt.Sprint(i)])
		}
	}
}

// stableOffsets is the sum of a group's committed offsets once no transaction has any of
// them pending. EndTxn is answered when the decision is in the log, and the markers follow;
// until a group's has come a fetch gives the offset before, a stable one
// UNSTABLE_OFFSET_COMMIT (KIP-447).
func stableOffsets(t *testing.T, ctx context.Context, adm *kadm.Client, group string) (sum int64) {
	t.Helper()
	for {
		offsets, err := adm.FetchOffsets(kadm.RequireStable(ctx), group)
		if err != nil {
			t.Fatal(err)
		}
		if err = offsets.Error(); err == nil {
			offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
			return sum
		}
		if !errors.Is(err, kerr.UnstableOffsetCommit) {
			t.Fatal(err)
		}
	}
}
