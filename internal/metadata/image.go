package metadata

import (
	"iter"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/timeline"
)

// Provenance says which prefix of the metadata log an image holds.
type Provenance struct {
	// Offset is the last record that the image contains; -1 for the empty image.
	Offset kafka.Offset
	// Epoch is the leader epoch of that record.
	Epoch kafka.LeaderEpoch
	// TimestampMs is the append time of that record's batch.
	TimestampMs int64
}

// EndOffset is one past the last record that the image contains.
func (p Provenance) EndOffset() kafka.Offset { return p.Offset + 1 }

// Image is the state of the cluster after a prefix of the metadata log.
type Image struct {
	Provenance

	version      Version // 0 before the first FeatureLevelRecord of metadata.version
	features     timeline.Map[string, int16]
	cluster      cluster
	topics       topics
	configs      timeline.Map[ConfigResource, map[string]string]
	quotas       timeline.Map[string, *ClientQuota]
	nextProducer int64 // -1 before the first block
	acls         timeline.Map[kafka.UUID, *records.AccessControlEntryRecord]
	scram        timeline.Map[ScramKey, *records.UserScramCredentialRecord]
	tokens       timeline.Map[string, *records.DelegationTokenRecord]
}

// empty is the image before the first record.
var empty = &Image{Provenance: Provenance{Offset: -1, Epoch: -1, TimestampMs: -1}, nextProducer: -1}

// Empty is the image before the first record.
func Empty() *Image { return empty }

// IsEmpty says whether no record was applied yet.
func (i *Image) IsEmpty() bool { return i.Offset < 0 }

// Feature returns the finalised level of a feature, 0 when it has none.
// kraft.version is not known here: the quorum keeps it.
func (i *Image) Feature(name string) int16 {
	if name == FeatureMetadataVersion {
		return int16(i.version)
	}
	level, _ := i.features.Get(name)
	return level
}

// Features returns every finalised feature, metadata.version first, the others by
// name.
func (i *Image) Features() []FeatureLevel {
	var all []FeatureLevel
	if i.version != 0 {
		all = append(all, FeatureLevel{FeatureMetadataVersion, int16(i.version)})
	}
	for _, name := range timeline.SortedKeys(i.features) {
		level, _ := i.features.Get(name)
		all = append(all, FeatureLevel{name, level})
	}
	return all
}

// MetadataVersion returns the finalised metadata.version. ok is false before the
// bootstrap records.
func (i *Image) MetadataVersion() (v Version, ok bool) { return i.version, i.version != 0 }

// ELREnabled says whether eligible leader replicas are kept (KIP-966).
func (i *Image) ELREnabled() bool { return i.Feature(FeatureELR) >= 1 }

// NextProducerID is the first producer id that no block was handed out for.
func (i *Image) NextProducerID() int64 { return max(i.nextProducer, 0) }

// ACLs yields every access control entry, in an order that depends only on ids.
func (i *Image) ACLs() iter.Seq2[kafka.UUID, *records.AccessControlEntryRecord] { return i.acls.All() }

// ScramCredential returns a user's credential, or nil.
func (i *Image) ScramCredential(k ScramKey) *records.UserScramCredentialRecord {
	r, _ := i.scram.Get(k)
	return r
}

// ScramCredentials returns the keys of all credentials, sorted.
func (i *Image) ScramCredentials() []ScramKey {
	return timeline.SortedKeysFunc(i.scram, ScramKey.Compare)
}

// DelegationToken returns the token with that id, or nil.
func (i *Image) DelegationToken(id string) *records.DelegationTokenRecord {
	r, _ := i.tokens.Get(id)
	return r
}

// DelegationTokens returns all token ids, sorted.
func (i *Image) DelegationTokens() []string { return timeline.SortedKeys(i.tokens) }

// ClientQuotas returns the quotas of all entities, sorted by entity.
func (i *Image) ClientQuotas() []*ClientQuota {
	var all []*ClientQuota
	for _, key := range timeline.SortedKeys(i.quotas) {
		q, _ := i.quotas.Get(key)
		all = append(all, q)
	}
	return all
}

// With returns the image after msgs, for speculation.
func (i *Image) With(p Provenance, msgs []records.Message) (*Image, error) {
	d := NewDelta(i)
	for _, m := range msgs {
		if err := d.Replay(m); err != nil {
			return nil, err
		}
	}
	return d.Apply(p), nil
}
