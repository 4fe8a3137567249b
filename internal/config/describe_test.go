package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

// show prints a row: value, source, flags, synonyms.
func show(rows []Row, name string) string {
	text := func(s *string) string {
		if s == nil {
			return "null"
		}
		return *s
	}
	i := slices.IndexFunc(rows, func(r Row) bool { return r.Name == name })
	if i < 0 {
		return "absent"
	}
	r := rows[i]
	var syn []string
	for _, s := range r.Synonyms {
		syn = append(syn, fmt.Sprintf("%s=%s@%d", s.Name, text(s.Value), s.Source))
	}
	return fmt.Sprintf("%s@%d ro=%t sens=%t type=%s [%s]", text(r.Value), r.Source, r.ReadOnly, r.Sensitive, r.Type, strings.Join(syn, " "))
}

func TestDescribe(t *testing.T) {
	b := Default(map[string]string{"log.retention.hours": "2", "num.io.threads": " 4", "custom.thing": "x", "super.users": "User:a", "ssl.key.password": "p"})
	b, warnings := b.WithDynamic(map[string]string{"num.io.threads": "6", "listener.name.plaintext.ssl.keystore.location": "/k"}, map[string]string{"num.io.threads": "5", "message.max.bytes": "99"})
	if len(warnings) > 0 {
		t.Fatal(warnings)
	}
	topic := b.DescribeTopic(map[string]string{"retention.ms": "1", "flush.ms": "2"})
	broker := b.DescribeBroker()
	cases := []struct {
		rows []Row
		name string
		want string
	}{
		{topic, "retention.ms", "1@1 ro=false sens=false type=LONG [retention.ms=1@1]"},
		{topic, "flush.ms", "2@1 ro=false sens=false type=LONG [flush.ms=2@1]"},
		{topic, "segment.ms", "604800000@5 ro=false sens=false type=LONG []"},
		{topic, "max.message.bytes", "99@3 ro=false sens=false type=INT [message.max.bytes=99@3 message.max.bytes=1048588@5]"},
		{topic, "cleanup.policy", "delete@5 ro=false sens=false type=LIST [log.cleanup.policy=delete@5]"},
		{topic, "remote.storage.enable", "false@5 ro=false sens=false type=BOOLEAN []"},
		{topic, "internal.segment.bytes", "absent"},
		{broker, "num.io.threads", "6@2 ro=false sens=false type=INT [num.io.threads=6@2 num.io.threads=5@3 num.io.threads= 4@4 num.io.threads=8@5]"},
		{broker, "log.retention.hours", "2@4 ro=true sens=false type=INT [log.retention.hours=2@4 log.retention.hours=168@5]"},
		{broker, "log.retention.ms", "null@5 ro=false sens=false type=LONG []"},
		{broker, "node.id", "1@4 ro=true sens=false type=INT [node.id=1@4]"},
		{broker, "broker.id", "1@4 ro=true sens=false type=INT [broker.id=1@4 broker.id=-1@5]"},
		{broker, "custom.thing", "null@4 ro=true sens=true type=UNKNOWN [custom.thing=null@4]"},
		{broker, "super.users", "null@4 ro=true sens=true type=UNKNOWN [super.users=null@4]"},
		{broker, "ssl.key.password", "null@4 ro=false sens=true type=PASSWORD [ssl.key.password=null@4]"},
		{broker, "listener.name.plaintext.ssl.keystore.location", "/k@2 ro=true sens=false type=STRING [listener.name.plaintext.ssl.keystore.location=/k@2]"},
		{broker, "zookeeper.connect", "absent"},
		{broker, "leader.replication.throttled.rate", "absent"},
		{broker, "unstable.api.versions.enable", "absent"},
		{b.DescribeClusterDefault(), "message.max.bytes", "99@3 ro=false sens=false type=INT [message.max.bytes=99@3]"},
		{b.DescribeClusterDefault(), "num.io.threads", "5@3 ro=false sens=false type=INT [num.io.threads=5@3]"},
		{b.DescribeGroup(map[string]string{"share.delivery.count.limit": "7"}), "share.delivery.count.limit", "7@8 ro=false sens=false type=INT [share.delivery.count.limit=7@8 group.share.delivery.count.limit=5@5]"},
		{b.DescribeGroup(nil), "share.isolation.level", "read_uncommitted@5 ro=false sens=false type=STRING [share.isolation.level=read_uncommitted@5]"},
		{DescribeClientMetrics(map[string]string{"interval.ms": "5"}), "interval.ms", "5@7 ro=false sens=false type=INT [interval.ms=5@7]"},
		{DescribeClientMetrics(nil), "match", "@5 ro=false sens=false type=LIST []"},
	}
	for _, c := range cases {
		if got := show(c.rows, c.name); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	if !slices.IsSortedFunc(broker, func(a, b Row) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("rows are not sorted")
	}
}

// TestSynonymsBeginAtTheKey: of keys in several units, the stronger ones are not
// synonyms of the weaker.
func TestSynonymsBeginAtTheKey(t *testing.T) {
	b := Default(map[string]string{"log.retention.hours": "2", "log.retention.minutes": "30"})
	b, _ = b.WithDynamic(nil, map[string]string{"log.retention.ms": "7"})
	for name, want := range map[string]string{
		"log.retention.ms":      "7@3 ro=false sens=false type=LONG [log.retention.ms=7@3 log.retention.minutes=30@4 log.retention.hours=2@4 log.retention.hours=168@5]",
		"log.retention.minutes": "30@4 ro=true sens=false type=INT [log.retention.minutes=30@4 log.retention.hours=2@4 log.retention.hours=168@5]",
		"log.retention.hours":   "2@4 ro=true sens=false type=INT [log.retention.hours=2@4 log.retention.hours=168@5]",
	} {
		if got := show(b.DescribeBroker(), name); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}

func TestWithDynamic(t *testing.T) {
	base := Default(map[string]string{"num.io.threads": "4", "log.retention.hours": "1"})
	b, warnings := base.WithDynamic(map[string]string{"log.retention.ms": "9", "num.partitions": "3", "num.network.threads": "zero"},
		map[string]string{"log.retention.ms": "8", "listeners": "PLAINTEXT://:1", "log.cleaner.threads": "2"})
	if b.LogRetentionMs != 9 || b.LogCleanerThreads != 2 || b.NumPartitions != 1 || b.NumNetworkThreads != 3 || base.LogRetentionMs != hourMs {
		t.Errorf("%d %d %d", b.LogRetentionMs, b.LogCleanerThreads, b.NumPartitions)
	}
	if c, _ := b.TopicConfig(nil); c.RetentionMs != 9 {
		t.Error(c.RetentionMs)
	}
	var keys []string
	for _, w := range warnings {
		keys = append(keys, w.Key)
	}
	if got := strings.Join(keys, " "); got != "listeners num.network.threads num.partitions" {
		t.Error(warnings)
	}
	// A level whose values do not fit together is dropped as a whole.
	b, warnings = base.WithDynamic(map[string]string{"num.io.threads": "7"}, map[string]string{"log.cleaner.min.compaction.lag.ms": "10", "log.cleaner.max.compaction.lag.ms": "5", "num.io.threads": "6"})
	if b.NumIOThreads != 7 || b.LogCleanerMinCompactionLagMs != 0 || len(warnings) != 1 {
		t.Error(b.NumIOThreads, warnings)
	}
	// Without dynamic values it is as it was started.
	if again, _ := b.WithDynamic(nil, nil); again.NumIOThreads != 4 {
		t.Error(again.NumIOThreads)
	}
}

func TestValidateBrokerConfigs(t *testing.T) {
	b := Default(nil)
	cases := []struct {
		key, value string
		perBroker  bool
		code       *kafka.Code
		want       string
	}{
		{"num.io.threads", "5", true, nil, ""},
		{"num.io.threads", "5", false, nil, ""},
		{"num.partitions", "5", false, kafka.InvalidRequest, "Cannot update these configs dynamically"},
		{"ssl.keystore.location", "/k", true, kafka.InvalidRequest, "only per-listener"},
		{"listener.name.plaintext.ssl.keystore.location", "/k", true, nil, ""},
		{"listener.name.plaintext.ssl.keystore.location", "/k", false, kafka.InvalidRequest, "broker id must be specified"},
		{"listener.name.plaintext.max.connections", "3", false, nil, ""},
		{"sasl.enabled.mechanisms", "PLAIN", false, kafka.InvalidRequest, "broker id must be specified"},
		{"num.io.threads", "0", true, kafka.InvalidRequest, "Value must be at least 1"},
		{"leader.replication.throttled.rate", "1000", true, nil, ""},
		{"log.cleaner.min.compaction.lag.ms", "9223372036854775807", false, nil, ""},
		{"log.retention.ms", "0", false, kafka.InvalidRequest, "log.retention.ms must be unlimited"},
		{"log.cleaner.threads", "2", false, nil, ""},
		{"log.cleaner.threads", "3", false, kafka.InvalidRequest, "more than double the current value 1"},
		{"log.cleaner.threads", "0", true, kafka.InvalidRequest, "at least 1"},
		{"whatever", "0", false, nil, ""},
		{"listener.security.protocol.map", "PLAINTEXT:SSL,CONTROLLER:PLAINTEXT", true, kafka.InvalidRequest, "Security protocol cannot be updated for existing listener ListenerName(PLAINTEXT)"},
		{"listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,OTHER:SSL", true, nil, ""},
		{"listeners", "PLAINTEXT://:9999,CONTROLLER://:9093", true, kafka.InvalidRequest, "Advertised listeners cannot be altered"},
		{"advertised.listeners", "PLAINTEXT://elsewhere:9092", true, kafka.InvalidRequest, "Cannot update these configs dynamically"},
		{"listener.name.plaintext.sasl.enabled.mechanisms", "PLAIN", true, kafka.InvalidRequest, "Configs cannot be updated dynamically for existing listener ListenerName(PLAINTEXT)"},
		{"listener.name.plaintext.some.plugins.key", "x", true, kafka.InvalidRequest, "Configs cannot be updated dynamically for existing listener"},
		{"listener.name.other.sasl.enabled.mechanisms", "PLAIN", true, nil, ""},
	}
	for _, c := range cases {
		err := b.ValidateBrokerConfigs(map[string]string{c.key: c.value}, c.perBroker)
		if c.code == nil {
			if err != nil {
				t.Errorf("%s: %v", c.key, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || kafka.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", c.key, err, c.want)
		}
	}
}

// TestDescribeEqualsApacheKafka compares with what Apache Kafka 4.3.1 answered for
// the same properties and dynamic values; keys that are newer are not compared.
func TestDescribeEqualsApacheKafka(t *testing.T) {
	data, err := os.ReadFile("testdata/described.tsv")
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := Load(map[string]string{
		"process.roles": "broker,controller", "node.id": "1", "log.dirs": "/data",
		"listeners":                 "PLAINTEXT://127.0.0.1:39092,CONTROLLER://127.0.0.1:39093",
		"controller.listener.names": "CONTROLLER", "controller.quorum.voters": "1@127.0.0.1:39093",
		"offsets.topic.replication.factor": "1", "log.retention.hours": "2", "num.io.threads": "4", "custom.thing": "x",
		"super.users": "User:a", "ssl.key.password": "p", "log.cleaner.io.max.bytes.per.second": "1e6",
	})
	if err != nil {
		t.Fatal(err)
	}
	b, warnings := b.WithDynamic(map[string]string{"num.io.threads": "6", "log.cleaner.threads": "2"},
		map[string]string{"num.io.threads": "5", "message.max.bytes": "99999", "min.insync.replicas": "1"})
	if len(warnings) > 0 {
		t.Fatal(warnings)
	}
	ours := map[string][]Row{
		"BROKER:1": b.DescribeBroker(), "BROKER:": b.DescribeClusterDefault(),
		"TOPIC:t1":           b.DescribeTopic(map[string]string{"retention.ms": "1", "flush.ms": "2", "cleanup.policy": "compact,delete"}),
		"GROUP:g1":           b.DescribeGroup(map[string]string{"share.delivery.count.limit": "7", "consumer.session.timeout.ms": "50000"}),
		"CLIENT_METRICS:cm1": DescribeClientMetrics(map[string]string{"interval.ms": "5000"}),
	}
	sources := []string{"UNKNOWN", "DYNAMIC_TOPIC_CONFIG", "DYNAMIC_BROKER_CONFIG", "DYNAMIC_DEFAULT_BROKER_CONFIG", "STATIC_BROKER_CONFIG",
		"DEFAULT_CONFIG", "DYNAMIC_BROKER_LOGGER_CONFIG", "DYNAMIC_CLIENT_METRICS_CONFIG", "DYNAMIC_GROUP_CONFIG"}
	n := 0
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		i := slices.IndexFunc(ours[f[0]], func(r Row) bool { return r.Name == f[1] })
		if i < 0 {
			t.Errorf("%s has no row %s", f[0], f[1])
			continue
		}
		if got := apacheRow(ours[f[0]][i], sources); got != strings.Join(f[1:], "\t") {
			t.Errorf("%s:\n got %s\nwant %s", f[0], got, strings.Join(f[1:], "\t"))
		}
		n++
	}
	if n < 350 {
		t.Errorf("only %d rows were compared", n)
	}
}

// apacheRow prints a row as Apache Kafka's admin client names its parts.
func apacheRow(r Row, sources []string) string {
	text := func(s *string) string {
		if s == nil {
			return "null"
		}
		return *s
	}
	var synonyms []string
	for _, s := range r.Synonyms {
		synonyms = append(synonyms, s.Name+"="+text(s.Value)+"@"+sources[s.Source])
	}
	return fmt.Sprintf("%s\t%s\t%s\t%t\t%t\t%s\t[%s]", r.Name, text(r.Value), sources[r.Source], r.ReadOnly, r.Sensitive, r.Type, strings.Join(synonyms, " "))
}
