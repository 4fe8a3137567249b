package cluster

import (
	"encoding/binary"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// client is the number of whoever is no host.
const client = 0

// proxies stand before the listeners of every host, on loopback. They find out which host
// a connection comes from by its first request, and hold back what goes over a link that
// is cut: to both ends that is a network that loses everything until it is healed. mu
// guards all below it.
type proxies struct {
	t       *testing.T
	ports   []hostPorts   // by host number - 1
	numbers map[int32]int // node id -> host number

	mu        sync.Mutex
	changed   *sync.Cond
	listeners map[int][]net.Listener
	flows     map[*flow]bool
	lost      map[[2]int]bool // from, to
	isolated  map[int]bool
}

// hostPorts are where a host listens and where it is reached: a broker's port, and the
// next one for the controller.
type hostPorts struct{ bound, reached int }

// flow is one connection through a proxy.
type flow struct {
	from, to  int // from is guarded by proxies.mu
	near, far net.Conn
}

func newProxies(t *testing.T, numbers map[int32]int) *proxies {
	p := &proxies{t: t, numbers: numbers, listeners: map[int][]net.Listener{}, flows: map[*flow]bool{}, lost: map[[2]int]bool{}, isolated: map[int]bool{}}
	p.changed = sync.NewCond(&p.mu)
	for range numbers {
		bound, _ := strconv.Atoi(freePort(t))
		reached, _ := strconv.Atoi(freePort(t))
		p.ports = append(p.ports, hostPorts{bound, reached})
	}
	t.Cleanup(func() {
		for h := 1; h <= len(numbers); h++ {
			p.down(h)
		}
	})
	return p
}

func loopback(port int, controller bool) string {
	if controller {
		port++
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

func (p *proxies) address(h int, controller bool) string {
	return loopback(p.ports[h-1].reached, controller)
}
func (p *proxies) bound(h int, controller bool) string {
	return loopback(p.ports[h-1].bound, controller)
}
func (p *proxies) command(int) []string { return nil }

// up begins to accept for a host. A dead host refuses, as its process would.
func (p *proxies) up(h int) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, controller := range []bool{false, true} {
		l, err := net.Listen("tcp", p.address(h, controller))
		if err != nil {
			p.t.Fatal(err)
		}
		p.listeners[h] = append(p.listeners[h], l)
		go p.accept(l, h, p.bound(h, controller))
	}
}

func (p *proxies) down(h int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.listeners[h] {
		l.Close()
	}
	delete(p.listeners, h)
	for f := range p.flows {
		if f.to == h || f.from == h {
			p.end(f)
		}
	}
}

// end closes a flow; p.mu is held.
func (p *proxies) end(f *flow) {
	f.near.Close()
	f.far.Close()
	delete(p.flows, f)
	p.changed.Broadcast()
}

func (p *proxies) accept(l net.Listener, to int, bound string) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		go p.carry(near, to, bound)
	}
}

func (p *proxies) carry(near net.Conn, to int, bound string) {
	far, err := net.Dial("tcp", bound)
	if err != nil {
		abortive(near)
		near.Close()
		return
	}
	f := &flow{from: client, to: to, near: near, far: far}
	p.mu.Lock()
	p.flows[f] = true
	p.mu.Unlock()
	go p.pump(f, near, far)
	p.pump(f, far, near)
}

// pump carries bytes one way and ends the flow when that side has ended.
func (p *proxies) pump(f *flow, src, dst net.Conn) {
	buf := make([]byte, 64<<10)
	for first := src == f.near; ; first = false {
		n, err := src.Read(buf)
		p.mu.Lock()
		if first {
			f.from = p.sender(buf[:n])
		}
		for p.flows[f] && p.held(f, src == f.near) {
			p.changed.Wait()
		}
		open := p.flows[f]
		p.mu.Unlock()
		if n > 0 && open {
			_, werr := dst.Write(buf[:n])
			open = werr == nil
		}
		if err != nil || !open {
			p.mu.Lock()
			p.end(f)
			p.mu.Unlock()
			return
		}
	}
}

// held says whether what goes over a flow, there or back, is held; p.mu is held.
func (p *proxies) held(f *flow, there bool) bool {
	link := [2]int{f.from, f.to}
	if !there {
		link = [2]int{f.to, f.from}
	}
	return p.lost[link] || p.isolated[f.from] || p.isolated[f.to]
}

// sender is the host that a connection comes from: its first request names the client, and
// a node's client id begins with the node's id.
func (p *proxies) sender(request []byte) int {
	if len(request) < 14 {
		return client
	}
	name := request[14:min(14+int(binary.BigEndian.Uint16(request[12:])), len(request))]
	id, _, _ := strings.Cut(string(name), "-")
	n, err := strconv.Atoi(id)
	if err != nil {
		return client
	}
	return p.numbers[int32(n)]
}

func (p *proxies) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.changed.Broadcast()
}

func (p *proxies) cut(from, to int) { p.set(func() { p.lost[[2]int{from, to}] = true }) }
func (p *proxies) isolate(h int)    { p.set(func() { p.isolated[h] = true }) }
func (p *proxies) heal()            { p.set(func() { clear(p.lost); clear(p.isolated) }) }
