package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/node"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// ClusterConfig says what cluster to run.
type ClusterConfig struct {
	// Nodes is how many nodes there are, 3 when it is 0. Each is broker and controller,
	// unless there are Controllers.
	Nodes int
	// Controllers is how many nodes are controllers and nothing else; Nodes are brokers and
	// nothing else then. Their ids follow those of the brokers.
	Controllers int
	// Dir is where the nodes have their data directories, node-1 and so on, which are
	// made and formatted when they do not exist. "" keeps everything in memory, and
	// Close forgets it.
	Dir string
	// Port is the first node's port for clients on 127.0.0.1; its controller has the
	// next one, the second node the two after that, and so on. 0 takes free ones.
	Port int
	// InProcess serves on a network inside the process instead of sockets; connect
	// through Cluster.Dial.
	InProcess bool
	// Properties are keys of server.properties for all nodes, in addition to those that
	// the fields above decide. The port of gregor.http.listener is the first node's; the
	// others have the next ones, or free ones if it is 0.
	Properties map[string]string
	// Logger receives what the nodes log; nil discards it.
	Logger *slog.Logger
}

// Cluster is several nodes in one process. Its methods may be called from any
// goroutine, but only one of Start, Kill, Restart and Close at a time.
type Cluster struct {
	cfg       ClusterConfig
	mem       *netx.Mem // nil when the nodes use sockets
	clusterID string
	members   []*member
}

// member is one node and what of it outlives its process.
type member struct {
	parsed *config.Broker
	fsys   vfs.FS
	net    netx.Net
	b      *Broker // nil while the node is dead
}

// OpenCluster prepares all nodes, as Open does for one. Call Start next, and Close in
// any case.
func OpenCluster(cfg ClusterConfig) (*Cluster, error) {
	return openCluster(cfg, func(_ int, files vfs.FS) vfs.FS { return files })
}

// openCluster is OpenCluster with the file system that disk makes of node i's, counted from
// 1.
func openCluster(cfg ClusterConfig, disk func(id int, files vfs.FS) vfs.FS) (*Cluster, error) {
	if cfg.Nodes == 0 {
		cfg.Nodes = 3
	}
	if cfg.Nodes < 0 || cfg.Controllers < 0 || cfg.Nodes > maxNodes || cfg.Controllers > maxNodes-cfg.Nodes {
		return nil, fmt.Errorf("a cluster of %d nodes and %d controllers: from 1 to %d are possible", cfg.Nodes, cfg.Controllers, maxNodes)
	}
	c := &Cluster{cfg: cfg}
	if cfg.InProcess {
		c.mem = netx.NewMem(clock.Real())
	}
	addrs, err := c.addresses()
	if err != nil {
		return nil, err
	}
	for i := range addrs {
		m, err := c.newMember(i, addrs)
		if err != nil {
			return nil, err
		}
		m.fsys = disk(i+1, m.fsys)
		c.members = append(c.members, m)
	}
	if err := c.formatAll(); err != nil {
		return nil, err
	}
	for i := range c.members {
		if err := c.open(i); err != nil {
			for _, m := range c.members[:i] {
				m.b.Abort()
			}
			return nil, fmt.Errorf("node %d: %w", i+1, err)
		}
	}
	return c, nil
}

// maxNodes bounds a cluster in one process.
const maxNodes = 99

// address is where a node listens.
type address struct{ clients, controller string }

// addresses chooses where the nodes listen.
func (c *Cluster) addresses() ([]address, error) {
	out := make([]address, c.cfg.Nodes+c.cfg.Controllers)
	var wanted []*string
	for i := range out {
		switch at := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }; {
		case c.mem != nil:
			host := fmt.Sprintf("node%d", i+1)
			out[i] = address{host + ":9092", host + ":9093"}
		case c.cfg.Port != 0:
			out[i] = address{at(c.cfg.Port + 2*i), at(c.cfg.Port + 2*i + 1)}
		default:
			wanted = append(wanted, &out[i].clients, &out[i].controller)
		}
	}
	// All are taken before one is given back, so that they differ.
	for _, w := range wanted {
		l, err := netx.OS().Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		defer l.Close()
		*w = l.Addr().String()
	}
	return out, nil
}

