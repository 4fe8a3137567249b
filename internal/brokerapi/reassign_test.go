package brokerapi

import (
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/rsm"
)

// Requests about where replicas are, who leads and who votes go to the controller in every version,
// and a failure of the whole reaches every partition that was named.
func TestMovesAndElectionsAreForwarded(t *testing.T) {
	k := newAdminKit(t, nil, clusterRecords()...)
	elect := kmsg.NewPtrElectLeadersRequest()
	elect.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "a", Partitions: []int32{0, 4}}}
	alter := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	alter.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: "a", Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: 4, Replicas: []int32{2}}, {Partition: 5}}}}
	list := kmsg.NewPtrListPartitionReassignmentsRequest()
	gone := kmsg.NewPtrUnregisterBrokerRequest()
	gone.BrokerID = 7
	join, leave := kmsg.NewPtrAddRaftVoterRequest(), kmsg.NewPtrRemoveRaftVoterRequest()
	join.TimeoutMillis = 1000
	answer := k.ctl.do
	table := k.api.Table()
	for _, req := range []kmsg.Request{elect, alter, list, gone, join, leave} {
		e := table[req.Key()]
		for v := e.Min; v <= e.Max; v++ {
			req.SetVersion(v)
			k.ctl.do = answer
			k.call(9092, req)
			asked := k.ctl.requests()
			if last := asked[len(asked)-1]; last.Key() != req.Key() || last.GetVersion() != v {
				t.Errorf("%s v%d: the controller was asked %s", kmsg.NameForKey(req.Key()), v, kmsg.NameForKey(last.Key()))
			}
			k.ctl.do = func(kmsg.Request) (rsm.Reply, error) { return rsm.Reply{}, errors.New("broken") }
			if codes := codesOf(k.call(9092, req)); len(codes) == 0 || slices.ContainsFunc(codes, func(c int16) bool { return c != -1 }) {
				t.Errorf("%s v%d: codes %v", kmsg.NameForKey(req.Key()), v, codes)
			}
		}
	}
	sent := k.ctl.requests()
	for _, req := range sent {
		if a, ok := req.(*kmsg.AlterPartitionAssignmentsRequest); ok {
			if p := a.Topics[0].Partitions; p[0].Replicas == nil || p[1].Replicas != nil {
				t.Errorf("v%d: a cancellation must stay one: %+v", a.Version, p)
			}
		}
	}
}

// codesOf are the errors that a response carries in its version.
func codesOf(resp kmsg.Response) []int16 {
	var codes []int16
	switch r := resp.(type) {
	case *kmsg.ElectLeadersResponse:
		if r.Version >= 1 {
			codes = append(codes, r.ErrorCode)
		}
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	case *kmsg.AlterPartitionAssignmentsResponse:
		codes = append(codes, r.ErrorCode)
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	case *kmsg.ListPartitionReassignmentsResponse:
		codes = append(codes, r.ErrorCode)
	case *kmsg.UnregisterBrokerResponse:
		codes = append(codes, r.ErrorCode)
	case *kmsg.AddRaftVoterResponse:
		codes = append(codes, r.ErrorCode)
	case *kmsg.RemoveRaftVoterResponse:
		codes = append(codes, r.ErrorCode)
	}
	return codes
}
