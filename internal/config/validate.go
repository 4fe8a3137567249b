package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
)

// rules collects what is wrong with a configuration as a whole.
type rules struct{ errs []error }

// require notes the message unless ok.
func (r *rules) require(ok bool, format string, args ...any) {
	if !ok {
		r.errs = append(r.errs, kafka.InvalidConfig.Errorf(format, args...))
	}
}

// validate checks the keys against each other.
func (b *Broker) validate() error {
	var r rules
	b.validateIdentity(&r)
	b.validateLogs(&r)
	b.validateLimits(&r)
	b.validateListeners(&r)
	if !b.ZooKeeperMode() {
		b.validateQuorum(&r)
	}
	b.validateBounds(&r)
	b.validateCoordinators(&r)
	return errors.Join(r.errs...)
}

func (b *Broker) validateIdentity(r *rules) {
	id, given := b.values.parsed["broker.id"].(int64)
	r.require(!given || id == int64(b.NodeID), "You must set `node.id` to the same value as `broker.id`.")
	if b.ZooKeeperMode() {
		generate := trim(b.values.given["broker.id.generation.enable"]) != "false"
		r.require(b.NodeID >= 0 || generate && b.NodeID == kafka.NoNode, "broker.id must not be negative: it is %d", b.NodeID)
	}
}

func (b *Broker) validateLogs(r *rules) {
	r.require(b.LogRollMs >= 1, "log.roll.ms must be greater than or equal to 1")
	r.require(b.LogRollJitterMs >= 0, "log.roll.jitter.ms must be greater than or equal to 0")
	r.require(b.LogRetentionMs >= 1 || b.LogRetentionMs == -1, "log.retention.ms must be unlimited (-1) or, greater than or equal to 1")
	r.require(len(b.LogDirs) > 0, "At least one log directory must be defined via log.dirs or log.dir.")
	r.require(b.LogCleanerThreads == 0 || b.LogCleanerDedupeBufferSize/int64(b.LogCleanerThreads) > 1<<20,
		"log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.")
	cordoned := b.values.list("cordoned.log.dirs")
	if slices.Contains(cordoned, "*") {
		r.require(len(cordoned) == 1, "When cordoned.log.dirs is set to *, it must not contain other values")
		return
	}
	unknown := slices.DeleteFunc(slices.Clone(cordoned), func(d string) bool { return slices.Contains(b.LogDirs, d) })
	r.require(len(unknown) == 0, "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : %s", strings.Join(unknown, ", "))
}

func (b *Broker) validateLimits(r *rules) {
	r.require(int64(b.ReplicaFetchWaitMaxMs) <= b.ReplicaSocketTimeoutMs,
		"replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary socket timeouts")
	r.require(b.ReplicaFetchWaitMaxMs <= b.ReplicaLagTimeMaxMs,
		"replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent frequent changes in ISR")
	r.require(b.QueuedMaxRequestBytes <= 0 || b.QueuedMaxRequestBytes >= int64(b.SocketRequestMaxBytes),
		"queued.max.request.bytes must be larger or equal to socket.request.max.bytes")
	r.require(b.MaxConnectionsPerIP > 0 || len(b.MaxConnectionsPerIPOverrides) > 0,
		"max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.")
	r.require(b.ConnectionsMaxIdleMs < 0 || b.ConnectionFailedAuthenticationDelayMs < b.ConnectionsMaxIdleMs,
		"connection.failed.authentication.delay.ms=%d should always be less than connections.max.idle.ms=%d to prevent failed authentication responses from timing out",
		b.ConnectionFailedAuthenticationDelayMs, b.ConnectionsMaxIdleMs)
}

// names lists listener names for messages.
func names(listeners []Listener) string {
	var n []string
	for _, l := range listeners {
		n = append(n, l.Name)
	}
	return strings.Join(n, ",")
}

func hasName(listeners []Listener, name string) bool {
	return slices.ContainsFunc(listeners, func(l Listener) bool { return strings.EqualFold(l.Name, name) })
}

