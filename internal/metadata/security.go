package metadata

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/records"
)

// ScramKey names one credential: a user has one a mechanism.
type ScramKey struct {
	User      string
	Mechanism int8
}

// Compare orders by mechanism and user.
func (k ScramKey) Compare(o ScramKey) int {
	return cmp.Or(cmp.Compare(k.Mechanism, o.Mechanism), strings.Compare(k.User, o.User))
}

// ClientQuota holds the quotas of one entity, for example a user with a client
// id (KIP-546).
type ClientQuota struct {
	Entity []records.EntityData // sorted by type; a nil name is the default entity
	Values map[string]float64
}

// quotaKey makes an entity comparable: its sorted parts, each with its name's
// presence told apart from an empty name.
func quotaKey(entity []records.EntityData) string {
	var sb strings.Builder
	for _, e := range entity {
		sb.WriteString(e.EntityType)
		sb.WriteByte(0)
		if e.EntityName != nil {
			sb.WriteByte(1)
			sb.WriteString(*e.EntityName)
		}
		sb.WriteByte(0)
	}
	return sb.String()
}

// Quotas returns the quotas of exactly that entity, or nil. The order of the
// parts does not matter.
func (i *Image) Quotas(entity []records.EntityData) *ClientQuota {
	q, _ := i.quotas.Get(quotaKey(sortedEntity(entity)))
	return q
}

func sortedEntity(entity []records.EntityData) []records.EntityData {
	sorted := slices.Clone(entity)
	slices.SortFunc(sorted, func(a, b records.EntityData) int { return strings.Compare(a.EntityType, b.EntityType) })
	return sorted
}

func (q *ClientQuota) equal(o *ClientQuota) bool { return maps.Equal(q.Values, o.Values) }

func (d *Delta) replayQuota(r *records.ClientQuotaRecord) {
	entity := sortedEntity(r.Entity)
	key := quotaKey(entity)
	q := &ClientQuota{Entity: entity, Values: map[string]float64{}}
	if old, ok := d.quotas.get(key); ok {
		q.Values = maps.Clone(old.Values)
	}
	if r.Remove {
		delete(q.Values, r.Key)
	} else {
		q.Values[r.Key] = r.Value
	}
	d.quotas.setOrDelete(key, q, len(q.Values) > 0)
}

func equalScram(a, b *records.UserScramCredentialRecord) bool {
	return slices.Equal(a.Salt, b.Salt) && slices.Equal(a.StoredKey, b.StoredKey) &&
		slices.Equal(a.ServerKey, b.ServerKey) && a.Iterations == b.Iterations
}

func equalToken(a, b *records.DelegationTokenRecord) bool {
	return a.Owner == b.Owner && a.Requester == b.Requester && slices.Equal(a.Renewers, b.Renewers) &&
		a.IssueTimestamp == b.IssueTimestamp && a.MaxTimestamp == b.MaxTimestamp &&
		a.ExpirationTimestamp == b.ExpirationTimestamp
}

func equalACL(a, b *records.AccessControlEntryRecord) bool {
	return a.ResourceType == b.ResourceType && a.ResourceName == b.ResourceName && a.PatternType == b.PatternType &&
		a.Principal == b.Principal && a.Host == b.Host && a.Operation == b.Operation && a.PermissionType == b.PermissionType
}
