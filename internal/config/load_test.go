package config

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

// props makes properties from key=value lines over a combined node.
func combined(lines ...string) map[string]string {
	m := map[string]string{
		"node.id": "1", "process.roles": "broker,controller",
		"listeners":                 "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
		"controller.listener.names": "CONTROLLER", "controller.quorum.voters": "1@localhost:9093",
	}
	return with(m, lines...)
}

func plainBroker(lines ...string) map[string]string {
	return with(map[string]string{
		"node.id": "5", "process.roles": "broker", "listeners": "PLAINTEXT://localhost:9092",
		"controller.listener.names": "CONTROLLER", "controller.quorum.bootstrap.servers": "c1:9093,c2:9093",
	}, lines...)
}

func zooKeeper(lines ...string) map[string]string {
	return with(map[string]string{"broker.id": "2", "zookeeper.connect": "zk1:2181,zk2:2181/kafka", "listeners": "PLAINTEXT://localhost:9092"}, lines...)
}

// with sets key=value lines; a line -key removes a key.
func with(m map[string]string, lines ...string) map[string]string {
	m = maps.Clone(m)
	for _, l := range lines {
		if k, ok := strings.CutPrefix(l, "-"); ok {
			delete(m, k)
			continue
		}
		k, v, _ := strings.Cut(l, "=")
		m[k] = v
	}
	return m
}

