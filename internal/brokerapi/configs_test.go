package brokerapi

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/storage"
)

func describeReq(version int16, kind int8, name string, keys ...string) *kmsg.DescribeConfigsRequest {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeSynonyms, req.IncludeDocumentation = version, true, true
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceType(kind), name, keys
	req.Resources = append(req.Resources, r)
	return req
}

func text(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

func TestDescribeConfigs(t *testing.T) {
	k := newAdminKit(t, map[string]string{"ssl.key.password": "secret", "super.users": "User:a"}, clusterRecords()...)
	cases := []struct {
		kind  int8
		name  string
		key   string
		code  int16
		value string // value@source [synonyms]
	}{
		{metadata.ResourceTopic, "a", "retention.ms", 0, "1000@1 type 5 [retention.ms=1000@1]"},
		{metadata.ResourceTopic, "a", "cleanup.policy", 0, "delete@5 type 7 [log.cleanup.policy=delete@5]"},
		{metadata.ResourceTopic, "nope", "", 3, ""},
		{metadata.ResourceTopic, "a b", "", 17, ""},
		{metadata.ResourceBroker, "1", "num.io.threads", 0, "8@5 type 3 [num.io.threads=8@5]"},
		{metadata.ResourceBroker, "1", "ssl.key.password", 0, "null@4 type 9 [ssl.key.password=null@4]"},
		{metadata.ResourceBroker, "1", "super.users", 0, "null@4 type 0 [super.users=null@4]"},
		{metadata.ResourceBroker, "", "", 0, ""},
		{metadata.ResourceBroker, "2", "", 42, "Unexpected broker id, expected 1 or empty string, but received 2"},
		{metadata.ResourceBroker, "x", "", 42, "Broker id must be an integer, but it is: x"},
		{metadata.ResourceBrokerLogger, "1", "root", 0, "INFO@6 type 0 []"},
		{metadata.ResourceBrokerLogger, "", "", 42, "Broker id must not be empty"},
		{metadata.ResourceGroup, "g", "share.delivery.count.limit", 0, "7@8 type 3 [share.delivery.count.limit=7@8 group.share.delivery.count.limit=5@5]"},
		{metadata.ResourceGroup, "", "", 42, "Group name must not be empty"},
		{metadata.ResourceClientMetrics, "m", "interval.ms", 0, "500@7 type 3 [interval.ms=500@7]"},
		{99, "m", "", 42, "Unexpected resource type 99 for resource m"},
	}
	for _, c := range cases {
		var keys []string
		if c.key != "" {
			keys = []string{c.key}
		}
		resp := k.call(9092, describeReq(4, c.kind, c.name, keys...)).(*kmsg.DescribeConfigsResponse)
		r := resp.Resources[0]
		got := ""
		switch {
		case r.ErrorCode == 0 && (r.ErrorMessage == nil || *r.ErrorMessage != ""):
			t.Errorf("%d %s: no error, and the text is %v", c.kind, c.name, r.ErrorMessage)
		case r.ErrorCode != 0 && c.value != "":
			got = text(r.ErrorMessage)
		case len(r.Configs) == 1:
			x := r.Configs[0]
			var syn []string
			for _, s := range x.ConfigSynonyms {
				syn = append(syn, fmt.Sprintf("%s=%s@%d", s.Name, text(s.Value), s.Source))
			}
			got = fmt.Sprintf("%s@%d type %d [%s]", text(x.Value), x.Source, x.ConfigType, strings.Join(syn, " "))
		}
		if r.ErrorCode != c.code || got != c.value || r.ResourceName != c.name || int8(r.ResourceType) != c.kind {
			t.Errorf("%d %s %s: %d %s, want %d %s", c.kind, c.name, c.key, r.ErrorCode, got, c.code, c.value)
		}
	}
	for v := int16(0); v <= 4; v++ {
		resp := k.call(9092, describeReq(v, metadata.ResourceTopic, "a")).(*kmsg.DescribeConfigsResponse)
		n := 0
		for _, x := range resp.Resources[0].Configs {
			if x.Name == "retention.ms" && text(x.Value) == "1000" && !x.IsDefault {
				n++
			}
			if v >= 3 && len(text(x.Documentation)) < 20 {
				t.Errorf("v%d: %s has no text", v, x.Name)
			}
		}
		if n != 1 || len(resp.Resources[0].Configs) < 36 {
			t.Errorf("v%d: %d configs", v, len(resp.Resources[0].Configs))
		}
	}
}

// change is one operation on one resource.
type change struct {
	kind  int8
	name  string
	key   string
	op    int8
	value string // "null" for none
}

func incrementalReq(changes ...change) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	for _, c := range changes {
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceType(c.kind), c.name
		for _, key := range strings.Split(c.key, ",") {
			x := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
			x.Name, x.Op = key, kmsg.IncrementalAlterConfigOp(c.op)
			if c.value != "null" {
				x.Value = &c.value
			}
			r.Configs = append(r.Configs, x)
		}
		req.Resources = append(req.Resources, r)
	}
	return req
}

