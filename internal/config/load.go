package config

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Warning is something about the configuration that a human should know and
// that does not keep the node from starting. Key is "" if it is about several.
type Warning struct {
	Key  string
	Text string
}

// values are the texts and parsed values behind a Broker.
type values struct {
	// static is what the node was started with, perBroker and clusterWide are the
	// dynamic layers over it.
	static, perBroker, clusterWide map[string]string
	// given merges the layers; parsed holds the value of every key in the table.
	given  map[string]string
	parsed map[string]any
}

// text is the effective text of a key, the default if nothing is given.
func (v *values) text(key string) (string, bool) {
	if s, ok := v.given[key]; ok {
		return s, true
	}
	if k := brokerIndex.byName[key]; k != nil {
		return k.Default()
	}
	return "", false
}

func (v *values) str(key string) string {
	s, _ := v.parsed[key].(string)
	return s
}

func (v *values) list(key string) []string {
	l, _ := v.parsed[key].([]string)
	return l
}

func (v *values) long(key string) int64 {
	n, _ := v.parsed[key].(int64)
	return n
}

// Load types and checks the properties of one node, all keys together. The
// returned error names the keys, the values and what would be allowed; it joins
// everything that is wrong.
func Load(props map[string]string) (*Broker, []Warning, error) {
	static := maps.Clone(props)
	if static == nil {
		static = map[string]string{}
	}
	warnings := populateSynonyms(static)
	b, err := build(&values{static: static, given: static})
	if err != nil {
		return nil, warnings, err
	}
	warnings = append(warnings, b.keyWarnings()...)
	return b, append(warnings, b.roleWarnings()...), nil
}

// populateSynonyms fills in the second name of keys that have two.
func populateSynonyms(props map[string]string) []Warning {
	var warnings []Warning
	both := func(a, b string) {
		if v, ok := props[a]; ok {
			if _, ok := props[b]; !ok {
				props[b] = v
			}
		}
	}
	both("broker.id", "node.id")
	both("node.id", "broker.id")
	both("delegation.token.master.key", "delegation.token.secret.key")
	if _, ok := props["log.segment.ms"]; ok {
		warnings = append(warnings, Warning{"log.segment.ms", "taken as log.roll.ms, which is Kafka's name for it on brokers"})
		both("log.segment.ms", "log.roll.ms")
	}
	return warnings
}

// build parses, fills and checks.
func build(v *values) (*Broker, error) {
	b := &Broker{values: v}
	if err := v.parse(); err != nil {
		return nil, err
	}
	fill(reflect.ValueOf(b).Elem(), v.parsed)
	if err := b.derive(); err != nil {
		return nil, err
	}
	if err := b.validate(); err != nil {
		return nil, err
	}
	return b, b.deriveTopic()
}

// parse reads the value of every key in the table and checks listener keys.
func (v *values) parse() error {
	var errs []error
	v.parsed = make(map[string]any, len(brokerIndex.sorted))
	zk := trim(v.given["zookeeper.connect"]) != "" && trim(v.given["process.roles"]) == ""
	for _, k := range brokerIndex.sorted {
		text, given := v.given[k.Name]
		if !given && k.Required() {
			if !zk && !(k.Name == "controller.listener.names" && v.given["process.roles"] == "") {
				errs = append(errs, kafka.InvalidConfig.Errorf("Missing required configuration %q which has no default value.", k.Name))
			}
			continue
		}
		if zk && (k.Name == "process.roles" || k.Name == "node.id" && trim(text) == "-1") {
			v.parsed[k.Name], _ = k.parse(text)
			continue
		}
		p := &text
		if !given {
			if text, given = k.Default(); !given {
				p = nil
			}
		}
		value, err := k.value(p)
		if err != nil {
			errs = append(errs, redact(k, err))
		}
		v.parsed[k.Name] = value
	}
	for _, name := range sortedKeys(v.given) {
		if k := brokerRow(name); k != nil && k.Name != name {
			text := v.given[name]
			if _, err := k.value(&text); err != nil {
				errs = append(errs, redact(k, err))
			}
		}
	}
	return errors.Join(errs...)
}

// fill sets the fields that have a kafka tag.
func fill(s reflect.Value, parsed map[string]any) {
	t := s.Type()
	for i := range t.NumField() {
		key := t.Field(i).Tag.Get("kafka")
		value := parsed[key]
		if key == "" || value == nil {
			continue
		}
		f := s.Field(i)
		switch f.Kind() {
		case reflect.Int, reflect.Int16, reflect.Int64:
			f.SetInt(value.(int64))
		default:
			f.Set(reflect.ValueOf(value))
		}
	}
}

