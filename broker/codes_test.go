package broker_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// injector stands between a client and a broker and puts an error code into the next
// response to one kind of request. The broker has done what it was asked for: to the
// client that is the worst case of a code that says it may not have.
type injector struct {
	dial func(context.Context, string, string) (net.Conn, error)

	mu  sync.Mutex
	key int16 // guarded by mu
	err int16 // guarded by mu; 0 for nothing to inject
}

func (i *injector) arm(key, err int16) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.key, i.err = key, err
}

// take is the code for a response to that kind of request.
func (i *injector) take(key int16) int16 {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err == 0 || i.key != key {
		return 0
	}
	err := i.err
	i.err = 0
	return err
}

type asked struct{ key, version int16 }

// Dial returns the client's end of a connection to the broker.
func (i *injector) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	up, err := i.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	client, down := net.Pipe()
	requests := make(chan asked, 1000)
	go func() {
		defer close(requests)
		defer func() { _, _ = up.Close(), down.Close() }()
		for {
			f, err := readFrame(down)
			if err != nil {
				return
			}
			a := asked{int16(binary.BigEndian.Uint16(f[4:])), int16(binary.BigEndian.Uint16(f[6:]))}
			requests <- a
			if _, err := up.Write(f); err != nil {
				return
			}
		}
	}()
	go func() {
		defer func() { _, _ = up.Close(), down.Close() }()
		for a := range requests {
			f, err := readFrame(up)
			if err != nil {
				return
			}
			if code := i.take(a.key); code != 0 {
				f = withCode(f, a, code)
			}
			if _, err := down.Write(f); err != nil {
				return
			}
		}
	}()
	return client, nil
}

// readFrame reads a request or response with its size.
func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	f := make([]byte, 4+binary.BigEndian.Uint32(size[:]))
	copy(f, size[:])
	_, err := io.ReadFull(r, f[4:])
	return f, err
}

// withCode puts the code wherever the response has one for what was asked.
func withCode(frame []byte, a asked, code int16) []byte {
	resp := kmsg.ResponseForKey(a.key)
	resp.SetVersion(a.version)
	header := 8
	if resp.IsFlexible() {
		header = 9
	}
	if err := resp.ReadFrom(frame[header:]); err != nil {
		panic(err)
	}
	switch r := resp.(type) {
	case *kmsg.ProduceResponse:
		for t := range r.Topics {
			for p := range r.Topics[t].Partitions {
				r.Topics[t].Partitions[p].ErrorCode = code
			}
		}
	case *kmsg.InitProducerIDResponse:
		r.ErrorCode = code
	case *kmsg.EndTxnResponse:
		r.ErrorCode, r.ProducerID, r.ProducerEpoch = code, -1, -1
	case *kmsg.TxnOffsetCommitResponse:
		for t := range r.Topics {
			for p := range r.Topics[t].Partitions {
				r.Topics[t].Partitions[p].ErrorCode = code
			}
		}
	default:
		panic(fmt.Sprintf("%T", r))
	}
	out := append([]byte(nil), frame[:header]...)
	out = resp.AppendTo(out)
	return append(kbin.AppendInt32(nil, int32(len(out)-4)), out[4:]...)
}

// outcome is what a code makes of a transaction.
type outcome string

const (
	goesOn  outcome = "goes on"   // the client tries again by itself, the transaction commits
	mayGo   outcome = "abortable" // the transaction is aborted, the same client commits the next
	fatal   outcome = "fatal"     // the client has to be made anew
	unknown outcome = "unknown"   // neither error nor success: a defect
)

