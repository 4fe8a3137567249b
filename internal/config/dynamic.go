package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
)

// WithDynamic returns b with the dynamic values of the metadata image applied:
// perBroker for this node over clusterWide for all over what the node was
// started with. b itself does not change. Values that may not be set at their
// level, or that are not allowed, are left out and named in the warnings.
func (b *Broker) WithDynamic(perBroker, clusterWide map[string]string) (*Broker, []Warning) {
	cluster, warnings := applicable(clusterWide, false)
	node, w := applicable(perBroker, true)
	warnings = append(warnings, w...)
	next, err := build(layers(b.values.static, node, cluster))
	if err == nil {
		return next, warnings
	}
	// Together they do not fit: take each level that does on its own, the broader
	// one first.
	next = b.withoutDynamic()
	kept := map[string]string{}
	if n, err := build(layers(b.values.static, nil, cluster)); err != nil {
		warnings = append(warnings, Warning{Text: "the cluster's dynamic broker configs could not be applied: " + err.Error()})
	} else {
		next, kept = n, cluster
	}
	if n, err := build(layers(b.values.static, node, kept)); err != nil {
		warnings = append(warnings, Warning{Text: "this broker's dynamic configs could not be applied: " + err.Error()})
	} else {
		next = n
	}
	return next, warnings
}

// withoutDynamic is b as it was started.
func (b *Broker) withoutDynamic() *Broker {
	base, err := build(layers(b.values.static, nil, nil))
	if err != nil {
		panic(err) // Load accepted the same texts
	}
	return base
}

// layers merges the texts of the three levels.
func layers(static, perBroker, clusterWide map[string]string) *values {
	given := maps.Clone(static)
	maps.Copy(given, clusterWide)
	maps.Copy(given, perBroker)
	return &values{static: static, perBroker: perBroker, clusterWide: clusterWide, given: given}
}

// applicable keeps the dynamic values that may be set at their level and whose
// text is a value of their key.
func applicable(dynamic map[string]string, perBroker bool) (map[string]string, []Warning) {
	kept := map[string]string{}
	var warnings []Warning
	for _, name := range sortedKeys(dynamic) {
		text := dynamic[name]
		k := brokerRow(name)
		var err error
		if k == nil {
			// A key of a plugin: kept, though nothing here reads it.
			kept[name] = text
			continue
		}
		if err = dynamicLevel(name, k, perBroker); err == nil {
			_, err = k.value(&text)
		}
		if err != nil {
			warnings = append(warnings, Warning{name, "dynamic value ignored: " + redact(k, err).Error()})
			continue
		}
		kept[name] = text
	}
	return kept, warnings
}

// Applicable keeps the dynamic values that may be set for one broker (perBroker)
// or for all, and whose text is a value of their key: what older releases stored
// may be neither.
func Applicable(dynamic map[string]string, perBroker bool) map[string]string {
	kept, _ := applicable(dynamic, perBroker)
	return kept
}

// clusterListenerKeys may be set for all brokers though they concern listeners.
var clusterListenerKeys = map[string]bool{
	"max.connections": true, "max.connection.creation.rate": true, "num.network.threads": true,
}

// dynamicLevel says whether a key may be set dynamically at a level.
func dynamicLevel(name string, k *Key, perBroker bool) error {
	prefixed := strings.HasPrefix(name, listenerPrefix)
	if k.Scope == ReadOnly && !prefixed {
		return kafka.InvalidConfig.Errorf("Cannot update these configs dynamically: [%s]", name)
	}
	if listenerOnly(k) && !prefixed {
		return kafka.InvalidConfig.Errorf("These security configs can be dynamically updated only per-listener using the listener prefix: [%s]", name)
	}
	if !perBroker && (k.Scope == PerBroker || prefixed && !clusterListenerKeys[k.Name]) {
		return kafka.InvalidConfig.Errorf("Cannot update these configs at default cluster level, broker id must be specified: [%s]", name)
	}
	return nil
}

