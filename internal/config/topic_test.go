package config

import (
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

func TestTopicConfigFollowsTheBroker(t *testing.T) {
	b := Default(map[string]string{"log.retention.minutes": "5", "log.roll.hours": "3", "message.max.bytes": "500", "log.cleanup.policy": "compact",
		"min.insync.replicas": "2", "log.flush.scheduler.interval.ms": "77", "log.retention.bytes": "-1", "compression.zstd.level": "-5"})
	c, err := b.TopicConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.RetentionMs != 300000 || c.SegmentMs != 10800000 || c.MaxMessageBytes != 500 || !c.CleanupCompact || c.CleanupDelete ||
		c.MinInsyncReplicas != 2 || c.FlushMs != 77 || c.CompressionZstdLevel != -5 || c.RetentionBytes != -1 || c.SegmentBytes != 1<<30 {
		t.Errorf("%+v", c)
	}
	c, err = b.TopicConfig(map[string]string{"cleanup.policy": "compact, delete", "retention.ms": "-1", "segment.bytes": "2097152", "preallocate": "TRUE",
		"leader.replication.throttled.replicas": "0:1,1:2", "compression.type": "zstd", "min.cleanable.dirty.ratio": "0.25"})
	if err != nil || !c.CleanupCompact || !c.CleanupDelete || c.RetentionMs != -1 || c.SegmentBytes != 2<<20 || !c.Preallocate ||
		len(c.LeaderReplicationThrottledReplicas) != 2 || c.CompressionType != "zstd" || c.MinCleanableDirtyRatio != 0.25 || c.MaxMessageBytes != 500 {
		t.Errorf("%+v %v", c, err)
	}
}

func TestNegativeRetentionIsUnlimited(t *testing.T) {
	b := Default(map[string]string{"log.retention.hours": "-1"})
	if c, _ := b.TopicConfig(nil); c.RetentionMs != -1 || b.LogRetentionMs != -1 {
		t.Errorf("%d %d", c.RetentionMs, b.LogRetentionMs)
	}
}

func TestTopicConfigLeavesOutWhatItCannotUse(t *testing.T) {
	b := Default(nil)
	c, err := b.TopicConfig(map[string]string{"message.format.version": "2.8", "segment.bytes": "14", "retention.ms": "1000"})
	if err == nil || !strings.Contains(err.Error(), "Unknown topic config name: message.format.version") || !strings.Contains(err.Error(), "segment.bytes") {
		t.Error(err)
	}
	if c.RetentionMs != 1000 || c.SegmentBytes != 1<<30 {
		t.Errorf("%+v", c)
	}
	if c, _ := b.TopicConfig(map[string]string{"internal.segment.bytes": "100"}); c.SegmentBytes != 100 {
		t.Error("internal.segment.bytes has no effect")
	}
}

func TestValidateTopicConfigs(t *testing.T) {
	b := Default(nil)
	tiered := Default(map[string]string{"remote.log.storage.system.enable": "true", "remote.log.storage.manager.class.name": "x", "remote.log.metadata.manager.listener.name": "PLAINTEXT"})
	cases := []struct {
		broker   *Broker
		existing string
		configs  string
		want     string
	}{
		{b, "", "retention.ms=1000,cleanup.policy=", ""},
		{b, "", "nope=1", "Unknown topic config name: nope"},
		{b, "", "min.compaction.lag.ms=10,max.compaction.lag.ms=5", "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"},
		{b, "", "retention.ms=-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1"},
		{b, "", "min.cleanable.dirty.ratio=1.5", "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1"},
		{b, "", "leader.replication.throttled.replicas=a", "leader.replication.throttled.replicas must be the literal '*' or a list of replicas"},
		{b, "", "leader.replication.throttled.replicas=*", ""},
		{b, "", "remote.storage.enable=true", "Tiered Storage functionality is disabled in the broker."},
		{b, "remote.storage.enable=true", "remote.storage.enable=false", "It is invalid to disable remote storage without deleting remote data."},
		{b, "remote.storage.enable=true", "remote.storage.enable=false,remote.log.delete.on.disable=true", ""},
		{tiered, "", "remote.storage.enable=true,cleanup.policy=compact", "Remote log storage only supports topics with cleanup.policy=delete"},
		{tiered, "", "remote.storage.enable=true,retention.ms=100,local.retention.ms=-1", "Value must not be -1 as retention.ms value is set as 100."},
		{tiered, "", "remote.storage.enable=true,retention.bytes=100,local.retention.bytes=200", "Value must not be more than retention.bytes property value: 100"},
		{tiered, "", "remote.storage.enable=true,remote.log.copy.disable=true,retention.ms=100,local.retention.ms=50", "When `remote.log.copy.disable` is set to true, the `local.retention.ms`"},
		{tiered, "", "remote.storage.enable=true,retention.ms=100,local.retention.ms=50", ""},
	}
	for _, c := range cases {
		parse := func(s string) map[string]string {
			m := map[string]string{}
			for _, kv := range strings.Split(strings.ReplaceAll(s, ",max", "\nmax"), ",") {
				for _, kv := range strings.Split(kv, "\n") {
					if k, v, ok := strings.Cut(kv, "="); ok {
						m[k] = v
					}
				}
			}
			return m
		}
		err := c.broker.ValidateTopicConfigs(parse(c.existing), parse(c.configs))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.configs, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || kafka.CodeOf(err) != kafka.InvalidConfig):
			t.Errorf("%s: %v, want %s", c.configs, err, c.want)
		}
	}
	if err := ValidateTopicConfigs(map[string]string{"x": "1"}); kafka.CodeOf(err) != kafka.InvalidConfig {
		t.Error(err)
	}
	if err := ValidateTopicConfigs(map[string]string{"flush.ms": "1"}); err != nil {
		t.Error(err)
	}
}