// Default is the configuration of a combined node 1 on loopback port 9092 with
// Kafka's defaults, for tests and embedding; overrides replace single keys. It
// panics if the overrides are not valid.
func Default(overrides map[string]string) *Broker {
	props := map[string]string{
		"node.id":                        "1",
		"process.roles":                  "broker,controller",
		"listeners":                      "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093",
		"controller.listener.names":      "CONTROLLER",
		"controller.quorum.voters":       "1@127.0.0.1:9093",
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
	}
	maps.Copy(props, overrides)
	b, _, err := Load(props)
	if err != nil {
		panic(err)
	}
	return b
}

// Raw returns the effective text of a key as it was given, or its default. It
// serves keys that have no typed field, listener.name.* ones included.
func (b *Broker) Raw(key string) (string, bool) { return b.values.text(key) }

// Given returns the text of a key only if a file, an override or a dynamic
// change set it.
func (b *Broker) Given(key string) (string, bool) {
	s, ok := b.values.given[key]
	return s, ok
}

// ListenerRaw returns the text of a key for one listener: the one with the
// listener's prefix and the mechanism (if not ""), with the prefix alone, or
// without.
func (b *Broker) ListenerRaw(listener, mechanism, key string) (string, bool) {
	prefix := listenerPrefix + strings.ToLower(listener) + "."
	if mechanism != "" {
		if s, ok := b.values.given[prefix+strings.ToLower(mechanism)+"."+key]; ok {
			return s, true
		}
	}
	if s, ok := b.values.given[prefix+key]; ok {
		return s, true
	}
	return b.values.text(key)
}

// ListenerList is ListenerRaw for a key with a list.
func (b *Broker) ListenerList(listener, key string) []string {
	s, _ := b.ListenerRaw(listener, "", key)
	return splitList(trim(s))
}

// ListenerLong is ListenerRaw for a key with a number; the value was checked
// when the configuration was loaded.
func (b *Broker) ListenerLong(listener, mechanism, key string) int64 {
	s, _ := b.ListenerRaw(listener, mechanism, key)
	n, err := strconv.ParseInt(trim(s), 10, 64)
	if err != nil {
		return b.values.long(key)
	}
	return n
}

// keyWarnings names keys that nothing knows and keys that have no effect.
func (b *Broker) keyWarnings() []Warning {
	var warnings []Warning
	for _, name := range sortedKeys(b.values.given) {
		k := brokerRow(name)
		switch {
		case k == nil && !b.pluginKey(name):
			text := "is not a known configuration"
			if near := nearest(name); near != "" {
				text += "; did you mean " + near + "?"
			}
			warnings = append(warnings, Warning{name, text})
		case k != nil && k.DynamicOnly():
			warnings = append(warnings, Warning{name, "can only be set dynamically and is ignored here"})
		case k != nil && k.Type == TypeClass && name == k.Name && !knownClass(b.values.given[name]):
			warnings = append(warnings, Warning{name, "names a Java class, which cannot be loaded here; it is ignored"})
		case k != nil && k.Legacy() && noEffect(name, b.ZooKeeperMode()):
			warnings = append(warnings, Warning{name, "belongs to older releases and has no effect"})
		}
	}
	return warnings
}

// pluginKey says whether a name is left to a component that reads it by prefix.
func (b *Broker) pluginKey(name string) bool {
	prefixes := []string{
		"gregor.", "config.providers.", b.RemoteLogMetadataManagerImplPrefix, b.RemoteLogStorageManagerImplPrefix,
	}
	return slices.ContainsFunc(prefixes, func(p string) bool { return p != "" && strings.HasPrefix(name, p) })
}

// knownClass says whether a class name selects something that exists here.
func knownClass(name string) bool {
	name = trim(name)
	return name == "" || strings.HasPrefix(name, "org.apache.kafka.common.security.")
}

// noEffect says whether a legacy key is accepted without being used.
func noEffect(name string, zooKeeperMode bool) bool {
	switch name {
	case "log.message.format.version", "log.message.timestamp.difference.max.ms", "offsets.commit.required.acks",
		"auto.include.jmx.reporter", "zookeeper.clientCnxnSocket":
		return true
	case "log.segment.ms", "delegation.token.master.key", "log.message.downconversion.enable",
		"leader.imbalance.per.broker.percentage":
		return false
	}
	return !zooKeeperMode
}

// nearest finds the known key that is most like name, "" if none is close.
func nearest(name string) string {
	best, bestDistance := "", len(name)/4+1
	for _, k := range brokerIndex.sorted {
		if k.Internal() {
			continue
		}
		if d := distance(name, k.Name, bestDistance); d < bestDistance {
			best, bestDistance = k.Name, d
		}
	}
	return best
}

// distance is the edit distance of a and b, or limit if it is not below.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal, least := row[0], i
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
			least = min(least, row[j])
		}
		if least >= limit {
			return limit
		}
	}
	return min(row[len(b)], limit)
}