func TestLoadRefuses(t *testing.T) {
	cases := []struct {
		props map[string]string
		want  string
	}{
		{combined("num.io.threads=x"), "Invalid value x for configuration num.io.threads: Not a number of type INT"},
		{combined("num.io.threads=0"), "Invalid value 0 for configuration num.io.threads: Value must be at least 1"},
		{combined("compression.lz4.level=18"), "Value must be no more than 17"},
		{combined("compression.gzip.level=0"), "Value must be between 1 and 9 or equal to -1"},
		{combined("auto.create.topics.enable=yes"), "Invalid value yes for configuration auto.create.topics.enable: Expected value to be either true or false"},
		{combined("compression.type=lzo"), "Invalid value lzo for configuration compression.type: String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"},
		{combined("log.cleanup.policy=delete,delete"), "Configuration 'log.cleanup.policy' values must not be duplicated."},
		{combined("log.cleanup.policy=shred"), "Invalid value shred for configuration log.cleanup.policy"},
		{combined("log.segment.bytes=1000"), "Value must be at least 1048576"},
		{combined("log.segment.bytes=99999999999"), "Not a number of type INT"},
		{combined("ssl.key.password=secret", "listener.name.x.ssl.client.auth=maybe"), "Invalid value maybe for configuration ssl.client.auth"},
		{combined("-process.roles"), `Missing required configuration "process.roles" which has no default value.`},
		{combined("-node.id"), `Missing required configuration "node.id" which has no default value.`},
		{combined("-controller.listener.names"), `Missing required configuration "controller.listener.names"`},
		{combined("process.roles=broker,zebra"), "String must be one of: broker, controller"},
		{combined("broker.id=7"), "You must set `node.id` to the same value as `broker.id`."},
		{combined("controller.quorum.voters=3@localhost:9093"), "the node id 1 must be included in the set of voters"},
		{combined("controller.quorum.voters=1localhost:9093"), "Each entry should be in the form `{id}@{host}:{port}`."},
		{combined("controller.quorum.voters=1@localhost"), "Failed to parse host name from entry 1@localhost"},
		{combined("-controller.quorum.voters"), "If using process.roles, either controller.quorum.bootstrap.servers"},
		{combined("listeners=PLAINTEXT://:9092"), "controller.listener.names must contain at least one value appearing in the 'listeners'"},
		{combined("listeners=PLAINTEXT://0.0.0.0:9092,CONTROLLER://:9093"), "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address."},
		{combined("advertised.listeners=PLAINTEXT://0.0.0.0:9092"), "Set advertised.listeners to the name"},
		{combined("advertised.listeners=EXT://h:1"), "No security protocol defined for listener EXT"},
		{combined("listeners=PLAINTEXT://h:9092,PLAINTEXT://h:9095,CONTROLLER://:9093"), "Each listener must have a different name"},
		{combined("listeners=PLAINTEXT://h:9092,SSL://h:9092,CONTROLLER://:9093", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT"), "Each listener must have a different port"},
		{combined("listeners=PLAINTEXT//h:9092"), "Unable to parse PLAINTEXT//h:9092 to a broker endpoint"},
		{combined("listener.security.protocol.map=PLAINTEXT:TLS"), "Invalid security protocol `TLS` defined in listener.security.protocol.map"},
		{combined("inter.broker.listener.name=INTERNAL"), "Listener with name INTERNAL defined in inter.broker.listener.name not found in listener.security.protocol.map."},
		{combined("inter.broker.listener.name=SSL"), "inter.broker.listener.name must be a listener name defined in advertised.listeners"},
		{combined("inter.broker.listener.name=PLAINTEXT", "security.inter.broker.protocol=PLAINTEXT"), "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set."},
		{combined("log.dirs="), "Configuration 'log.dirs' must not be empty. Valid values include: any non-empty value"},
		{combined("cordoned.log.dirs=/nowhere"), "All entries in cordoned.log.dirs must be present"},
		{combined("replica.fetch.wait.max.ms=40000"), "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms"},
		{combined("queued.max.request.bytes=1000"), "queued.max.request.bytes must be larger or equal to socket.request.max.bytes"},
		{combined("max.connections.per.ip=0"), "max.connections.per.ip can be set to zero only if"},
		{combined("max.connections.per.ip.overrides=a:b"), "Invalid value a:b for configuration max.connections.per.ip.overrides"},
		{combined("connections.max.idle.ms=50"), "connection.failed.authentication.delay.ms=100 should always be less than connections.max.idle.ms=50"},
		{combined("log.retention.ms=0"), "log.retention.ms must be unlimited (-1) or, greater than or equal to 1"},
		{combined("log.cleaner.min.compaction.lag.ms=10", "log.cleaner.max.compaction.lag.ms=5"), "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"},
		{combined("group.consumer.session.timeout.ms=70000"), "group.consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms"},
		{combined("group.coordinator.rebalance.protocols=consumer"), "Disabling the 'CLASSIC' protocol is not supported."},
		{combined("early.start.listeners=NOPE"), "early.start.listeners contains listener NOPE"},
		{plainBroker("listeners=PLAINTEXT://:9092,CONTROLLER://:9093"), "controller.listener.names must not contain a value appearing in the 'listeners'"},
		{plainBroker("controller.quorum.voters=5@h:1"), "the node id 5 must not be included in the set of voters"},
		{plainBroker("listener.security.protocol.map=PLAINTEXT:PLAINTEXT"), "Controller listener with name CONTROLLER defined in controller.listener.names not found"},
		{plainBroker("controller.quorum.auto.join.enable=true"), "controller.quorum.auto.join.enable is only supported when process.roles contains the 'controller' role."},
		{plainBroker("security.inter.broker.protocol=SASL_PLAINTEXT", "listeners=SASL_PLAINTEXT://h:1", "listener.security.protocol.map=SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT", "sasl.mechanism.inter.broker.protocol=PLAIN"), "sasl.mechanism.inter.broker.protocol must be included in sasl.enabled.mechanisms"},
		{zooKeeper("broker.id=-1", "broker.id.generation.enable=false"), "broker.id must not be negative"},
		{zooKeeper("control.plane.listener.name=CP"), "control.plane.listener.name must be a listener name defined in listeners"},
	}
	for i, c := range cases {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			_, _, err := Load(c.props)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v\nwant %s", err, c.want)
			}
			if kafka.CodeOf(err) != kafka.InvalidConfig {
				t.Errorf("code %v", kafka.CodeOf(err))
			}
			if strings.Contains(err.Error(), "secret") {
				t.Error("the error shows a secret")
			}
		})
	}
}

func TestLoadCombined(t *testing.T) {
	b, warnings, err := Load(combined("log.retention.minutes=10", "log.roll.hours=2", "message.max.bytes= 2000000 ",
		"log.dirs=/a, /b", "num.partitions=3", "super.users=User:a; User:CN=x,O=y", "max.connections.per.ip.overrides=h:3,::1:4",
		"log.cleaner.io.max.bytes.per.second=1.5e6", "broker.rack=r1"))
	if err != nil || len(warnings) != 0 {
		t.Fatal(err, warnings)
	}
	got := []any{b.NodeID, b.IsBroker(), b.IsController(), b.ZooKeeperMode(), b.LogRetentionMs, b.LogRollMs, b.LogFlushIntervalMs,
		b.MessageMaxBytes, b.LogDirs, b.MetadataLogDir, b.NumReplicaAlterLogDirsThreads, b.NumPartitions, b.SuperUsers,
		b.MaxConnectionsPerIPOverrides, b.LogCleanerIOMaxBytesPerSecond, b.Rack, b.ListenerSecurityProtocolMap["CONTROLLER"],
		b.InterBrokerListenerName, b.Voters}
	want := []any{kafka.NodeID(1), true, true, false, int64(600000), int64(7200000), int64(1<<63 - 1),
		2000000, []string{"/a", "/b"}, "/a", 2, 3, []string{"User:a", "User:CN=x,O=y"},
		map[string]int{"h": 3, "::1": 4}, 1.5e6, "r1", Plaintext,
		"PLAINTEXT", []Voter{{1, HostPort{"localhost", 9093}}}}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("%d: %v, want %v", i, got[i], want[i])
		}
	}
	if n := len(b.DataListeners()); n != 1 || b.DataListeners()[0].String() != "PLAINTEXT://localhost:9092" {
		t.Error(b.DataListeners())
	}
	if !reflect.DeepEqual(b.AdvertisedListeners, b.DataListeners()) {
		t.Error(b.AdvertisedListeners)
	}
	if !reflect.DeepEqual(b.EarlyStartListeners, []string{"CONTROLLER"}) {
		t.Error(b.EarlyStartListeners)
	}
}

