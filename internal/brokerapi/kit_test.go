package brokerapi

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/vfs"
	"github.com/gregorhq/gregor/internal/wire"
)

// testEpochMs is when the virtual clock starts.
const testEpochMs = 1_700_000_000_000

// kit is broker 1 of a cluster of three, on a memory file system, behind a real server
// on an in-memory network. Its metadata comes from records that the test applies.
type kit struct {
	t     testing.TB
	clock *clock.Virtual
	wheel *clock.Wheel
	fs    vfs.FS
	cfg   *config.Broker
	logs  *log.Manager
	reps  *replica.Manager
	api   *API
	srv   *server.Server
	net   netx.Net
	addr  string
	img   atomic.Pointer[metadata.Image]
	ids   fakeController
	off   int64
	// verify turns on the verification of transactional writes; setUp, when not nil, is
	// called before the doors are opened.
	verify bool
	setUp  func(*API)
	// hold keeps what is applied from being published; next is what was kept.
	hold bool
	next *metadata.Image
}

// fakeController allocates producer ids and knows nothing else.
type fakeController struct {
	next atomic.Int64
	fail atomic.Bool
	hold chan struct{} // when not nil, Do waits for it
}

func (f *fakeController) Do(ctx context.Context, _ string, req kmsg.Request) (rsm.Reply, error) {
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return rsm.Reply{}, ctx.Err()
		}
	}
	r, ok := req.(*kmsg.AllocateProducerIDsRequest)
	if !ok || f.fail.Load() {
		return rsm.Reply{}, errors.New("no controller")
	}
	resp := r.ResponseKind().(*kmsg.AllocateProducerIDsResponse)
	resp.ProducerIDStart, resp.ProducerIDLen = f.next.Add(1000)-1000, 1000
	return rsm.Reply{Response: resp}, nil
}

