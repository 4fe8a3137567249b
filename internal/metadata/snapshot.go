package metadata

import (
	"iter"

	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/timeline"
)

// Snapshot returns the records that recreate the image, in Kafka's order: features
// (metadata.version first, since it decides how the rest is read), nodes, topics,
// configs, client quotas, producer ids, ACLs, SCRAM credentials, delegation
// tokens. Within an area the order is sorted. What the finalised metadata.version
// cannot express is left out, as its level forbids that it exists.
func (i *Image) Snapshot() iter.Seq[records.Message] {
	return func(yield func(records.Message) bool) {
		w := &snapshotWriter{image: i, yield: yield, more: true}
		for _, area := range []func(){w.features, w.nodes, w.topics, w.configs, w.quotas, w.producerIDs, w.acls, w.scram, w.tokens} {
			if w.more {
				area()
			}
		}
	}
}

// snapshotWriter walks one image. more turns false when the consumer has enough.
type snapshotWriter struct {
	image *Image
	yield func(records.Message) bool
	more  bool
}

func (w *snapshotWriter) put(m records.Message) bool {
	w.more = w.more && w.yield(m)
	return w.more
}

// version is the metadata.version to write at; an image without one was written
// before the bootstrap and holds nothing that depends on it.
func (w *snapshotWriter) version() Version { return max(w.image.version, MinVersion) }

func (w *snapshotWriter) features() {
	for _, f := range w.image.Features() {
		if !w.put(featureLevelRecord(f.Name, f.Level)) {
			return
		}
	}
}

func (w *snapshotWriter) nodes() {
	for _, b := range w.image.cluster.brokers {
		if !w.put(b.record(w.version())) {
			return
		}
	}
	if !w.version().ControllerRegistrationSupported() {
		return
	}
	for _, c := range w.image.cluster.controllers {
		if !w.put(c.record()) {
			return
		}
	}
}

func (w *snapshotWriter) topics() {
	elr := w.image.ELREnabled()
	for _, t := range w.image.SortedTopics() {
		r := records.NewTopicRecord()
		r.Name, r.TopicID = t.Name, t.ID
		if !w.put(r) {
			return
		}
		for i, p := range t.Partitions() {
			if !w.put(p.NewRecord(t.ID, i, w.version(), elr)) {
				return
			}
		}
	}
}

func (w *snapshotWriter) configs() {
	for _, res := range w.image.ConfigResources() {
		values := w.image.Config(res)
		for _, name := range sortedKeys(values) {
			r := records.NewConfigRecord()
			value := values[name]
			r.ResourceType, r.ResourceName, r.Name, r.Value = res.Type, res.Name, name, &value
			if !w.put(r) {
				return
			}
		}
	}
}

func (w *snapshotWriter) quotas() {
	for _, q := range w.image.ClientQuotas() {
		for _, key := range sortedKeys(q.Values) {
			r := records.NewClientQuotaRecord()
			r.Entity, r.Key, r.Value = q.Entity, key, q.Values[key]
			if !w.put(r) {
				return
			}
		}
	}
}

func (w *snapshotWriter) producerIDs() {
	if w.image.nextProducer < 0 {
		return
	}
	r := records.NewProducerIdsRecord()
	r.BrokerID, r.BrokerEpoch, r.NextProducerID = -1, -1, w.image.nextProducer
	w.put(r)
}

func (w *snapshotWriter) acls() {
	for _, id := range timeline.SortedKeysFunc(w.image.acls, compareUUID) {
		r, _ := w.image.acls.Get(id)
		if !w.put(r) {
			return
		}
	}
}

func (w *snapshotWriter) scram() {
	if !w.version().ScramSupported() {
		return
	}
	for _, k := range w.image.ScramCredentials() {
		if !w.put(w.image.ScramCredential(k)) {
			return
		}
	}
}

func (w *snapshotWriter) tokens() {
	if !w.version().DelegationTokensSupported() {
		return
	}
	for _, id := range w.image.DelegationTokens() {
		if !w.put(w.image.DelegationToken(id)) {
			return
		}
	}
}
