package group

import (
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// groupMetadataVersion is the version in which generations are written.
const groupMetadataVersion = 3

// replayClassicGroup applies the generation of a classic group. At load it is all that
// is known of the group. Afterwards the record was written by the group that stands in
// memory, which is further on than it, and only a removal says something new.
func (m *Machine) replayClassicGroup(id string, v *records.GroupMetadataValue) {
	_, isClassic := m.groups[id].(*classicGroup)
	switch {
	case v == nil && (isClassic || m.groups[id] == nil):
		m.removeGroup(id)
	case v == nil:
		// The tombstone is older than the consumer group that replaced the classic one.
	case m.loaded && isClassic:
		// Written by the group itself.
	default:
		m.groups[id] = classicFromRecord(id, v)
	}
}

func classicFromRecord(id string, v *records.GroupMetadataValue) *classicGroup {
	g := newClassicGroup(id)
	g.generation, g.chosen, g.stateMs = v.Generation, v.Protocol, v.CurrentStateTimestamp
	g.typ = v.ProtocolType
	if v.Leader != nil {
		g.leader = *v.Leader
	}
	for i := range v.Members {
		r := &v.Members[i]
		c := &classicMember{
			id: r.MemberID, instanceID: r.GroupInstanceID, clientID: r.ClientID, clientHost: r.ClientHost,
			rebalanceTimeoutMs: r.RebalanceTimeout, sessionTimeoutMs: r.SessionTimeout, assignment: r.Assignment,
		}
		if c.rebalanceTimeoutMs == -1 {
			c.rebalanceTimeoutMs = c.sessionTimeoutMs
		}
		if v.Protocol != nil {
			c.protocols = []kmsg.JoinGroupRequestProtocol{{Name: *v.Protocol, Metadata: r.Subscription}}
		}
		g.state = stable
		g.add(c, v.ProtocolType)
	}
	g.computeTopics()
	return g
}

// generationRecord is the record of the group as it stands, with the given assignments.
func (g *classicGroup) generationRecord(assignments map[string][]byte) coord.Record {
	v := &records.GroupMetadataValue{
		Version: groupMetadataVersion, ProtocolType: g.typ, Generation: g.generation, Protocol: g.chosen,
		CurrentStateTimestamp: g.stateMs,
	}
	if g.leader != "" {
		v.Leader = &g.leader
	}
	for _, c := range g.all() {
		var subscription []byte
		if g.chosen != nil {
			subscription = c.metadataFor(*g.chosen)
		}
		v.Members = append(v.Members, records.GroupMetadataMember{
			MemberID: c.id, GroupInstanceID: c.instanceID, ClientID: c.clientID, ClientHost: c.clientHost,
			RebalanceTimeout: c.rebalanceTimeoutMs, SessionTimeout: c.sessionTimeoutMs,
			Subscription: subscription, Assignment: assignments[c.id],
		})
	}
	return coord.Record{Key: groupKey(g.id), Value: records.EncodeCoordinatorValue(v)}
}

// emptyRecord is the record of a group that no generation of has been.
func (g *classicGroup) emptyRecord() coord.Record {
	v := &records.GroupMetadataValue{Version: groupMetadataVersion, CurrentStateTimestamp: g.stateMs}
	return coord.Record{Key: groupKey(g.id), Value: records.EncodeCoordinatorValue(v)}
}

// assignments are the members' assignments by member id.
func (g *classicGroup) assignments() map[string][]byte {
	all := map[string][]byte{}
	for _, c := range g.members {
		all[c.id] = c.assignment
	}
	return all
}

// maxEmbeddedBytes bounds what of the embedded protocol is parsed whole: more than a
// record of __consumer_offsets could hold, and little enough that counts in it cannot
// make the parser allocate much.
const maxEmbeddedBytes = 1 << 20

// parseSubscription reads the metadata of a member of the consumer embedded protocol.
func parseSubscription(b []byte) (*kmsg.ConsumerMemberMetadata, error) {
	sub := kmsg.NewConsumerMemberMetadata()
	if len(b) > maxEmbeddedBytes {
		return nil, kafka.InconsistentGroupProtocol.Errorf("consumer subscription of %d bytes", len(b))
	}
	if err := sub.ReadFrom(b); err != nil {
		return nil, kafka.InconsistentGroupProtocol.Errorf("consumer subscription: %w", err)
	}
	return &sub, nil
}

// parseTopics reads the topics of such metadata and ignores what follows them, which
// depends on the version.
func parseTopics(b []byte) ([]string, error) {
	r := kbin.Reader{Src: b}
	r.Int16()
	n := r.ArrayLen()
	var topics []string
	for ; n > 0 && r.Ok(); n-- {
		topics = append(topics, r.String())
	}
	if !r.Ok() {
		return nil, kafka.InconsistentGroupProtocol.Errorf("consumer subscription ends in its topics")
	}
	return topics, nil
}
