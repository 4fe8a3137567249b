package config

import (
	"slices"
	"strings"
)

// EnvStyle says how a container image maps variable names to keys.
type EnvStyle int

const (
	// EnvApache is apache/kafka: _ is a dot, __ an underscore, ___ a dash.
	EnvApache EnvStyle = iota
	// EnvConfluent is confluentinc/cp-kafka: _ is a dot, __ a dash, ___ an
	// underscore.
	EnvConfluent
)

const envPrefix = "KAFKA_"

// notProperties are variables that the images read themselves.
var notProperties = map[string]bool{
	"KAFKA_VERSION":    true,
	"KAFKA_OPTS":       true,
	"KAFKA_HEAP_OPT":   true,
	"KAFKA_LOG4J_OPTS": true, "KAFKA_LOG4J_ROOT_LOGLEVEL": true,
	"KAFKA_LOG4J_LOGGERS": true, "KAFKA_TOOLS_LOG4J_LOGLEVEL": true,
	"KAFKA_SSL_KEYSTORE_FILENAME": true, "KAFKA_SSL_KEYSTORE_CREDENTIALS": true,
	"KAFKA_SSL_KEY_CREDENTIALS": true, "KAFKA_SSL_TRUSTSTORE_FILENAME": true,
	"KAFKA_SSL_TRUSTSTORE_CREDENTIALS": true,
}

// onlyJVM are variables that tune a JVM or its agents.
var onlyJVM = map[string]bool{
	"KAFKA_HEAP_OPT": true, "KAFKA_HEAP_OPTS": true, "KAFKA_JMX_OPTS": true,
	"KAFKA_JVM_PERFORMANCE_OPTS": true, "KAFKA_GC_LOG_OPTS": true,
	"KAFKA_JMX_HOSTNAME": true, "KAFKA_JMX_PORT": true, "KAFKA_DEBUG": true,
	"KAFKA_DEBUG_FLAG": true, "KAFKA_CLASSPATH": true,
}

// FromEnv picks the KAFKA_ variables out of an environment of NAME=value
// strings and maps them to properties, ordered by key. Variables that the
// images read themselves are left out; those that only concern a JVM give one
// warning together.
func FromEnv(environ []string, style EnvStyle) (Properties, []Warning) {
	var jvm []string
	m := map[string]string{}
	for _, entry := range environ {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || !strings.HasPrefix(name, envPrefix) || len(name) == len(envPrefix) {
			continue
		}
		if onlyJVM[name] {
			jvm = append(jvm, name)
			continue
		}
		if notProperties[name] {
			continue
		}
		m[EnvKey(name, style)] = value
	}
	props := make(Properties, 0, len(m))
	for _, key := range sortedKeys(m) {
		props = append(props, Property{key, m[key]})
	}
	if len(jvm) == 0 {
		return props, nil
	}
	slices.Sort(jvm)
	return props, []Warning{{Text: "ignored, there is no JVM here: " + strings.Join(slices.Compact(jvm), ", ")}}
}

// EnvKey is the property that a KAFKA_ variable stands for.
func EnvKey(name string, style EnvStyle) string {
	two, three := "_", "-"
	if style == EnvConfluent {
		two, three = "-", "_"
	}
	rest := strings.ToLower(strings.TrimPrefix(name, envPrefix))
	// Underscores are taken three at a time, then two, then one, as the images do.
	var b strings.Builder
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, "___"):
			b.WriteString(three)
			rest = rest[3:]
		case strings.HasPrefix(rest, "__"):
			b.WriteString(two)
			rest = rest[2:]
		case rest[0] == '_':
			b.WriteByte('.')
			rest = rest[1:]
		default:
			b.WriteByte(rest[0])
			rest = rest[1:]
		}
	}
	return b.String()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
