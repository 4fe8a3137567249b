package broker_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/broker"
	"github.com/gregorhq/gregor/test/codes"
)

// rowTimeout bounds what a client makes of one code.
const rowTimeout = 20 * time.Second

// TestEveryCodeLeadsAClientWhereItShould (traps.md T3): each code that the broker answers
// to a producer with transactions or to a member of a group, and what franz-go makes of
// it. Codes that are told to clients that did nothing wrong must not end them.
func TestEveryCodeLeadsAClientWhereItShould(t *testing.T) {
	rows, err := codes.Rows()
	if err != nil {
		t.Fatal(err)
	}
	for _, old := range []bool{false, true} {
		name := "transaction.version=2"
		if old {
			name = "transaction.version=1"
		}
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), groupTimeout)
			defer cancel()
			b := codesBroker(t, ctx)
			if old {
				oldTransactions(t, ctx, b)
			}
			p := newClient(t, b)
			defer p.Close()
			produce(t, ctx, p, "in", 0, 200)
			for _, row := range rows {
				if row.Scenario.OldTxns != old || row.Want["franz-go"] == codes.Untried {
					continue
				}
				t.Run(row.Name(), func(t *testing.T) {
					t.Parallel()
					tryRow(t, b, row)
				})
			}
		})
	}
}

