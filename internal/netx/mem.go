package netx

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
)

const (
	// memBacklog bounds the connections that wait for Accept.
	memBacklog = 1024
	// memWindow bounds the bytes in flight in one direction of a connection.
	memWindow = 256 << 10
	// firstMemPort is the first port that a Listen on port 0 gets.
	firstMemPort = 30000
)

// Mem is a network inside the process. Its hosts have names; Host returns the network as one of them sees it. Links
// between hosts can be cut in one direction, delayed, and their connections reset. What is written into a cut link is
// delivered when the link heals, as TCP would do.
//
// mu guards everything that belongs to the network: links, listeners, connections and their streams. Waiters wait on the
// condition of the stream or listener that they need.
type Mem struct {
	clock clock.Clock

	mu        sync.Mutex
	links     map[hostPair]linkState
	listeners map[string]*memListener // by host:port
	conns     map[*memConn]bool       // one end of each open connection: the dialing one
	nextPort  int
	dialing   sync.Cond // signalled when a link changes
}

// hostPair is a direction: what from sends to to.
type hostPair struct{ from, to string }

// linkState is the fault of one direction.
type linkState struct {
	cut   bool
	delay time.Duration
}

// NewMem returns a network whose delays and deadlines follow c.
func NewMem(c clock.Clock) *Mem {
	m := &Mem{
		clock: c, links: map[hostPair]linkState{}, listeners: map[string]*memListener{},
		conns: map[*memConn]bool{}, nextPort: firstMemPort,
	}
	m.dialing.L = &m.mu
	return m
}

// Host returns the network as the named host sees it: it listens under that name, and faults of its links apply.
func (m *Mem) Host(name string) Net { return memHost{m, name} }

// Listen is Host("localhost").Listen.
func (m *Mem) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	return m.Host("localhost").Listen(ctx, network, addr)
}

// Dial is Host("localhost").Dial.
func (m *Mem) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return m.Host("localhost").Dial(ctx, network, addr)
}

// Cut stops what from sends to to, until Heal. A Dial between the two waits as long as either direction is cut.
func (m *Mem) Cut(from, to string) { m.setLink(from, to, func(l *linkState) { l.cut = true }) }

// Heal ends a Cut; what was held back is delivered.
func (m *Mem) Heal(from, to string) { m.setLink(from, to, func(l *linkState) { l.cut = false }) }

// SetDelay makes everything that from writes to to from now on arrive d later. Order is kept.
func (m *Mem) SetDelay(from, to string, d time.Duration) {
	m.setLink(from, to, func(l *linkState) { l.delay = d })
}

func (m *Mem) setLink(from, to string, change func(*linkState)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	pair := hostPair{from, to}
	link := m.links[pair]
	change(&link)
	m.links[pair] = link
	m.dialing.Broadcast()
	for c := range m.conns {
		c.in.changed.Broadcast()
		c.out.changed.Broadcast()
	}
}

// Reset breaks all connections between two hosts, in either direction: both ends get ECONNRESET.
func (m *Mem) Reset(a, b string) {
	m.resetIf(func(c *memConn) bool {
		return c.local.host == a && c.remote.host == b || c.local.host == b && c.remote.host == a
	})
}

// Kill breaks all connections of a host and closes its listeners, as the death of its process does.
func (m *Mem) Kill(host string) {
	m.mu.Lock()
	for _, l := range m.listeners {
		if l.addr.host == host {
			l.close()
		}
	}
	m.mu.Unlock()
	m.resetIf(func(c *memConn) bool { return c.local.host == host || c.remote.host == host })
}

// Exit ends a host's process as its kernel does: the listeners close, what the process had written is still delivered,
// and only then its peers find the connections gone. Kill is the death of the machine.
func (m *Mem) Exit(host string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.listeners {
		if l.addr.host == host {
			l.close()
		}
	}
	for c := range m.conns {
		if c.local.host == host {
			m.leave(c.out, c.in)
		}
		if c.remote.host == host {
			m.leave(c.in, c.out)
		}
	}
}

// leave ends the process's side of a connection: out is what it sent, in what it was sent. Caller holds mu.
func (m *Mem) leave(out, in *stream) {
	if !out.ended {
		out.ended = true
		out.endAt = out.arrival(m.clock.Now())
	}
	in.err, in.chunks, in.size, in.dropped = errReset, nil, 0, true
	in.changed.Broadcast()
}

func (m *Mem) resetIf(match func(*memConn) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.conns {
		if match(c) {
			c.reset()
		}
	}
}

// memAddr is the address of one end.
type memAddr struct {
	host string
	port int
}

func (a memAddr) Network() string { return "tcp" }
func (a memAddr) String() string  { return net.JoinHostPort(a.host, strconv.Itoa(a.port)) }

// memHost is the network as one host sees it.
type memHost struct {
	m    *Mem
	name string
}

// resolve parses an address. Wildcards and the loopback names mean the host itself.
func (h memHost) resolve(addr string) (memAddr, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return memAddr{}, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return memAddr{}, fmt.Errorf("port %q: %w", service, err)
	}
	switch host {
	case "", "0.0.0.0", "::", "localhost", "127.0.0.1", "::1":
		host = h.name
	}
	return memAddr{host, int(port)}, nil
}

func (h memHost) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	fail := func(err error) (net.Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: network, Err: fmt.Errorf("%s: %w", addr, err)}
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	at, err := h.resolve(addr)
	if err != nil {
		return fail(err)
	}
	if at.host != h.name {
		return fail(syscall.EADDRNOTAVAIL)
	}
	m := h.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.port == 0 {
		at.port = m.freePort()
	}
	if m.listeners[at.String()] != nil {
		return fail(syscall.EADDRINUSE)
	}
	l := &memListener{m: m, addr: at}
	l.changed.L = &m.mu
	m.listeners[at.String()] = l
	return l, nil
}

// freePort returns a port that was not given out before. Caller holds mu.
func (m *Mem) freePort() int {
	m.nextPort++
	return m.nextPort
}

func (h memHost) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s: %w", addr, err)}
	}
	to, err := h.resolve(addr)
	if err != nil {
		return fail(err)
	}
	m := h.m
	stop := context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.dialing.Broadcast()
	})
	defer stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	for ctx.Err() == nil && (m.links[hostPair{h.name, to.host}].cut || m.links[hostPair{to.host, h.name}].cut) {
		m.dialing.Wait()
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	l := m.listeners[to.String()]
	if l == nil || len(l.queue) == memBacklog {
		return fail(syscall.ECONNREFUSED)
	}
	here, there := m.connect(memAddr{h.name, m.freePort()}, to)
	l.queue = append(l.queue, there)
	l.changed.Broadcast()
	return here, nil
}

// memListener is a listener of Mem.
type memListener struct {
	m       *Mem
	addr    memAddr
	queue   []*memConn
	closed  bool
	changed sync.Cond
}

func (l *memListener) Accept() (net.Conn, error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	for len(l.queue) == 0 && !l.closed {
		l.changed.Wait()
	}
	if l.closed {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	c := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	return c, nil
}

func (l *memListener) Addr() net.Addr { return l.addr }

func (l *memListener) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.closed {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	l.close()
	return nil
}

// close ends the listener and breaks the connections that nobody accepted. Caller holds mu.
func (l *memListener) close() {
	l.closed = true
	delete(l.m.listeners, l.addr.String())
	for _, c := range l.queue {
		c.reset()
	}
	l.queue = nil
	l.changed.Broadcast()
}
