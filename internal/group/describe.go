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

// ListGroups lists the groups of this machine that pass the request's filters.
func (m *Machine) ListGroups(_ int64, to coord.Token, _ coord.Client, req *kmsg.ListGroupsRequest) coord.Outcome {
	resp := kmsg.NewPtrListGroupsResponse()
	resp.Version = req.Version
	for _, id := range m.sortedGroups() {
		g := m.groups[id]
		if !passes(req.StatesFilter, g.stateName()) || !passes(req.TypesFilter, g.kind()) {
			continue
		}
		rg := kmsg.NewListGroupsResponseGroup()
		rg.Group, rg.ProtocolType, rg.GroupState, rg.GroupType = id, g.protocol(), g.stateName(), g.kind()
		resp.Groups = append(resp.Groups, rg)
	}
	out := coord.Answer(to, resp)
	out.ReadBarrier = true
	return out
}

// passes says whether a filter is empty or names the word, in any case.
func passes(filter []string, word string) bool {
	for _, f := range filter {
		if strings.EqualFold(strings.TrimSpace(f), word) {
			return true
		}
	}
	return len(filter) == 0
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