// codesBroker forgets members soon: one that was told that it is unknown, and joins under
// another id, waits for the end of the session of the one that it was.
func codesBroker(t *testing.T, ctx context.Context) *broker.Broker {
	t.Helper()
	b, err := broker.Open(broker.Config{InProcess: true, Properties: map[string]string{
		"group.initial.rebalance.delay.ms": "0", "offsets.topic.num.partitions": "5", "transaction.state.log.num.partitions": "5",
		"group.consumer.heartbeat.interval.ms": "100", "group.consumer.min.heartbeat.interval.ms": "100",
		"group.consumer.session.timeout.ms": "2000", "group.consumer.min.session.timeout.ms": "1000",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return b
}

// oldTransactions lowers transaction.version to 1.
func oldTransactions(t *testing.T, ctx context.Context, b *broker.Broker) {
	t.Helper()
	cl := newClient(t, b)
	defer cl.Close()
	req := kmsg.NewPtrUpdateFeaturesRequest()
	f := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	f.Feature, f.MaxVersionLevel, f.UpgradeType, f.AllowDowngrade = "transaction.version", 1, 2, true
	req.FeatureUpdates = append(req.FeatureUpdates, f)
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// codeClient is a client behind a relay.
type codeClient struct {
	row      codes.Row
	relay    codes.Relay
	injected <-chan struct{}
	again    <-chan struct{}
	opts     []kgo.Opt
}

func tryRow(t *testing.T, b *broker.Broker, row codes.Row) {
	ctx, cancel := context.WithTimeout(context.Background(), rowTimeout)
	defer cancel()
	c := &codeClient{row: row}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		up, err := b.Dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		client, down := net.Pipe()
		go c.relay.Serve(down, up)
		return client, nil
	}
	c.opts = []kgo.Opt{kgo.SeedBrokers(b.Addr()), kgo.Dialer(dial), kgo.AllowAutoTopicCreation(), kgo.MetadataMinAge(10 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond })}
	if row.Scenario.Name != "txn" || isOffsets(row) {
		c.opts = append(c.opts, kgo.ConsumerGroup(row.Name()), kgo.ConsumeTopics("in"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.HeartbeatInterval(100*time.Millisecond), kgo.SessionTimeout(6*time.Second))
	}
	var got codes.Outcome
	switch {
	case row.Scenario.Name != "txn":
		got = c.member(t, ctx)
	case isOffsets(row):
		got = c.session(t, ctx)
	default:
		got = c.transactions(t, ctx)
	}
	if got != row.Want["franz-go"] {
		t.Errorf("%s, want %s", got, row.Want["franz-go"])
	}
	if c.relay.Disarm() {
		t.Error("there was no such request")
	}
}

// isOffsets: franz-go adds offsets to a transaction as a member of a group only.
func isOffsets(row codes.Row) bool {
	return row.Key == int16(kmsg.TxnOffsetCommit) || row.Key == int16(kmsg.AddOffsetsToTxn)
}

func (c *codeClient) arm() {
	c.injected, c.again = c.relay.Arm(c.row.Name(), c.row.Key, c.row.Code.Num())
}

// transactions commits a transaction into which the code is injected, and says what
// became of the client.
func (c *codeClient) transactions(t *testing.T, ctx context.Context) codes.Outcome {
	cl, err := kgo.NewClient(append(c.opts, kgo.TransactionalID(c.row.Name()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	one := func() error {
		if err := cl.BeginTransaction(); err != nil {
			return err
		}
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "codes", Value: []byte("v")}).FirstErr(); err != nil {
			return errors.Join(err, cl.EndTransaction(ctx, kgo.TryAbort))
		}
		return cl.EndTransaction(ctx, kgo.TryCommit)
	}
	if c.row.Scenario.Running {
		if err := one(); err != nil {
			t.Fatalf("without any error: %v", err)
		}
	}
	c.arm()
	return after(ctx, one, func() { _ = cl.EndTransaction(ctx, kgo.TryAbort) })
}

// after says what the code makes of the first try and those after it.
func after(ctx context.Context, one func() error, abort func()) codes.Outcome {
	if err := one(); err == nil {
		return codes.GoesOn
	}
	for range 3 {
		abort() // done already, or what the documentation asks for
		if err := one(); err == nil {
			return codes.Abortable
		}
		if ctx.Err() != nil {
			return "hangs"
		}
	}
	return codes.Fatal
}

// session does the same with the offsets of what a member of a group read.
func (c *codeClient) session(t *testing.T, ctx context.Context) codes.Outcome {
	s, err := kgo.NewGroupTransactSession(append(c.opts, kgo.TransactionalID(c.row.Name()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	one := func() error {
		f := s.PollRecords(ctx, 3)
		if f.Empty() {
			return errors.Join(errors.New("nothing to read"), f.Err())
		}
		if err := s.Begin(); err != nil {
			return err
		}
		s.Produce(ctx, &kgo.Record{Topic: "codes", Value: []byte("v")}, nil)
		committed, err := s.End(ctx, kgo.TryCommit)
		if err == nil && !committed {
			err = errors.New("aborted")
		}
		return err
	}
	if err := one(); err != nil {
		t.Fatalf("without any error: %v", err)
	}
	c.arm()
	return after(ctx, one, func() {})
}

// member reads and commits until it has done so three times after the code came.
func (c *codeClient) member(t *testing.T, ctx context.Context) codes.Outcome {
	if !c.row.Scenario.Running {
		c.arm()
	}
	opts := append(c.opts, kgo.DisableAutoCommit())
	if c.row.Scenario.Name == "consumer" {
		opts = append(opts, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	told := false
	for good := 0; good < 3; {
		if ctx.Err() != nil {
			return codes.Fatal
		}
		round, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		f := cl.PollRecords(round, 3)
		cancel()
		for _, e := range f.Errors() {
			told = told || !errors.Is(e.Err, context.DeadlineExceeded)
		}
		if f.NumRecords() == 0 {
			continue
		}
		if err := cl.CommitUncommittedOffsets(ctx); err != nil {
			told = told || ctx.Err() == nil
			continue
		}
		switch {
		case c.injected != nil:
			good++
		case c.row.Key == int16(kmsg.OffsetCommit):
			c.arm()
		default: // a heartbeat
			c.arm()
			select {
			case <-c.again: // the client has done with the code what it does
			case <-ctx.Done():
			}
		}
	}
	switch {
	case told:
		return codes.Told
	case c.row.MayRejoin() && c.relay.Rejoined():
		return codes.Rejoins
	}
	return codes.GoesOn
}
