package sim

import (
	"context"
	"fmt"
	"math/rand"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/netx"
)

// client is what every client of a run shares.
type client struct {
	c     *Cluster
	h     *history
	name  string
	net   netx.Net
	rng   *rand.Rand
	topic string
	parts int32
	// witness looks whether enough replicas have a record that was acknowledged.
	witness func(topic string, partition int32, offset int64)
	// topicID is the topic's, once a client that needs it has asked.
	topicID [16]byte
	// consumer says that groups use the protocol of KIP-848.
	consumer bool
	stopped  <-chan struct{} // no new work once it is closed
	deleted  time.Time       // when the topic of recreate was deleted last
	lines    sync.Map        // *kgo.Client to its *lines
	lived    [16]byte        // the id of the topic that was deleted then
}

// settings of every franz-go client: quick to find out that a node has gone.
func (cl *client) connect(opts ...kgo.Opt) (*kgo.Client, error) {
	l := &lines{cl: cl, cut: make(chan struct{})}
	opts = append([]kgo.Opt{
		kgo.SeedBrokers(cl.c.seeds()...), kgo.Dialer(l.dial), kgo.ClientID(cl.name), kgo.WithHooks(l),
		kgo.MetadataMinAge(50 * time.Millisecond), kgo.RequestTimeoutOverhead(time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }), kgo.RetryTimeout(30 * time.Second),
		kgo.RequestRetries(1 << 20), kgo.UnknownTopicRetries(-1),
	}, opts...)
	return kgo.NewClient(opts...)
}

// hop is what a dial and a request of a client take at least. Without it a client that
// repeats at once what was refused, or that two brokers send to each other (KIP-951),
// would stop time.
const hop = 200 * time.Microsecond

// lines are the connections of one franz-go client. They are cut before it is closed:
// while it waits for answers to fetches it holds mutexes that others of its goroutines
// want, and one that waits for a mutex keeps a synctest bubble's time from going on.
type lines struct {
	cl  *client
	cut chan struct{} // closed under mu

	mu    sync.Mutex
	conns []net.Conn
}

// take lets time pass, unless the lines are cut.
func (l *lines) take(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-l.cut:
		return net.ErrClosed
	}
}

// dial takes a moment, as every dial does.
func (l *lines) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if err := l.take(5 * hop); err != nil {
		return nil, err
	}
	conn, err := l.cl.net.Dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.cut:
		conn.Close()
		return nil, net.ErrClosed
	default:
	}
	l.conns = append(l.conns, conn)
	return paced{conn, l}, nil
}

// OnNewClient makes lines a hook, by which shut finds those of a client.
func (l *lines) OnNewClient(kc *kgo.Client) { l.cl.lines.Store(kc, l) }

// shut ends a client that connect made.
func (cl *client) shut(kc *kgo.Client) {
	cl.cutOff(kc)
	kc.Close()
}

// cutOff leaves a client without connections.
func (cl *client) cutOff(kc *kgo.Client) {
	if v, ok := cl.lines.LoadAndDelete(kc); ok {
		l := v.(*lines)
		l.mu.Lock()
		close(l.cut)
		for _, c := range l.conns {
			c.Close()
		}
		l.mu.Unlock()
	}
}

// paced is a connection whose writes take a moment.
type paced struct {
	net.Conn
	of *lines
}

