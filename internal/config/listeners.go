package config

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
)

// SecurityProtocol is how a listener authenticates and encrypts.
type SecurityProtocol string

// The protocols, in Kafka's spelling.
const (
	Plaintext     SecurityProtocol = "PLAINTEXT"
	SSL           SecurityProtocol = "SSL"
	SaslPlaintext SecurityProtocol = "SASL_PLAINTEXT"
	SaslSSL       SecurityProtocol = "SASL_SSL"
)

// ID is the protocol's number in metadata records.
func (p SecurityProtocol) ID() int16 {
	return int16(slices.Index([]SecurityProtocol{Plaintext, SSL, SaslPlaintext, SaslSSL}, p))
}

// ProtocolByID is the protocol with a number, "" for none.
func ProtocolByID(id int16) SecurityProtocol {
	all := []SecurityProtocol{Plaintext, SSL, SaslPlaintext, SaslSSL}
	if id < 0 || int(id) >= len(all) {
		return ""
	}
	return all[id]
}

// TLS says whether connections are encrypted.
func (p SecurityProtocol) TLS() bool { return p == SSL || p == SaslSSL }

// SASL says whether connections authenticate by SASL.
func (p SecurityProtocol) SASL() bool { return p == SaslPlaintext || p == SaslSSL }

// Listener is one endpoint NAME://host:port. Name is in upper case. Host is ""
// for all interfaces.
type Listener struct {
	Name     string
	Host     string
	Port     int
	Protocol SecurityProtocol
}

// String is the endpoint as in a properties file.
func (l Listener) String() string {
	return l.Name + "://" + HostPort{l.Host, l.Port}.String()
}

// HostPort is an address without a listener name.
type HostPort struct {
	Host string
	Port int
}

// String puts IPv6 addresses into brackets.
func (a HostPort) String() string {
	if strings.Contains(a.Host, ":") {
		return "[" + a.Host + "]:" + strconv.Itoa(a.Port)
	}
	return a.Host + ":" + strconv.Itoa(a.Port)
}

// Voter is one entry of controller.quorum.voters: id@host:port. An address
// 0.0.0.0:0 is not known yet.
type Voter struct {
	ID      kafka.NodeID
	Address HostPort
}

var (
	endpointPattern = regexp.MustCompile(`^(.*)://\[?([0-9a-zA-Z\-%._:]*)\]?:(-?[0-9]+)$`)
	addressPattern  = regexp.MustCompile(`^(?:[0-9a-zA-Z\-%._]*://)?\[?([0-9a-zA-Z\-%._:]*)\]?:([0-9]+)$`)
	hostPattern     = regexp.MustCompile(`^[0-9a-zA-Z\-%._:]*$`)
)

