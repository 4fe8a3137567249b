package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// links are the network between the hosts of a fleet, which are numbered from 1. What is
// cut is cut silently: packets get lost, nobody is told.
type links interface {
	// address is where a host is reached, bound where it listens.
	address(host int, controller bool) string
	bound(host int, controller bool) string
	// command is put before the command of a host's process.
	command(host int) []string
	// up and down tell that a host's process runs and that it is going to end.
	up(host int)
	down(host int)
	// cut loses what one host sends to another. isolate loses all that a host sends and is
	// sent, by clients too. heal undoes both everywhere.
	cut(from, to int)
	isolate(host int)
	heal()
}

// newLinks makes a network of namespaces; where that is not allowed, or GREGOR_LINKS is
// "proxy", it puts a proxy of its own before each host. It is given the hosts' numbers by
// their node ids.
func newLinks(t *testing.T, numbers map[int32]int) links {
	t.Helper()
	if os.Getenv("GREGOR_LINKS") != "proxy" {
		n, err := newNamespaces(t, len(numbers))
		if err == nil {
			return n
		}
		t.Logf("network namespaces cannot be made (%v): links are cut in a proxy before each host instead", err)
	}
	return newProxies(t, numbers)
}

// namespaces give each host a network namespace with one interface on a bridge. Clients
// are at the bridge itself.
type namespaces struct {
	t        *testing.T
	hosts    int
	net      int      // third byte of the addresses
	isolated []int    // hosts whose interface is down
	lost     [][2]int // pairs that are cut
}

const (
	brokerPort     = "9092"
	controllerPort = "9093"
)

func newNamespaces(t *testing.T, hosts int) (*namespaces, error) {
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, err
	}
	n := &namespaces{t: t, hosts: hosts}
	removeLeftovers()
	for range 20 {
		n.net = rand.IntN(256)
		if err := ip("link", "add", n.bridge(), "type", "bridge"); err == nil {
			break
		} else if !strings.Contains(err.Error(), "File exists") {
			return nil, err
		}
	}
	t.Cleanup(n.remove)
	// The alias says whose bridge it is, so that another run can clean up after this one.
	err := errors.Join(ip("link", "set", n.bridge(), "alias", fmt.Sprintf("gregor-test %d %d", os.Getpid(), hosts)),
		ip("addr", "add", fmt.Sprintf("198.18.%d.254/24", n.net), "dev", n.bridge()), ip("link", "set", n.bridge(), "up"))
	for h := 1; h <= hosts && err == nil; h++ {
		err = errors.Join(ip("netns", "add", n.name(h)),
			ip("link", "add", n.port(h), "type", "veth", "peer", "name", "eth0", "netns", n.name(h)),
			ip("link", "set", n.port(h), "master", n.bridge(), "up"),
			ip("-n", n.name(h), "link", "set", "eth0", "address", n.hardware(h), "up"),
			ip("-n", n.name(h), "addr", "add", n.ip(h)+"/24", "dev", "eth0"),
			ip("-n", n.name(h), "link", "set", "lo", "up"))
	}
	if err == nil {
		for h := 1; h <= hosts; h++ {
			for to := 1; to <= hosts; to++ {
				if h != to {
					n.neighbour(h, to, n.hardware(to))
				}
			}
		}
	}
	return n, err
}

// ip runs the command of iproute2.
func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (n *namespaces) bridge() string        { return fmt.Sprintf("gregor%d", n.net) }
func (n *namespaces) name(h int) string     { return fmt.Sprintf("gregor%d-%d", n.net, h) }
func (n *namespaces) port(h int) string     { return fmt.Sprintf("gregor%d-%d", n.net, h) }
func (n *namespaces) ip(h int) string       { return fmt.Sprintf("198.18.%d.%d", n.net, h) }
func (n *namespaces) hardware(h int) string { return fmt.Sprintf("02:67:00:00:%02x:%02x", n.net, h) }

func (n *namespaces) address(h int, controller bool) string {
	if controller {
		return net.JoinHostPort(n.ip(h), controllerPort)
	}
	return net.JoinHostPort(n.ip(h), brokerPort)
}
func (n *namespaces) bound(h int, controller bool) string { return n.address(h, controller) }
func (n *namespaces) command(h int) []string              { return []string{"ip", "netns", "exec", n.name(h)} }
func (n *namespaces) up(int)                              {}
func (n *namespaces) down(int)                            {}

// neighbour tells a host which hardware address another one has.
func (n *namespaces) neighbour(h, to int, hardware string) {
	n.t.Helper()
	if err := ip("-n", n.name(h), "neigh", "replace", n.ip(to), "lladdr", hardware, "nud", "permanent", "dev", "eth0"); err != nil {
		n.t.Fatal(err)
	}
}

// cut gives the receiver a hardware address that nobody has: the bridge hands the packets
// to everybody, and nobody takes them.
func (n *namespaces) cut(from, to int) {
	n.neighbour(from, to, n.hardware(0xff))
	n.lost = append(n.lost, [2]int{from, to})
}

func (n *namespaces) isolate(h int) {
	if err := ip("link", "set", n.port(h), "down"); err != nil {
		n.t.Fatal(err)
	}
	n.isolated = append(n.isolated, h)
}

func (n *namespaces) heal() {
	for _, h := range n.isolated {
		if err := ip("link", "set", n.port(h), "up"); err != nil {
			n.t.Fatal(err)
		}
	}
	for _, p := range n.lost {
		n.neighbour(p[0], p[1], n.hardware(p[1]))
	}
	n.isolated, n.lost = nil, nil
}

// remove takes all of it away; an interface goes with its namespace. Processes have ended
// by then.
func (n *namespaces) remove() { removeNetwork(n.net, n.hosts) }

func removeNetwork(number, hosts int) {
	n := &namespaces{net: number}
	for h := 1; h <= hosts; h++ {
		_ = ip("link", "del", n.port(h)) // what was not made cannot be removed
		_ = ip("netns", "del", n.name(h))
	}
	_ = ip("link", "del", n.bridge())
}

// removeLeftovers removes the networks of runs that ended without removing them.
func removeLeftovers() {
	bridges, _ := os.ReadDir("/sys/class/net")
	for _, b := range bridges {
		number, err := strconv.Atoi(strings.TrimPrefix(b.Name(), "gregor"))
		if err != nil {
			continue
		}
		alias, _ := os.ReadFile("/sys/class/net/" + b.Name() + "/ifalias")
		var pid, hosts int
		if _, err := fmt.Sscanf(string(alias), "gregor-test %d %d", &pid, &hosts); err != nil {
			continue
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); errors.Is(err, os.ErrNotExist) {
			removeNetwork(number, hosts)
		}
	}
}
