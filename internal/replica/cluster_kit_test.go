package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

// cluster is several Managers in one process on virtual time. Nothing moves by itself:
// the test applies metadata, sends fetches and proposals, and loses them.
type cluster struct {
	t      testing.TB
	clock  *clock.Settable
	nodes  map[int32]*tnode
	truth  *metadata.Image
	log    [][]records.Message // what the controller has committed
	epochs int64               // last broker epoch
	props  map[string]string   // of the brokers
	topics map[string]kafka.TopicID
	// mu keeps the controller's answers apart from the test, where managers run by
	// themselves.
	mu sync.Mutex
	// live runs the managers' own goroutines on the real clock, inside of a bubble.
	live bool
}

// tnode is one broker. Its disk outlives its crashes.
type tnode struct {
	c       *cluster
	id      int32
	fs      *vfs.Mem
	fault   *vfs.Fault // over fs, until the next start
	logs    *log.Manager
	m       *Manager
	up      bool
	epoch   int64
	img     *metadata.Image
	applied int
	unwheel func()
	door    liveDoor
}

var errUnreachable = errors.New("unreachable")

func newCluster(t testing.TB, ids ...int32) *cluster {
	t.Helper()
	c := &cluster{t: t, clock: clock.NewSettable(time.UnixMilli(1_700_000_000_000)), nodes: map[int32]*tnode{},
		truth: metadata.Empty(), topics: map[string]kafka.TopicID{}, props: map[string]string{"replica.lag.time.max.ms": "1000"}}
	for _, id := range ids {
		n := &tnode{c: c, id: id, fs: newDisk(t)}
		c.nodes[id] = n
		n.start()
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			if n.up {
				n.halt()
			}
		}
	})
	return c
}

