package controller

import (
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// FailAll is the response to a request for the controller that gives every part of it the
// same error, as brokers and controllers answer when nothing of it was decided.
func FailAll(req kmsg.Request, err error) kmsg.Response {
	return fail(req, req.ResponseKind(), err)
}

// fail fills resp with one error for all that req asked for, and returns it.
func fail(req kmsg.Request, resp kmsg.Response, err error) kmsg.Response {
	num, text := kafka.NumAndText(err)
	switch r := req.(type) {
	case *kmsg.CreateTopicsRequest:
		for i := range r.Topics {
			resp.(*kmsg.CreateTopicsResponse).Topics = append(resp.(*kmsg.CreateTopicsResponse).Topics, createResult(r.Topics[i].Topic, err))
		}
	case *kmsg.DeleteTopicsRequest:
		failDeleteTopics(r, resp.(*kmsg.DeleteTopicsResponse), err)
	case *kmsg.CreatePartitionsRequest:
		for i := range r.Topics {
			out := kmsg.NewCreatePartitionsResponseTopic()
			out.Topic, out.ErrorCode, out.ErrorMessage = r.Topics[i].Topic, num, text
			resp.(*kmsg.CreatePartitionsResponse).Topics = append(resp.(*kmsg.CreatePartitionsResponse).Topics, out)
		}
	case *kmsg.ElectLeadersRequest:
		out := resp.(*kmsg.ElectLeadersResponse)
		out.ErrorCode, out.Topics = num, nil
		for i := range r.Topics {
			t := kmsg.NewElectLeadersResponseTopic()
			t.Topic = r.Topics[i].Topic
			for _, index := range r.Topics[i].Partitions {
				t.Partitions = append(t.Partitions, electResult(index, err))
			}
			out.Topics = append(out.Topics, t)
		}
	case *kmsg.AlterConfigsRequest:
		out := resp.(*kmsg.AlterConfigsResponse)
		for i := range r.Resources {
			out.Resources = append(out.Resources, alterResult(r.Resources[i].ResourceType, r.Resources[i].ResourceName, err))
		}
	case *kmsg.IncrementalAlterConfigsRequest:
		out := resp.(*kmsg.IncrementalAlterConfigsResponse)
		for i := range r.Resources {
			out.Resources = append(out.Resources, incrementalResult(r.Resources[i].ResourceType, r.Resources[i].ResourceName, err))
		}
	case *kmsg.AlterPartitionAssignmentsRequest:
		failReassignments(r, resp.(*kmsg.AlterPartitionAssignmentsResponse), num, text)
	default:
		failWhole(resp, num, text)
	}
	return resp
}

// failReassignments names every partition too, as clients look there first.
func failReassignments(r *kmsg.AlterPartitionAssignmentsRequest, out *kmsg.AlterPartitionAssignmentsResponse, num int16, text *string) {
	out.ErrorCode, out.ErrorMessage, out.Topics = num, text, nil
	for _, t := range r.Topics {
		row := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		row.Topic = t.Topic
		for _, in := range t.Partitions {
			p := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			p.Partition, p.ErrorCode, p.ErrorMessage = in.Partition, num, text
			row.Partitions = append(row.Partitions, p)
		}
		out.Topics = append(out.Topics, row)
	}
}

// failDeleteTopics answers every topic of the request, however it is named.
func failDeleteTopics(r *kmsg.DeleteTopicsRequest, resp *kmsg.DeleteTopicsResponse, err error) {
	for i := range r.TopicNames {
		resp.Topics = append(resp.Topics, deleteResult(&r.TopicNames[i], kafka.ZeroUUID, err))
	}
	for i := range r.Topics {
		resp.Topics = append(resp.Topics, deleteResult(r.Topics[i].Topic, r.Topics[i].TopicID, err))
	}
}

// failWhole sets the error of responses that have one for the whole request.
func failWhole(resp kmsg.Response, num int16, text *string) {
	switch r := resp.(type) {
	case *kmsg.UpdateFeaturesResponse:
		r.ErrorCode, r.ErrorMessage = num, text
	case *kmsg.BrokerRegistrationResponse:
		r.ErrorCode, r.BrokerEpoch = num, -1
	case *kmsg.BrokerHeartbeatResponse:
		r.ErrorCode, r.IsFenced = num, true
	case *kmsg.UnregisterBrokerResponse:
		r.ErrorCode, r.ErrorMessage = num, text
	case *kmsg.ControllerRegistrationResponse:
		r.ErrorCode, r.ErrorMessage = num, text
	case *kmsg.UnregisterControllerResponse:
		r.ErrorCode, r.ErrorMessage = num, text
	case *kmsg.AllocateProducerIDsResponse:
		r.ErrorCode = num
	case *kmsg.AlterPartitionResponse:
		r.ErrorCode = num
	case *kmsg.AssignReplicasToDirsResponse:
		r.ErrorCode = num
	case *kmsg.DescribeQuorumResponse:
		r.ErrorCode, r.ErrorMessage = num, text
	case *kmsg.AddRaftVoterResponse:
		r.ErrorCode, r.ErrorMessage = num, text
	case *kmsg.RemoveRaftVoterResponse:
		r.ErrorCode, r.ErrorMessage = num, text
	case *kmsg.ListPartitionReassignmentsResponse:
		r.ErrorCode, r.ErrorMessage = num, text
	}
}