func TestValidateGroupAndClientMetricsConfigs(t *testing.T) {
	b := Default(nil)
	for configs, want := range map[string]string{
		"consumer.session.timeout.ms=50000":        "",
		"consumer.session.timeout.ms=1000":         "consumer.session.timeout.ms must be in the range 45000 to 60000 inclusive.",
		"share.record.lock.duration.ms=90000":      "share.record.lock.duration.ms must be in the range 15000 to 60000 inclusive.",
		"share.auto.offset.reset=by_duration:PT1H": "",
		"share.auto.offset.reset=by_duration:PT":   "Invalid value by_duration:PT for configuration share.auto.offset.reset",
		"share.auto.offset.reset=sometime":         "Invalid value sometime for configuration share.auto.offset.reset",
		"share.isolation.level=read_some":          "String must be one of: read_committed, read_uncommitted",
		"bogus=1":                                  "Unknown group config name: bogus",
		"streams.assignor.name=foo":                "Invalid value foo for configuration streams.assignor.name",
	} {
		k, v, _ := strings.Cut(configs, "=")
		err := b.ValidateGroupConfigs(map[string]string{k: v})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", configs, err, want)
		}
	}
	if name := b.GroupConfig(nil).Text("streams.assignor.name"); name != "sticky" {
		t.Errorf("the assignor of streams groups is %q", name)
	}
	g := b.GroupConfig(map[string]string{"consumer.session.timeout.ms": "1000", "share.delivery.count.limit": "7", "bad": "x", "streams.assignor.name": "sticky"})
	if g.Int("consumer.session.timeout.ms") != 45000 || g.Int("share.delivery.count.limit") != 7 || g.Int("consumer.heartbeat.interval.ms") != 5000 ||
		g.Text("streams.assignor.name") != "sticky" || g.Text("share.auto.offset.reset") != "latest" || !g.Bool("share.renew.acknowledge.enable") {
		t.Errorf("%v", g)
	}
	for configs, want := range map[string]string{
		"interval.ms=50":         "interval must be between 100 and 3600000 (1 hour)",
		"interval.ms=500":        "",
		"foo=1":                  "Unknown client metrics configuration: foo",
		"match=client_id=a.*":    "",
		"match=colour=red":       "Illegal client matching pattern: colour=red",
		"match=client_id=(":      "Illegal client matching pattern",
		"metrics=org.apache.,x.": "",
	} {
		k, v, _ := strings.Cut(configs, "=")
		err := ValidateClientMetricsConfigs("s", map[string]string{k: v})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", configs, err, want)
		}
	}
}
