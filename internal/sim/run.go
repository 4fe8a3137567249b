package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/gregorhq/gregor/internal/netx"
)

// Plan is what one run does.
type Plan struct {
	Options
	Seed int64
	// Storm is how long faults happen, Steps how far they lie apart at most.
	Storm, Step time.Duration
	Partitions  int32
}

// Report is what a run found. Faults is empty for a good run.
type Report struct {
	Faults   []string
	Schedule string
	Acked    int
	Aborted  int
	Unknown  int
	Reads    int
	Commits  int
	Kinds    map[string]int // faults of the schedule by kind
	Virtual  time.Duration
}

// clientHosts are the machines of the clients.
var clientHosts = []string{"c1", "c2", "c3", "c4", "c5", "c6", "c7"}

const topicName = "t"

// Run runs the plan. It must be called within a testing/synctest bubble.
func Run(p Plan) (*Report, error) {
	c, err := New(p.Options)
	if err != nil {
		return nil, err
	}
	r := &run{plan: p, c: c, h: newHistory(), rng: rand.New(rand.NewSource(p.Seed)), stop: make(chan struct{}), failed: make(chan error, len(clientHosts))}
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
	rep.Reads, rep.Virtual = r.h.reads, time.Since(began)
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
		topic: topicName, parts: r.plan.Partitions, stopped: r.stop}
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

func (r *run) all(rep *Report) error {
	for _, h := range r.c.hosts {
		if err := h.start(); err != nil {
			return err
		}
	}
	if err := r.createTopic(); err != nil {
		return err
	}
	r.work(r.client(0).produce)
	r.work(r.client(1).produce)
	r.work(r.client(2).transact)
	r.work(r.client(3).tail)
	r.work(r.client(4).commit)
	r.work(r.client(5).watch)
	r.work(r.client(6).tailCommitted)
	r.storm = newStorm(r.c, r.rng)
	if err := r.weather(); err != nil {
		return err
	}
	if err := r.storm.healDue(true); err != nil {
		return err
	}
	if err := r.whole(); err != nil {
		return err
	}
	// The healed cluster works: something is acknowledged now.
	time.Sleep(2 * time.Second)
	r.release()
	select {
	case err := <-r.failed:
		rep.Faults = append(rep.Faults, err.Error())
	default:
	}
	f, err := r.readAll()
	if err != nil {
		rep.Faults = append(rep.Faults, err.Error())
		return nil
	}
	rep.Faults = append(rep.Faults, r.h.check(f)...)
	rep.Faults = append(rep.Faults, r.audit()...)
	return nil
}

// weather lets the storm blow for its time.
func (r *run) weather() error {
	for end := time.Now().Add(r.plan.Storm); time.Now().Before(end); {
		time.Sleep(r.storm.between(time.Millisecond, r.plan.Step))
		if err := r.storm.healDue(false); err != nil {
			return err
		}
		for _, h := range r.c.hosts {
			if err := h.failed(); err != nil {
				return err
			}
		}
		r.storm.blow()
	}
	return nil
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
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		t, cerr := adm.CreateTopic(ctx, r.plan.Partitions, int16(min(3, len(r.c.hosts))), nil, topicName)
		cancel()
		if err = errors.Join(cerr, t.Err); err == nil {
			return nil
		}
		for _, h := range r.c.hosts {
			if err := h.failed(); err != nil {
				return err
			}
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
		for _, h := range r.c.hosts {
			if err := h.failed(); err != nil {
				return err
			}
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
	var f final
	var err error
	// Transactions that were left open end by their timeout first.
	if f.committed, err = r.client(0).readAll(ctx, true); err == nil {
		f.all, err = r.client(0).readAll(ctx, false)
	}
	return f, err
}
