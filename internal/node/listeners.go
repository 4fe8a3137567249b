package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/storage"
)

// isController says whether a listener is for controllers.
func (n *Node) isController(name string) bool {
	return slices.Contains(n.static.ControllerListenerNames, name)
}

// listenerNames are the controller listeners, or the others.
func (n *Node) listenerNames(controller bool) []string {
	var names []string
	for _, l := range n.static.Listeners {
		if n.isController(l.Name) == controller {
			names = append(names, l.Name)
		}
	}
	return names
}

// listen binds every listener. The handlers get what they need before anything is
// served.
func (n *Node) listen(ctx context.Context) error {
	cfg := n.static
	limits := connectionLimits(cfg)
	sc := server.Config{
		Net: n.deps.Net, Clock: n.deps.Clock, Log: log4j.Named(n.log, "kafka.network.SocketServer", ""),
		SocketRequestMaxBytes: cfg.SocketRequestMaxBytes,
		QueuedMaxRequestBytes: cfg.QueuedMaxRequestBytes,
		ConnectionsMaxIdle:    time.Duration(cfg.ConnectionsMaxIdleMs) * time.Millisecond,
		Limits:                &limits,
	}
	brokerTable, controllerTable := n.broker.Table(), n.ctlAPI.Table()
	for _, l := range cfg.Listeners {
		controller := n.isController(l.Name)
		if !controller && !n.is(roleBroker) {
			continue
		}
		lc := server.ListenerConfig{
			Name: l.Name, Protocol: server.SecurityProtocol(l.Protocol),
			Addr:       net.JoinHostPort(l.Host, strconv.Itoa(l.Port)),
			Table:      brokerTable,
			Controller: controller, InterBroker: l.Name == cfg.InterBrokerListenerName,
		}
		if controller {
			lc.Table = controllerTable
		}
		lc.AdvertisedHost, lc.AdvertisedPort = n.advertised(l)
		sc.Listeners = append(sc.Listeners, lc)
	}
	var err error
	if n.server, err = server.New(sc); err != nil {
		return err
	}
	return n.server.Listen(ctx)
}

// connectionLimits are the limits on connections that a configuration sets. A listener
// without limits of its own has the broker's for itself, as in Apache Kafka.
func connectionLimits(cfg *config.Broker) server.Limits {
	l := server.Limits{
		MaxConnections:               cfg.MaxConnections,
		MaxConnectionsPerIP:          cfg.MaxConnectionsPerIP,
		MaxConnectionsPerIPOverrides: map[string]int{},
		MaxConnectionCreationRate:    cfg.MaxConnectionCreationRate,
		Listeners:                    map[string]server.ListenerLimits{},
	}
	for host, limit := range cfg.MaxConnectionsPerIPOverrides {
		l.MaxConnectionsPerIPOverrides[host] = limit
		if net.ParseIP(host) != nil {
			continue
		}
		if addrs, err := net.LookupHost(host); err == nil {
			for _, a := range addrs {
				l.MaxConnectionsPerIPOverrides[a] = limit
			}
		}
	}
	for _, li := range cfg.Listeners {
		l.Listeners[li.Name] = server.ListenerLimits{
			MaxConnections:            int(cfg.ListenerLong(li.Name, "", "max.connections")),
			MaxConnectionCreationRate: int(cfg.ListenerLong(li.Name, "", "max.connection.creation.rate")),
		}
	}
	return l
}

// advertised is what clients of a listener are told: advertised.listeners, else
// what it is bound to, with the machine's name for "every interface". Port 0
// stands for the bound port.
func (n *Node) advertised(l config.Listener) (host string, port int32) {
	host, port = l.Host, int32(l.Port)
	told := n.static.AdvertisedListeners
	if n.isController(l.Name) {
		told = n.static.AdvertisedControllerListeners
	}
	if i := slices.IndexFunc(told, func(a config.Listener) bool { return a.Name == l.Name }); i >= 0 {
		host, port = told[i].Host, int32(told[i].Port)
	}
	if host == "" || n.isController(l.Name) && (host == "0.0.0.0" || host == "::") {
		host = localHost()
	}
	return host, port
}

// localHost is the name under which this machine can be reached.
func localHost() string {
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost"
}

// endpoints are the addresses that this node advertises, of its controller
// listeners or of the others.
func (n *Node) endpoints(controller bool) ([]metadata.Endpoint, error) {
	var out []metadata.Endpoint
	for _, l := range n.static.Listeners {
		if n.isController(l.Name) != controller {
			continue
		}
		sl := n.server.Listener(l.Name)
		if sl == nil {
			continue
		}
		e := metadata.Endpoint{Name: l.Name, Host: sl.AdvertisedHost, Port: uint16(sl.AdvertisedPort), SecurityProtocol: l.Protocol.ID()}
		if e.Port == 0 {
			_, port, err := net.SplitHostPort(sl.BoundAddr().String())
			if err != nil {
				return nil, fmt.Errorf("the bound address of listener %s: %w", l.Name, err)
			}
			p, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				return nil, fmt.Errorf("the bound port of listener %s: %w", l.Name, err)
			}
			e.Port = uint16(p)
		}
		out = append(out, e)
	}
	return out, nil
}

// voterEndpoints are the controller endpoints as they stand in the voter set.
func voterEndpoints(in []metadata.Endpoint) []storage.Endpoint {
	var out []storage.Endpoint
	for _, e := range in {
		out = append(out, storage.Endpoint{Listener: e.Name, Host: e.Host, Port: e.Port})
	}
	return out
}
