package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand"
	"net"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/node"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// The directories of every host. The metadata log has one of its own, so that the other
// can be lost alone.
const (
	dataDir = "/data"
	metaDir = "/meta"
)

// host is a machine with at most one node running on it. Everything but the reaper
// belongs to the goroutine that runs the schedule.
type host struct {
	c      *Cluster
	id     int
	name   string
	cfg    *config.Broker
	format storage.FormatOptions
	disk   *vfs.Mem
	clock  *wallClock
	run    *process // nil while the node is down
	// now is for those who look at the host beside the schedule.
	now atomic.Pointer[glance]
	// paused says that the host's links are cut, all of them or those to other nodes.
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
	p.node, err = node.Open(context.Background(), h.cfg, node.Deps{FS: h.disk, Net: p.net, Clock: h.clock, Logger: log})
	if err != nil {
		return fmt.Errorf("opening %s: %w", h.name, err)
	}
	h.run = p
	h.look()
	go func() {
		defer close(p.started)
		p.err = p.node.Start(context.Background())
	}()
	return nil
}

// kill ends the node as kill -9 does, or with loss of what its disk had not synced.
// Usually what it had sent still arrives; sometimes it is lost with the machine.
func (h *host) kill(rng *rand.Rand, mode vfs.CrashMode) {
	p := h.run
	h.run = nil
	// The network goes first: what the process still writes may be on the disk or not,
	// but nobody hears of it. The other way round it would acknowledge what is lost.
	p.net.cut.Store(true)
	if rng.Intn(3) > 0 {
		h.c.net.Exit(h.name)
	} else {
		h.c.net.Kill(h.name)
	}
	h.disk = h.disk.Crash(rng, mode)
	h.look()
	h.c.reap(p)
}

// wipe empties the directory of the data; what names the directory stays. Of a host that
// is no voter the copy of the metadata goes too; a voter whose disk is gone is another
// voter.
func (h *host) wipe() error {
	dirs := []string{dataDir}
	if !h.votes() {
		dirs = append(dirs, metaDir)
	}
	for _, d := range dirs {
		entries, err := h.disk.ReadDir(d)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Name() == storage.MetaPropertiesName || e.Name() == storage.BootstrapCheckpointName {
				continue
			}
			if err := h.disk.RemoveAll(path.Join(d, e.Name())); err != nil {
				return err
			}
		}
		// The disk is another one: a later power loss brings nothing back of this one.
		if err := h.disk.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

func (h *host) votes() bool {
	return len(h.cfg.ProcessRoles) == 2 || h.id > h.c.brokers
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

// settled says that the node runs and that the cluster knows this incarnation of it.
func (h *host) settled() bool {
	if h.run == nil {
		return false
	}
	select {
	case <-h.run.started:
		return true
	default:
		return false
	}
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

// Options of a cluster: nodes with both roles, brokers beside them, and controllers.
type Options struct {
	Combined, Brokers, Controllers int
	// Dynamic says that voters may come and go (KIP-853).
	Dynamic bool
	// Properties are keys of server.properties of every node.
	Properties map[string]string
	Logger     *slog.Logger
}

// Cluster is a set of hosts on one network.
type Cluster struct {
	net     *netx.Mem
	log     *slog.Logger
	hosts   []*host
	brokers int // the first so many hosts are brokers
	voters  storage.VoterSet
	dead    sync.WaitGroup
}

const clusterID = "5L6g3nShT-eMCtK--X86sw"

// New formats the disks of a cluster. Nothing runs yet.
func New(o Options) (*Cluster, error) {
	c := &Cluster{net: netx.NewMem(newWallClock()), log: o.Logger, brokers: o.Combined + o.Brokers}
	static, bootstrap := "", ""
	for i := 1; i <= c.brokers+o.Controllers; i++ {
		if i > o.Combined && i <= c.brokers {
			continue
		}
		sep := ","
		if static == "" {
			sep = ""
		}
		static += fmt.Sprintf("%s%d@n%d:9093", sep, i, i)
		bootstrap += fmt.Sprintf("%sn%d:9093", sep, i)
		c.voters = append(c.voters, storage.Voter{ID: kafka.NodeID(i), DirectoryID: kafka.NewUUID(), MaxKRaftVersion: 1,
			Endpoints: []storage.Endpoint{{Listener: "CONTROLLER", Host: fmt.Sprintf("n%d", i), Port: 9093}}})
	}
	for i := 1; i <= c.brokers+o.Controllers; i++ {
		props := map[string]string{"node.id": fmt.Sprint(i), "controller.listener.names": "CONTROLLER", "log.dirs": dataDir, "metadata.log.dir": metaDir,
			"gregor.http.listener": ""}
		if o.Dynamic {
			props["controller.quorum.bootstrap.servers"] = bootstrap
		} else {
			props["controller.quorum.voters"] = static
		}
		clients, controller := fmt.Sprintf("PLAINTEXT://n%d:9092", i), fmt.Sprintf("CONTROLLER://n%d:9093", i)
		switch {
		case i <= o.Combined:
			props["process.roles"], props["listeners"] = "broker,controller", clients+","+controller
		case i <= c.brokers:
			props["process.roles"], props["listeners"] = "broker", clients
		default:
			props["process.roles"], props["listeners"] = "controller", controller
		}
		for k, v := range o.Properties {
			props[k] = v
		}
		if err := c.add(i, props, o.Dynamic); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// add formats the disk of one more host.
func (c *Cluster) add(id int, props map[string]string, dynamic bool) error {
	h := &host{c: c, id: id, name: fmt.Sprintf("n%d", id), disk: vfs.NewMem(), clock: newWallClock()}
	var err error
	if h.cfg, _, err = config.Load(props); err != nil {
		return err
	}
	h.format = storage.FormatOptions{
		NodeID: h.cfg.NodeID, ClusterID: clusterID, Directories: []string{dataDir, metaDir}, MetadataLogDir: metaDir,
		ControllerListenerName: "CONTROLLER", Now: time.Now(), IgnoreFormatted: true, DynamicQuorum: dynamic,
	}
	if dynamic {
		h.format.InitialControllers = c.voters
	}
	if _, err = storage.Format(h.disk, h.format); err != nil {
		return err
	}
	c.hosts = append(c.hosts, h)
	return nil
}

// reap ends what is left of a killed process, beside the schedule.
func (c *Cluster) reap(p *process) {
	c.dead.Add(1)
	go func() {
		defer c.dead.Done()
		p.node.Abort()
		<-p.started
	}()
}

// seeds are the addresses that clients begin with.
func (c *Cluster) seeds() []string {
	var out []string
	for _, h := range c.hosts[:c.brokers] {
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