// accept answers every resource with success.
func accept(req kmsg.Request) (rsm.Reply, error) {
	resp := req.ResponseKind()
	switch r := req.(type) {
	case *kmsg.IncrementalAlterConfigsRequest:
		for _, x := range r.Resources {
			resp.(*kmsg.IncrementalAlterConfigsResponse).Resources = append(resp.(*kmsg.IncrementalAlterConfigsResponse).Resources, incrementalResult(x, 0, nil))
		}
	case *kmsg.AlterConfigsRequest:
		for _, x := range r.Resources {
			resp.(*kmsg.AlterConfigsResponse).Resources = append(resp.(*kmsg.AlterConfigsResponse).Resources, alterResult(x, 0, nil))
		}
	}
	return rsm.Reply{Response: resp, EndOffset: 77}, nil
}

func TestIncrementalAlterConfigs(t *testing.T) {
	const set, del, app, sub = 0, 1, 2, 3
	cases := []struct {
		change
		code      int16
		message   string
		forwarded bool
	}{
		{change{metadata.ResourceTopic, "a", "retention.ms", set, "5"}, 0, "null", true},
		{change{metadata.ResourceGroup, "g", "whatever", set, "5"}, 0, "null", true},
		{change{metadata.ResourceTopic, "a", "retention.ms", set, "null"}, 42, "Null value not supported for : retention.ms", false},
		{change{metadata.ResourceTopic, "a", "x,x", set, "5"}, 42, "Error due to duplicate config keys", false},
		{change{metadata.ResourceTopic, "a", "retention.ms", del, "null"}, 0, "null", true},
		{change{metadata.ResourceBroker, "1", "num.io.threads", set, "5"}, 0, "null", true},
		{change{metadata.ResourceBroker, "", "num.io.threads", set, "5"}, 0, "null", true},
		{change{metadata.ResourceBroker, "1", "num.io.threads", set, "0"}, 42, "Invalid value 0 for configuration num.io.threads: Value must be at least 1", false},
		{change{metadata.ResourceBroker, "1", "num.partitions", set, "5"}, 42, "Cannot update these configs dynamically: [num.partitions]", false},
		{change{metadata.ResourceBroker, "2", "num.io.threads", set, "5"}, 42, "Unexpected broker id, expected 1, but received 2", false},
		{change{metadata.ResourceBroker, "x", "num.io.threads", set, "5"}, 42, "Node id must be an integer, but it is: x", false},
		{change{metadata.ResourceBroker, "1", "log.cleanup.policy", app, "compact"}, 0, "null", true},
		{change{metadata.ResourceBroker, "1", "log.cleanup.policy", sub, "delete"}, 0, "null", true},
		{change{metadata.ResourceBroker, "1", "log.cleanup.policy", app, "shred"}, 42, "Invalid value shred for configuration log.cleanup.policy: String must be one of: compact, delete", false},
		{change{metadata.ResourceBroker, "1", "num.io.threads", app, "5"}, 40, "Config value append is not allowed for config key: num.io.threads", false},
		{change{metadata.ResourceBroker, "1", "nope", sub, "5"}, 40, "Unknown config name: nope", false},
		{change{metadata.ResourceBroker, "1", "num.io.threads", 9, "5"}, 42, "Unknown operations type 9", false},
		{change{metadata.ResourceBrokerLogger, "1", "root", set, "DEBUG"}, 0, "null", false},
		{change{metadata.ResourceBrokerLogger, "1", "other", set, "DEBUG"}, 40, "Logger other does not exist!", false},
		{change{metadata.ResourceBrokerLogger, "1", "root", set, "LOUD"}, 40, "Cannot set the log level of root to LOUD as it is not a supported log level. Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN", false},
		{change{1, "a", "x", set, "5"}, 42, "Unknown resource type 1", false},
	}
	for _, c := range cases {
		k := newAdminKit(t, nil, clusterRecords()...)
		k.ctl.do = accept
		resp := k.call(9092, incrementalReq(c.change)).(*kmsg.IncrementalAlterConfigsResponse)
		r := resp.Resources[0]
		if r.ErrorCode != c.code || text(r.ErrorMessage) != c.message || (len(k.ctl.requests()) == 1) != c.forwarded {
			t.Errorf("%v: %d %s, %d forwarded", c.change, r.ErrorCode, text(r.ErrorMessage), len(k.ctl.requests()))
		}
		if c.forwarded && (len(k.ctl.waitedTo) != 1 || k.ctl.waitedTo[0] != 77) {
			t.Errorf("%v: waited for %v", c.change, k.ctl.waitedTo)
		}
		if c.kind == metadata.ResourceBrokerLogger && c.code == 0 && k.level.Level() != slog.LevelDebug {
			t.Errorf("level %v", k.level.Level())
		}
	}
}