func TestLoadZooKeeperMode(t *testing.T) {
	b, warnings, err := Load(zooKeeper())
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if b.NodeID != 2 || !b.ZooKeeperMode() || !b.IsBroker() || b.IsController() || b.ZookeeperConnectionTimeoutMs != 18000 {
		t.Errorf("%+v", b.NodeID)
	}
	b, _, err = Load(zooKeeper("-broker.id", "zookeeper.connection.timeout.ms=6000"))
	if err != nil || b.NodeID != kafka.NoNode || b.ZookeeperConnectionTimeoutMs != 6000 {
		t.Fatal(err, b.NodeID)
	}
}

func TestLoadControllerOnly(t *testing.T) {
	props := combined("process.roles=controller", "listeners=CONTROLLER://:9093")
	b, _, err := Load(props)
	if err != nil {
		t.Fatal(err)
	}
	if b.IsBroker() || !b.IsController() || len(b.AdvertisedListeners) != 0 || len(b.AdvertisedControllerListeners) != 1 ||
		b.AdvertisedControllerListeners[0].Host != "localhost" {
		t.Errorf("%v %v", b.AdvertisedListeners, b.AdvertisedControllerListeners)
	}
	for change, want := range map[string]string{
		"listeners=CONTROLLER://:9093,PLAINTEXT://:9092": "The listeners config must only contain KRaft controller listeners from controller.listener.names when process.roles=controller",
		"inter.broker.listener.name=CONTROLLER":          "controller.listener.names must not contain an explicitly set inter.broker.listener.name",
		"controller.listener.names=CONTROLLER,OTHER":     "controller.listener.names must only contain values appearing in the 'listeners'",
	} {
		if _, _, err := Load(with(props, change)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", change, err)
		}
	}
}