// newDisk is an empty disk with a durable data directory.
func newDisk(t testing.TB) *vfs.Mem {
	fs := vfs.NewMem()
	if err := errors.Join(fs.MkdirAll("/data", 0o755), fs.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	return fs
}

func (c *cluster) ids() []int32 {
	var ids []int32
	for id := range c.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// start opens the node's disk and registers it.
func (n *tnode) start() {
	n.c.t.Helper()
	props := map[string]string{
		"process.roles": "broker", "node.id": fmt.Sprint(n.id), "controller.quorum.voters": "99@localhost:9999",
		"controller.listener.names": "CONTROLLER", "listeners": "PLAINTEXT://localhost:9092", "log.dirs": "/data",
	}
	for k, v := range n.c.props {
		props[k] = v
	}
	cfg, _, err := config.Load(props)
	if err != nil {
		n.c.t.Fatal(err)
	}
	quiet := slog.New(slog.NewTextHandler(testWriter{n.c.t, n.id}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var now clock.Clock = n.c.clock
	if n.c.live {
		now = clock.Real()
	}
	n.fault = vfs.NewFault(n.fs)
	n.logs, err = log.Open(context.Background(), log.Options{
		FS: n.fault, Clock: now, Logger: quiet, Dirs: []string{"/data"}, NodeID: kafka.NodeID(n.id), ClusterID: "c", AllowUnformatted: true,
		Manual: true, TailBytes: 1 << 20, Seed: uint64(n.c.epochs) + 1,
		TopicConfig: func(string) config.Topic { t, _ := cfg.TopicConfig(nil); return t },
	})
	if err != nil {
		n.c.t.Fatalf("node %d: %v", n.id, err)
	}
	w := clock.NewWheel(now)
	w.Start()
	n.unwheel = w.Stop
	n.m = New(Options{NodeID: kafka.NodeID(n.id), Logs: n.logs, Clock: now, Wheel: w, Config: cfg, Logger: quiet, Cluster: Cluster{
		Peers: func(id kafka.NodeID) Peer {
			if n.c.live {
				return &livePeer{n.c.nodes[int32(id)]}
			}
			return &tpeer{from: n, to: int32(id), m: n.m}
		},
		Controller:  tcontroller{n},
		BrokerEpoch: func() int64 { return n.epoch },
	}})
	n.m.manual = !n.c.live
	n.up = true
	n.img, n.applied = metadata.Empty(), 0
	n.c.register(n.id)
	n.catchUp()
}

// halt ends the node without a clean shutdown of its logs.
func (n *tnode) halt() {
	n.m.Close()
	n.unwheel()
	n.up = false
}

// crash ends the node; mode says what its disk loses. The next start finds what is left.
func (n *tnode) crash(rng *rand.Rand, mode vfs.CrashMode) {
	after := n.fs.Crash(rng, mode)
	n.halt()
	_ = n.logs.Close(1) // of the old file system, to free its memory
	n.fs = after
}

// stop ends the node cleanly.
func (n *tnode) stop() {
	n.halt()
	if err := n.logs.Close(n.epoch); err != nil {
		n.c.t.Fatal(err)
	}
	n.fs = n.fs.Crash(nil, vfs.ProcessKill)
}

// catchUp applies all metadata. The first image is applied as a whole.
func (n *tnode) catchUp() {
	if n.applied == 0 {
		n.img = n.c.truth
		n.applied = len(n.c.log)
		n.m.Apply(nil, n.img)
		return
	}
	for n.applyOne() {
	}
}

// applyOne applies the next committed change of the metadata.
func (n *tnode) applyOne() bool {
	if n.applied >= len(n.c.log) {
		return false
	}
	n.applyNext(1)
	return true
}

// applyAtOnce applies all metadata as one change, as the loader does with what has gathered:
// what was in force in between is never seen.
func (n *tnode) applyAtOnce() { n.applyNext(len(n.c.log) - n.applied) }

func (n *tnode) applyNext(changes int) {
	d := metadata.NewDelta(n.img)
	for _, msgs := range n.c.log[n.applied : n.applied+changes] {
		for _, r := range msgs {
			if err := d.Replay(r); err != nil {
				n.c.t.Fatal(err)
			}
		}
	}
	n.applied += changes
	n.img = d.Apply(metadata.Provenance{Offset: int64(n.applied), Epoch: 1})
	n.m.Apply(d, n.img)
}

// commit is a change of the metadata. The nodes apply it when they are told to.
func (c *cluster) commit(msgs ...records.Message) {
	c.t.Helper()
	if len(msgs) == 0 {
		return
	}
	d := metadata.NewDelta(c.truth)
	for _, r := range msgs {
		if err := d.Replay(r); err != nil {
			c.t.Fatal(err)
		}
	}
	c.log = append(c.log, msgs)
	c.truth = d.Apply(metadata.Provenance{Offset: int64(len(c.log)), Epoch: 1})
}

// catchUp has every node apply all metadata.
func (c *cluster) catchUp() {
	for _, id := range c.ids() {
		if n := c.nodes[id]; n.up {
			n.catchUp()
		}
	}
}

func (c *cluster) topic(name string, partitions int32, replicas ...int32) kafka.TopicID {
	c.t.Helper()
	id := kafka.UUID{0: byte(len(c.log)), 5: 9, 15: byte(len(c.log))}
	tr := records.NewTopicRecord()
	tr.Name, tr.TopicID = name, id
	msgs := []records.Message{tr}
	for n := range partitions {
		pr := records.NewPartitionRecord()
		pr.PartitionID, pr.TopicID, pr.Replicas, pr.ISR, pr.Leader = n, id, replicas, replicas, replicas[int(n)%len(replicas)]
		pr.LeaderEpoch, pr.PartitionEpoch, pr.Directories = 0, 0, make([]kafka.UUID, len(replicas))
		msgs = append(msgs, pr)
	}
	c.topics[name] = id
	c.commit(msgs...)
	return id
}

// configure sets a topic's configuration.
func (c *cluster) configure(topic, key, value string) {
	r := records.NewConfigRecord()
	r.ResourceType, r.ResourceName, r.Name, r.Value = int8(metadata.ResourceTopic), topic, key, &value
	c.commit(r)
}

// register is a broker's start: it is fenced under its old epoch, and gets another.
func (c *cluster) register(id int32) {
	c.t.Helper()
	if b := c.truth.Broker(id); b != nil && !b.Fenced {
		c.fence(id)
	}
	c.epochs++
	c.nodes[id].epoch = c.epochs
	r := records.NewRegisterBrokerRecord()
	r.BrokerID, r.BrokerEpoch, r.Fenced, r.IncarnationID = id, c.epochs, false, kafka.UUID{0: byte(id), 8: byte(c.epochs)}
	ep := records.BrokerEndpoint{Name: "PLAINTEXT", Host: "localhost", Port: uint16(9000 + id)}
	r.EndPoints = append(r.EndPoints, ep)
	rack := fmt.Sprint("rack", id)
	r.Rack = &rack
	msgs := []records.Message{r}
	for t := range c.truth.Topics() {
		for index, p := range t.Partitions() {
			if p.Leader == metadata.NoLeader && p.InISR(id) {
				msgs = append(msgs, leaderChange(t.ID, index, id, nil))
			}
		}
	}
	c.commit(msgs...)
}

func leaderChange(id kafka.TopicID, index, leader int32, isr []int32) *records.PartitionChangeRecord {
	r := records.NewPartitionChangeRecord()
	r.TopicID, r.PartitionID, r.Leader, r.ISR = id, index, leader, isr
	return r
}

// fence takes a broker out: it leaves the ISRs that have another member, and leadership.
func (c *cluster) fence(id int32) {
	c.t.Helper()
	r := records.NewBrokerRegistrationChangeRecord()
	r.BrokerID, r.BrokerEpoch, r.Fenced = id, c.truth.Broker(id).Epoch, 1
	msgs := []records.Message{r}
	for t := range c.truth.Topics() {
		for index, p := range t.Partitions() {
			isr := slices.DeleteFunc(slices.Clone(p.ISR), func(o int32) bool { return o == id })
			switch {
			case !p.InISR(id):
			case len(isr) == 0:
				if p.Leader == id {
					msgs = append(msgs, leaderChange(t.ID, index, metadata.NoLeader, nil))
				}
			case p.Leader == id:
				msgs = append(msgs, leaderChange(t.ID, index, c.pick(isr), isr))
			default:
				msgs = append(msgs, leaderChange(t.ID, index, metadata.NoLeaderChange, isr))
			}
		}
	}
	c.commit(msgs...)
}

// pick is the first member of the ISR that is alive, NoLeader if none is.
func (c *cluster) pick(isr []int32) int32 {
	for _, id := range isr {
		if b := c.truth.Broker(id); b != nil && b.Active() {
			return id
		}
	}
	return metadata.NoLeader
}

// elect makes a member of the ISR leader.
func (c *cluster) elect(topic string, index, leader int32) {
	c.t.Helper()
	p := c.truth.Partition(topic, index)
	if !p.InISR(leader) {
		c.t.Fatalf("%d is not in the ISR %v", leader, p.ISR)
	}
	c.commit(leaderChange(c.topics[topic], index, leader, nil))
}

// tcontroller answers AlterPartition as the controller does.
type tcontroller struct{ n *tnode }

func (k tcontroller) Do(_ context.Context, req kmsg.Request) (kmsg.Response, error) {
	in := req.(*kmsg.AlterPartitionRequest)
	c := k.n.c
	c.mu.Lock()
	defer c.mu.Unlock()
	resp := kmsg.NewPtrAlterPartitionResponse()
	b := c.truth.Broker(in.BrokerID)
	if b == nil || b.Epoch != in.BrokerEpoch || b.Fenced {
		resp.ErrorCode = kafka.StaleBrokerEpoch.Num()
		return resp, nil
	}
	for i := range in.Topics {
		t := kmsg.NewAlterPartitionResponseTopic()
		t.TopidID = in.Topics[i].TopicID
		for j := range in.Topics[i].Partitions {
			t.Partitions = append(t.Partitions, c.alter(in.BrokerID, t.TopidID, &in.Topics[i].Partitions[j]))
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp, nil
}

func (c *cluster) alter(leader int32, id kafka.TopicID, in *kmsg.AlterPartitionRequestTopicPartition) kmsg.AlterPartitionResponseTopicPartition {
	out := kmsg.NewAlterPartitionResponseTopicPartition()
	out.Partition = in.Partition
	t := c.truth.TopicByID(id)
	if t == nil {
		out.ErrorCode = kafka.UnknownTopicID.Num()
		return out
	}
	p := t.Partition(in.Partition)
	switch {
	case in.LeaderEpoch < p.LeaderEpoch || p.Leader != leader:
		out.ErrorCode = kafka.FencedLeaderEpoch.Num()
		return out
	case in.PartitionEpoch < p.PartitionEpoch:
		out.ErrorCode = kafka.InvalidUpdateVersion.Num()
		return out
	}
	var isr []int32
	for _, e := range in.NewEpochISR {
		b := c.truth.Broker(e.BrokerID)
		if b == nil || !b.Active() || e.BrokerEpoch != -1 && e.BrokerEpoch != b.Epoch {
			out.ErrorCode = kafka.IneligibleReplica.Num()
			return out
		}
		isr = append(isr, e.BrokerID)
	}
	c.commit(leaderChange(id, in.Partition, metadata.NoLeaderChange, isr))
	p = c.truth.TopicByID(id).Partition(in.Partition)
	out.LeaderID, out.LeaderEpoch, out.PartitionEpoch, out.ISR = p.Leader, p.LeaderEpoch, p.PartitionEpoch, p.ISR
	return out
}

// proposals sends what the node's partitions have to propose, once. lost loses the
// answer after the controller has acted.
func (n *tnode) proposals(lost bool) bool {
	req, sent := n.m.alter.prepare()
	if req == nil {
		return false
	}
	resp, err := n.m.cluster.Controller.Do(context.Background(), req)
	if lost {
		resp, err = nil, errUnreachable
	}
	n.m.alter.finish(sent, resp, err)
	return true
}

// tpeer joins two nodes: it calls the other's fetch path, without sessions' memory of
// what was told before.
type tpeer struct {
	from *tnode
	to   int32
	m    *Manager // of the incarnation that dialled
}

func (p *tpeer) Close() error { return nil }

func (p *tpeer) Do(_ context.Context, req kmsg.Request) (kmsg.Response, error) {
	to := p.from.c.nodes[p.to]
	if to == nil || !to.up {
		return nil, errUnreachable
	}
	switch r := req.(type) {
	case *kmsg.FetchRequest:
		return to.serve(r), nil
	case *kmsg.ListOffsetsRequest:
		return to.listOffsets(r), nil
	}
	return nil, fmt.Errorf("unexpected %T", req)
}

// serve answers a fetch from the log, with what is there. It grants no sessions, so
// that each request names all partitions.
func (n *tnode) serve(r *kmsg.FetchRequest) *kmsg.FetchResponse {
	rec := new(recorder)
	op := &FetchOp{Owner: rec, ReplicaID: r.ReplicaState.ID, BrokerEpoch: r.ReplicaState.Epoch, MinBytes: int(r.MinBytes), MaxBytes: int(r.MaxBytes),
		Isolation: ToLogEnd, OnlyLeader: true}
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = 17
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			part := FetchPart{FetchOffset: p.FetchOffset, FollowerLogStart: p.LogStartOffset, MaxBytes: int(p.PartitionMaxBytes),
				CurrentLeaderEpoch: p.CurrentLeaderEpoch, LastFetchedEpoch: p.LastFetchedEpoch}
			part.P, part.Err = n.m.FindByID(n.img, t.TopicID, p.Partition)
			op.Parts = append(op.Parts, part)
		}
	}
	op.Start(n.m)
	i := 0
	for _, t := range r.Topics {
		rt := kmsg.NewFetchResponseTopic()
		rt.TopicID = t.TopicID
		for _, p := range t.Partitions {
			part := &op.Parts[i]
			rp := kmsg.NewFetchResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, kafka.NumOf(part.Err)
			rp.HighWatermark, rp.LogStartOffset = part.HighWatermark, part.LogStartOffset
			rp.DivergingEpoch.Epoch, rp.DivergingEpoch.EndOffset = part.DivergingEpoch, part.DivergingEnd
			rp.RecordBatches = readAll(n.c.t, part.Data)
			rt.Partitions = append(rt.Partitions, rp)
			i++
		}
		resp.Topics = append(resp.Topics, rt)
	}
	op.ReleaseData()
	return resp
}

func readAll(t testing.TB, d log.Data) []byte {
	var out []byte
	for _, s := range d.Spans {
		b := make([]byte, s.Len)
		if s.B != nil {
			copy(b, s.B)
		} else if _, err := s.File.ReadAt(b, s.Off); err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out
}

func (n *tnode) listOffsets(r *kmsg.ListOffsetsRequest) *kmsg.ListOffsetsResponse {
	resp := kmsg.NewPtrListOffsetsResponse()
	for _, t := range r.Topics {
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = t.Topic
		for _, q := range t.Partitions {
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition = q.Partition
			p, err := n.m.Find(n.img, t.Topic, q.Partition)
			if err == nil {
				var o log.TimestampOffset
				o, err = p.ListOffset(OffsetQuery{Timestamp: q.Timestamp, CurrentLeaderEpoch: q.CurrentLeaderEpoch, OnlyLeader: true})
				rp.Offset = o.Offset
			}
			rp.ErrorCode = kafka.NumOf(err)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// fetchers lists the node's fetchers in a fixed order.
func (n *tnode) fetchers() []*fetcher {
	var ids []fetcherID
	for id := range n.m.fetchers {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b fetcherID) int { return int(a.leader-b.leader)*100 + a.index - b.index })
	var list []*fetcher
	for _, id := range ids {
		list = append(list, n.m.fetchers[id].fetcher)
	}
	return list
}

// round lets every node fetch once, send its proposals and learn the metadata.
func (c *cluster) round() {
	for _, id := range c.ids() {
		n := c.nodes[id]
		if !n.up {
			continue
		}
		for _, f := range n.fetchers() {
			f.fetch()
		}
		n.proposals(false)
		c.catchUp()
	}
	c.clock.Advance(20 * time.Millisecond)
}

// settle runs rounds until all replicas are in sync and equal.
func (c *cluster) settle() {
	c.t.Helper()
	c.catchUp()
	for range 400 {
		c.round()
		if c.settled() == "" {
			return
		}
	}
	c.t.Fatalf("the cluster does not come to rest: %s", c.settled())
}

// settled says what is not at rest yet.
func (c *cluster) settled() string {
	for t := range c.truth.Topics() {
		for index, p := range t.Partitions() {
			if len(p.ISR) != len(p.Replicas) {
				return fmt.Sprintf("%s-%d: ISR %v, leader %d", t.Name, index, p.ISR, p.Leader)
			}
			end := c.nodes[p.Leader].m.Get(t.Name, index).Log().LogEndOffset()
			for _, id := range p.Replicas {
				l := c.nodes[id].m.Get(t.Name, index).Log()
				if l.LogEndOffset() != end || l.HighWatermark() != end {
					return fmt.Sprintf("%s-%d: replica %d ends at %d, watermark %d; leader %d at %d", t.Name, index, id, l.LogEndOffset(), l.HighWatermark(), p.Leader, end)
				}
			}
		}
	}
	return ""
}

// audit compares the replicas of all partitions: bytes up to the high watermark, epochs,
// producer state.
func (c *cluster) audit() {
	c.t.Helper()
	for t := range c.truth.Topics() {
		for index, p := range t.Partitions() {
			var start int64
			for _, id := range p.Replicas {
				start = max(start, c.nodes[id].m.Get(t.Name, index).Log().LogStartOffset())
			}
			want := c.nodes[p.Leader].m.Get(t.Name, index).Log()
			for _, id := range p.Replicas {
				l := c.nodes[id].m.Get(t.Name, index).Log()
				if a, b := dump(c.t, l, start), dump(c.t, want, start); !slices.Equal(a, b) {
					c.t.Errorf("%s-%d: replica %d differs from its leader %d:\n%v\n%v", t.Name, index, id, p.Leader, a, b)
				}
				if a, b := epochsFrom(l, start), epochsFrom(want, start); !slices.Equal(a, b) {
					c.t.Errorf("%s-%d: epochs of replica %d: %v, of its leader %d: %v", t.Name, index, id, a, p.Leader, b)
				}
				a, _ := l.ActiveProducers()
				b, _ := want.ActiveProducers()
				if fmt.Sprint(a) != fmt.Sprint(b) {
					c.t.Errorf("%s-%d: producers of replica %d: %v, of its leader: %v", t.Name, index, id, a, b)
				}
			}
		}
	}
}

// epochsFrom lists the epochs, cut at start. An epoch without records at the leader's
// end is not known to followers yet.
func epochsFrom(l *log.Log, start int64) []log.EpochEntry {
	var out []log.EpochEntry
	for _, e := range l.EpochEntries() {
		if e.StartOffset >= l.LogEndOffset() {
			continue
		}
		if e.StartOffset <= start {
			e.StartOffset = start
			out = out[:0]
		}
		out = append(out, e)
	}
	return out
}

// dump describes every batch from offset on by its bytes.
func dump(t testing.TB, l *log.Log, from int64) []string {
	t.Helper()
	var out []string
	for from < l.HighWatermark() {
		d, err := l.Read(from, 1<<20, l.HighWatermark(), true)
		if err != nil {
			t.Fatal(err)
		}
		raw := readAll(t, d)
		from = d.NextOffset
		d.Release()
		infos, err := batch.Infos(raw)
		if err != nil {
			t.Fatal(err)
		}
		for i := range infos {
			out = append(out, fmt.Sprintf("%d@%d:%x", infos[i].BaseOffset, infos[i].LeaderEpoch, raw[infos[i].Pos+57:infos[i].End()]))
		}
	}
	return out
}

// values lists the values of a log's committed records by offset.
func values(t testing.TB, l *log.Log) map[int64]string {
	t.Helper()
	out := map[int64]string{}
	for from := l.LogStartOffset(); from < l.HighWatermark(); {
		d, err := l.Read(from, 1<<20, l.HighWatermark(), true)
		if err != nil {
			t.Fatal(err)
		}
		raw := readAll(t, d)
		from = d.NextOffset
		d.Release()
		var it batch.Iter
		for infos, _ := batch.Infos(raw); len(infos) > 0; infos = infos[1:] {
			if err := it.Reset(raw[infos[0].Pos:infos[0].End()], 1<<20); err != nil {
				t.Fatal(err)
			}
			var r batch.Record
			for it.Next(&r) {
				out[r.Offset] = string(r.Value)
			}
			it.Close()
		}
	}
	return out
}

// append appends one record to the node's replica; the slot tells what becomes of it.
func (n *tnode) append(topic string, index int32, acks int16, records []byte) (*AppendSlot, bool) {
	p := n.m.Get(topic, index)
	if p == nil {
		return &AppendSlot{Err: kafka.UnknownTopicOrPartition}, true
	}
	var a Appender
	s := new(AppendSlot)
	a.Acks, a.Version, a.NowMs, a.Owner = acks, 9, n.m.clock.Now().UnixMilli(), new(recorder)
	done := a.Append(p, records, s)
	a.Finish()
	return s, done
}

// acked says whether an acks=all append is over, and how.
func (s *AppendSlot) acked() (bool, error) { return !s.listed, s.Err }

func (n *tnode) log(topic string, index int32) *log.Log { return n.m.Get(topic, index).Log() }

// testWriter passes what a node logs on to the test.
type testWriter struct {
	t    testing.TB
	node int32
}

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("node %d: %s", w.node, b)
	return len(b), nil
}