// TestAlterConfigsReassembles mixes what the broker refuses with what the
// controller answers, and keeps the order of the request.
func TestAlterConfigsReassembles(t *testing.T) {
	k := newAdminKit(t, nil, clusterRecords()...)
	k.ctl.do = accept
	req := incrementalReq(
		change{metadata.ResourceTopic, "a", "k", 0, "1"}, change{metadata.ResourceTopic, "b", "k", 0, "null"},
		change{metadata.ResourceTopic, "c", "k", 0, "1"}, change{metadata.ResourceTopic, "d", "k", 0, "1"}, change{metadata.ResourceTopic, "d", "j", 0, "1"})
	resp := k.call(9092, req).(*kmsg.IncrementalAlterConfigsResponse)
	var got []string
	for _, r := range resp.Resources {
		got = append(got, fmt.Sprintf("%s:%d", r.ResourceName, r.ErrorCode))
	}
	if s := strings.Join(got, " "); s != "a:0 b:42 c:0 d:42 d:42" {
		t.Error(s)
	}
	if n := len(k.ctl.requests()[0].(*kmsg.IncrementalAlterConfigsRequest).Resources); n != 2 {
		t.Errorf("%d resources reached the controller", n)
	}

	old := kmsg.NewPtrAlterConfigsRequest()
	old.Version = 1
	value := "1"
	for _, x := range []struct {
		kind int8
		name string
		key  string
	}{{metadata.ResourceTopic, "a", "k"}, {metadata.ResourceBrokerLogger, "1", "root"}, {metadata.ResourceBroker, "1", "num.partitions"}, {metadata.ResourceBroker, "", "num.io.threads"}} {
		r := kmsg.NewAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceType(x.kind), x.name
		r.Configs = []kmsg.AlterConfigsRequestResourceConfig{{Name: x.key, Value: &value}}
		old.Resources = append(old.Resources, r)
	}
	answer := k.call(9092, old).(*kmsg.AlterConfigsResponse)
	got = nil
	for _, r := range answer.Resources {
		got = append(got, fmt.Sprintf("%s:%d", r.ResourceName, r.ErrorCode))
	}
	if s := strings.Join(got, " "); s != "a:0 1:42 1:42 :0" {
		t.Error(s)
	}
}