// listenerOnly are the keys of TLS stores, which are changed at run time for one
// listener at a time.
func listenerOnly(k *Key) bool {
	return k.Name == "ssl.key.password" || strings.HasPrefix(k.Name, "ssl.keystore.") || strings.HasPrefix(k.Name, "ssl.truststore.")
}

// ValidateBrokerConfigs checks the dynamic values that a broker (perBroker), or
// all brokers, are to have, and that this node could apply them. The error has
// code InvalidRequest, which is what Kafka answers here, and Kafka's words.
func (b *Broker) ValidateBrokerConfigs(dynamic map[string]string, perBroker bool) error {
	for _, name := range sortedKeys(dynamic) {
		k := brokerRow(name)
		if k == nil {
			continue
		}
		if err := dynamicLevel(name, k, perBroker); err != nil {
			return kafka.InvalidRequest.Errorf("%s", err)
		}
		text := dynamic[name]
		if _, err := k.value(&text); err != nil {
			return kafka.InvalidRequest.Errorf("%s", redact(k, err))
		}
	}
	node, cluster := b.values.perBroker, dynamic
	if perBroker {
		node, cluster = dynamic, b.values.clusterWide
	}
	next, err := build(layers(b.values.static, node, cluster))
	if err != nil {
		return kafka.InvalidRequest.Errorf("%s", err)
	}
	if err := cleanerThreads(b.LogCleanerThreads, next.LogCleanerThreads); err != nil {
		return err
	}
	return sameListeners(b, next)
}

// sameListeners refuses to change listeners at run time: they are opened when the node
// starts, and a value that is stored without effect would look as if it had one. Apache
// Kafka refuses all of it too but a new listener that is not advertised.
func sameListeners(now, next *Broker) error {
	for _, l := range next.Listeners {
		i := slices.IndexFunc(now.Listeners, func(o Listener) bool { return o.Name == l.Name })
		if i < 0 {
			continue
		}
		if !maps.Equal(now.fixedOf(l.Name), next.fixedOf(l.Name)) {
			return kafka.InvalidRequest.Errorf("Configs cannot be updated dynamically for existing listener ListenerName(%s), restart broker or create a new listener for update", l.Name)
		}
		if now.Listeners[i].Protocol != l.Protocol {
			return kafka.InvalidRequest.Errorf("Security protocol cannot be updated for existing listener ListenerName(%s)", l.Name)
		}
	}
	if !slices.Equal(now.AdvertisedListeners, next.AdvertisedListeners) {
		return kafka.InvalidRequest.Errorf("Advertised listeners cannot be altered when using a Raft-based metadata quorum.")
	}
	if !slices.Equal(now.Listeners, next.Listeners) {
		return kafka.InvalidRequest.Errorf("Listeners cannot be altered while the broker runs: set them in its properties file and restart it")
	}
	return nil
}

// fixedOf are the values given for one listener that its connections are made with.
func (b *Broker) fixedOf(listener string) map[string]string {
	prefix := listenerPrefix + strings.ToLower(listener) + "."
	fixed := map[string]string{}
	for name, text := range b.values.given {
		rest, ok := strings.CutPrefix(name, prefix)
		if k := brokerRow(rest); ok && !clusterListenerKeys[rest] && (k == nil || !listenerOnly(k)) {
			fixed[rest] = text
		}
	}
	return fixed
}

// cleanerThreads bounds a change of log.cleaner.threads at run time, as Kafka does: a slip
// of the pen must not stop compaction, nor give it the whole machine.
func cleanerThreads(now, next int) error {
	switch {
	case next == now:
		return nil
	case next < 1:
		return kafka.InvalidRequest.Errorf("Log cleaner threads should be at least 1")
	case next < now/2:
		return kafka.InvalidRequest.Errorf("Log cleaner threads cannot be reduced to less than half the current value %d", now)
	case next > 2*now:
		return kafka.InvalidRequest.Errorf("Log cleaner threads cannot be increased to more than double the current value %d", now)
	}
	return nil
}