func (p paced) Write(b []byte) (int, error) {
	if err := p.of.take(hop); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

func (cl *client) done() bool {
	select {
	case <-cl.stopped:
		return true
	default:
		return false
	}
}

// pause waits between two steps of a client, as long as the seed says.
func (cl *client) pause(limit time.Duration) {
	t := time.NewTimer(time.Duration(cl.rng.Int63n(int64(limit))) + time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-cl.stopped:
	}
}

// produce is an idempotent producer with acks=all that keeps several records in flight.
func (cl *client) produce() error {
	kc, err := cl.connect(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.RecordDeliveryTimeout(2*time.Minute), kgo.ProduceRequestTimeout(2*time.Second))
	if err != nil {
		return err
	}
	defer cl.shut(kc)
	if !cl.knowProducerID(kc) {
		return nil
	}
	for seq := 1; !cl.done(); seq++ {
		w := cl.h.send(&written{value: fmt.Sprintf("%s/%d", cl.name, seq), writer: cl.name, topic: cl.topic, partition: cl.rng.Int31n(cl.parts), seq: seq})
		kc.Produce(context.Background(), &kgo.Record{Topic: w.topic, Partition: w.partition, Value: []byte(w.value)}, func(r *kgo.Record, err error) {
			if err == nil {
				cl.h.settle(w, acknowledged, r.Offset)
				cl.witness(w.topic, w.partition, r.Offset)
			}
		})
		if cl.rng.Intn(8) == 0 {
			cl.pause(200 * time.Millisecond)
		}
		if cl.rng.Intn(20) == 0 {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
			err := kc.Flush(ctx)
			cancel()
			if err != nil {
				return fmt.Errorf("%s: nothing was settled for three minutes: %w", cl.name, err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := kc.Flush(ctx); err != nil {
		return fmt.Errorf("%s: nothing was settled for three minutes: %w", cl.name, err)
	}
	return nil
}

// knowProducerID asks for the producer id before there are records: while franz-go asks,
// those who want to send wait for a mutex, which a synctest bubble does not take for
// waiting, and time would stand still. It returns false when the client has to end.
func (cl *client) knowProducerID(kc *kgo.Client) bool {
	for !cl.done() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		_, _, err := kc.ProducerID(ctx)
		cancel()
		if err == nil {
			return true
		}
		cl.pause(100 * time.Millisecond)
	}
	return false
}

// transact is a transactional producer; after anything doubtful it begins anew under
// the same transactional id, which ends what was open.
func (cl *client) transact() error {
	var ghost producerGhost
	for txn := 0; !cl.done(); {
		kc, err := cl.connect(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(cl.name), kgo.TransactionTimeout(5*time.Second), kgo.ProducerLinger(0))
		if err != nil {
			return err
		}
		for cl.knowProducerID(kc) {
			if ghost != (producerGhost{}) {
				cl.haunt(kc, ghost)
			}
			ghost = cl.self(kc)
			txn++
			if !cl.transaction(kc, txn) || cl.rng.Intn(8) == 0 {
				break
			}
			ghost = producerGhost{}
			cl.pause(150 * time.Millisecond)
		}
		cl.shut(kc)
	}
	return nil
}

// self is what kc writes as now, before it is replaced.
func (cl *client) self(kc *kgo.Client) producerGhost {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	id, epoch, err := kc.ProducerID(ctx)
	if err != nil {
		return producerGhost{}
	}
	return producerGhost{id, epoch}
}

// transaction runs one and says whether the client can go on.
func (cl *client) transaction(kc *kgo.Client, txn int) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if kc.BeginTransaction() != nil {
		return false
	}
	var ws []*written
	failed := false
	for i := range 1 + cl.rng.Intn(4) {
		w := cl.h.send(&written{value: fmt.Sprintf("%s/%d.%d", cl.name, txn, i), writer: cl.name, topic: cl.topic, partition: cl.rng.Int31n(cl.parts), seq: i, txn: txn})
		ws = append(ws, w)
		kc.Produce(ctx, &kgo.Record{Topic: w.topic, Partition: w.partition, Value: []byte(w.value)}, func(r *kgo.Record, err error) {
			if err != nil {
				failed = true
				return
			}
			cl.h.settle(w, unknown, r.Offset)
		})
	}
	if kc.Flush(ctx) != nil || failed {
		_ = kc.AbortBufferedRecords(ctx) // the client is given up either way
		if kc.EndTransaction(ctx, kgo.TryAbort) == nil {
			cl.fate(ws, aborted)
		}
		return false
	}
	commit := cl.rng.Intn(4) > 0
	switch err := kc.EndTransaction(ctx, kgo.TransactionEndTry(commit)); {
	case err == nil && commit:
		cl.fate(ws, acknowledged)
	case err == nil:
		cl.fate(ws, aborted)
	default:
		return false
	}
	return true
}

func (cl *client) fate(ws []*written, f fate) {
	for _, w := range ws {
		cl.h.settle(w, f, w.offset)
	}
}

// commit commits rising offsets of a group of its own and reads them back.
func (cl *client) commit() error {
	var opts []kgo.Opt
	if cl.rng.Intn(2) == 0 {
		// Patient enough for what a coordinator says that has lost its office meanwhile.
		opts = append(opts, kgo.RequestTimeoutOverhead(8*time.Second))
	}
	kc, err := cl.connect(opts...)
	if err != nil {
		return err
	}
	defer cl.shut(kc)
	for n := int64(1); !cl.done(); n++ {
		key := cl.name
		cl.h.tryCommit(key, n)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		if cl.commitOffset(ctx, kc, n) == nil {
			cl.h.commitAcked(key, n)
		}
		if at, err := cl.fetchOffset(ctx, kc); err == nil {
			cl.h.fetched(key, at)
		}
		cancel()
		cl.pause(100 * time.Millisecond)
	}
	return nil
}