func TestForwarding(t *testing.T) {
	k := newAdminKit(t, nil, clusterRecords()...)
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version, create.TimeoutMillis = 7, 1000
	x := kmsg.NewCreateTopicsRequestTopic()
	x.Topic, x.NumPartitions, x.ReplicationFactor = "new", 3, 2
	create.Topics = append(create.Topics, x)
	k.ctl.do = func(req kmsg.Request) (rsm.Reply, error) {
		resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		row := kmsg.NewCreateTopicsResponseTopic()
		row.Topic, row.NumPartitions = "new", 3
		resp.Topics = append(resp.Topics, row)
		return rsm.Reply{Response: resp, EndOffset: 99}, nil
	}
	resp := k.call(9092, create).(*kmsg.CreateTopicsResponse)
	if len(resp.Topics) != 1 || resp.Topics[0].NumPartitions != 3 || len(k.ctl.waitedTo) != 1 || k.ctl.waitedTo[0] != 99 {
		t.Errorf("%+v, waited for %v", resp.Topics, k.ctl.waitedTo)
	}
	k.ctl.do = func(kmsg.Request) (rsm.Reply, error) { return rsm.Reply{}, errors.New("broken") }
	for v := int16(0); v <= 7; v++ {
		create.Version = v
		resp = k.call(9092, create).(*kmsg.CreateTopicsResponse)
		if len(resp.Topics) != 1 || resp.Topics[0].Topic != "new" || resp.Topics[0].ErrorCode != -1 {
			t.Errorf("v%d: %+v", v, resp.Topics)
		}
	}
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.Version, del.TimeoutMillis, del.TopicNames = 5, 1000, []string{"p", "q"}
	gone := k.call(9092, del).(*kmsg.DeleteTopicsResponse)
	if len(gone.Topics) != 2 || *gone.Topics[0].Topic != "p" || *gone.Topics[1].Topic != "q" || gone.Topics[1].ErrorCode != -1 {
		t.Errorf("%+v", gone.Topics)
	}
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.Version, grow.TimeoutMillis = 3, 1000
	grow.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "a", Count: 9}}
	if r := k.call(9092, grow).(*kmsg.CreatePartitionsResponse); len(r.Topics) != 1 || r.Topics[0].ErrorCode != -1 {
		t.Errorf("%+v", r.Topics)
	}
	features := kmsg.NewPtrUpdateFeaturesRequest()
	features.Version, features.TimeoutMillis = 2, 1000
	if r := k.call(9092, features).(*kmsg.UpdateFeaturesResponse); r.ErrorCode != -1 || text(r.ErrorMessage) != "broken" {
		t.Errorf("%+v", r)
	}
}

