package brokerapi

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/rpc"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/wire"
)

// adminKit is broker 1 with nothing but an image, a scripted controller and a real
// server with two listeners, PLAINTEXT and EXTERNAL.
type adminKit struct {
	t     *testing.T
	api   *API
	net   *netx.Mem
	img   *metadata.Image
	cfg   *config.Broker
	ctl   *scriptedController
	level *slog.LevelVar
	clock *clock.Virtual
}

// scriptedController notes what it is asked and answers with do.
type scriptedController struct {
	mu       sync.Mutex
	asked    []kmsg.Request
	clients  []rpc.Client // for whom
	do       func(kmsg.Request) (rsm.Reply, error)
	waitedTo []kafka.Offset
	done     chan struct{} // gets a value for each answer
}

func (c *scriptedController) Do(ctx context.Context, principal string, req kmsg.Request) (rsm.Reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked, c.clients = append(c.asked, req), append(c.clients, rpc.ClientOf(ctx))
	defer func() {
		select {
		case c.done <- struct{}{}:
		default:
		}
	}()
	return c.do(req)
}

func (c *scriptedController) requests() []kmsg.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]kmsg.Request(nil), c.asked...)
}

// fixedQuorum is a quorum that does not move.
type fixedQuorum struct{ quorum.Status }

func (q fixedQuorum) Leader() quorum.LeaderAndEpoch { return q.LeaderAndEpoch }
func (q fixedQuorum) Describe() quorum.Status       { return q.Status }

func newAdminKit(t *testing.T, props map[string]string, msgs ...records.Message) *adminKit {
	t.Helper()
	img, err := metadata.Empty().With(metadata.Provenance{Offset: 42, Epoch: 3}, msgs)
	if err != nil {
		t.Fatal(err)
	}
	k := &adminKit{t: t, img: img, clock: clock.NewVirtual(time.UnixMilli(testEpochMs)), level: &slog.LevelVar{}}
	k.cfg = testConfig(t, props)
	k.net = netx.NewMem(k.clock)
	k.ctl = &scriptedController{done: make(chan struct{}, 100), do: func(req kmsg.Request) (rsm.Reply, error) {
		return rsm.Reply{Response: req.ResponseKind(), EndOffset: 50}, nil
	}}
	logger := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: k.level}))
	k.api = &API{
		NodeID: 1, ClusterID: "abc", Image: func() *metadata.Image { return k.img }, Controller: k.ctl,
		WaitFor: func(_ context.Context, end kafka.Offset) error {
			k.ctl.waitedTo = append(k.ctl.waitedTo, end)
			return nil
		},
		Config: func() *config.Broker { return k.cfg }, Clock: k.clock, Log: logger, LogLevel: k.level,
	}
	table := k.api.Table()
	srv, err := server.New(server.Config{Net: k.net, Clock: k.clock, Log: logger, ConnectionsMaxIdle: -1, Listeners: []server.ListenerConfig{
		{Name: "PLAINTEXT", Addr: "localhost:9092", AdvertisedHost: "localhost", Table: table},
		{Name: "EXTERNAL", Addr: "localhost:9093", AdvertisedHost: "localhost", Table: table},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		k.api.Close()
	})
	return k
}

// call sends req to the listener on a connection of its own and returns the answer.
func (k *adminKit) call(port int, req kmsg.Request) kmsg.Response {
	k.t.Helper()
	c, err := k.net.Dial(context.Background(), "tcp", net.JoinHostPort("localhost", strconv.Itoa(port)))
	if err != nil {
		k.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write(frame(req, 7, "test")); err != nil {
		k.t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		k.t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		k.t.Fatal(err)
	}
	_, body, err := wire.ParseResponseHeader(b, req.Key(), req.GetVersion())
	if err != nil {
		k.t.Fatal(err)
	}
	resp := req.ResponseKind()
	if err := resp.ReadFrom(body); err != nil {
		k.t.Fatalf("%T v%d: %v", resp, req.GetVersion(), err)
	}
	return resp
}

// clusterRecords describe three brokers: 1 and 2 are alive, 3 is fenced; only 1
// has the listener EXTERNAL. Topic a has two partitions, led by 1 and by 3, topic
// b one without a leader, topic c three.
func clusterRecords() []records.Message {
	var out []records.Message
	rack := "r1"
	for id := int32(1); id <= 3; id++ {
		r := records.NewRegisterBrokerRecord()
		r.BrokerID, r.BrokerEpoch, r.Fenced, r.Rack = id, int64(id)*100, id == 3, &rack
		r.IncarnationID = kafka.UUID{byte(id)}
		r.EndPoints = []records.BrokerEndpoint{{Name: "PLAINTEXT", Host: "host" + strconv.Itoa(int(id)), Port: 9092}}
		if id == 1 {
			r.EndPoints = append(r.EndPoints, records.BrokerEndpoint{Name: "EXTERNAL", Host: "public1", Port: 19092})
		}
		out = append(out, r)
	}
	level := records.NewFeatureLevelRecord()
	level.Name, level.FeatureLevel = metadata.FeatureMetadataVersion, int16(metadata.LatestVersion)
	out = append(out, level)
	topic := func(name string, leaders ...int32) {
		tr := records.NewTopicRecord()
		tr.Name, tr.TopicID = name, topicID(name, 1)
		out = append(out, tr)
		for i, leader := range leaders {
			p := records.NewPartitionRecord()
			p.PartitionID, p.TopicID, p.Leader, p.LeaderEpoch = int32(i), tr.TopicID, leader, 5
			p.Replicas, p.ISR, p.Directories = []int32{1, 2, 3}, []int32{1, 2}, make([]kafka.UUID, 3)
			out = append(out, p)
		}
	}
	topic("a", 1, 3)
	topic("b", -1)
	topic("c", 2, 2, 2)
	topic("__consumer_offsets", 1)
	set := func(kind int8, name, key, value string) {
		c := records.NewConfigRecord()
		c.ResourceType, c.ResourceName, c.Name, c.Value = kind, name, key, &value
		out = append(out, c)
	}
	set(metadata.ResourceTopic, "a", "retention.ms", "1000")
	set(metadata.ResourceGroup, "g", "share.delivery.count.limit", "7")
	set(metadata.ResourceClientMetrics, "m", "interval.ms", "500")
	set(metadata.ResourceBroker, "1", "log.cleanup.policy", "delete")
	return out
}
