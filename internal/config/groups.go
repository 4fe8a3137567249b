package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Group is the effective configuration of one group: its own overrides over the
// broker's values, held within the broker's bounds. Durations are milliseconds.
type Group struct {
	values map[string]any
}

// Int is the number of a key.
func (g Group) Int(key string) int64 {
	n, _ := g.values[key].(int64)
	return n
}

// Bool is the truth of a key.
func (g Group) Bool(key string) bool {
	t, _ := g.values[key].(bool)
	return t
}

// Text is the text of a key, "" for none.
func (g Group) Text(key string) string {
	if g.values[key] == nil {
		return ""
	}
	return format(g.values[key])
}

// List is the list of a key.
func (g Group) List(key string) []string {
	l, _ := g.values[key].([]string)
	return l
}

// groupValues are the values of a group without overrides.
func (b *Broker) groupValues() map[string]any {
	parsed := map[string]any{}
	for _, k := range groupIndex.sorted {
		if brokerKey := groupSynonyms[k.Name]; brokerKey != "" && k.Name != "streams.assignor.name" {
			parsed[k.Name] = b.values.parsed[brokerKey]
		} else if text, ok := k.Default(); ok {
			parsed[k.Name], _ = k.parse(text)
		}
	}
	if len(b.GroupStreamsAssignors) > 0 {
		parsed["streams.assignor.name"] = b.GroupStreamsAssignors[0]
	}
	return parsed
}

// GroupConfig returns the effective configuration of a group. Overrides that are
// not valid are left out; numbers outside the broker's bounds, which may have
// moved since they were set, are taken to the nearest bound.
func (b *Broker) GroupConfig(overrides map[string]string) Group {
	parsed := b.groupValues()
	for name, text := range overrides {
		k := groupIndex.byName[name]
		if k == nil {
			continue
		}
		if v, err := k.value(&text); err == nil {
			parsed[name] = v
		}
	}
	for _, x := range bounded {
		name := strings.TrimPrefix(x.key, "group.")
		n, ok := parsed[name].(int64)
		if !ok {
			continue
		}
		if x.min != "" {
			n = max(n, b.values.long(x.min))
		}
		if x.max != "" {
			n = min(n, b.values.long(x.max))
		}
		parsed[name] = n
	}
	return Group{parsed}
}

// ValidateGroupConfigs checks the overrides that a group is to have. The error
// has code InvalidConfig and Kafka's words.
func (b *Broker) ValidateGroupConfigs(overrides map[string]string) error {
	parsed := b.groupValues()
	err := parseOverrides(groupIndex, overrides, parsed, func(name string) error {
		return kafka.InvalidConfig.Errorf("Unknown group config name: %s", name)
	})
	if err != nil {
		return err
	}
	for _, x := range bounded {
		name := strings.TrimPrefix(x.key, "group.")
		n, ok := parsed[name].(int64)
		if _, set := overrides[name]; !ok || !set {
			continue
		}
		if lo, hi := x.min, x.max; lo != "" && hi != "" && (n < b.values.long(lo) || n > b.values.long(hi)) {
			return kafka.InvalidConfig.Errorf("%s must be in the range %d to %d inclusive.", name, b.values.long(lo), b.values.long(hi))
		}
		if x.min != "" && n < b.values.long(x.min) {
			return kafka.InvalidConfig.Errorf("%s must be greater than or equal to %s", name, x.min)
		}
		if x.max != "" && n > b.values.long(x.max) {
			return kafka.InvalidConfig.Errorf("%s must be less than or equal to %s", name, x.max)
		}
	}
	for _, kind := range []string{"consumer", "share", "streams"} {
		heartbeat, session := kind+".heartbeat.interval.ms", kind+".session.timeout.ms"
		if parsed[session].(int64) <= parsed[heartbeat].(int64) {
			return kafka.InvalidConfig.Errorf("%s must be greater than %s", session, heartbeat)
		}
	}
	name, _ := parsed["streams.assignor.name"].(string)
	if name != "" && !slices.Contains(b.GroupStreamsAssignors, name) {
		return invalidValue("streams.assignor.name", name, "String must be one of: "+strings.Join(b.GroupStreamsAssignors, ", "))
	}
	return nil
}

// matchParams are the client attributes that a subscription may match.
var matchParams = []string{
	"client_instance_id", "client_id", "client_software_name", "client_software_version",
	"client_source_address", "client_source_port",
}

// ValidateClientMetricsConfigs checks the overrides of a client metrics
// subscription (KIP-714).
func ValidateClientMetricsConfigs(name string, overrides map[string]string) error {
	if name == "" {
		return kafka.InvalidRequest.Errorf("Subscription name can't be empty")
	}
	parsed := map[string]any{}
	err := parseOverrides(clientMetricsIndex, maps.Clone(overrides), parsed, func(key string) error {
		return kafka.InvalidRequest.Errorf("Unknown client metrics configuration: %s", key)
	})
	if err != nil {
		return err
	}
	if n, ok := parsed["interval.ms"].(int64); ok && (n < 100 || n > 3600000) {
		return kafka.InvalidRequest.Errorf("Invalid value %d for interval.ms, interval must be between 100 and 3600000 (1 hour)", n)
	}
	match, _ := parsed["match"].([]string)
	for _, pattern := range match {
		param, expr, ok := strings.Cut(pattern, "=")
		if !ok || strings.Contains(expr, "=") || expr == "" || !slices.Contains(matchParams, trim(param)) {
			return kafka.InvalidConfig.Errorf("Illegal client matching pattern: %s", pattern)
		}
		if _, err := regexp.Compile(trim(expr)); err != nil {
			return kafka.InvalidConfig.Errorf("Illegal client matching pattern: %s", pattern)
		}
	}
	return nil
}
