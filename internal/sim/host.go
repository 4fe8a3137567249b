package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/node"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// host is a machine with at most one node running on it. Everything but the reaper
// belongs to the goroutine that runs the schedule.
type host struct {
	c    *Cluster
	id   int
	name string
	cfg  *config.Broker
	disk *vfs.Mem
	run  *process // nil while the node is down
	// paused says that the host's links are cut, all of them.
	paused bool
	starts int
}

// process is one incarnation of a node.
type process struct {
	node    *node.Node
	net     *tether
	started chan struct{} // closed when Start has returned
	err     error         // of Start; read after started
}

// start runs a new node on what is on the host's disk. It does not wait until the
// node is ready.
func (h *host) start() error {
	h.starts++
	log := h.c.log.With("host", h.name, "start", h.starts)
	p := &process{net: &tether{Net: h.c.net.Host(h.name)}, started: make(chan struct{})}
	var err error
	p.node, err = node.Open(context.Background(), h.cfg, node.Deps{FS: h.disk, Net: p.net, Clock: clock.Real(), Logger: log})
	if err != nil {
		return fmt.Errorf("opening %s: %w", h.name, err)
	}
	h.run = p
	go func() {
		defer close(p.started)
		p.err = p.node.Start(context.Background())
	}()
	return nil
}

// kill ends the node as kill -9 does, or with loss of what its disk had not synced.
func (h *host) kill(rng *rand.Rand, mode vfs.CrashMode) {
	p := h.run
	h.run = nil
	// The network goes first: what the process still writes may be on the disk or not,
	// but nobody hears of it. The other way round it would acknowledge what is lost.
	p.net.cut.Store(true)
	h.c.net.Kill(h.name)
	h.disk = h.disk.Crash(rng, mode)
	h.c.reap(p)
}

// stop asks the node to end as SIGTERM does and returns at once; the channel is closed
// when it has ended. An isolated node may not end in time; then it is killed.
func (h *host) stop(limit time.Duration) <-chan struct{} {
	p := h.run
	h.run = nil
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		_ = p.node.Close(ctx) // it could not do all in time: the next start recovers
		<-p.started
		p.net.cut.Store(true)
		h.c.net.Kill(h.name)
	}()
	return done
}

// failed is why the node stopped by itself, nil while it runs.
func (h *host) failed() error {
	if h.run == nil {
		return nil
	}
	select {
	case <-h.run.started:
		if h.run.err != nil {
			return fmt.Errorf("%s did not start: %w", h.name, h.run.err)
		}
	default:
	}
	select {
	case <-h.run.node.Done():
		return fmt.Errorf("%s stopped by itself: %w", h.name, h.run.node.Err())
	default:
		return nil
	}
}

// tether is the network of one process: when the process is killed, what is left of it
// reaches nobody.
type tether struct {
	netx.Net
	cut atomic.Bool
}

var errDead = errors.New("the process is dead")

func (t *tether) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	if t.cut.Load() {
		return nil, errDead
	}
	return t.Net.Listen(ctx, network, addr)
}

func (t *tether) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if t.cut.Load() {
		return nil, errDead
	}
	conn, err := t.Net.Dial(ctx, network, addr)
	if err == nil && t.cut.Load() {
		conn.Close()
		return nil, errDead
	}
	return conn, err
}

// Options of a cluster.
type Options struct {
	Nodes int
	// Properties are keys of server.properties of every node.
	Properties map[string]string
	Logger     *slog.Logger
}

// Cluster is a set of hosts on one network.
type Cluster struct {
	net   *netx.Mem
	log   *slog.Logger
	hosts []*host
	dead  sync.WaitGroup
}

const clusterID = "5L6g3nShT-eMCtK--X86sw"

// New formats the disks of a cluster of combined nodes. Nothing runs yet.
func New(o Options) (*Cluster, error) {
	c := &Cluster{net: netx.NewMem(clock.Real()), log: o.Logger}
	voters := ""
	for i := 1; i <= o.Nodes; i++ {
		if i > 1 {
			voters += ","
		}
		voters += fmt.Sprintf("%d@n%d:9093", i, i)
	}
	for i := 1; i <= o.Nodes; i++ {
		h := &host{c: c, id: i, name: fmt.Sprintf("n%d", i), disk: vfs.NewMem()}
		props := map[string]string{
			"process.roles": "broker,controller", "node.id": fmt.Sprint(i),
			"listeners":                 fmt.Sprintf("PLAINTEXT://n%d:9092,CONTROLLER://n%d:9093", i, i),
			"controller.listener.names": "CONTROLLER", "controller.quorum.voters": voters,
			"log.dirs": "/data",
		}
		for k, v := range o.Properties {
			props[k] = v
		}
		var err error
		if h.cfg, _, err = config.Load(props); err != nil {
			return nil, err
		}
		if _, err = storage.Format(h.disk, storage.FormatOptions{
			NodeID: h.cfg.NodeID, ClusterID: clusterID, Directories: h.cfg.LogDirs, MetadataLogDir: h.cfg.MetadataLogDir,
			ControllerListenerName: "CONTROLLER", Now: time.Now(),
		}); err != nil {
			return nil, err
		}
		c.hosts = append(c.hosts, h)
	}
	return c, nil
}

// reap ends what is left of a killed process, beside the schedule.
func (c *Cluster) reap(p *process) {
	c.dead.Add(1)
	go func() {
		defer c.dead.Done()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.node.Close(ctx) // it was killed: whatever it says does not count
		<-p.started
	}()
}

// seeds are the addresses that clients begin with.
func (c *Cluster) seeds() []string {
	var out []string
	for _, h := range c.hosts {
		out = append(out, h.name+":9092")
	}
	return out
}

// close ends everything; the cluster's goroutines are gone afterwards.
func (c *Cluster) close() {
	for _, h := range c.hosts {
		if h.run != nil {
			p := h.run
			h.run = nil
			p.net.cut.Store(true)
			c.net.Kill(h.name)
			c.reap(p)
		}
	}
	c.dead.Wait()
}
