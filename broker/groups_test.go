package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/broker"
)

// groupTimeout bounds every test here; they take a second or two.
const groupTimeout = 60 * time.Second

func startBroker(t *testing.T, ctx context.Context, dir string) *broker.Broker {
	t.Helper()
	cfg := broker.Config{Dir: dir, InProcess: dir == "", Properties: map[string]string{
		"group.initial.rebalance.delay.ms": "0", "offsets.topic.num.partitions": "5", "num.partitions": "4",
		"group.consumer.heartbeat.interval.ms": "200", "group.consumer.min.heartbeat.interval.ms": "100",
	}}
	b, err := broker.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(ctx); err != nil {
		b.Close()
		t.Fatal(err)
	}
	return b
}

func newClient(t *testing.T, b *broker.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Addr()), kgo.Dialer(b.Dial), kgo.AllowAutoTopicCreation()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func member(t *testing.T, b *broker.Broker, group, topic string, opts ...kgo.Opt) *kgo.Client {
	return newClient(t, b, append([]kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.HeartbeatInterval(100 * time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, opts...)...)
}

func produce(t *testing.T, ctx context.Context, c *kgo.Client, topic string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		r := &kgo.Record{Topic: topic, Key: fmt.Append(nil, i), Value: fmt.Append(nil, i)}
		if err := c.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// consume polls until n records came, commits them and returns their values.
func consume(t *testing.T, ctx context.Context, c *kgo.Client, n int) []string {
	t.Helper()
	var got []string
	for len(got) < n {
		f := c.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("%d of %d records, then %v", len(got), n, err)
		}
		f.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	if err := c.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestCommittedOffsetsOutliveTheBroker: what a group committed is where it goes on
// after a restart; nothing comes twice.
func TestCommittedOffsetsOutliveTheBroker(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), groupTimeout)
	defer cancel()
	dir := t.TempDir()
	b := startBroker(t, ctx, dir)
	p := newClient(t, b)
	produce(t, ctx, p, "orders", 0, 20)
	c := member(t, b, "billing", "orders")
	first := consume(t, ctx, c, 20)
	c.Close()
	p.Close()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	b = startBroker(t, ctx, dir)
	defer b.Close()
	p = newClient(t, b)
	defer p.Close()
	offsets, err := kadm.NewClient(p).FetchOffsets(ctx, "billing")
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
	if sum != 20 {
		t.Errorf("the committed offsets add up to %d, want 20", sum)
	}
	produce(t, ctx, p, "orders", 20, 30)
	c = member(t, b, "billing", "orders")
	defer c.Close()
	all := append(first, consume(t, ctx, c, 10)...)
	slices.Sort(all)
	if len(all) != 30 || len(slices.Compact(all)) != 30 {
		t.Errorf("%d records, %d different ones", len(all), len(slices.Compact(all)))
	}
}

// ownership follows who owns which partition of one topic, from the members' side.
type ownership struct {
	t       *testing.T
	mu      sync.Mutex
	owned   map[string]map[int32]bool // guarded by mu
	changed chan struct{}
}

func newOwnership(t *testing.T) *ownership {
	return &ownership{t: t, owned: map[string]map[int32]bool{}, changed: make(chan struct{}, 1000)}
}

// watch returns the options that make a member report. No two may own a partition at
// the same time.
func (o *ownership) watch(name string) []kgo.Opt {
	o.owned[name] = map[int32]bool{}
	set := func(has bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			o.mu.Lock()
			defer o.mu.Unlock()
			for _, p := range parts["orders"] {
				for other, theirs := range o.owned {
					if has && other != name && theirs[p] {
						o.t.Errorf("%s gets partition %d, which %s has", name, p, other)
					}
				}
				if has {
					o.owned[name][p] = true
				} else {
					delete(o.owned[name], p)
				}
			}
			o.changed <- struct{}{}
		}
	}
	return []kgo.Opt{kgo.OnPartitionsAssigned(set(true)), kgo.OnPartitionsRevoked(set(false)), kgo.OnPartitionsLost(set(false))}
}

// await waits until the members a and b own so many partitions.
func (o *ownership) await(ctx context.Context, want string) {
	o.t.Helper()
	for {
		o.mu.Lock()
		got := fmt.Sprint(len(o.owned["a"]), len(o.owned["b"]))
		o.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-o.changed:
		case <-ctx.Done():
			o.t.Fatalf("the members own %s partitions, want %s", got, want)
		}
	}
}

// TestMembersShareTheWork: two members own every partition between them and none
// together; when one leaves, the other has all. With the classic and the consumer
// protocol.
func TestMembersShareTheWork(t *testing.T) {
	for name, opt := range map[string]kgo.Opt{
		"range": kgo.Balancers(kgo.RangeBalancer()), "cooperative": kgo.Balancers(kgo.CooperativeStickyBalancer()), "consumer": kgo.ServerSideBalancer(),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), groupTimeout)
			defer cancel()
			b := startBroker(t, ctx, "")
			defer b.Close()
			p := newClient(t, b)
			defer p.Close()
			produce(t, ctx, p, "orders", 0, 1)
			o := newOwnership(t)
			a := member(t, b, "billing", "orders", append(o.watch("a"), opt)...)
			defer a.Close()
			go poll(ctx, a)
			o.await(ctx, "4 0")
			second := member(t, b, "billing", "orders", append(o.watch("b"), opt)...)
			go poll(ctx, second)
			o.await(ctx, "2 2")
			describe(t, ctx, p, name)
			second.Close()
			o.await(ctx, "4 0")
		})
	}
}