func (b *Broker) validateListeners(r *rules) {
	for _, l := range slices.Concat(b.AdvertisedListeners, b.AdvertisedControllerListeners) {
		r.require(l.Host != "0.0.0.0" && l.Host != "::",
			"advertised.listeners cannot use the nonroutable meta-address %s. Use a routable IP address. "+
				"Set advertised.listeners to the name or address at which clients reach this node, for example %s://localhost:%d.", l.Host, l.Name, l.Port)
	}
	for _, name := range b.EarlyStartListeners {
		r.require(hasName(b.Listeners, name),
			"early.start.listeners contains listener %s, but this is not contained in listeners or controller.listener.names", name)
	}
	if !b.IsBroker() {
		return
	}
	r.require(len(b.AdvertisedListeners) > 0,
		"There must be at least one broker advertised listener. Perhaps all listeners appear in controller.listener.names?")
	r.require(hasName(b.AdvertisedListeners, b.InterBrokerListenerName),
		"inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options based on currently configured listeners are %s",
		names(b.AdvertisedListeners))
	for _, l := range b.AdvertisedListeners {
		r.require(hasName(b.Listeners, l.Name),
			"advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. Found %s. The valid options based on the current configuration are %s",
			names(b.AdvertisedListeners), names(b.Listeners))
	}
	if b.InterBrokerSecurityProtocol.SASL() {
		r.require(slices.Contains(b.ListenerList(b.InterBrokerListenerName, "sasl.enabled.mechanisms"), b.SASLMechanismInterBrokerProtocol),
			"sasl.mechanism.inter.broker.protocol must be included in sasl.enabled.mechanisms when SASL is used for inter-broker communication")
	}
	if b.ControlPlaneListenerName != "" {
		r.require(hasName(b.Listeners, b.ControlPlaneListenerName), "control.plane.listener.name must be a listener name defined in listeners. The valid options based on currently configured listeners are %s", names(b.Listeners))
		r.require(!strings.EqualFold(b.ControlPlaneListenerName, b.InterBrokerListenerName), "control.plane.listener.name, when defined, should have a different value from the inter broker listener name. Currently they both have the value %s", b.ControlPlaneListenerName)
	}
}

// validateQuorum checks what the roles ask of the quorum's keys.
func (b *Broker) validateQuorum(r *rules) {
	r.require(len(b.Voters) > 0 || len(b.BootstrapServers) > 0,
		"If using process.roles, either controller.quorum.bootstrap.servers must contain the set of bootstrap controllers or controller.quorum.voters must contain a parseable set of controllers.")
	voter := slices.ContainsFunc(b.Voters, func(v Voter) bool { return v.ID == b.NodeID })
	if !b.IsController() {
		b.validatePlainBroker(r, voter)
		return
	}
	r.require(len(b.Voters) == 0 || voter,
		"If process.roles contains the 'controller' role, the node id %d must be included in the set of voters controller.quorum.voters=%s", b.NodeID, b.voterIDs())
	r.require(len(b.AdvertisedControllerListeners) > 0,
		"controller.listener.names must contain at least one value appearing in the 'listeners' configuration when running the KRaft controller role")
	for _, name := range b.ControllerListenerNames {
		r.require(hasName(b.Listeners, name),
			"controller.listener.names must only contain values appearing in the 'listeners' configuration when running the KRaft controller role")
	}
	if b.IsBroker() {
		return
	}
	r.require(len(b.DataListeners()) == 0,
		"The listeners config must only contain KRaft controller listeners from controller.listener.names when process.roles=controller")
	if _, given := b.Given("inter.broker.listener.name"); given {
		r.require(!b.IsControllerListener(b.InterBrokerListenerName),
			"controller.listener.names must not contain an explicitly set inter.broker.listener.name configuration value when process.roles=controller")
	}
}

// validatePlainBroker checks a node that is only a broker.
func (b *Broker) validatePlainBroker(r *rules, voter bool) {
	r.require(!voter,
		"If process.roles contains just the 'broker' role, the node id %d must not be included in the set of voters controller.quorum.voters=%s", b.NodeID, b.voterIDs())
	r.require(len(b.ControllerListenerNames) > 0, "controller.listener.names must contain at least one value when running KRaft with just the broker role")
	r.require(len(b.ControllerListeners()) == 0,
		"controller.listener.names must not contain a value appearing in the 'listeners' configuration when running KRaft with just the broker role")
	for _, name := range b.ControllerListenerNames {
		_, ok := b.ListenerSecurityProtocolMap[strings.ToUpper(name)]
		r.require(ok, "Controller listener with name %s defined in controller.listener.names not found in listener.security.protocol.map  (an explicit security mapping for each controller listener is required if listener.security.protocol.map is non-empty, or if there are security protocols other than PLAINTEXT in use)", strings.ToUpper(name))
	}
	r.require(!b.ControllerQuorumAutoJoinEnable, "controller.quorum.auto.join.enable is only supported when process.roles contains the 'controller' role.")
}

// voterIDs prints the ids of the voters.
func (b *Broker) voterIDs() string {
	var ids []string
	for _, v := range b.Voters {
		ids = append(ids, fmt.Sprint(v.ID))
	}
	return "Set(" + strings.Join(ids, ", ") + ")"
}

