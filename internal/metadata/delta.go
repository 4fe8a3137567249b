package metadata

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// Delta collects records on top of an image. It belongs to one goroutine until
// Apply; afterwards it only describes what changed and may be shared.
type Delta struct {
	base *Image // what the changes are told against
	from *Image // what records are replayed on: base, or the empty image for a snapshot

	topics   topicsDelta
	cluster  clusterDelta
	version  Version
	features edits[string, int16]
	configs  edits[ConfigResource, map[string]string]
	quotas   edits[string, *ClientQuota]
	producer int64
	acls     edits[kafka.UUID, *records.AccessControlEntryRecord]
	scram    edits[ScramKey, *records.UserScramCredentialRecord]
	tokens   edits[string, *records.DelegationTokenRecord]
}

// NewDelta returns an empty delta over base.
func NewDelta(base *Image) *Delta { return newDelta(base, base) }

// NewSnapshotDelta returns a delta that takes a whole snapshot: what the snapshot
// does not mention is gone. The changes are told against base.
func NewSnapshotDelta(base *Image) *Delta { return newDelta(base, Empty()) }

func newDelta(base, from *Image) *Delta {
	d := &Delta{base: base, from: from, version: from.version, producer: from.nextProducer}
	d.features.from = from.features
	d.configs.from = from.configs
	d.quotas.from = from.quotas
	d.acls.from = from.acls
	d.scram.from = from.scram
	d.tokens.from = from.tokens
	return d
}

// Base is the image that the changes are told against.
func (d *Delta) Base() *Image { return d.base }

// Replay takes one record over. An error means that the record contradicts the
// state, after which the delta must be thrown away. Records of metadata
// transactions are not for a delta but for Log.
func (d *Delta) Replay(m records.Message) error {
	switch r := m.(type) {
	case *records.TopicRecord:
		return d.replayTopic(r)
	case *records.PartitionRecord:
		return d.replayPartition(r)
	case *records.PartitionChangeRecord:
		return d.replayPartitionChange(r)
	case *records.RemoveTopicRecord:
		return d.replayRemoveTopic(r)
	case *records.ClearElrRecord:
		return d.replayClearELR(r)
	case *records.ConfigRecord:
		d.replayConfig(r)
	case *records.FeatureLevelRecord:
		return d.replayFeature(r)
	case *records.ProducerIdsRecord:
		d.producer = r.NextProducerID
	case *records.NoOpRecord, *records.ZkMigrationStateRecord:
		// They only move the offset.
	default:
		if handled, err := d.replayNode(m); handled {
			return err
		}
		return d.replaySecurity(m)
	}
	return nil
}

// replayNode takes the records of brokers and controllers.
func (d *Delta) replayNode(m records.Message) (handled bool, err error) {
	switch r := m.(type) {
	case *records.RegisterBrokerRecord:
		d.cluster.setBroker(r.BrokerID, brokerFromRecord(r))
	case *records.UnregisterBrokerRecord:
		d.cluster.setBroker(r.BrokerID, nil)
	case *records.FenceBrokerRecord:
		return true, d.changeBroker(r.ID, r.Epoch, func(b *Broker) { b.Fenced = true })
	case *records.UnfenceBrokerRecord:
		return true, d.changeBroker(r.ID, r.Epoch, func(b *Broker) { b.Fenced = false })
	case *records.BrokerRegistrationChangeRecord:
		return true, d.replayBrokerChange(r)
	case *records.RegisterControllerRecord:
		d.cluster.setController(r.ControllerID, controllerFromRecord(r))
	case *records.UnregisterControllerRecord:
		d.cluster.setController(r.ControllerID, nil)
	default:
		return false, nil
	}
	return true, nil
}

// replaySecurity takes the records of quotas, ACLs and credentials.
func (d *Delta) replaySecurity(m records.Message) error {
	switch r := m.(type) {
	case *records.ClientQuotaRecord:
		d.replayQuota(r)
	case *records.AccessControlEntryRecord:
		d.acls.set(r.ID, r)
	case *records.RemoveAccessControlEntryRecord:
		if _, ok := d.acls.get(r.ID); !ok {
			return fmt.Errorf("remove ACL %s: there is none", r.ID)
		}
		d.acls.delete(r.ID)
	case *records.UserScramCredentialRecord:
		d.scram.set(ScramKey{r.Name, r.Mechanism}, r)
	case *records.RemoveUserScramCredentialRecord:
		d.scram.delete(ScramKey{r.Name, r.Mechanism})
	case *records.DelegationTokenRecord:
		d.tokens.set(r.TokenID, r)
	case *records.RemoveDelegationTokenRecord:
		d.tokens.delete(r.TokenID)
	default:
		return fmt.Errorf("%s does not belong into a delta", m.SchemaName())
	}
	return nil
}

