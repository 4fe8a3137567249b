package config

import (
	"slices"
	"strings"
)

// Type is the type of a key's value, in the numbers of DescribeConfigs.
type Type int8

// The types. TypeUnknown is what a key that is not in the table has.
const (
	TypeUnknown  Type = 0
	TypeBoolean  Type = 1
	TypeString   Type = 2
	TypeInt      Type = 3
	TypeShort    Type = 4
	TypeLong     Type = 5
	TypeDouble   Type = 6
	TypeList     Type = 7
	TypeClass    Type = 8
	TypePassword Type = 9
)

var typeNames = [...]string{"UNKNOWN", "BOOLEAN", "STRING", "INT", "SHORT", "LONG", "DOUBLE", "LIST", "CLASS", "PASSWORD"}

// String is the name of the type in messages.
func (t Type) String() string { return typeNames[t] }

// Importance says how much a key matters to most operators.
type Importance int8

// The importances.
const (
	High Importance = iota
	Medium
	Low
)

func (i Importance) String() string { return [...]string{"HIGH", "MEDIUM", "LOW"}[i] }

// Scope says where a broker key may be changed at run time.
type Scope int8

// The scopes. A PerBroker key can be changed for single brokers only, a
// ClusterWide key for single brokers and for all.
const (
	ReadOnly Scope = iota
	PerBroker
	ClusterWide
)

func (s Scope) String() string { return [...]string{"read-only", "per-broker", "cluster-wide"}[s] }

// flags are what else there is to say about a key.
type flags uint8

const (
	// internal keys are for tests and are not described.
	internal flags = 1 << iota
	// legacy keys left Kafka with ZooKeeper mode or before.
	legacy
	// plugin keys belong to a component rather than to the broker.
	plugin
	// dynamicOnly keys have no place in a properties file.
	dynamicOnly
)

const (
	// null is the default of a key without a value.
	null = "\x00null"
	// required is the default of a key that must be given.
	required = "\x00required"
)

// Key is one row of the table. Default is in the text form that a file has.
type Key struct {
	Name       string
	Type       Type
	def        string
	check      check
	Importance Importance
	Scope      Scope
	flags      flags
	Doc        string
}

// Default is the value of a key that nobody set, as text. ok is false if there
// is none: null, or a key that must be given.
func (k *Key) Default() (text string, ok bool) {
	if k.def == null || k.def == required {
		return "", false
	}
	return k.def, true
}

// Required says whether a properties file must give the key.
func (k *Key) Required() bool { return k.def == required }

// Sensitive says whether the value is a secret.
func (k *Key) Sensitive() bool { return k.Type == TypePassword }

// Internal says whether the key exists for tests only.
func (k *Key) Internal() bool { return k.flags&internal != 0 }

// Legacy says whether the key belongs to ZooKeeper mode or to old releases.
func (k *Key) Legacy() bool { return k.flags&legacy != 0 }

// DynamicOnly says whether the key can be set at run time only.
func (k *Key) DynamicOnly() bool { return k.flags&dynamicOnly != 0 }

// Valid describes the allowed values in Kafka's notation, "" for any.
func (k *Key) Valid() string { return k.check.text }

// index finds the rows of one resource type by name.
type index struct {
	byName map[string]*Key
	sorted []*Key
}

func newIndex(tables ...[]Key) *index {
	x := &index{byName: map[string]*Key{}}
	for _, t := range tables {
		for i := range t {
			k := &t[i]
			if x.byName[k.Name] != nil {
				panic("config: two rows for " + k.Name)
			}
			x.byName[k.Name] = k
			x.sorted = append(x.sorted, k)
		}
	}
	slices.SortFunc(x.sorted, func(a, b *Key) int { return strings.Compare(a.Name, b.Name) })
	return x
}

var (
	brokerIndex = newIndex(quorumKeys, networkKeys, logKeys, replicationKeys, groupKeysOfBroker, shareKeys,
		txnKeys, quotaKeys, sslKeys, saslKeys, remoteKeys, legacyKeys, authorizerKeys, dynamicKeys, ownKeys)
	topicIndex         = newIndex(topicKeys)
	groupIndex         = newIndex(groupKeys)
	clientMetricsIndex = newIndex(clientMetricsKeys)
)

// BrokerKeys returns the rows of broker keys by name, dynamic ones included. The
// rows must not be changed; the same holds for the other tables.
func BrokerKeys() []*Key { return slices.Clone(brokerIndex.sorted) }

// TopicKeys returns the rows of topic keys by name.
func TopicKeys() []*Key { return slices.Clone(topicIndex.sorted) }

// GroupKeys returns the rows of group keys by name.
func GroupKeys() []*Key { return slices.Clone(groupIndex.sorted) }

// ClientMetricsKeys returns the rows of client metrics keys by name.
func ClientMetricsKeys() []*Key { return slices.Clone(clientMetricsIndex.sorted) }

// BrokerKey returns the row of a broker key.
func BrokerKey(name string) (*Key, bool) {
	k, ok := brokerIndex.byName[name]
	return k, ok
}

// TopicKey returns the row of a topic key.
func TopicKey(name string) (*Key, bool) {
	k, ok := topicIndex.byName[name]
	return k, ok
}

// listenerPrefix begins keys that hold for one listener only:
// listener.name.NAME.KEY or listener.name.NAME.MECHANISM.KEY.
const listenerPrefix = "listener.name."

// mechanismKeys may be set per listener and SASL mechanism.
var mechanismKeys = []string{
	"sasl.jaas.config", "sasl.login.callback.handler.class", "sasl.login.class",
	"sasl.server.callback.handler.class", "connections.max.reauth.ms",
}

// baseName strips a listener prefix: the name of the key that the rest names,
// which is the name itself for a key without prefix.
func baseName(name string) string {
	rest, ok := strings.CutPrefix(name, listenerPrefix)
	if !ok {
		return name
	}
	_, rest, ok = strings.Cut(rest, ".")
	if !ok {
		return name
	}
	for _, m := range mechanismKeys {
		if strings.HasSuffix(rest, m) {
			return m
		}
	}
	return rest
}

// brokerRow finds the row of a broker key, also with a listener prefix.
func brokerRow(name string) *Key {
	if k := brokerIndex.byName[name]; k != nil {
		return k
	}
	return brokerIndex.byName[baseName(name)]
}
