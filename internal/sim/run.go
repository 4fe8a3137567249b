package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/gregorhq/gregor/internal/netx"
)

// Report is what a run found. Faults is empty for a good run.
type Report struct {
	Faults   []string
	Schedule string
	Acked    int
	Aborted  int
	Unknown  int
	Reads    int
	Commits  int
	Ghosts   int
	Kinds    map[string]int // faults of the schedule by kind
	Virtual  time.Duration
}

// clientHosts are the machines of the clients.
var clientHosts = []string{"c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10"}

const topicName = "t"

// Run runs the plan. It must be called within a testing/synctest bubble.
func Run(p Plan) (*Report, error) {
	c, err := New(p.Options)
	if err != nil {
		return nil, err
	}
	r := &run{plan: p, c: c, h: newHistory(), rng: rand.New(rand.NewSource(p.Seed)), stop: make(chan struct{}), failed: make(chan error, 1000)}
	began := time.Now()
	rep := &Report{}
	err = r.all(rep)
	r.release()
	c.close()
	if r.storm != nil {
		rep.Schedule, rep.Kinds = r.storm.String(), r.storm.done
	}
	for _, w := range r.h.order {
		switch w.fate {
		case acknowledged:
			rep.Acked++
		case aborted:
			rep.Aborted++
		default:
			rep.Unknown++
		}
	}
	for _, k := range r.h.commits {
		rep.Commits += int(k.acked)
	}
	rep.Reads, rep.Ghosts, rep.Virtual = r.h.reads, r.h.ghosts, time.Since(began)
	return rep, err
}

type run struct {
	plan   Plan
	c      *Cluster
	h      *history
	rng    *rand.Rand
	storm  *storm
	stop   chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
	failed chan error
}

// release tells the clients to end and waits for them.
func (r *run) release() {
	r.once.Do(func() { close(r.stop) })
	r.wg.Wait()
}

func (r *run) client(i int) *client {
	return &client{c: r.c, h: r.h, name: clientHosts[i], net: r.c.net.Host(clientHosts[i]), rng: rand.New(rand.NewSource(r.plan.Seed*100 + int64(i))),
		topic: topicName, parts: r.plan.Partitions, witness: r.witness, consumer: r.plan.Consumer, stopped: r.stop}
}

func (r *run) work(f func() error) {
	r.wg.Add(1)
	go func() {
		defer r.wg.Done()
		if err := f(); err != nil {
			r.failed <- err
		}
	}()
}

// member is the work of a group's member; with several nodes it reads the tail instead.
// A member that leaves waits for the answers to its fetches under a mutex that a
// rebalance needs too, and a goroutine that waits for a mutex keeps the bubble's time
// from going on: with slow links between several nodes a seed would never end.
func (r *run) member(cl *client) func() error {
	if len(r.c.hosts) > 1 {
		return cl.tail
	}
	return cl.member
}

func (r *run) all(rep *Report) error {
	for _, h := range r.c.hosts {
		if err := h.start(); err != nil {
			return err
		}
	}
	if err := r.createTopic(); err != nil {
		return err
	}
	r.storm = newStorm(r) // clients ask it
	for i, f := range []func(*client) func() error{
		func(cl *client) func() error { return cl.produce }, func(cl *client) func() error { return cl.produce },
		func(cl *client) func() error { return cl.transact }, func(cl *client) func() error { return cl.tail },
		func(cl *client) func() error { return cl.commit }, func(cl *client) func() error { return cl.watch },
		func(cl *client) func() error { return cl.tailCommitted }, r.member, r.member,
		func(cl *client) func() error { return cl.recreate },
	} {
		r.work(f(r.client(i)))
	}
	if err := r.weather(); err != nil {
		return err
	}
	if err := r.calm(); err != nil {
		return err
	}
	// The healed cluster works: something is acknowledged now.
	time.Sleep(time.Second)
	r.release()
	select {
	case err := <-r.failed:
		rep.Faults = append(rep.Faults, err.Error())
	default:
	}
	f, err := r.readAll()
	if err != nil {
		rep.Faults = append(append(rep.Faults, err.Error()), r.ledgers()...)
		return nil
	}
	rep.Faults = append(rep.Faults, r.h.check(f)...)
	rep.Faults = append(rep.Faults, r.audit()...)
	return nil
}

// weather lets the storm blow for its time.
func (r *run) weather() error {
	for end := time.Now().Add(r.plan.Storm); time.Now().Before(end); {
		for fault := time.Now().Add(magnitude(r.rng, r.plan.Gap)); time.Now().Before(fault); {
			time.Sleep(time.Until(r.storm.next(fault)))
			if err := r.storm.healDue(false); err != nil {
				return err
			}
		}
		if err := r.alive(); err != nil {
			return err
		}
		if err := r.storm.blow(); err != nil {
			return err
		}
	}
	return nil
}

// alive says that no node stopped by itself.
func (r *run) alive() error {
	for _, h := range r.c.hosts {
		if err := h.failed(); err != nil {
			return err
		}
	}
	return nil
}

// calm ends all faults and waits until the cluster is whole.
func (r *run) calm() error {
	for len(r.storm.undo) > 0 {
		if err := r.storm.healDue(true); err != nil {
			return err
		}
	}
	if err := r.storm.restoreVoters(); err != nil {
		return err
	}
	return r.whole()
}

func (r *run) admin() (*kadm.Client, error) {
	kc, err := (&client{c: r.c, name: "admin", net: netx.Net(r.c.net.Host("c1"))}).connect()
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(kc), nil
}

func (r *run) createTopic() error {
	adm, err := r.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	configs := map[string]*string{}
	if r.plan.SegmentBytes > 0 {
		size := strconv.Itoa(r.plan.SegmentBytes)
		configs["internal.segment.bytes"] = &size
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		t, cerr := adm.CreateTopic(ctx, r.plan.Partitions, int16(min(3, r.c.brokers)), configs, topicName)
		cancel()
		if err = errors.Join(cerr, t.Err); err == nil {
			return nil
		}
		if err := r.alive(); err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("creating the topic: %w", err)
		}
	}
}

// whole waits until every partition has all its replicas in sync.
func (r *run) whole() error {
	adm, err := r.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	missing := ""
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if err := r.alive(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		ts, err := adm.ListTopicsWithInternal(ctx)
		cancel()
		if missing = ""; err != nil {
			missing = err.Error()
			continue
		}
		for _, t := range ts {
			for _, p := range t.Partitions {
				if topicName != t.Topic && t.Err != nil && errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
					continue
				}
				if t.Err != nil || p.Err != nil || p.Leader < 0 || len(p.ISR) != len(p.Replicas) {
					missing += fmt.Sprintf(" %s-%d leader %d, in sync %v of %v;", p.Topic, p.Partition, p.Leader, p.ISR, p.Replicas)
				}
			}
		}
		if missing == "" && len(ts) > 0 {
			return nil
		}
	}
	return fmt.Errorf("five minutes after all faults were healed the cluster is not whole:%s", missing)
}

func (r *run) readAll() (final, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	f := final{epochs: map[place]int32{}}
	var err error
	// Transactions that were left open end by their timeout first.
	if f.committed, err = r.client(0).readAll(ctx, true, nil); err == nil {
		f.all, err = r.client(0).readAll(ctx, false, f.epochs)
	}
	return f, err
}