func (d *Delta) replayFeature(r *records.FeatureLevelRecord) error {
	switch r.Name {
	case FeatureMetadataVersion:
		v := Version(r.FeatureLevel)
		if !v.Known() {
			return kafka.UnsupportedVersion.Errorf("metadata.version %d is not between %d and %d", r.FeatureLevel, MinVersion, LatestVersion)
		}
		d.version = v
	case FeatureKRaftVersion:
		// The quorum's control records decide; a record of that name was written by
		// mistake of earlier software.
	default:
		d.features.setOrDelete(r.Name, r.FeatureLevel, r.FeatureLevel != 0)
	}
	return nil
}

// Apply returns the image with all changes.
func (d *Delta) Apply(p Provenance) *Image {
	if d.from != d.base {
		d.compareToBase()
	}
	return &Image{
		Provenance:   p,
		version:      d.version,
		features:     d.features.result(),
		cluster:      d.applyCluster(),
		topics:       d.applyTopics(),
		configs:      d.configs.result(),
		quotas:       d.quotas.result(),
		nextProducer: d.producer,
		acls:         d.acls.result(),
		scram:        d.scram.result(),
		tokens:       d.tokens.result(),
	}
}

// compareToBase turns a snapshot's delta into the difference to base, so that
// publishers act only on what is really new.
func (d *Delta) compareToBase() {
	d.features.compareTo(d.base.features, func(a, b int16) bool { return a == b })
	d.configs.compareTo(d.base.configs, maps.Equal)
	d.quotas.compareTo(d.base.quotas, (*ClientQuota).equal)
	d.acls.compareTo(d.base.acls, equalACL)
	d.scram.compareTo(d.base.scram, equalScram)
	d.tokens.compareTo(d.base.tokens, equalToken)
}

// ChangedBrokers returns the ids of brokers that were registered, changed or
// unregistered, ascending.
func (d *Delta) ChangedBrokers() []int32 { return sortedKeys(d.cluster.brokers) }

// ChangedControllers does the same for controllers.
func (d *Delta) ChangedControllers() []int32 { return sortedKeys(d.cluster.controllers) }

// ChangedConfigs returns the resources whose configs changed, sorted. Those of a
// deleted topic change too.
func (d *Delta) ChangedConfigs() []ConfigResource {
	return d.configs.sortedChanged(ConfigResource.Compare)
}

// ChangedFeatures returns the features whose level changed, by name; among them
// metadata.version.
func (d *Delta) ChangedFeatures() []string {
	names := d.features.sortedChanged(strings.Compare)
	if d.version != d.base.version {
		names = append([]string{FeatureMetadataVersion}, names...)
	}
	return names
}

// ChangedACLs returns the ids of entries that were added or removed, sorted.
func (d *Delta) ChangedACLs() []kafka.UUID {
	return d.acls.sortedChanged(compareUUID)
}

// ChangedScram returns the credentials that were set or removed, sorted.
func (d *Delta) ChangedScram() []ScramKey { return d.scram.sortedChanged(ScramKey.Compare) }

// ChangedDelegationTokens returns the tokens that were set or removed, sorted.
func (d *Delta) ChangedDelegationTokens() []string { return d.tokens.sortedChanged(strings.Compare) }

// ClientQuotasChanged says whether any quota changed.
func (d *Delta) ClientQuotasChanged() bool { return len(d.quotas.changed) > 0 }

// ProducerIDsChanged says whether a block of producer ids was handed out.
func (d *Delta) ProducerIDsChanged() bool { return d.producer != d.base.nextProducer }

// Empty says whether nothing changed.
func (d *Delta) Empty() bool {
	return len(d.topics.changed) == 0 && len(d.topics.deleted) == 0 &&
		len(d.cluster.brokers) == 0 && len(d.cluster.controllers) == 0 &&
		d.version == d.base.version && len(d.features.changed) == 0 &&
		len(d.configs.changed) == 0 && !d.ClientQuotasChanged() && !d.ProducerIDsChanged() &&
		len(d.acls.changed) == 0 && len(d.scram.changed) == 0 && len(d.tokens.changed) == 0
}

// ChangedTopics yields topics that were created or have changed or new
// partitions, in the order of their first change.
func (d *Delta) ChangedTopics() iter.Seq[*TopicDelta] {
	return func(yield func(*TopicDelta) bool) {
		for _, id := range d.topics.order {
			if t := d.topics.changed[id]; t != nil && !yield(t) {
				return
			}
		}
	}
}

// ChangedTopic returns what changed in one topic, or nil.
func (d *Delta) ChangedTopic(id kafka.TopicID) *TopicDelta { return d.topics.changed[id] }

// DeletedTopics yields the base's topics that are gone, sorted by name. A topic
// that was created again under its name is here by its old id and in
// ChangedTopics by its new one.
func (d *Delta) DeletedTopics() iter.Seq[*Topic] {
	gone := slices.SortedFunc(maps.Values(d.topics.deleted), func(a, b *Topic) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), slices.Compare(a.ID[:], b.ID[:]))
	})
	return slices.Values(gone)
}