// NodeDir is the name of a node's directory below ClusterConfig.Dir.
func NodeDir(id int) string { return fmt.Sprintf("node-%d", id) }

// newMember prepares what node i has before it is opened.
func (c *Cluster) newMember(i int, addrs []address) (*member, error) {
	m := &member{fsys: vfs.OS(), net: netx.OS()}
	dir := filepath.Join(c.cfg.Dir, NodeDir(i+1))
	if c.cfg.Dir == "" {
		m.fsys, dir = vfs.NewMem(), "/data"
	}
	if c.mem != nil {
		m.net = c.mem.Host(fmt.Sprintf("node%d", i+1))
	}
	var voters []string
	for j, a := range addrs {
		if c.cfg.Controllers == 0 || j >= c.cfg.Nodes {
			voters = append(voters, fmt.Sprintf("%d@%s", j+1, a.controller))
		}
	}
	replicas := strconv.Itoa(min(c.cfg.Nodes, 3))
	props := map[string]string{
		"node.id":                                  strconv.Itoa(i + 1),
		"controller.listener.names":                "CONTROLLER",
		"controller.quorum.voters":                 strings.Join(voters, ","),
		"log.dirs":                                 dir,
		"default.replication.factor":               replicas,
		"offsets.topic.replication.factor":         replicas,
		"transaction.state.log.replication.factor": replicas,
		"transaction.state.log.min.isr":            strconv.Itoa(min(c.cfg.Nodes, 2)),
		"group.initial.rebalance.delay.ms":         "0",
		"gregor.http.listener":                     "",
	}
	maps.Copy(props, c.roles(i, addrs[i]))
	maps.Copy(props, c.cfg.Properties)
	props["gregor.http.listener"] = nth(props["gregor.http.listener"], i)
	var err error
	if m.parsed, _, err = config.Load(props); err != nil {
		return nil, fmt.Errorf("the properties of node %d: %w", i+1, err)
	}
	return m, nil
}

// nth is the address whose port is that many above the one of addr. What has no port
// that could be counted from stays as it is.
func nth(addr string, i int) string {
	host, port, err := net.SplitHostPort(addr)
	n, perr := strconv.Atoi(port)
	if err != nil || perr != nil || n == 0 {
		return addr
	}
	return net.JoinHostPort(host, strconv.Itoa(n+i))
}

// roles are the properties of node i that its roles decide.
func (c *Cluster) roles(i int, a address) map[string]string {
	clients, controller := "PLAINTEXT://"+a.clients, "CONTROLLER://"+a.controller
	switch {
	case c.cfg.Controllers == 0:
		return map[string]string{"process.roles": "broker,controller", "listeners": clients + "," + controller, "advertised.listeners": clients}
	case i < c.cfg.Nodes:
		return map[string]string{"process.roles": "broker", "listeners": clients, "advertised.listeners": clients}
	}
	return map[string]string{"process.roles": "controller", "listeners": controller}
}