// parseListeners reads a listeners list with the protocols of its names.
func parseListeners(list []string, protocols map[string]SecurityProtocol) ([]Listener, error) {
	listeners := make([]Listener, 0, len(list))
	for _, entry := range list {
		m := endpointPattern.FindStringSubmatch(entry)
		if m == nil {
			return nil, listenersError(list, "Unable to parse "+entry+" to a broker endpoint")
		}
		port, err := strconv.ParseInt(m[3], 10, 32)
		if err != nil || port < -1 || port > 65535 {
			return nil, listenersError(list, "Invalid port "+m[3]+" in "+entry)
		}
		l := Listener{Name: strings.ToUpper(m[1]), Host: m[2], Port: int(port)}
		var ok bool
		if l.Protocol, ok = protocols[l.Name]; !ok {
			return nil, listenersError(list, "No security protocol defined for listener "+l.Name)
		}
		if slices.ContainsFunc(listeners, func(o Listener) bool { return o.Name == l.Name }) {
			return nil, listenersError(list, "Each listener must have a different name, listeners: "+display(list))
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func listenersError(list []string, reason string) error {
	return kafka.InvalidConfig.Errorf("Error creating broker listeners from '%s': %s", display(list), reason)
}

// checkPorts refuses listeners that share a port, except one with an IPv4 and
// one with an IPv6 address (KIP-797). Port 0 is chosen by the system.
func checkPorts(listeners []Listener, list []string) error {
	for i, a := range listeners {
		if a.Port == 0 {
			continue
		}
		for _, b := range listeners[:i] {
			if a.Port != b.Port {
				continue
			}
			ipA, errA := netip.ParseAddr(a.Host)
			ipB, errB := netip.ParseAddr(b.Host)
			switch {
			case errA != nil || errB != nil:
				return listenersError(list, "Each listener must have a different port, listeners: "+display(list))
			case ipA.Is4() == ipB.Is4():
				return listenersError(list, "If you have two listeners on the same port then one needs to be IPv4 and the other IPv6, listeners: "+
					display(list)+", port: "+strconv.Itoa(a.Port))
			}
		}
	}
	return nil
}

// ParseVoters reads the entries of controller.quorum.voters.
func ParseVoters(entries []string) ([]Voter, error) {
	const form = " for the configuration controller.quorum.voters. Each entry should be in the form `{id}@{host}:{port}`."
	voters := make([]Voter, 0, len(entries))
	for _, entry := range entries {
		id, address, ok := strings.Cut(entry, "@")
		if !ok || strings.Contains(address, "@") {
			return nil, kafka.InvalidConfig.Errorf("Invalid configuration value for controller.quorum.voters. Each entry should be in the form `{id}@{host}:{port}`.")
		}
		n, err := strconv.ParseInt(id, 10, 32)
		if err != nil || n < 0 {
			return nil, kafka.InvalidConfig.Errorf("Failed to parse voter ID as an integer from %s", id)
		}
		a, ok := parseAddress(address)
		if !ok {
			return nil, kafka.InvalidConfig.Errorf("Failed to parse host name from entry %s%s", entry, form)
		}
		if slices.ContainsFunc(voters, func(v Voter) bool { return v.ID == kafka.NodeID(n) }) {
			return nil, kafka.InvalidConfig.Errorf("controller.quorum.voters names the id %d twice", n)
		}
		voters = append(voters, Voter{kafka.NodeID(n), a})
	}
	return voters, nil
}

// parseServers reads a list of host:port entries of the given key.
func parseServers(entries []string, key string) ([]HostPort, error) {
	servers := make([]HostPort, 0, len(entries))
	for _, entry := range entries {
		a, ok := parseAddress(entry)
		if !ok {
			return nil, kafka.InvalidConfig.Errorf("Failed to parse host name from %s for the configuration %s. Each entry should be in the form \"{host}:{port}\"", entry, key)
		}
		servers = append(servers, a)
	}
	return servers, nil
}

func parseAddress(s string) (HostPort, bool) {
	m := addressPattern.FindStringSubmatch(s)
	if m == nil || m[1] == "" {
		return HostPort{}, false
	}
	port, err := strconv.ParseUint(m[2], 10, 16)
	return HostPort{m[1], int(port)}, err == nil
}

// parseProtocolMap reads listener.security.protocol.map: NAME:PROTOCOL pairs.
func parseProtocolMap(text string) (map[string]SecurityProtocol, error) {
	pairs, err := parseMap("listener.security.protocol.map", text)
	if err != nil {
		return nil, err
	}
	m := make(map[string]SecurityProtocol, len(pairs))
	for _, p := range pairs {
		proto := SecurityProtocol(strings.ToUpper(p.Value))
		if proto.ID() < 0 {
			return nil, kafka.InvalidConfig.Errorf("Invalid security protocol `%s` defined in listener.security.protocol.map", p.Value)
		}
		m[strings.ToUpper(p.Key)] = proto
	}
	return m, nil
}

// parseMap reads a list of key:value pairs; the last colon separates, so that
// IPv6 addresses can be keys.
func parseMap(key, text string) (Properties, error) {
	var pairs Properties
	for _, entry := range splitList(trim(text)) {
		i := strings.LastIndexByte(entry, ':')
		if i <= 0 {
			return nil, kafka.InvalidConfig.Errorf("Error parsing configuration property '%s': %q is not of the form key:value", key, entry)
		}
		pairs = pairs.Set(trim(entry[:i]), trim(entry[i+1:]))
	}
	return pairs, nil
}
