package config

import (
	"errors"
	"maps"
	"reflect"
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
)

// deriveTopic computes the configuration of a topic without overrides.
func (b *Broker) deriveTopic() error {
	b.topicParsed = make(map[string]any, len(topicIndex.sorted))
	for _, k := range topicIndex.sorted {
		b.topicParsed[k.Name] = b.topicDefault(k)
	}
	b.topic = makeTopic(b.topicParsed)
	if err := validateTopicValues(b.topicParsed); err != nil {
		return err
	}
	if b.RemoteLogStorageSystemEnable {
		return validateLocalRetention(b.topicParsed)
	}
	return nil
}

// topicDefault is what a topic has that does not set k: the first of the
// broker's keys for it that has a value, or the default of k.
func (b *Broker) topicDefault(k *Key) any {
	for _, s := range topicSynonyms[k.Name] {
		v := b.values.parsed[s.key]
		if v == nil {
			continue
		}
		if n, ok := v.(int64); ok {
			n *= s.scale
			if k.Name == "retention.ms" {
				n = max(n, -1)
			}
			return n
		}
		return v
	}
	text, ok := k.Default()
	if !ok {
		return nil
	}
	v, err := k.parse(text)
	if err != nil {
		panic(err) // the table's own defaults parse; a test holds it
	}
	return v
}

func makeTopic(parsed map[string]any) Topic {
	var t Topic
	fill(reflect.ValueOf(&t).Elem(), parsed)
	policy, _ := parsed["cleanup.policy"].([]string)
	t.CleanupDelete = slices.Contains(policy, "delete")
	t.CleanupCompact = slices.Contains(policy, "compact")
	if n, ok := parsed["internal.segment.bytes"].(int64); ok {
		t.SegmentBytes = int(n)
	}
	return t
}

// TopicConfig returns the effective configuration of a topic with the given
// overrides. An override whose key is unknown or whose value is not allowed, as
// an older release may have stored it, is left out and named in the error; the
// returned configuration is usable all the same.
func (b *Broker) TopicConfig(overrides map[string]string) (Topic, error) {
	if len(overrides) == 0 {
		return b.topic, nil
	}
	parsed := maps.Clone(b.topicParsed)
	var errs []error
	for _, name := range sortedKeys(overrides) {
		k := topicIndex.byName[name]
		if k == nil {
			errs = append(errs, unknownTopicKey(name))
			continue
		}
		text := overrides[name]
		v, err := k.value(&text)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		parsed[name] = v
	}
	return makeTopic(parsed), errors.Join(errs...)
}

func unknownTopicKey(name string) error {
	return kafka.InvalidConfig.Errorf("Unknown topic config name: %s", name)
}

// ValidateTopicConfigs checks the overrides that a topic is to have, as
// CreateTopics and AlterConfigs do. existing are those that it has now, nil for
// a new topic. The error has code InvalidConfig and Kafka's words.
func (b *Broker) ValidateTopicConfigs(existing, overrides map[string]string) error {
	parsed := maps.Clone(b.topicParsed)
	if err := parseOverrides(topicIndex, overrides, parsed, unknownTopicKey); err != nil {
		return err
	}
	if err := validateTopicValues(parsed); err != nil {
		return err
	}
	return b.validateRemote(existing, parsed)
}

// ValidateTopicConfigs checks the overrides of a topic against Kafka's defaults,
// without a broker.
func ValidateTopicConfigs(overrides map[string]string) error {
	parsed := map[string]any{}
	for _, k := range topicIndex.sorted {
		if text, ok := k.Default(); ok {
			parsed[k.Name], _ = k.parse(text)
		}
	}
	if err := parseOverrides(topicIndex, overrides, parsed, unknownTopicKey); err != nil {
		return err
	}
	return validateTopicValues(parsed)
}

// parseOverrides puts the values of overrides into parsed: first all names are
// checked, then the values, each in the order of the names.
func parseOverrides(x *index, overrides map[string]string, parsed map[string]any, unknown func(string) error) error {
	keys := sortedKeys(overrides)
	for _, name := range keys {
		if x.byName[name] == nil {
			return unknown(name)
		}
	}
	for _, name := range keys {
		text := overrides[name]
		v, err := x.byName[name].value(&text)
		if err != nil {
			return err
		}
		parsed[name] = v
	}
	return nil
}

func validateTopicValues(parsed map[string]any) error {
	least, most := parsed["min.compaction.lag.ms"].(int64), parsed["max.compaction.lag.ms"].(int64)
	if least > most {
		return kafka.InvalidConfig.Errorf("conflict topic config setting min.compaction.lag.ms (%d) > max.compaction.lag.ms (%d)", least, most)
	}
	return nil
}

// validateRemote checks what tiered storage asks of a topic.
func (b *Broker) validateRemote(existing map[string]string, parsed map[string]any) error {
	if !parsed["remote.storage.enable"].(bool) {
		was := trim(existing["remote.storage.enable"]) == "true"
		if was && !parsed["remote.log.delete.on.disable"].(bool) {
			return kafka.InvalidConfig.Errorf("It is invalid to disable remote storage without deleting remote data. " +
				"If you want to keep the remote data and turn to read only, please set `remote.storage.enable=true,remote.log.copy.disable=true`. " +
				"If you want to disable remote storage and delete all remote data, please set `remote.storage.enable=false,remote.log.delete.on.disable=true`.")
		}
		return nil
	}
	if !b.RemoteLogStorageSystemEnable {
		return kafka.InvalidConfig.Errorf("Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.")
	}
	if policy := parsed["cleanup.policy"].([]string); len(policy) > 0 && !slices.Equal(policy, []string{"delete"}) {
		return kafka.InvalidConfig.Errorf("Remote log storage only supports topics with cleanup.policy=delete or cleanup.policy being an empty list.")
	}
	if err := validateLocalRetention(parsed); err != nil {
		return err
	}
	if !parsed["remote.log.copy.disable"].(bool) {
		return nil
	}
	for _, unit := range []string{"bytes", "ms"} {
		local, all := parsed["local.retention."+unit].(int64), parsed["retention."+unit].(int64)
		if local != -2 && local != all {
			return kafka.InvalidConfig.Errorf("When `remote.log.copy.disable` is set to true, the `local.retention.%s` and `retention.%s` must be set to the identical value because there will be no more logs copied to the remote storage.", unit, unit)
		}
	}
	return nil
}

// validateLocalRetention checks that the local part does not exceed the whole.
func validateLocalRetention(parsed map[string]any) error {
	for _, unit := range []string{"bytes", "ms"} {
		key := "local.retention." + unit
		local, all := parsed[key].(int64), parsed["retention."+unit].(int64)
		if all <= -1 || local == -2 {
			continue
		}
		if local == -1 {
			return kafka.InvalidConfig.Errorf("Invalid value -1 for configuration %s: Value must not be -1 as retention.%s value is set as %d.", key, unit, all)
		}
		if local > all {
			return kafka.InvalidConfig.Errorf("Invalid value %d for configuration %s: Value must not be more than retention.%s property value: %d", local, key, unit, all)
		}
	}
	return nil
}