// TestForwardingWaitsForAController: requests survive an election, and time out
// when there is none.
func TestForwardingWaitsForAController(t *testing.T) {
	k := newAdminKit(t, nil, clusterRecords()...)
	tries := 0
	answer := k.ctl.do
	k.ctl.do = func(req kmsg.Request) (rsm.Reply, error) {
		if tries++; tries < 3 {
			return rsm.Reply{}, kafka.NotController
		}
		return answer(req)
	}
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.Version = 2
	always := func() bool { return true }
	result := make(chan kmsg.Response)
	run := func(timeoutMs int32) kmsg.Response {
		others := k.clock.Pending()
		go func() { result <- k.api.ask(onBehalf{principal: "User:a"}, req, timeoutMs, always) }()
		for {
			select {
			case r := <-result:
				return r
			default:
			}
			// Time goes on only while the request sleeps: its deadline and its pause wait.
			if k.clock.Pending() >= others+2 {
				k.clock.Advance(10 * time.Millisecond)
			}
			runtime.Gosched()
		}
	}
	if r := run(60_000).(*kmsg.UpdateFeaturesResponse); r.ErrorCode != 0 || tries != 3 {
		t.Errorf("%d after %d tries", r.ErrorCode, tries)
	}
	k.ctl.do = func(kmsg.Request) (rsm.Reply, error) { return rsm.Reply{}, kafka.NotController }
	if r := run(200).(*kmsg.UpdateFeaturesResponse); r.ErrorCode != kafka.RequestTimedOut.Num() {
		t.Errorf("code %d", r.ErrorCode)
	}
	if r := k.api.ask(onBehalf{principal: "User:a"}, req, 200, func() bool { return false }).(*kmsg.UpdateFeaturesResponse); r.ErrorCode != kafka.NotController.Num() {
		t.Errorf("code %d", r.ErrorCode)
	}
}