// poll keeps a member busy.
func poll(ctx context.Context, c *kgo.Client) {
	for ctx.Err() == nil {
		if f := c.PollFetches(ctx); f.IsClientClosed() {
			return
		}
	}
}

// describe checks what the coordinator says of the group billing with two members.
func describe(t *testing.T, ctx context.Context, c *kgo.Client, protocol string) {
	t.Helper()
	if protocol != "consumer" {
		described, err := kadm.NewClient(c).DescribeGroups(ctx, "billing")
		g := described["billing"]
		if err != nil || g.State != "Stable" || len(g.Members) != 2 || g.ProtocolType != "consumer" || len(g.AssignedPartitions()["orders"]) != 4 {
			t.Errorf("described as %+v, %v", g, err)
		}
		return
	}
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = []string{"billing"}
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	g := resp.Groups[0]
	n := 0
	for _, m := range g.Members {
		for _, tp := range m.Assignment.TopicPartitions {
			n += len(tp.Partitions)
		}
	}
	if g.ErrorCode != 0 || len(g.Members) != 2 || n != 4 || g.AssignorName != "uniform" {
		t.Errorf("described as %+v", g)
	}
}

// TestGroupAdministration lists, refuses to delete while there are members, deletes
// offsets and the group.
func TestGroupAdministration(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), groupTimeout)
	defer cancel()
	b := startBroker(t, ctx, "")
	defer b.Close()
	p := newClient(t, b)
	defer p.Close()
	produce(t, ctx, p, "orders", 0, 5)
	adm := kadm.NewClient(p)

	c := member(t, b, "billing", "orders")
	consume(t, ctx, c, 5)
	listed, err := adm.ListGroups(ctx, "Stable")
	if err != nil || len(listed) != 1 || listed["billing"].ProtocolType != "consumer" {
		t.Errorf("listed %v, %v", listed, err)
	}
	if _, err := adm.DeleteGroup(ctx, "billing"); !errors.Is(err, kerr.NonEmptyGroup) {
		t.Errorf("deleting a group with members: %v", err)
	}
	var offsets kadm.TopicsSet
	offsets.Add("orders", 0)
	if r, err := adm.DeleteOffsets(ctx, "billing", offsets); err != nil || !errors.Is(r["orders"][0], kerr.GroupSubscribedToTopic) {
		t.Errorf("deleting offsets of a topic in use: %v, %v", r, err)
	}
	c.Close()
	if r, err := adm.DeleteOffsets(ctx, "billing", offsets); err != nil || r["orders"][0] != nil {
		t.Errorf("deleting offsets: %v, %v", r, err)
	}
	got, err := adm.FetchOffsets(ctx, "billing")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := got.Lookup("orders", 0); ok {
		t.Error("the deleted offset is still there")
	}
	if _, err := adm.DeleteGroup(ctx, "billing"); err != nil {
		t.Errorf("deleting an empty group: %v", err)
	}
	if _, err := adm.DeleteGroup(ctx, "billing"); !errors.Is(err, kerr.GroupIDNotFound) {
		t.Errorf("deleting a group that is gone: %v", err)
	}
	if listed, err := adm.ListGroups(ctx); err != nil || len(listed) != 0 {
		t.Errorf("listed %v, %v", listed, err)
	}
}

// TestOffsetsGoWithTheTopic (traps.md G5): a topic that is created again under its name
// begins without the offsets of the old one.
func TestOffsetsGoWithTheTopic(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), groupTimeout)
	defer cancel()
	b := startBroker(t, ctx, "")
	defer b.Close()
	p := newClient(t, b)
	defer p.Close()
	produce(t, ctx, p, "orders", 0, 5)
	c := member(t, b, "billing", "orders")
	consume(t, ctx, c, 5)
	c.Close()
	adm := kadm.NewClient(p)
	if r, err := adm.DeleteTopics(ctx, "orders"); err != nil || r["orders"].Err != nil {
		t.Fatalf("%v, %v", r, err)
	}
	for {
		got, err := adm.FetchOffsets(ctx, "billing")
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			break
		}
	}
	// A topic of the same name has nothing of them; while it was not there, they could
	// not have been named.
	if r, err := adm.CreateTopic(ctx, 1, 1, nil, "orders"); err != nil || r.Err != nil {
		t.Fatalf("%v, %v", r, err)
	}
	for {
		got, err := adm.FetchOffsets(ctx, "billing")
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			return
		}
		if o, ok := got.Lookup("orders", 0); ok {
			t.Fatalf("offset %d of the deleted topic is that of the new one", o.At)
		}
	}
}
