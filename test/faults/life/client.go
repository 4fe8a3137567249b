//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/gregorhq/gregor/broker"
	"github.com/gregorhq/gregor/test/faults/ledger"
)

// callLimit is how long a request may take; on a broken broker it ends as unknown.
const callLimit = 1500 * time.Millisecond

// life is the client and its book. One goroutine runs the script.
type life struct {
	ledger   *ledger.Ledger
	out      *os.File
	rng      *rand.Rand
	began    time.Time
	cl       *kgo.Client
	br       *kgo.Broker
	failures int
	down     int // failures without a success between

	pid   producer
	seqs  map[ledger.Log]int32
	txnal producer
}

type producer struct {
	id    int64
	epoch int16
	ready bool
}

// node is the id of the one broker.
const node = 1

func (lf *life) connect(b *broker.Broker) error {
	var err error
	lf.cl, err = kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.Dialer(b.Dial), kgo.MaxVersions(kversion.V4_0_0()), kgo.DisableClientMetrics(),
		kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }), kgo.RetryTimeout(callLimit))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	_, err = lf.metadata(ctx)
	lf.br = lf.cl.Broker(node)
	return err
}

func (lf *life) metadata(ctx context.Context) (*kmsg.MetadataResponse, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = nil // all
	return req.RequestWith(ctx, lf.cl)
}

// write adds one line to the ledger, in the file first.
func (lf *life) write(line string) {
	if _, err := lf.out.WriteString(line + "\n"); err != nil {
		panic(fmt.Sprintf("writing the ledger: %v", err))
	}
	if err := lf.ledger.Apply(line); err != nil {
		panic(fmt.Sprintf("keeping the ledger: %v", err))
	}
}

// ask sends one request, to the client, which finds the coordinator, or to the broker,
// and repeats it while it has to wait for what the broker does not know yet.
func ask[R kmsg.Response](lf *life, to kmsg.Requestor, req kmsg.Request, code func(R) int16) (R, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	for {
		var zero R
		kresp, err := to.Request(ctx, req)
		resp := zero
		if err == nil {
			resp = kresp.(R)
			err = kerr.ErrorForCode(code(resp))
		}
		switch {
		case err == nil:
			lf.down = 0
			return resp, nil
		case ctx.Err() != nil || !isYoung(err):
			return resp, lf.note(fmt.Errorf("%T: %w", req, err))
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// isYoung says that the broker has not yet what the request needs: it starts, or a
// transaction has not quite ended.
func isYoung(err error) bool {
	return slices.ContainsFunc([]error{kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.CoordinatorNotAvailable,
		kerr.UnknownTopicOrPartition, kerr.NotLeaderForPartition, kerr.LeaderNotAvailable}, func(young error) bool { return errors.Is(err, young) })
}

// note counts a failure.
func (lf *life) note(err error) error {
	if err != nil {
		lf.failures++
		lf.down++
		fmt.Fprintln(os.Stderr, "life: call failed:", err)
	}
	return err
}

// init gives a producer its id and epoch; id "" is one without transactions.
func (lf *life) init(id string) (producer, error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	if id != "" {
		req.TransactionalID = &id
	}
	req.TransactionTimeoutMillis = 60000
	resp, err := ask(lf, lf.cl, req, func(r *kmsg.InitProducerIDResponse) int16 { return r.ErrorCode })
	if err != nil {
		return producer{}, fmt.Errorf("InitProducerId %q: %w", id, err)
	}
	return producer{resp.ProducerID, resp.ProducerEpoch, true}, nil
}

// hex writes an id as the ledger has it.
func hex(id [16]byte) string { return fmt.Sprintf("%x", id[:]) }

func topicOf(log ledger.Log) (name string) {
	name, _, _ = strings.Cut(log.Topic, ".")
	return name
}

func idOf(log ledger.Log) (id [16]byte) {
	_, s, _ := strings.Cut(log.Topic, ".")
	b := id[:0]
	fmt.Sscanf(s, "%x", &b)
	copy(id[:], b)
	return id
}