func TestListConfigResources(t *testing.T) {
	k := newAdminKit(t, nil, clusterRecords()...)
	ask := func(v int16, kinds ...int8) string {
		req := kmsg.NewPtrListConfigResourcesRequest()
		req.Version, req.ResourceTypes = v, kinds
		resp := k.call(9092, req).(*kmsg.ListConfigResourcesResponse)
		out := []string{fmt.Sprint(resp.ErrorCode)}
		for _, r := range resp.ConfigResources {
			out = append(out, fmt.Sprintf("%d:%s", r.Type, r.Name))
		}
		return strings.Join(out, " ")
	}
	for got, want := range map[string]string{
		ask(0):        "0 16:m",
		ask(1):        "0 32:g 16:m 8:1 8:2 8:3 4:1 4:2 4:3 2:__consumer_offsets 2:a 2:b 2:c",
		ask(1, 2):     "0 2:__consumer_offsets 2:a 2:b 2:c",
		ask(1, 16, 4): "0 16:m 4:1 4:2 4:3",
		ask(1, 3):     "35",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestApiVersions(t *testing.T) {
	k := newAdminKit(t, nil, clusterRecords()...)
	k.api.Quorum = fixedQuorum{quorum.Status{KRaftVersion: 1}}
	ask := func(v int16, change func(*kmsg.ApiVersionsRequest)) *kmsg.ApiVersionsResponse {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = v, "apache-kafka-java", "4.4.0"
		if change != nil {
			change(req)
		}
		return k.call(9092, req).(*kmsg.ApiVersionsResponse)
	}
	for v := int16(0); v <= 5; v++ {
		resp := ask(v, nil)
		if resp.ErrorCode != 0 || len(resp.ApiKeys) < 19 {
			t.Fatalf("v%d: %d, %d keys", v, resp.ErrorCode, len(resp.ApiKeys))
		}
		zero, mv := 0, 0
		for _, f := range resp.SupportedFeatures {
			if f.MinVersion == 0 {
				zero++
			}
			if f.Name == metadata.FeatureMetadataVersion && f.MinVersion == 7 {
				mv++
			}
		}
		if v >= 3 && (mv != 1 || (zero > 0) != (v >= 4) || resp.FinalizedFeaturesEpoch != 42) {
			t.Errorf("v%d: %+v epoch %d", v, resp.SupportedFeatures, resp.FinalizedFeaturesEpoch)
		}
		if f := resp.FinalizedFeatures; v >= 3 && (len(f) != 2 || f[0].MaxVersionLevel != int16(metadata.LatestVersion) || f[1].Name != "kraft.version") {
			t.Errorf("v%d: %+v", v, f)
		}
	}
	other, ours := "xyz", "abc"
	for i, c := range []struct {
		v    int16
		f    func(*kmsg.ApiVersionsRequest)
		want int16
	}{
		{3, func(r *kmsg.ApiVersionsRequest) { r.ClientSoftwareName = "a b" }, 42},
		{3, func(r *kmsg.ApiVersionsRequest) { r.ClientSoftwareVersion = "-1" }, 42},
		{5, func(r *kmsg.ApiVersionsRequest) { r.ClusterID, r.NodeID = &ours, 1 }, 0},
		{5, func(r *kmsg.ApiVersionsRequest) { r.ClusterID, r.NodeID = &other, 1 }, 129},
		{5, func(r *kmsg.ApiVersionsRequest) { r.ClusterID, r.NodeID = &ours, 2 }, 129},
		{5, func(r *kmsg.ApiVersionsRequest) { r.ClusterID = &ours }, 42},
		{5, func(r *kmsg.ApiVersionsRequest) { r.NodeID = 1 }, 42},
	} {
		if resp := ask(c.v, c.f); resp.ErrorCode != c.want {
			t.Errorf("case %d: %d, want %d", i, resp.ErrorCode, c.want)
		}
	}
}

func TestDescribeQuorum(t *testing.T) {
	k := newAdminKit(t, nil, clusterRecords()...)
	status := quorum.Status{LeaderAndEpoch: quorum.LeaderAndEpoch{Leader: 1, Epoch: 8}, HighWatermark: 30,
		Voters:    []quorum.ReplicaState{{ID: 1, LogEndOffset: 31, LastFetchTimestampMs: -1, LastCaughtUpTimestampMs: 5}, {ID: 2, LogEndOffset: 29}},
		Observers: []quorum.ReplicaState{{ID: 7, LogEndOffset: 20}},
		VoterSet:  storage.NewVoterSet(storage.Voter{ID: 1, Endpoints: []storage.Endpoint{{Listener: "CONTROLLER", Host: "c1", Port: 9093}}}),
	}
	req := kmsg.NewPtrDescribeQuorumRequest()
	req.Version = 2
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = kafka.MetadataTopic
	topic.Partitions = []kmsg.DescribeQuorumRequestTopicPartition{{Partition: 0}, {Partition: 1}}
	req.Topics = append(req.Topics, topic)
	k.api.Quorum = fixedQuorum{status}
	resp := k.call(9092, req).(*kmsg.DescribeQuorumResponse)
	p := resp.Topics[0].Partitions[0]
	if p.ErrorCode != 0 || p.LeaderID != 1 || p.LeaderEpoch != 8 || p.HighWatermark != 30 || len(p.CurrentVoters) != 2 || p.CurrentVoters[0].LogEndOffset != 31 ||
		p.CurrentVoters[0].LastCaughtUpTimestamp != 5 || len(p.Observers) != 1 || p.Observers[0].ReplicaID != 7 || resp.Topics[0].Partitions[1].ErrorCode != 3 {
		t.Errorf("%+v", resp.Topics[0])
	}
	for _, text := range []*string{resp.ErrorMessage, p.ErrorMessage} {
		if text == nil || *text != "" {
			t.Errorf("the text is %v", text)
		}
	}
	strange := *req
	strange.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: "t", Partitions: topic.Partitions[:1]}}
	if r := k.call(9092, &strange).(*kmsg.DescribeQuorumResponse); len(r.Nodes) != 0 || r.Topics[0].Partitions[0].ErrorCode != 3 {
		t.Errorf("asked for what is no quorum: %+v", r)
	}
	if n := resp.Nodes; len(n) != 2 || len(n[0].Listeners) != 1 || n[0].Listeners[0].Host != "c1" {
		t.Errorf("%+v", n)
	}
	status.Leader = 2
	k.api.Quorum = fixedQuorum{status}
	k.call(9092, req)
	if asked := k.ctl.requests(); len(asked) != 1 || asked[0].Key() != 55 {
		t.Errorf("%d requests reached the controller", len(asked))
	}
	if r := DescribeQuorum(req, status, 1, k.img); r.Topics[0].Partitions[0].ErrorCode != 6 {
		t.Errorf("%+v", r.Topics[0])
	}
}