// formatAll formats the nodes that have no data, for the cluster of those that have.
func (c *Cluster) formatAll() error {
	for _, m := range c.members {
		p, err := storage.ReadMetaProperties(m.fsys, m.parsed.MetadataLogDir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if c.clusterID != "" && c.clusterID != p.ClusterID {
			return fmt.Errorf("%s belongs to cluster %s, others in %s to %s", m.parsed.MetadataLogDir, p.ClusterID, c.cfg.Dir, c.clusterID)
		}
		c.clusterID = p.ClusterID
	}
	if c.clusterID == "" {
		c.clusterID = kafka.NewUUID().String()
	}
	for _, m := range c.members {
		if err := format(m.fsys, m.parsed, c.clusterID); err != nil {
			return err
		}
	}
	return nil
}

// open opens node i.
func (c *Cluster) open(i int) error {
	m := c.members[i]
	n, err := node.Open(context.Background(), m.parsed, node.Deps{FS: m.fsys, Net: m.net, Clock: clock.Real(), Logger: orDiscard(c.cfg.Logger)})
	if err != nil {
		return err
	}
	m.b = &Broker{node: n, net: m.net}
	return nil
}

// Start runs all nodes and returns once clients can connect to each of them, or when
// ctx ends, which leaves a cluster to Close.
func (c *Cluster) Start(ctx context.Context) error {
	return c.forAll(func(i int, b *Broker) error { return b.Start(ctx) })
}

// forAll calls f for every node that lives, at the same time.
func (c *Cluster) forAll(f func(i int, b *Broker) error) error {
	errs := make([]error, len(c.members))
	var wg sync.WaitGroup
	for i, m := range c.members {
		if m.b == nil {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := f(i, m.b); err != nil {
				errs[i] = fmt.Errorf("node %d: %w", i+1, err)
			}
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// ClusterID is the id of the cluster.
func (c *Cluster) ClusterID() string { return c.clusterID }

// Size is the number of nodes, dead ones included. Their ids are 1 to Size.
func (c *Cluster) Size() int { return len(c.members) }

// Broker is the node with the id, nil while it is dead. It must be closed through the
// cluster.
func (c *Cluster) Broker(id int) *Broker { return c.members[id-1].b }

// Addrs are the host:port for clients of every broker that lives.
func (c *Cluster) Addrs() []string {
	var out []string
	for _, m := range c.members {
		if m.b != nil && m.parsed.IsBroker() {
			out = append(out, m.b.Addr())
		}
	}
	return out
}

// Dial connects to a node, over the in-process network if the cluster has one. It has
// the form that clients take for a dialer.
func (c *Cluster) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if c.mem != nil {
		return c.mem.Dial(ctx, network, addr)
	}
	return netx.OS().Dial(ctx, network, addr)
}

// Kill stops the node with the id as if its process had died: nobody is told, and
// nothing is flushed. What it wrote is still in its files.
func (c *Cluster) Kill(id int) {
	m := c.members[id-1]
	if m.b == nil {
		return
	}
	if c.mem != nil {
		c.mem.Kill(fmt.Sprintf("node%d", id))
	}
	m.b.Abort()
	m.b = nil
}

// Stop stops the node with the id: its leaders move elsewhere first.
func (c *Cluster) Stop(id int) error {
	m := c.members[id-1]
	if m.b == nil {
		return nil
	}
	err := m.b.Close()
	m.b = nil
	return err
}

// Restart opens and starts a node that was killed or stopped, with its data.
func (c *Cluster) Restart(ctx context.Context, id int) error {
	if c.members[id-1].b != nil {
		return fmt.Errorf("node %d is running", id)
	}
	if err := c.open(id - 1); err != nil {
		return err
	}
	return c.members[id-1].b.Start(ctx)
}

// Wait blocks until ctx ends, which is no error, or a node that lives now cannot go
// on. Kill and Stop do not end it.
func (c *Cluster) Wait(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, len(c.members))
	for i, m := range c.members {
		if b := m.b; b != nil {
			go func() {
				select {
				case <-b.Done():
					failed <- fmt.Errorf("node %d: %w", i+1, b.Err())
				case <-ctx.Done():
				}
			}()
		}
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// Close stops all nodes.
func (c *Cluster) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	// All give up their leaders while there is still a quorum to note it.
	_ = c.forAll(func(_ int, b *Broker) error { b.node.Drain(ctx); return nil })
	err := c.forAll(func(_ int, b *Broker) error { return b.node.Close(ctx) })
	for _, m := range c.members {
		m.b = nil
	}
	return err
}
