package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
)

// The roles of process.roles.
const (
	BrokerRole     = "broker"
	ControllerRole = "controller"
)

// IsBroker says whether the node stores partitions and serves clients.
func (b *Broker) IsBroker() bool {
	return slices.Contains(b.ProcessRoles, BrokerRole) || b.ZooKeeperMode()
}

// IsController says whether the node is a member of the embedded quorum.
func (b *Broker) IsController() bool { return slices.Contains(b.ProcessRoles, ControllerRole) }

// ZooKeeperMode says whether an external ZooKeeper ensemble holds the metadata.
func (b *Broker) ZooKeeperMode() bool { return len(b.ProcessRoles) == 0 && b.ZookeeperConnect != "" }

// IsControllerListener says whether the listener belongs to the controllers.
func (b *Broker) IsControllerListener(name string) bool {
	return slices.ContainsFunc(b.ControllerListenerNames, func(n string) bool { return strings.EqualFold(n, name) })
}

// DataListeners are the listeners that serve clients and brokers.
func (b *Broker) DataListeners() []Listener {
	return slices.DeleteFunc(slices.Clone(b.Listeners), func(l Listener) bool { return b.IsControllerListener(l.Name) })
}

// ControllerListeners are the listeners that serve the quorum.
func (b *Broker) ControllerListeners() []Listener {
	return slices.DeleteFunc(slices.Clone(b.Listeners), func(l Listener) bool { return !b.IsControllerListener(l.Name) })
}

// derive fills the fields that combine several keys.
func (b *Broker) derive() error {
	v := b.values
	b.ProcessRoles = v.list("process.roles")
	b.NodeID = kafka.NoNode
	if n, ok := v.parsed["node.id"].(int64); ok {
		b.NodeID = kafka.NodeID(n)
	}
	b.Rack = v.str("broker.rack")
	if b.LogDirs = v.list("log.dirs"); b.LogDirs == nil {
		b.LogDirs = v.list("log.dir")
	}
	if b.MetadataLogDir = v.str("metadata.log.dir"); b.MetadataLogDir == "" && len(b.LogDirs) > 0 {
		b.MetadataLogDir = b.LogDirs[0]
	}
	b.deriveTimes()
	b.NumReplicaAlterLogDirsThreads = len(b.LogDirs)
	if n, ok := v.parsed["num.replica.alter.log.dirs.threads"].(int64); ok {
		b.NumReplicaAlterLogDirsThreads = int(n)
	}
	if slices.Contains(b.CordonedLogDirs, "*") && len(b.CordonedLogDirs) == 1 {
		b.CordonedLogDirs = b.LogDirs
	}
	for principal := range strings.SplitSeq(v.str("super.users"), ";") {
		if principal = trim(principal); principal != "" {
			b.SuperUsers = append(b.SuperUsers, principal)
		}
	}
	b.AllowEveryoneIfNoACLFound, _ = v.parsed["allow.everyone.if.no.acl.found"].(bool)
	limits, err := parseMap("max.connections.per.ip.overrides", v.str("max.connections.per.ip.overrides"))
	if err != nil {
		return err
	}
	b.MaxConnectionsPerIPOverrides = map[string]int{}
	for _, p := range limits {
		n, err := strconv.ParseInt(p.Value, 10, 32)
		if err != nil || !hostPattern.MatchString(p.Key) {
			return invalidValue("max.connections.per.ip.overrides", v.str("max.connections.per.ip.overrides"),
				"Each entry should be in the form `{host or address}:{number}`.")
		}
		b.MaxConnectionsPerIPOverrides[p.Key] = int(n)
	}
	if b.Voters, err = ParseVoters(v.list("controller.quorum.voters")); err != nil {
		return err
	}
	if b.BootstrapServers, err = parseServers(v.list("controller.quorum.bootstrap.servers"), "controller.quorum.bootstrap.servers"); err != nil {
		return err
	}
	return b.deriveListeners()
}

// deriveTimes combines the keys that say the same in other units.
func (b *Broker) deriveTimes() {
	b.LogRollMs = b.firstTime(synonym{"log.roll.ms", 1}, synonym{"log.roll.hours", hourMs})
	b.LogRollJitterMs = b.firstTime(synonym{"log.roll.jitter.ms", 1}, synonym{"log.roll.jitter.hours", hourMs})
	b.LogFlushIntervalMs = b.firstTime(synonym{"log.flush.interval.ms", 1}, synonym{"log.flush.scheduler.interval.ms", 1})
	b.LogRetentionMs = b.firstTime(synonym{"log.retention.ms", 1}, synonym{"log.retention.minutes", minuteMs}, synonym{"log.retention.hours", hourMs})
	if b.LogRetentionMs < 0 {
		b.LogRetentionMs = -1
	}
	if b.ZookeeperConnectionTimeoutMs = b.ZookeeperSessionTimeoutMs; b.values.parsed["zookeeper.connection.timeout.ms"] != nil {
		b.ZookeeperConnectionTimeoutMs = b.values.long("zookeeper.connection.timeout.ms")
	}
}

