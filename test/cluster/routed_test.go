package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const offsetsTopic = "__consumer_offsets"

// routed asks whichever broker has the answer: leaders, coordinators, the controller.
type routed struct {
	cl *kgo.Client
	at int32 // the coordinator that answered the last OffsetFetch
}

func (cr *crash) routed() *routed {
	cl, err := kgo.NewClient(cr.options(&lifeline{}, kgo.RetryTimeout(5*time.Second))...)
	if err != nil {
		panic(err) // the options are constants
	}
	return &routed{cl: cl}
}

func (r *routed) do(req kmsg.Request) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	if _, ok := req.(*kmsg.OffsetFetchRequest); !ok {
		return r.cl.Request(ctx, req)
	}
	shards := r.cl.RequestSharded(ctx, req)
	if len(shards) != 1 {
		return nil, fmt.Errorf("%d answers of coordinators", len(shards))
	}
	r.at = shards[0].Meta.NodeID
	return shards[0].Resp, shards[0].Err
}

// coordinator connects to the coordinator of a group, on a connection of which nothing
// arrives after it was closed.
func (cr *crash) coordinator(ctx context.Context, group string) (*raw, error) {
	if !cr.moving {
		return dial(cr.seeds[0])
	}
	c, err := cr.dialSoon(ctx, cr.seeds[rand.IntN(len(cr.seeds))])
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.SetVersion(3)
	req.CoordinatorKey = group
	r, err := c.do(req)
	if err != nil {
		return nil, err
	}
	resp := r.(*kmsg.FindCoordinatorResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	return cr.dialSoon(ctx, net.JoinHostPort(resp.Host, strconv.Itoa(int(resp.Port))))
}

func (cr *crash) dialSoon(ctx context.Context, addr string) (*raw, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return dialContext(ctx, addr)
}

// answerTime is how long a broker may take to answer on a new connection; for as long as
// silence it is not tried again.
const (
	answerTime = 400 * time.Millisecond
	silence    = 500 * time.Millisecond
)

// dialer makes connections to brokers that answer. A paused process accepts them too, and
// each request that franz-go has for its broker would find that out on its own, one after
// the other.
func (cr *crash) dialer(l *lifeline) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		cr.mu.Lock()
		until := cr.silent[addr]
		cr.mu.Unlock()
		if cr.now() < until {
			return nil, &net.OpError{Op: "dial", Net: network, Err: os.ErrDeadlineExceeded}
		}
		ctx, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		c, err := l.dial(ctx, network, addr)
		if err == nil {
			c.SetDeadline(time.Now().Add(answerTime))
			req := kmsg.NewPtrApiVersionsRequest()
			if _, err = (&raw{c, bufio.NewReader(c)}).do(req); err != nil {
				c.Close()
			}
			c.SetDeadline(time.Time{})
		}
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
			cr.mu.Lock()
			cr.silent[addr] = cr.now() + silence
			cr.mu.Unlock()
		}
		return c, err
	}
}

// observeBrokers asks all questions of whichever broker has the answer.
func (cr *crash) observeBrokers(ctx context.Context, w *watch) {
	r := cr.routed()
	defer r.cl.Close()
	for ctx.Err() == nil {
		if err := cr.observeGroups(r, w); err != nil {
			cr.count("rounds of the observer without all answers", 1)
			continue
		}
		if err := errors.Join(cr.observeLeaders(r, w.marks), cr.observeTransactions(r, w.open)); err != nil {
			cr.count("rounds of the observer without all answers", 1)
		}
		pause(ctx, 30*time.Millisecond)
	}
}

// observeGroups reads committed offsets. What a coordinator says that does not know yet
// that another has taken its place may be old, and is held against nobody: the brokers
// are asked who coordinates afterwards.
func (cr *crash) observeGroups(r *routed, w *watch) error {
	type answer struct {
		op     readOp
		group  string
		by     int32
		copier bool
	}
	var answers []answer
	read := func(group, topic string, parts int32, copier bool) error {
		return cr.readOffsets(r, group, topic, parts, func(op readOp) { answers = append(answers, answer{op, group, r.at, copier}) })
	}
	for _, group := range []string{"raw-classic", "raw-consumer", "eager", "cooperative", "consumer", "static"} {
		if err := read(group, workTopic, workParts, false); err != nil {
			return err
		}
	}
	for _, topic := range []string{outTopic, out848} {
		if err := read("copiers-"+topic, inTopic, txnParts, true); err != nil {
			return err
		}
	}
	contradicted, asked := r.leadersOf(offsetsTopic, len(cr.seeds))
	cr.mu.Lock()
	defer cr.mu.Unlock()
	for _, a := range answers {
		switch p := coordinatorPartition(a.group); {
		case asked < 2 || contradicted(p, a.by):
			cr.counts["reads of committed offsets that a coordinator of the past may have answered"]++
		case a.copier:
			// What transactions commit is only seen to grow.
			w.marks.observe("offset of "+a.op.key, a.op.offset, -1, 0, a.op.end)
		default:
			cr.reads = append(cr.reads, a.op)
		}
	}
	return nil
}

// coordinatorPartition is the partition of __consumer_offsets that has the group: the
// hash of Java's strings modulo the number of partitions.
func coordinatorPartition(group string) int32 {
	var h int32
	for _, c := range []byte(group) {
		h = 31*h + int32(c)
	}
	return (h & 0x7fffffff) % offsetsParts
}

// leadersOf asks each broker who leads the partitions of a topic. It returns whether one
// of them says that a partition has another leader than that one, and how many answered.
func (r *routed) leadersOf(topic string, brokers int) (contradicted func(partition, leader int32) bool, asked int) {
	said := map[int32]map[int32]bool{}
	for id := range brokers {
		req := kmsg.NewPtrMetadataRequest()
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = kmsg.StringPtr(topic)
		req.Topics = append(req.Topics, rt)
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		resp, err := r.cl.Broker(id+1).Request(ctx, req)
		cancel()
		if err != nil {
			continue
		}
		asked++
		for _, t := range resp.(*kmsg.MetadataResponse).Topics {
			for _, p := range t.Partitions {
				if said[p.Partition] == nil {
					said[p.Partition] = map[int32]bool{}
				}
				said[p.Partition][p.Leader] = true
			}
		}
	}
	return func(partition, leader int32) bool { return len(said[partition]) != 1 || !said[partition][leader] }, asked
}

// observeLeaders asks the leaders for both watermarks. The answers of one leader epoch
// never go back, nor do they behind those of an epoch before.
func (cr *crash) observeLeaders(c asker, m *watermarks) error {
	for _, isolation := range []int8{1, 0} {
		r, err := askOffsets(c, isolation)
		if err != nil {
			return err
		}
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				tp := tpName(t.Topic, p.Partition)
				if p.ErrorCode != 0 || !m.current(tp, p.LeaderEpoch) {
					continue
				}
				if isolation == 1 {
					m.observe(tp, -1, p.Offset, 0, cr.now())
				} else {
					m.observe(tp, p.Offset, -1, 0, cr.now())
				}
			}
		}
	}
	return nil
}
