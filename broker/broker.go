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
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/node"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Config says what to run. The zero value is a broker in memory on a free port of
// the loopback address.
type Config struct {
	// Dir is the data directory. It is made and formatted when it does not exist;
	// one that holds a cluster's data is opened. "" keeps everything in memory, and
	// Close forgets it.
	Dir string
	// Port is the port for clients on 127.0.0.1; 0 takes a free one.
	Port int
	// InProcess serves on a network inside the process instead of sockets; connect
	// through Broker.Dial.
	InProcess bool
	// Properties are keys of server.properties, in addition to those that the
	// fields above decide.
	Properties map[string]string
	// Logger receives what the broker logs; nil discards it.
	Logger *slog.Logger
}

// Broker is one running node.
type Broker struct {
	node *node.Node
	net  netx.Net
}

// inProcessAddr is the address on a network inside the process, where every broker
// has a network of its own.
const (
	inProcessAddr       = "127.0.0.1:9092"
	inProcessController = "127.0.0.1:9093"
)

// Open prepares the node: it checks the configuration, takes the directory's lock,
// formats it if need be, and binds the listener. It fails when another process uses
// the directory or the port. Call Start next, and Close in any case.
func Open(cfg Config) (*Broker, error) {
	b := &Broker{net: netx.OS()}
	addr, controller := fmt.Sprintf("127.0.0.1:%d", cfg.Port), inProcessController
	if cfg.InProcess {
		b.net, addr = netx.NewMem(clock.Real()), inProcessAddr
	} else if err := freePorts(b.net, &addr, &controller, cfg.Port != 0); err != nil {
		return nil, fmt.Errorf("finding a free port: %w", err)
	}
	files, dir := vfs.FS(vfs.OS()), cfg.Dir
	if dir == "" {
		files, dir = vfs.NewMem(), "/data"
	}
	props := map[string]string{
		"process.roles": "broker,controller", "node.id": "1",
		"listeners":                                "PLAINTEXT://" + addr + ",CONTROLLER://" + controller,
		"advertised.listeners":                     "PLAINTEXT://" + addr,
		"controller.listener.names":                "CONTROLLER",
		"controller.quorum.voters":                 "1@" + controller,
		"log.dirs":                                 dir,
		"offsets.topic.replication.factor":         "1",
		"transaction.state.log.replication.factor": "1",
		"transaction.state.log.min.isr":            "1",
		"group.initial.rebalance.delay.ms":         "0",
		"gregor.http.listener":                     "",
	}
	maps.Copy(props, cfg.Properties)
	parsed, _, err := config.Load(props)
	if err != nil {
		return nil, fmt.Errorf("the broker's properties: %w", err)
	}
	if err := format(files, parsed, kafka.NewUUID().String()); err != nil {
		return nil, err
	}
	b.node, err = node.Open(context.Background(), parsed, node.Deps{FS: files, Net: b.net, Clock: clock.Real(), Logger: orDiscard(cfg.Logger)})
	if err != nil {
		return nil, err
	}
	return b, nil
}

func orDiscard(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

// freePorts asks the system for ports that nobody listens on: for the controller,
// and for clients unless that one is given.
func freePorts(n netx.Net, addr, controller *string, given bool) error {
	wanted := []*string{controller, addr}
	if given {
		wanted = wanted[:1]
	}
	// All are taken before one is given back, so that they differ.
	var errs []error
	for _, w := range wanted {
		l, err := n.Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		defer l.Close()
		*w = l.Addr().String()
	}
	return errors.Join(errs...)
}

// format formats the directories of a node that has none, for a cluster.
func format(files vfs.FS, cfg *config.Broker, clusterID string) error {
	_, err := files.Stat(filepath.Join(cfg.MetadataLogDir, storage.MetaPropertiesName))
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking at %s: %w", cfg.MetadataLogDir, err)
	}
	_, err = storage.Format(files, storage.FormatOptions{
		NodeID: cfg.NodeID, ClusterID: clusterID, Directories: cfg.LogDirs, MetadataLogDir: cfg.MetadataLogDir,
		ControllerListenerName: cfg.ControllerListenerNames[0], DynamicQuorum: len(cfg.Voters) == 0, Now: clock.Real().Now(),
	})
	if err != nil {
		return fmt.Errorf("formatting %s: %w", cfg.MetadataLogDir, err)
	}
	return nil
}

// Start runs the broker and returns once clients can connect and its partitions are
// led, or when ctx ends, which leaves a broker to Close.
func (b *Broker) Start(ctx context.Context) error { return b.node.Start(ctx) }

// Addr is the host:port that clients connect to.
func (b *Broker) Addr() string { return b.node.Addr("PLAINTEXT") }

// HTTPAddr is the host:port at which metrics and health are served, "" unless
// Properties sets gregor.http.listener.
func (b *Broker) HTTPAddr() string { return b.node.HTTPAddr() }

// Dial connects to the broker, over its in-process network if it has one. It has
// the form that clients take for a dialer.
func (b *Broker) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return b.net.Dial(ctx, network, addr)
}

// Done is closed when the broker cannot go on, for example because its disk failed;
// Err says why, and Close must still be called.
func (b *Broker) Done() <-chan struct{} { return b.node.Done() }

// Err is why the broker stopped by itself, or nil.
func (b *Broker) Err() error { return b.node.Err() }

// closeTimeout bounds a controlled shutdown.
const closeTimeout = time.Minute

// Close stops the broker: it answers what it has taken, flushes, and marks the
// directory as cleanly closed. It may be called more than once.
func (b *Broker) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return b.node.Close(ctx)
}

// Abort stops the broker as if its process had died: nobody is told, nothing is
// flushed, and the directory is not marked as cleanly closed. It is for tests of what a
// crash leaves behind.
func (b *Broker) Abort() { b.node.Abort() }