func TestListeners(t *testing.T) {
	b, _, err := Load(combined(
		"listeners=INTERNAL://[::1]:9092,external://10.0.0.1:9094,V6://[fe80::1]:9094,CONTROLLER://0.0.0.0:9093",
		"advertised.listeners=INTERNAL://kafka1:29092,EXTERNAL://localhost:29092",
		"listener.security.protocol.map=INTERNAL:PLAINTEXT,EXTERNAL:SSL,V6:SASL_SSL,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name=internal"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, list := range [][]Listener{b.Listeners, b.AdvertisedListeners, b.AdvertisedControllerListeners} {
		for _, l := range list {
			got = append(got, l.String()+" "+string(l.Protocol))
		}
	}
	want := []string{"INTERNAL://[::1]:9092 PLAINTEXT", "EXTERNAL://10.0.0.1:9094 SSL", "V6://[fe80::1]:9094 SASL_SSL", "CONTROLLER://0.0.0.0:9093 PLAINTEXT",
		"INTERNAL://kafka1:29092 PLAINTEXT", "EXTERNAL://localhost:29092 SSL",
		"CONTROLLER://localhost:9093 PLAINTEXT"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	if b.InterBrokerListenerName != "INTERNAL" || b.InterBrokerSecurityProtocol != Plaintext {
		t.Error(b.InterBrokerListenerName)
	}
}

func TestWarnings(t *testing.T) {
	_, warnings, err := Load(combined("num.partition=3", "nothing.like.this.key.exists=1", "gregor.x=1", "log.segment.ms=5000",
		"log.message.format.version=2.8", "create.topic.policy.class.name=com.acme.Policy", "broker.session.timeout.ms=3000",
		"config.providers.file.class=x", "leader.replication.throttled.rate=1", "listener.name.plaintext.ssl.client.auth=none"))
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for _, w := range warnings {
		text[w.Key] = w.Text
	}
	want := map[string]string{
		"num.partition":                     "is not a known configuration; did you mean num.partitions?",
		"nothing.like.this.key.exists":      "is not a known configuration",
		"log.segment.ms":                    "taken as log.roll.ms, which is Kafka's name for it on brokers",
		"log.message.format.version":        "belongs to older releases and has no effect",
		"create.topic.policy.class.name":    "names a Java class, which cannot be loaded here; it is ignored",
		"leader.replication.throttled.rate": "can only be set dynamically and is ignored here",
		"broker.heartbeat.interval.ms":      text["broker.heartbeat.interval.ms"],
	}
	if !reflect.DeepEqual(text, want) || text["broker.heartbeat.interval.ms"] == "" {
		t.Errorf("%q", text)
	}
}

func TestListenerOverrides(t *testing.T) {
	b, _, err := Load(combined("sasl.enabled.mechanisms=PLAIN", "listener.name.plaintext.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512",
		"listener.name.plaintext.scram-sha-256.sasl.jaas.config=m", "listener.name.plaintext.max.connections=7", "connections.max.reauth.ms=9"))
	if err != nil {
		t.Fatal(err)
	}
	if l := b.ListenerList("PLAINTEXT", "sasl.enabled.mechanisms"); len(l) != 2 {
		t.Error(l)
	}
	if l := b.ListenerList("CONTROLLER", "sasl.enabled.mechanisms"); !reflect.DeepEqual(l, []string{"PLAIN"}) {
		t.Error(l)
	}
	if s, ok := b.ListenerRaw("PLAINTEXT", "SCRAM-SHA-256", "sasl.jaas.config"); !ok || s != "m" {
		t.Error(s)
	}
	if n := b.ListenerLong("plaintext", "", "max.connections"); n != 7 {
		t.Error(n)
	}
	if n := b.ListenerLong("plaintext", "PLAIN", "connections.max.reauth.ms"); n != 9 {
		t.Error(n)
	}
}

func TestSecretsStayHidden(t *testing.T) {
	b := Default(map[string]string{"ssl.keystore.password": "hush"})
	if b.SSLKeystorePassword.Value() != "hush" {
		t.Fatal("the secret is lost")
	}
	for _, s := range []string{fmt.Sprint(b.SSLKeystorePassword), fmt.Sprintf("%+v %#v", b.SSLKeystorePassword, b.SSLKeystorePassword)} {
		if strings.Contains(s, "hush") {
			t.Error(s)
		}
	}
	for _, r := range b.DescribeBroker() {
		for _, s := range append(r.Synonyms, Synonym{Value: r.Value}) {
			if s.Value != nil && strings.Contains(*s.Value, "hush") {
				t.Errorf("%s shows the secret", r.Name)
			}
		}
	}
}

func TestFormatDoubleAsJava(t *testing.T) {
	for s, want := range map[string]string{"0.5": "0.5", "1": "1.0", "1e7": "1.0E7", "1.7976931348623157e308": "1.7976931348623157E308",
		"0.001": "0.001", "1e-4": "1.0E-4", "123456.75": "123456.75", "Infinity": "Infinity", "-1.5d": "-1.5", "0": "0.0", "9999999": "9999999.0"} {
		f, ok := parseDouble(s)
		if got := formatDouble(f); !ok || got != want {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
	}
	for _, s := range []string{"inf", "0x1p3", "1_0", "", "d", "nan"} {
		if _, ok := parseDouble(s); ok {
			t.Errorf("%q was accepted", s)
		}
	}
}

func FuzzListeners(f *testing.F) {
	f.Add("PLAINTEXT://:9092,SSL://[::1]:9093", "PLAINTEXT:PLAINTEXT,SSL:SSL", "1@h:9093")
	f.Add("A://0.0.0.0:0", "A:SASL_SSL", "")
	f.Add("://:1,,", ":,:", "@")
	f.Fuzz(func(t *testing.T, listeners, protocols, voters string) {
		m, err := parseProtocolMap(protocols)
		if err != nil {
			m = map[string]SecurityProtocol{"PLAINTEXT": Plaintext}
		}
		if list, err := parseListeners(splitList(trim(listeners)), m); err == nil {
			for _, l := range list {
				again, err := parseListeners([]string{l.String()}, m)
				if err != nil || again[0] != l {
					t.Fatalf("%v reads back as %v, %v", l, again, err)
				}
			}
			_ = checkPorts(list, nil)
		}
		_, _ = ParseVoters(splitList(trim(voters)))
		_, _, _ = Load(combined("listeners="+listeners, "listener.security.protocol.map="+protocols, "controller.quorum.voters="+voters))
	})
}