// runTxn commits a transaction into which the code is injected, and says what became of
// the client.
func runTxn(t *testing.T, ctx context.Context, cl *kgo.Client, topic string, arm func()) outcome {
	t.Helper()
	one := func(commit kgo.TransactionEndTry, arm func()) error {
		if arm != nil {
			arm()
		}
		if err := cl.BeginTransaction(); err != nil {
			return err
		}
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr(); err != nil {
			return errors.Join(err, cl.EndTransaction(ctx, kgo.TryAbort))
		}
		return cl.EndTransaction(ctx, commit)
	}
	if err := one(kgo.TryCommit, arm); err == nil {
		return goesOn
	}
	_ = cl.EndTransaction(ctx, kgo.TryAbort) // done already, or what the documentation asks for
	for range 3 {
		err := one(kgo.TryCommit, nil)
		if err == nil {
			return mayGo
		}
		if ctx.Err() != nil {
			return unknown
		}
		_ = cl.EndTransaction(ctx, kgo.TryAbort)
	}
	return fatal
}

// TestEveryCodeLeadsATransactionalClientWhereItShould (traps.md T3): each code that the
// broker answers to a producer with transactions, and what the client makes of it. Codes
// that are told to clients that did nothing wrong must not end them.
func TestEveryCodeLeadsATransactionalClientWhereItShould(t *testing.T) {
	const (
		produceKey = 0
		initKey    = 22
		endTxnKey  = 26
	)
	ctx, cancel := context.WithTimeout(context.Background(), groupTimeout)
	defer cancel()
	b := startBroker(t, ctx, "")
	defer b.Close()
	for _, c := range []struct {
		key  int16
		code *kerr.Error
		want outcome
	}{
		{produceKey, kerr.NotLeaderForPartition, goesOn},
		{produceKey, kerr.UnknownTopicOrPartition, goesOn},
		{produceKey, kerr.NotEnoughReplicas, goesOn},
		{produceKey, kerr.NotEnoughReplicasAfterAppend, goesOn},
		{produceKey, kerr.RequestTimedOut, goesOn},
		{produceKey, kerr.KafkaStorageError, goesOn},
		{produceKey, kerr.ConcurrentTransactions, goesOn},
		{produceKey, kerr.CoordinatorNotAvailable, goesOn},
		{produceKey, kerr.TransactionAbortable, mayGo},
		{produceKey, kerr.InvalidTxnState, mayGo},
		{produceKey, kerr.OutOfOrderSequenceNumber, mayGo},
		{produceKey, kerr.MessageTooLarge, mayGo},
		{produceKey, kerr.InvalidProducerEpoch, mayGo},
		{produceKey, kerr.InvalidProducerIDMapping, mayGo},
		{endTxnKey, kerr.ConcurrentTransactions, goesOn},
		{endTxnKey, kerr.CoordinatorLoadInProgress, goesOn},
		{endTxnKey, kerr.CoordinatorNotAvailable, goesOn},
		{endTxnKey, kerr.NotCoordinator, goesOn},
		{endTxnKey, kerr.InvalidTxnState, fatal},
		{endTxnKey, kerr.ProducerFenced, fatal},
		{endTxnKey, kerr.InvalidProducerIDMapping, fatal},
		{initKey, kerr.ConcurrentTransactions, goesOn},
		{initKey, kerr.CoordinatorLoadInProgress, goesOn},
		{initKey, kerr.CoordinatorNotAvailable, goesOn},
		{initKey, kerr.NotCoordinator, goesOn},
	} {
		name := fmt.Sprintf("%s/%s", kmsg.NameForKey(c.key), c.code.Message)
		t.Run(name, func(t *testing.T) {
			inj := &injector{dial: b.Dial}
			cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.Dialer(inj.Dial), kgo.AllowAutoTopicCreation(), kgo.TransactionalID(name),
				kgo.MetadataMinAge(10*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			if c.key != initKey {
				if got := runTxn(t, ctx, cl, "codes", nil); got != goesOn {
					t.Fatalf("without any error: %s", got)
				}
			}
			if got := runTxn(t, ctx, cl, "codes", func() { inj.arm(c.key, c.code.Code) }); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if inj.take(c.key) != 0 {
				t.Error("there was no such request")
			}
		})
	}
}
