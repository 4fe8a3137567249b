package brokerapi

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/rsm"
)

func metadataReq(version int16, topics ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = version
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	return req
}

// rows prints topics as name:error/partition=leader:error.
func rows(topics []kmsg.MetadataResponseTopic) string {
	var out []string
	for _, t := range topics {
		name := "null"
		if t.Topic != nil {
			name = *t.Topic
		}
		s := fmt.Sprintf("%s:%d", name, t.ErrorCode)
		for _, p := range t.Partitions {
			s += fmt.Sprintf("/%d=%d:%d", p.Partition, p.Leader, p.ErrorCode)
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestMetadataByVersion(t *testing.T) {
	k := newAdminKit(t, map[string]string{"auto.create.topics.enable": "false"}, clusterRecords()...)
	for v := int16(0); v <= 13; v++ {
		resp := k.call(9092, metadataReq(v, "a", "b", "a", "nope", "bad name")).(*kmsg.MetadataResponse)
		want := "a:0/0=1:0/1=3:0 b:0/0=-1:5 nope:3 bad name:17"
		if v == 0 {
			want = "a:0/0=1:9/1=3:9 b:0/0=-1:5 nope:3 bad name:17"
		}
		if got := rows(resp.Topics); got != want {
			t.Errorf("v%d: %s, want %s", v, got, want)
		}
		if len(resp.Brokers) != 2 || resp.Brokers[0].Host != "host1" || resp.Brokers[1].NodeID != 2 {
			t.Errorf("v%d: brokers %v", v, resp.Brokers)
		}
		if v >= 1 && (resp.ControllerID != 1 || *resp.Brokers[0].Rack != "r1") || v >= 2 && *resp.ClusterID != "abc" {
			t.Errorf("v%d: %+v", v, resp)
		}
		if v >= 10 && resp.Topics[0].TopicID != topicID("a", 1) {
			t.Errorf("v%d: topic id %v", v, resp.Topics[0].TopicID)
		}
		if v >= 5 && !reflect.DeepEqual(resp.Topics[0].Partitions[0].OfflineReplicas, []int32{3}) {
			t.Errorf("v%d: offline %v", v, resp.Topics[0].Partitions[0].OfflineReplicas)
		}
	}
	if n := len(k.ctl.requests()); n != 0 {
		t.Errorf("%d requests to the controller", n)
	}
}

func TestMetadataAllTopics(t *testing.T) {
	k := newAdminKit(t, nil, clusterRecords()...)
	all := metadataReq(9)
	all.Topics = nil
	none := k.call(9092, metadataReq(9)).(*kmsg.MetadataResponse)
	every := k.call(9092, all).(*kmsg.MetadataResponse)
	first := k.call(9092, metadataReq(0)).(*kmsg.MetadataResponse)
	if len(none.Topics) != 0 || len(every.Topics) != 4 || len(first.Topics) != 4 {
		t.Errorf("%d %d %d", len(none.Topics), len(every.Topics), len(first.Topics))
	}
	if !every.Topics[0].IsInternal || every.Topics[1].IsInternal {
		t.Error("internal topics are not marked")
	}
}

func TestMetadataByListener(t *testing.T) {
	k := newAdminKit(t, nil, clusterRecords()...)
	resp := k.call(9093, metadataReq(12, "a", "c")).(*kmsg.MetadataResponse)
	if got := rows(resp.Topics); got != "a:0/0=1:0/1=-1:72 c:0/0=-1:72/1=-1:72/2=-1:72" {
		t.Error(got)
	}
	if len(resp.Brokers) != 1 || resp.Brokers[0].Host != "public1" || resp.Brokers[0].Port != 19092 {
		t.Error(resp.Brokers)
	}
	old := k.call(9093, metadataReq(5, "c")).(*kmsg.MetadataResponse)
	if got := rows(old.Topics); got != "c:0/0=-1:5/1=-1:5/2=-1:5" {
		t.Error(got)
	}
}

func TestMetadataByID(t *testing.T) {
	k := newAdminKit(t, nil, clusterRecords()...)
	byID := func(v int16) *kmsg.MetadataRequest {
		req := metadataReq(v, "c")
		req.Topics[0].Topic = nil
		req.Topics[0].TopicID = topicID("c", 1)
		unknown := kmsg.NewMetadataRequestTopic()
		unknown.TopicID = kafka.UUID{9}
		req.Topics = append(req.Topics, unknown)
		return req
	}
	resp := k.call(9092, byID(12)).(*kmsg.MetadataResponse)
	if got := rows(resp.Topics); got != "c:0/0=2:0/1=2:0/2=2:0 null:100" {
		t.Error(got)
	}
	named := metadataReq(11, "c")
	named.Topics[0].TopicID = topicID("c", 1)
	refused := k.call(9092, named).(*kmsg.MetadataResponse)
	if got := rows(refused.Topics); got != "c:42" {
		t.Error(got)
	}
	// The whole request is refused: nothing of the cluster is told.
	if refused.ClusterID != nil || refused.ControllerID != -1 || len(refused.Brokers) != 0 || refused.AuthorizedOperations != notAsked {
		t.Errorf("%+v", refused)
	}
}

func TestMetadataAuthorizedOperations(t *testing.T) {
	k := newAdminKit(t, nil, clusterRecords()...)
	req := metadataReq(9, "a")
	plain := k.call(9092, req).(*kmsg.MetadataResponse)
	req.IncludeClusterAuthorizedOperations, req.IncludeTopicAuthorizedOperations = true, true
	asked := k.call(9092, req).(*kmsg.MetadataResponse)
	if plain.AuthorizedOperations != notAsked || plain.Topics[0].AuthorizedOperations != notAsked ||
		asked.AuthorizedOperations != 8096 || asked.Topics[0].AuthorizedOperations != 3576 {
		t.Errorf("%d %d %d %d", plain.AuthorizedOperations, plain.Topics[0].AuthorizedOperations, asked.AuthorizedOperations, asked.Topics[0].AuthorizedOperations)
	}
}

func TestMetadataController(t *testing.T) {
	k := newAdminKit(t, nil, clusterRecords()...)
	for leader, want := range map[kafka.NodeID]int32{2: 2, 3: 1, 9: 1, -1: 1} {
		k.api.Quorum = fixedQuorum{quorum.Status{LeaderAndEpoch: quorum.LeaderAndEpoch{Leader: leader}}}
		if got := k.api.controllerID(k.img); got != want {
			t.Errorf("leader %d: controller %d, want %d", leader, got, want)
		}
	}
}

func TestMetadataCreatesTopics(t *testing.T) {
	k := newAdminKit(t, map[string]string{"num.partitions": "4", "offsets.topic.num.partitions": "7"}, clusterRecords()...)
	hold := make(chan struct{})
	answer := k.ctl.do
	k.ctl.do = func(req kmsg.Request) (rsm.Reply, error) { <-hold; return answer(req) }
	for _, v := range []int16{4, 0, 12} {
		req := metadataReq(v, "a", "new", "bad name")
		req.AllowAutoTopicCreation = v >= 4
		resp := k.call(9092, req).(*kmsg.MetadataResponse)
		if v == 0 {
			continue // its errors are tested elsewhere
		}
		if got := rows(resp.Topics); got != "a:0/0=1:0/1=3:0 new:3 bad name:17" {
			t.Error(got)
		}
	}
	forbidden := metadataReq(4, "other")
	forbidden.AllowAutoTopicCreation = false
	k.call(9092, forbidden)
	close(hold)
	<-k.ctl.done
	asked := k.ctl.requests()
	if len(asked) != 1 {
		t.Fatalf("%d requests to the controller", len(asked))
	}
	req := asked[0].(*kmsg.CreateTopicsRequest)
	if len(req.Topics) != 1 || req.Topics[0].Topic != "new" || req.Topics[0].NumPartitions != 4 || req.Topics[0].ReplicationFactor != -1 {
		t.Errorf("%+v", req.Topics)
	}
	if c := k.ctl.clients[0]; c.ID != "test" || c.Host == "" {
		t.Errorf("the controller is asked for %+v, which is not the client", c)
	}
	for _, c := range []struct {
		name       string
		partitions int32
		replicas   int16
		configs    string
	}{
		{kafka.OffsetsTopic, 7, 3, "cleanup.policy=compact compression.type=producer segment.bytes=104857600"},
		{kafka.TransactionTopic, 50, 3, "cleanup.policy=compact compression.type=uncompressed min.insync.replicas=2 segment.bytes=104857600 unclean.leader.election.enable=false"},
		{kafka.ShareStateTopic, 50, 3, "cleanup.policy=delete compression.type=producer min.insync.replicas=2 retention.ms=-1 segment.bytes=104857600"},
	} {
		topic := creatable(k.cfg, c.name)
		var configs []string
		for _, x := range topic.Configs {
			configs = append(configs, x.Name+"="+*x.Value)
		}
		if topic.NumPartitions != c.partitions || topic.ReplicationFactor != c.replicas || strings.Join(configs, " ") != c.configs {
			t.Errorf("%s: %d %d %s", c.name, topic.NumPartitions, topic.ReplicationFactor, configs)
		}
	}
}

func TestDescribeTopicPartitions(t *testing.T) {
	k := newAdminKit(t, map[string]string{"max.request.partition.size.limit": "3"}, clusterRecords()...)
	ask := func(limit int32, cursor *kmsg.DescribeTopicPartitionsRequestCursor, topics ...string) string {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit, req.Cursor = limit, cursor
		for _, name := range topics {
			x := kmsg.NewDescribeTopicPartitionsRequestTopic()
			x.Topic = name
			req.Topics = append(req.Topics, x)
		}
		resp := k.call(9092, req).(*kmsg.DescribeTopicPartitionsResponse)
		var out []string
		for _, x := range resp.Topics {
			s := fmt.Sprintf("%s:%d", *x.Topic, x.ErrorCode)
			if (x.AuthorizedOperations == notAsked) != (x.ErrorCode == kafka.InvalidRequest.Num()) {
				t.Errorf("%s may %d", s, x.AuthorizedOperations)
			}
			for _, p := range x.Partitions {
				s += fmt.Sprintf("/%d=%d", p.Partition, p.LeaderID)
				if p.EligibleLeaderReplicas == nil || !reflect.DeepEqual(p.OfflineReplicas, []int32{3}) {
					t.Errorf("%s-%d: %+v", *x.Topic, p.Partition, p)
				}
			}
			out = append(out, s)
		}
		if c := resp.NextCursor; c != nil {
			out = append(out, fmt.Sprintf("next %s-%d", c.Topic, c.Partition))
		}
		return strings.Join(out, " ")
	}
	at := func(topic string, partition int32) *kmsg.DescribeTopicPartitionsRequestCursor {
		c := kmsg.NewDescribeTopicPartitionsRequestCursor()
		c.Topic, c.Partition = topic, partition
		return &c
	}
	for _, c := range []struct {
		limit  int32
		cursor *kmsg.DescribeTopicPartitionsRequestCursor
		topics []string
		want   string
	}{
		{100, nil, nil, "__consumer_offsets:0/0=1 a:0/0=1/1=3 next b-0"},
		{2, nil, nil, "__consumer_offsets:0/0=1 a:0/0=1 next a-1"},
		{2, at("a", 1), nil, "a:0/1=3 b:0/0=-1 next c-0"},
		{100, at("c", 0), nil, "c:0/0=2/1=2/2=2"},
		{0, at("c", 2), nil, "c:0/2=2"},
		{100, nil, []string{"c", "a", "zz", "a"}, "a:0/0=1/1=3 c:0/0=2 next c-1"},
		{100, nil, []string{"zz", "no good"}, "no good:17 zz:3"},
		{100, at("a", 0), []string{"c"}, "c:42"},
		{100, at("c", -1), []string{"c"}, "c:42"},
		{100, at("gone", 5), nil, ""},
	} {
		if got := ask(c.limit, c.cursor, c.topics...); got != c.want {
			t.Errorf("limit %d cursor %v topics %v:\n got %s\nwant %s", c.limit, c.cursor, c.topics, got, c.want)
		}
	}
}

func TestDescribeCluster(t *testing.T) {
	k := newAdminKit(t, nil, clusterRecords()...)
	for v := int16(0); v <= 2; v++ {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version, req.IncludeClusterAuthorizedOperations, req.IncludeFencedBrokers = v, true, true
		resp := k.call(9092, req).(*kmsg.DescribeClusterResponse)
		brokers := 2
		if v == 2 {
			brokers = 3
		}
		if resp.ErrorCode != 0 || resp.ClusterID != "abc" || resp.ControllerID != 1 || len(resp.Brokers) != brokers || resp.ClusterAuthorizedOperations != 8096 {
			t.Errorf("v%d: %+v", v, resp)
		}
	}
	for kind, want := range map[int8]int16{2: 114, 3: 115} {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version, req.EndpointType = 1, kind
		if resp := k.call(9092, req).(*kmsg.DescribeClusterResponse); resp.ErrorCode != want {
			t.Errorf("endpoint type %d: %d", kind, resp.ErrorCode)
		}
	}
}