// validateCoordinators checks the coordinators' lists.
func (b *Broker) validateCoordinators(r *rules) {
	r.require(slices.Contains(b.GroupCoordinatorRebalanceProtocols, "classic"), "Disabling the 'CLASSIC' protocol is not supported.")
	r.require(len(b.GroupShareAssignors) == 1, "group.share.assignors must contain exactly one assignor, but found %d", len(b.GroupShareAssignors))
	r.require(b.GroupShareMaxShareSessions >= b.GroupShareMaxSize, "group.share.max.share.sessions must be greater than or equal to group.share.max.size")
}

// bounded are keys that have a smallest and a largest value in other keys.
var bounded = []struct{ min, key, max string }{
	{"group.consumer.min.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"},
	{"group.consumer.min.session.timeout.ms", "group.consumer.session.timeout.ms", "group.consumer.max.session.timeout.ms"},
	{"group.consumer.min.assignment.interval.ms", "group.consumer.assignment.interval.ms", "group.consumer.max.assignment.interval.ms"},
	{"group.share.min.heartbeat.interval.ms", "group.share.heartbeat.interval.ms", "group.share.max.heartbeat.interval.ms"},
	{"group.share.min.session.timeout.ms", "group.share.session.timeout.ms", "group.share.max.session.timeout.ms"},
	{"group.share.min.assignment.interval.ms", "group.share.assignment.interval.ms", "group.share.max.assignment.interval.ms"},
	{"group.share.min.delivery.count.limit", "group.share.delivery.count.limit", "group.share.max.delivery.count.limit"},
	{"group.share.min.partition.max.record.locks", "group.share.partition.max.record.locks", "group.share.max.partition.max.record.locks"},
	{"group.share.min.record.lock.duration.ms", "group.share.record.lock.duration.ms", "group.share.max.record.lock.duration.ms"},
	{"group.streams.min.heartbeat.interval.ms", "group.streams.heartbeat.interval.ms", "group.streams.max.heartbeat.interval.ms"},
	{"group.streams.min.session.timeout.ms", "group.streams.session.timeout.ms", "group.streams.max.session.timeout.ms"},
	{"group.streams.min.assignment.interval.ms", "group.streams.assignment.interval.ms", "group.streams.max.assignment.interval.ms"},
	{"", "group.streams.num.standby.replicas", "group.streams.max.standby.replicas"},
	{"", "group.streams.num.warmup.replicas", "group.streams.max.warmup.replicas"},
	{"group.streams.min.task.offset.interval.ms", "group.streams.task.offset.interval.ms", ""},
}

// validateBounds checks the bounded keys, and that sessions outlast heartbeats.
func (b *Broker) validateBounds(r *rules) {
	v := b.values
	for _, x := range bounded {
		n := v.long(x.key)
		if x.min != "" && x.max != "" {
			r.require(v.long(x.max) >= v.long(x.min), "%s must be greater than or equal to %s", x.max, x.min)
		}
		r.require(x.min == "" || n >= v.long(x.min), "%s must be greater than or equal to %s", x.key, x.min)
		r.require(x.max == "" || n <= v.long(x.max), "%s must be less than or equal to %s", x.key, x.max)
	}
	for _, kind := range []string{"consumer", "share", "streams"} {
		heartbeat, session := "group."+kind+".heartbeat.interval.ms", "group."+kind+".session.timeout.ms"
		r.require(v.long(heartbeat) < v.long(session), "%s must be less than %s", heartbeat, session)
	}
}

// roleWarnings names settings that do not harm but are likely a mistake.
func (b *Broker) roleWarnings() []Warning {
	var w []Warning
	warn := func(key, format string, args ...any) {
		w = append(w, Warning{key, fmt.Sprintf(format, args...)})
	}
	if b.BrokerHeartbeatIntervalMs*2 > b.BrokerSessionTimeoutMs {
		warn("broker.heartbeat.interval.ms", "(%d ms) must be less than or equal to half of the broker.session.timeout.ms (%d ms), or the broker loses its lease",
			b.BrokerHeartbeatIntervalMs, b.BrokerSessionTimeoutMs)
	}
	if b.IsBroker() && !b.IsController() && !b.ZooKeeperMode() {
		if len(b.ControllerListenerNames) > 1 {
			warn("controller.listener.names", "has multiple entries; only the first is used by a node without the controller role")
		}
		for _, key := range []string{"create.topic.policy.class.name", "alter.config.policy.class.name"} {
			if _, given := b.Given(key); given {
				warn(key, "is defined in the broker role. It should be defined in the controller role.")
			}
		}
	}
	if b.ZookeeperConnect != "" && !b.ZooKeeperMode() {
		warn("zookeeper.connect", "is not used because process.roles is set")
	}
	if !b.LogCleanerEnable {
		warn("log.cleaner.enable", "is false: topics with cleanup.policy=compact, committed offsets among them, grow without limit")
	}
	return w
}
