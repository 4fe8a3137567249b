package group

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// deadState is how a group that does not exist is described.
const deadState = "Dead"

// DescribeGroups describes classic groups, all of which must belong to this machine.
func (m *Machine) DescribeGroups(_ int64, to coord.Token, _ coord.Client, req *kmsg.DescribeGroupsRequest) coord.Outcome {
	resp := kmsg.NewPtrDescribeGroupsResponse()
	resp.Version = req.Version
	for _, id := range req.Groups {
		resp.Groups = append(resp.Groups, m.describeClassic(id, req.Version))
	}
	out := coord.Answer(to, resp)
	out.ReadBarrier = true
	return out
}

func (m *Machine) describeClassic(id string, version int16) kmsg.DescribeGroupsResponseGroup {
	rg := kmsg.NewDescribeGroupsResponseGroup()
	rg.Group, rg.State = id, deadState
	g, ok := m.groups[id].(*classicGroup)
	if !ok {
		if version >= 6 {
			msg := "Group " + id + " not found."
			if m.groups[id] != nil {
				msg = "Group " + id + " is not a classic group."
			}
			rg.ErrorCode, rg.ErrorMessage = kafka.GroupIDNotFound.Num(), &msg
		}
		return rg
	}
	rg.State, rg.ProtocolType = g.state.String(), g.typ
	if g.state == stable && g.chosen != nil {
		rg.Protocol = *g.chosen
	}
	for _, c := range g.all() {
		rm := kmsg.NewDescribeGroupsResponseGroupMember()
		rm.MemberID, rm.InstanceID, rm.ClientID, rm.ClientHost = c.id, c.instanceID, c.clientID, c.clientHost
		if g.state == stable {
			rm.ProtocolMetadata, rm.MemberAssignment = c.metadataFor(rg.Protocol), c.assignment
		}
		rg.Members = append(rg.Members, rm)
	}
	return rg
}

// ListFilter chooses groups for ListGroups by state and by type, in any case. It is made
// once a request, and every machine asks it for each of its groups.
type ListFilter struct {
	// The words are in lower case; a nil set chooses all.
	states, types map[string]struct{}
}

// NewListFilter reads the filters of a request.
func NewListFilter(req *kmsg.ListGroupsRequest) *ListFilter {
	return &ListFilter{states: wordSet(req.StatesFilter), types: wordSet(req.TypesFilter)}
}

func wordSet(words []string) map[string]struct{} {
	if len(words) == 0 {
		return nil
	}
	set := make(map[string]struct{}, len(words))
	for _, w := range words {
		set[strings.ToLower(strings.TrimSpace(w))] = struct{}{}
	}
	return set
}

func chooses(set map[string]struct{}, word string) bool {
	_, ok := set[strings.ToLower(word)]
	return ok || set == nil
}

// ListGroups lists the groups of this machine that pass the filter.
func (m *Machine) ListGroups(to coord.Token, f *ListFilter) coord.Outcome {
	resp := kmsg.NewPtrListGroupsResponse()
	for _, id := range m.sortedGroups() {
		g := m.groups[id]
		state := g.stateName()
		if !chooses(f.states, state) || !chooses(f.types, g.kind()) {
			continue
		}
		rg := kmsg.NewListGroupsResponseGroup()
		rg.Group, rg.ProtocolType, rg.GroupState, rg.GroupType = id, g.protocol(), state, g.kind()
		resp.Groups = append(resp.Groups, rg)
	}
	out := coord.Answer(to, resp)
	out.ReadBarrier = true
	return out
}

// DeleteGroups removes groups without members, with their offsets, each for itself.
func (m *Machine) DeleteGroups(_ int64, to coord.Token, _ coord.Client, req *kmsg.DeleteGroupsRequest) coord.Outcome {
	resp := kmsg.NewPtrDeleteGroupsResponse()
	resp.Version = req.Version
	out := coord.Answer(to, resp)
	out.ReadBarrier = true
	seen := map[string]bool{}
	for _, id := range req.Groups {
		if seen[id] {
			continue
		}
		seen[id] = true
		rg := kmsg.NewDeleteGroupsResponseGroup()
		rg.Group = id
		g := m.groups[id]
		var err error
		if g == nil {
			err = kafka.GroupIDNotFound.Errorf("Group %s not found.", id)
		} else {
			err = g.validateDelete()
		}
		if err != nil {
			rg.ErrorCode = kafka.NumOf(err)
			msg := err.Error()
			rg.ErrorMessage = &msg
		} else {
			out.Records = append(out.Records, m.deleteOffsets(id)...)
			out.Records = append(out.Records, g.tombstones()...)
			cancel(&out, g.timerKeys()...)
		}
		resp.Groups = append(resp.Groups, rg)
	}
	return out
}