// firstTime is the first of the keys that has a value, in milliseconds.
func (b *Broker) firstTime(keys ...synonym) int64 {
	for _, k := range keys {
		if n, ok := b.values.parsed[k.key].(int64); ok {
			return n * k.scale
		}
	}
	return 0
}

// deriveListeners parses the listeners and what is said about them.
func (b *Broker) deriveListeners() error {
	v := b.values
	var err error
	if b.ListenerSecurityProtocolMap, err = b.protocolMap(); err != nil {
		return err
	}
	if b.Listeners, err = parseListeners(v.list("listeners"), b.ListenerSecurityProtocolMap); err != nil {
		return err
	}
	if err := checkPorts(b.Listeners, v.list("listeners")); err != nil {
		return err
	}
	advertised := b.Listeners
	explicit := v.parsed["advertised.listeners"] != nil
	if explicit {
		if advertised, err = parseListeners(v.list("advertised.listeners"), b.ListenerSecurityProtocolMap); err != nil {
			return err
		}
	}
	for _, l := range advertised {
		if !b.IsControllerListener(l.Name) {
			b.AdvertisedListeners = append(b.AdvertisedListeners, l)
		}
	}
	b.AdvertisedControllerListeners = b.advertisedControllers(advertised, explicit)
	b.EarlyStartListeners = nil
	if v.parsed["early.start.listeners"] == nil {
		for _, l := range b.ControllerListeners() {
			b.EarlyStartListeners = append(b.EarlyStartListeners, l.Name)
		}
	} else {
		for _, name := range v.list("early.start.listeners") {
			b.EarlyStartListeners = append(b.EarlyStartListeners, strings.ToUpper(name))
		}
	}
	return b.deriveInterBroker()
}

// protocolMap is listener.security.protocol.map; when that is not set and
// nothing uses TLS or SASL, controller listeners are plaintext.
func (b *Broker) protocolMap() (map[string]SecurityProtocol, error) {
	v := b.values
	m, err := parseProtocolMap(v.str("listener.security.protocol.map"))
	if err != nil {
		return nil, err
	}
	if _, given := v.given["listener.security.protocol.map"]; given {
		return m, nil
	}
	secure := func(name string) bool {
		p := SecurityProtocol(strings.ToUpper(name))
		return p.TLS() || p.SASL()
	}
	names := slices.Clone(b.ControllerListenerNames)
	for _, l := range v.list("listeners") {
		name, _, _ := strings.Cut(l, ":")
		names = append(names, name)
	}
	if slices.ContainsFunc(names, secure) {
		return m, nil
	}
	for _, name := range b.ControllerListenerNames {
		m[strings.ToUpper(name)] = Plaintext
	}
	return m, nil
}

// advertisedControllers finds the address of each controller listener: the
// advertised one, this node's voter address for the first listener bound to all
// interfaces, or the bound one.
func (b *Broker) advertisedControllers(advertised []Listener, explicit bool) []Listener {
	var result []Listener
	for i, name := range b.ControllerListenerNames {
		named := func(l Listener) bool { return strings.EqualFold(l.Name, name) }
		if j := slices.IndexFunc(advertised, named); j >= 0 && explicit {
			result = append(result, advertised[j])
			continue
		}
		j := slices.IndexFunc(b.Listeners, named)
		if j < 0 {
			continue
		}
		l := b.Listeners[j]
		if l.Host == "0.0.0.0" {
			l.Host = ""
		}
		voter := slices.IndexFunc(b.Voters, func(v Voter) bool { return v.ID == b.NodeID })
		if i == 0 && l.Host == "" && voter >= 0 {
			l.Host, l.Port = b.Voters[voter].Address.Host, b.Voters[voter].Address.Port
		}
		result = append(result, l)
	}
	return result
}

// deriveInterBroker finds the listener that brokers use among themselves.
func (b *Broker) deriveInterBroker() error {
	v := b.values
	name := v.str("inter.broker.listener.name")
	if name == "" {
		b.InterBrokerSecurityProtocol = SecurityProtocol(v.str("security.inter.broker.protocol"))
		b.InterBrokerListenerName = string(b.InterBrokerSecurityProtocol)
		return nil
	}
	if _, given := v.given["security.inter.broker.protocol"]; given {
		return kafka.InvalidConfig.Errorf("Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.")
	}
	b.InterBrokerListenerName = strings.ToUpper(name)
	var ok bool
	if b.InterBrokerSecurityProtocol, ok = b.ListenerSecurityProtocolMap[b.InterBrokerListenerName]; !ok {
		return kafka.InvalidConfig.Errorf("Listener with name %s defined in inter.broker.listener.name not found in listener.security.protocol.map.", b.InterBrokerListenerName)
	}
	return nil
}