func testConfig(t testing.TB, extra map[string]string) *config.Broker {
	t.Helper()
	props := map[string]string{
		"process.roles": "broker", "node.id": "1", "controller.quorum.voters": "9@localhost:9999",
		"controller.listener.names": "CONTROLLER", "listeners": "PLAINTEXT://localhost:9092", "log.dirs": "/data",
	}
	for k, v := range extra {
		props[k] = v
	}
	cfg, _, err := config.Load(props)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// newKit starts the broker; props are added to its configuration.
func newKit(t testing.TB, props map[string]string) *kit {
	t.Helper()
	return newKitOn(t, vfs.NewMem(), props)
}

func newKitOn(t testing.TB, fs vfs.FS, props map[string]string) *kit {
	t.Helper()
	k := &kit{t: t, clock: clock.NewVirtual(time.UnixMilli(testEpochMs)), fs: fs, cfg: testConfig(t, props)}
	k.wheel = clock.NewWheel(k.clock)
	k.wheel.Start()
	k.net, k.addr = netx.NewMem(k.clock), "localhost:9092"
	if fs == vfs.OS() {
		// Who measures goes through the loopback interface, whose calls allocate nothing.
		k.net, k.addr = netx.OS(), "127.0.0.1:0"
	}
	k.open()
	k.apply(brokers()...)
	return k
}

// open opens the logs and starts the replicas, the doors and the server.
func (k *kit) open() {
	t := k.t
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	if err := k.fs.MkdirAll(k.cfg.LogDirs[0], 0o755); err != nil {
		t.Fatal(err)
	}
	if _, found, err := log.ReadMetaProperties(k.fs, k.cfg.LogDirs[0]); err != nil {
		t.Fatal(err)
	} else if !found {
		m := log.MetaProperties{Version: 1, ClusterID: "Y2x1c3Rlci1vZi10ZXN0cw", NodeID: 1, DirectoryID: kafka.NewUUID()}
		if err := log.WriteMetaProperties(k.fs, k.cfg.LogDirs[0], m); err != nil {
			t.Fatal(err)
		}
	}
	var reps *replica.Manager
	logs, err := log.Open(context.Background(), log.Options{
		FS: k.fs, Clock: k.clock, Logger: quiet, Dirs: k.cfg.LogDirs, NodeID: 1, ClusterID: "Y2x1c3Rlci1vZi10ZXN0cw", Manual: true,
		TopicConfig:        func(string) config.Topic { c, _ := k.cfg.TopicConfig(nil); return c },
		VerifyTransactions: k.verify,
		OnOffline: func(dir string, _ kafka.UUID, _ error) {
			if reps != nil {
				reps.DirFailed(dir)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	k.logs = logs
	reps = replica.New(replica.Options{NodeID: 1, Logs: logs, Clock: k.clock, Wheel: k.wheel, Config: k.cfg, Logger: quiet})
	k.reps = reps
	if k.img.Load() == nil {
		k.img.Store(metadata.Empty())
	}
	k.api = &API{
		NodeID: 1, ClusterID: "Y2x1c3Rlci1vZi10ZXN0cw", Replicas: reps, Image: k.img.Load, Controller: &k.ids,
		Config: func() *config.Broker { return k.cfg }, FS: k.fs, Clock: k.clock, Wheel: k.wheel, Log: quiet,
	}
	if k.setUp != nil {
		k.setUp(k.api)
	}
	k.srv, err = server.New(server.Config{
		Net: k.net, Clock: k.clock, Log: quiet, ConnectionsMaxIdle: -1, NoSendfile: true, FirstRequestMaxBytes: 100 << 20,
		Listeners: []server.ListenerConfig{{
			Name: "PLAINTEXT", Addr: k.addr, AdvertisedHost: "localhost", Table: k.api.Table(),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.srv.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	stop := k.stop
	t.Cleanup(func() { stop() })
}

// stop closes everything; a second call does nothing.
func (k *kit) stop() {
	if k.srv == nil {
		return
	}
	_ = k.srv.Close()
	k.srv = nil
	k.api.Close()
	k.reps.Close()
	if err := k.logs.Close(1); err != nil {
		k.t.Logf("closing logs: %v", err)
	}
}

// restart stops the broker cleanly and opens it again with the same metadata.
func (k *kit) restart() {
	k.t.Helper()
	k.stop()
	k.open()
	k.reps.Apply(nil, k.img.Load())
}

// brokers registers brokers 1 to 3 and makes them active.
func brokers() []records.Message {
	var out []records.Message
	for id := int32(1); id <= 3; id++ {
		r := records.NewRegisterBrokerRecord()
		r.BrokerID, r.BrokerEpoch, r.Fenced = id, int64(id)*100, false
		r.IncarnationID = kafka.UUID{byte(id)}
		r.EndPoints = []records.BrokerEndpoint{{Name: "PLAINTEXT", Host: "host" + string(rune('0'+id)), Port: 9092}}
		out = append(out, r)
	}
	return out
}

// apply makes the records part of the metadata, as the loader does.
func (k *kit) apply(msgs ...records.Message) {
	k.t.Helper()
	d := metadata.NewDelta(k.img.Load())
	for _, m := range msgs {
		if err := d.Replay(m); err != nil {
			k.t.Fatal(err)
		}
	}
	k.off += int64(len(msgs))
	img := d.Apply(metadata.Provenance{Offset: k.off, Epoch: 1})
	k.reps.Apply(d, img)
	if k.hold {
		k.next = img
		return
	}
	k.img.Store(img)
}

// beforePublishing does f, which makes one change: the partitions follow it at once, the
// doors see it when publish is called.
func (k *kit) beforePublishing(f func()) (publish func()) {
	k.hold = true
	f()
	k.hold = false
	return func() { k.img.Store(k.next) }
}

// topicID derives an id from a name and an incarnation.
func topicID(name string, n byte) kafka.TopicID {
	id := kafka.TopicID{0: 1, 15: n}
	copy(id[1:14], name)
	return id
}

// topic creates a topic led by this broker, with the given replicas all in sync.
func (k *kit) topic(name string, partitions int, replicas []int32, configs ...string) kafka.TopicID {
	k.t.Helper()
	id := topicID(name, byte(k.off+1))
	tr := records.NewTopicRecord()
	tr.Name, tr.TopicID = name, id
	msgs := []records.Message{tr}
	for i := 0; i+1 < len(configs); i += 2 {
		c := records.NewConfigRecord()
		c.ResourceType, c.ResourceName, c.Name, c.Value = metadata.ResourceTopic, name, configs[i], &configs[i+1]
		msgs = append(msgs, c)
	}
	for p := range int32(partitions) {
		pr := records.NewPartitionRecord()
		pr.PartitionID, pr.TopicID, pr.Replicas, pr.ISR, pr.Leader = p, id, replicas, replicas, replicas[0]
		pr.LeaderEpoch, pr.PartitionEpoch = 0, 0
		pr.Directories = make([]kafka.UUID, len(replicas))
		msgs = append(msgs, pr)
	}
	k.apply(msgs...)
	return id
}

func (k *kit) topic1(name string, configs ...string) kafka.TopicID {
	return k.topic(name, 1, []int32{1}, configs...)
}

// change changes a partition.
func (k *kit) change(id kafka.TopicID, partition int32, f func(*records.PartitionChangeRecord)) {
	k.t.Helper()
	r := records.NewPartitionChangeRecord()
	r.TopicID, r.PartitionID = id, partition
	f(r)
	k.apply(r)
}

func (k *kit) deleteTopic(id kafka.TopicID) {
	k.t.Helper()
	r := records.NewRemoveTopicRecord()
	r.TopicID = id
	k.apply(r)
}

// client is one raw connection.
type client struct {
	k  *kit
	c  net.Conn
	id int32
}

func (k *kit) client() *client {
	k.t.Helper()
	c, err := k.net.Dial(context.Background(), "tcp", k.srv.Listener("PLAINTEXT").BoundAddr().String())
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = c.Close() })
	return &client{k: k, c: c}
}

// frame encodes a request with its size and header.
func frame(req kmsg.Request, id int32, clientID string) []byte {
	b := wire.AppendRequestHeader(make([]byte, 4), wire.RequestHeader{
		Key: req.Key(), Version: req.GetVersion(), CorrelationID: id, ClientID: &clientID,
	})
	b = req.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// send writes a request without waiting for its answer.
func (c *client) send(req kmsg.Request) {
	c.k.t.Helper()
	c.id++
	if _, err := c.c.Write(frame(req, c.id, "test")); err != nil {
		c.k.t.Fatal(err)
	}
}

// receive reads the answer to a request of the same kind and version.
func (c *client) receive(req kmsg.Request) kmsg.Response {
	c.k.t.Helper()
	resp, err := c.tryReceive(req)
	if err != nil {
		c.k.t.Fatal(err)
	}
	return resp
}

func (c *client) tryReceive(req kmsg.Request) (kmsg.Response, error) {
	var size [4]byte
	if _, err := io.ReadFull(c.c, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c.c, b); err != nil {
		return nil, err
	}
	_, body, err := wire.ParseResponseHeader(b, req.Key(), req.GetVersion())
	if err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	return resp, resp.ReadFrom(body)
}

// do sends a request and returns its answer.
func (c *client) do(req kmsg.Request) kmsg.Response {
	c.k.t.Helper()
	c.send(req)
	return c.receive(req)
}

// rec describes records for one batch.
type rec struct {
	pid   int64
	epoch int16
	seq   int32
	ts    int64
	txn   bool
	codec batch.Codec
}

var plain = rec{pid: -1, epoch: -1, seq: -1, ts: testEpochMs}

// encode builds one batch with the values.
func (r rec) encode(values ...string) []byte {
	b := batch.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.IsTransactional, b.Codec = r.pid, r.epoch, r.seq, r.txn, r.codec
	for i, v := range values {
		b.Append(r.ts+int64(i), []byte("k"), []byte(v), nil)
	}
	out, err := b.Build(nil)
	if err != nil {
		panic(err)
	}
	return out
}

// produceReq builds a request for one partition.
func produceReq(version int16, topic string, id kafka.TopicID, partition int32, acks int16, recs []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, acks, 1000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, id
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, recs
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// produce sends one batch with version 12 and returns the partition's answer.
func (c *client) produce(topic string, partition int32, acks int16, recs []byte) kmsg.ProduceResponseTopicPartition {
	c.k.t.Helper()
	resp := c.do(produceReq(12, topic, kafka.TopicID{}, partition, acks, recs)).(*kmsg.ProduceResponse)
	return resp.Topics[0].Partitions[0]
}

// mustProduce produces plain values with acks=all and returns the base offset.
func (c *client) mustProduce(topic string, partition int32, values ...string) int64 {
	c.k.t.Helper()
	p := c.produce(topic, partition, -1, plain.encode(values...))
	if p.ErrorCode != 0 {
		c.k.t.Fatalf("produce to %s-%d: %v", topic, partition, kafka.CodeForNum(p.ErrorCode))
	}
	return p.BaseOffset
}

// fetchReq builds a sessionless request of version 12 for partitions of one topic from
// offset on.
func fetchReq(topic string, offset int64, partitions ...int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 12, 500, 1, 1<<20, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	for _, n := range partitions {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = n, offset, 1<<20
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

// values returns the records of a fetched partition from offset on.
func values(t testing.TB, raw []byte, offset int64) []string {
	t.Helper()
	infos, err := batch.Infos(raw)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, info := range infos {
		var it batch.Iter
		if err := it.Reset(raw[info.Pos:info.End()], 1<<20); err != nil {
			t.Fatal(err)
		}
		var r batch.Record
		for it.Next(&r) {
			if r.Offset >= offset {
				out = append(out, string(r.Value))
			}
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
		it.Close()
	}
	return out
}

// parked waits until n fetches are parked.
func (k *kit) parked(n int64) {
	k.t.Helper()
	eventually(k.t, "fetches are parked", func() bool { return k.reps.Stats.DelayedFetchRequests.Load() == n })
}

// eventually waits for what other goroutines bring about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(100 * time.Microsecond); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func wantCode(t testing.TB, what string, num int16, want *kafka.Code) {
	t.Helper()
	wantNum := int16(0)
	if want != nil {
		wantNum = want.Num()
	}
	if num != wantNum {
		t.Errorf("%s: error %v, want %v", what, kafka.CodeForNum(num), want)
	}
}
