package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/publish"
	"github.com/gregorhq/gregor/internal/rpc"
)

// deathwatch finds out that a broker's process has ended before its session does. Every
// controller holds a connection to every unfenced broker, whether it is the active one or
// may be next. When one breaks, the broker's address is tried at once: only an address
// that refuses after it had accepted is proof, and the active controller fences the
// broker then. An address that has refused from the beginning is that of a broker which
// opens its listeners only when it is unfenced, as Apache Kafka's do.
//
// One goroutine a watched broker, ended by look or close.
type deathwatch struct {
	n   *Node
	log *slog.Logger

	mu sync.Mutex
	// watches are the brokers that are watched, by id; guarded by mu.
	watches map[int32]*watch
	// fenced are the brokers that were fenced for a refusal, by id; guarded by mu.
	fenced map[int32]fencing
	closed bool // guarded by mu
	wg     sync.WaitGroup
}

// watch is one broker that is watched. It does not change.
type watch struct {
	id     int32
	epoch  int64
	addr   string
	cancel context.CancelFunc
	kick   chan struct{} // asks for the next attempt now
}

// fencing is one broker epoch that was fenced, by records that end before end.
type fencing struct {
	epoch int64
	end   kafka.Offset
}

func newDeathwatch(n *Node) *deathwatch {
	return &deathwatch{
		n: n, watches: map[int32]*watch{}, fenced: map[int32]fencing{},
		log: log4j.Named(n.log, "org.apache.kafka.controller.BrokerHeartbeatManager", fmt.Sprintf("QuorumController id=%d", n.static.NodeID)),
	}
}

// Name and Publish make it a publisher.
func (*deathwatch) Name() string { return "DeathWatch" }

// Publish follows the brokers.
func (d *deathwatch) Publish(u publish.Update) {
	if u.Delta == nil || len(u.Delta.ChangedBrokers()) > 0 {
		d.look(u.New)
	}
}

// active says whether this node is the controller that decides.
func (d *deathwatch) active() bool { return d.n.meta.Leader().Leader == d.n.static.NodeID }

// elected is called when there is news of the leader: what a controller found out while
// it stood by counts once it is the active one.
func (d *deathwatch) elected() {
	if !d.active() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.watches {
		select {
		case w.kick <- struct{}{}:
		default:
		}
	}
}

// look watches the brokers that img has unfenced.
func (d *deathwatch) look(img *metadata.Image) {
	d.mu.Lock()
	defer d.mu.Unlock()
	wanted := map[int32]*watch{}
	if !d.closed {
		for _, b := range img.Brokers() {
			if w := d.wants(img, b); w != nil {
				wanted[b.ID] = w
			}
		}
	}
	for id, w := range d.watches {
		if o := wanted[id]; o == nil || o.epoch != w.epoch || o.addr != w.addr {
			w.cancel()
			delete(d.watches, id)
		}
	}
	for id, w := range wanted {
		if d.watches[id] != nil {
			continue
		}
		d.watches[id] = w
		ctx, cancel := context.WithCancel(d.n.stopping)
		w.cancel = cancel
		d.wg.Add(1)
		go func() {
			defer d.wg.Done()
			defer cancel()
			d.run(ctx, w)
		}()
	}
}

// wants says how b is to be watched, nil for not at all. The caller holds mu.
func (d *deathwatch) wants(img *metadata.Image, b *metadata.Broker) *watch {
	e, ok := b.Endpoint(d.n.static.InterBrokerListenerName)
	if b.Fenced || b.ID == int32(d.n.static.NodeID) || !ok {
		return nil
	}
	if f, ok := d.fenced[b.ID]; ok && f.epoch == b.Epoch && img.EndOffset() >= f.end {
		// It was fenced and lives: its address lies.
		return nil
	}
	return &watch{id: b.ID, epoch: b.Epoch, addr: net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))), kick: make(chan struct{}, 1)}
}

// run holds the connection until the watch ends.
func (d *deathwatch) run(ctx context.Context, w *watch) {
	backoff, met := minBackoff, false
	for ctx.Err() == nil {
		since := d.n.deps.Clock.Now()
		accepted, err := d.hold(ctx, w.addr)
		met = met || accepted
		if met && errors.Is(err, rpc.ErrRefused) && ctx.Err() == nil && d.active() {
			d.log.Info("A broker's address refuses connections: its process has ended", "broker", w.id, "addr", w.addr)
			if d.fence(ctx, w) {
				return
			}
		}
		if d.n.deps.Clock.Since(since) > maxBackoff {
			// The connection had lasted: look at once what became of the broker.
			backoff = minBackoff
			continue
		}
		t := d.n.deps.Clock.NewTimer(backoff)
		select {
		case <-t.C():
			backoff = min(2*backoff, maxBackoff)
		case <-w.kick:
			backoff = minBackoff
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// hold connects, and returns when the connection has ended, or could not be opened.
// Nothing is sent.
func (d *deathwatch) hold(ctx context.Context, addr string) (accepted bool, err error) {
	timeout := time.Duration(d.n.static.BrokerSessionTimeoutMs) * time.Millisecond
	dialing, cancel := context.WithTimeout(ctx, timeout)
	nc, err := d.n.deps.Net.Dial(dialing, "tcp", addr)
	cancel()
	if err != nil {
		return false, rpc.DialError(addr, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() }) // the reader below sees it
	defer stop()
	defer nc.Close()
	_, err = nc.Read(make([]byte, 1)) // nothing comes: brokers do not speak first
	return true, err
}

// fence lets the broker be fenced, as if it had said itself that it stops: its next
// incarnation need not wait for the session to run out. It reports whether the
// controller did so.
func (d *deathwatch) fence(ctx context.Context, w *watch) bool {
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.SetVersion(req.MaxVersion())
	req.BrokerID, req.BrokerEpoch, req.WantFence, req.WantShutdown = w.id, w.epoch, true, true
	req.CurrentMetadataOffset = d.n.loader.Current().Offset
	reply, err := d.n.controller.Do(ctx, brokerPrincipal, req)
	if err != nil {
		d.log.Info("a dead broker could not be fenced", "broker", w.id, "error", err)
		return false
	}
	resp := reply.Response.(*kmsg.BrokerHeartbeatResponse)
	if resp.ErrorCode != 0 || !resp.IsFenced {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fenced[w.id] = fencing{w.epoch, reply.EndOffset}
	return true
}

// close ends every watch.
func (d *deathwatch) close() {
	d.mu.Lock()
	d.closed = true
	for id, w := range d.watches {
		w.cancel()
		delete(d.watches, id)
	}
	d.mu.Unlock()
	d.wg.Wait()
}
