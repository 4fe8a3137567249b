package broker_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/broker"
)

// series are the samples of a scrape, by name with labels as they are written.
type series map[string]float64

// get reads a path of a node's HTTP listener.
func get(t *testing.T, ctx context.Context, b *broker.Broker, path string) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: b.Dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.HTTPAddr()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

var sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\.)*",?)*\})? (\S+)$`)

// scrape reads /metrics and checks its form: every line is a comment or a sample, all
// samples of a family stand together behind its type, no sample is there twice.
func scrape(t *testing.T, ctx context.Context, b *broker.Broker, query string) series {
	t.Helper()
	status, body := get(t, ctx, b, "/metrics"+query)
	if status != http.StatusOK {
		t.Fatalf("status %d: %.200s", status, body)
	}
	all, done, current := series{}, map[string]bool{}, ""
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ = strings.Cut(name, " ")
			if done[name] {
				t.Errorf("the family %s is written twice", name)
			}
			done[name], current = true, name
			continue
		}
		if strings.HasPrefix(line, "# HELP ") {
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil || m[1] != current {
			t.Fatalf("a line that does not belong to the family %s: %s", current, line)
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if _, twice := all[m[1]+m[2]]; twice {
			t.Errorf("%s is there twice", m[1]+m[2])
		}
		all[m[1]+m[2]] = v
	}
	return all
}

// with returns the samples of a family that have the labels.
func (s series) with(name string, labels ...string) []float64 {
	var out []float64
	for k, v := range s {
		family, rest, _ := strings.Cut(k, "{")
		if family == name && !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			out = append(out, v)
		}
	}
	return out
}

func (s series) sum(name string, labels ...string) float64 {
	sum := 0.
	for _, v := range s.with(name, labels...) {
		sum += v
	}
	return sum
}

// panel is what a dashboard or an alert asks for: a family with labels, and the values
// that are plausible after the load of the test.
type panel struct {
	name     string
	labels   string // separated by spaces
	min, max float64
}

var inf = math.Inf(1)

// panels are the queries of the common dashboards and alerts for Kafka: Strimzi's
// boards for Kafka, KRaft and the exporter with its alert rules, the examples of the JMX
// exporter, and the alerts that docs/compat/metrics.md begins with. The load is 300
// records of 100 bytes to one topic of four partitions and 200 of them consumed by a
// group that commits.
var panels = []panel{
	{"kafka_server_replicamanager_leadercount", "", 5, inf},
	{"kafka_server_replicamanager_partitioncount", "", 5, inf},
	{"kafka_server_replicamanager_underreplicatedpartitions", "", 0, 0},
	{"kafka_server_replicamanager_underminisrpartitioncount", "", 0, 0},
	{"kafka_server_replicamanager_atminisrpartitioncount", "", 0, inf},
	{"kafka_server_replicamanager_offlinereplicacount", "", 0, 0},
	{"kafka_server_replicamanager_reassigningpartitions", "", 0, 0},
	{"kafka_server_replicamanager_isrshrinks_total", "", 0, inf},
	{"kafka_server_replicamanager_isrexpands_total", "", 0, inf},
	{"kafka_server_replicamanager_failedisrupdates_total", "", 0, inf},
	{"kafka_controller_kafkacontroller_activecontrollercount", "", 1, 1},
	{"kafka_controller_kafkacontroller_offlinepartitionscount", "", 0, 0},
	{"kafka_controller_kafkacontroller_activebrokercount", "", 1, 3},
	{"kafka_controller_kafkacontroller_fencedbrokercount", "", 0, 0},
	{"kafka_controller_kafkacontroller_globaltopiccount", "", 2, 3},
	{"kafka_controller_kafkacontroller_globalpartitioncount", "", 5, inf},
	{"kafka_controller_kafkacontroller_preferredreplicaimbalancecount", "", 0, inf},
	{"kafka_controller_kafkacontroller_metadataerrorcount", "", 0, 0},
	{"kafka_controller_kafkacontroller_timedoutbrokerheartbeatcount", "", 0, 0},
	{"kafka_controller_kafkacontroller_lastappliedrecordlagms", "", 0, 10_000},
	{"kafka_controller_controllerstats_uncleanleaderelections_total", "", 0, 0},
	{"kafka_controller_controllereventmanager_eventqueuetimems", `quantile="0.99"`, 0, 10_000},
	{"kafka_controller_controllereventmanager_eventqueueprocessingtimems", `quantile="0.99"`, 0, 10_000},
	{"kafka_cluster_partition_underminisr", `topic="load"`, 0, 0},
	{"kafka_cluster_partition_atminisr", `topic="load"`, 0, 1},
	{"kafka_cluster_partition_insyncreplicascount", `topic="load"`, 0, 3},
	{"kafka_server_brokertopicmetrics_messagesin_total", `topic="load"`, 300, 300},
	{"kafka_server_brokertopicmetrics_bytesin_total", `topic="load"`, 30_000, 60_000},
	{"kafka_server_brokertopicmetrics_bytesout_total", `topic="load"`, 30_000, 60_000},
	{"kafka_server_brokertopicmetrics_bytesrejected_total", `topic="load"`, 0, 0},
	{"kafka_server_brokertopicmetrics_totalproducerequests_total", `topic="load"`, 1, 400},
	{"kafka_server_brokertopicmetrics_failedproducerequests_total", `topic="load"`, 0, 0},
	{"kafka_server_brokertopicmetrics_totalfetchrequests_total", `topic="load"`, 1, inf},
	{"kafka_server_brokertopicmetrics_failedfetchrequests_total", `topic="load"`, 0, 0},
	{"kafka_network_socketserver_networkprocessoravgidle_percent", "", 0, 1},
	{"kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent", "", 0, 1},
	{"kafka_network_requestchannel_requestqueuesize", "", 0, 100},
	{"kafka_network_requestchannel_responsequeuesize", "", 0, 100},
	{"kafka_network_requestmetrics_requests_total", `request="Produce"`, 1, 400},
	{"kafka_network_requestmetrics_errors_total", `request="Produce" error="NONE"`, 1, 400},
	{"kafka_network_requestmetrics_totaltimems", `request="Produce" quantile="0.99"`, .001, 10_000},
	{"kafka_network_requestmetrics_requestqueuetimems", `request="Produce" quantile="0.99"`, 0, 10_000},
	{"kafka_network_requestmetrics_localtimems", `request="Produce" quantile="0.99"`, .001, 10_000},
	{"kafka_network_requestmetrics_remotetimems", `request="Fetch" quantile="0.99"`, 0, 10_000},
	{"kafka_network_requestmetrics_responsequeuetimems", `request="Produce" quantile="0.99"`, 0, 10_000},
	{"kafka_network_requestmetrics_responsesendtimems", `request="Produce" quantile="0.99"`, 0, 10_000},
	{"kafka_network_requestmetrics_totaltimems_count", `request="Produce"`, 1, 400},
	{"kafka_network_requestmetrics_requestbytes_count", `request="Produce"`, 1, 400},
	{"kafka_network_socketserver_expiredconnectionskilledcount", "", 0, 0},
	{"kafka_server_socket_server_metrics_connection_count", `listener="PLAINTEXT" networkProcessor="0"`, 1, 30},
	{"kafka_server_socket_server_metrics_connection_creation_total", `listener="PLAINTEXT"`, 1, 100},
	{"kafka_server_delayedoperationpurgatory_purgatorysize", `delayedOperation="Fetch"`, 0, 100},
	{"kafka_server_delayedoperationpurgatory_purgatorysize", `delayedOperation="Produce"`, 0, 100},
	{"kafka_server_fetchsessioncache_numincrementalfetchsessions", "", 0, 100},
	{"kafka_server_fetchsessioncache_incrementalfetchsessionevictions_total", "", 0, 0},
	{"kafka_server_replicafetchermanager_maxlag", `clientId="Replica"`, 0, 400},
	{"kafka_log_log_size", `topic="load"`, 30_000, 200_000},
	{"kafka_log_log_logstartoffset", `topic="load"`, 0, 0},
	{"kafka_log_log_logendoffset", `topic="load"`, 300, 900},
	{"kafka_log_logmanager_offlinelogdirectorycount", "", 0, 0},
	{"kafka_log_logflushstats_logflushrateandtimems_count", "", 0, inf},
	{"kafka_log_logcleaner_deadthreadcount", "", 0, 0},
	{"kafka_log_logcleanermanager_uncleanable_partitions_count", "", 0, 0},
	{"kafka_log_logcleanermanager_max_dirty_percent", "", 0, 300},
	{"kafka_server_raftmetrics_current_state", `current_state="leader"`, 1, 1},
	{"kafka_server_raftmetrics_current_leader", "", 1, 9},
	{"kafka_server_raftmetrics_current_epoch", "", 1, inf},
	{"kafka_server_raftmetrics_current_vote", "", -3, 9},
	{"kafka_server_raftmetrics_high_watermark", "", 5, inf},
	{"kafka_server_raftmetrics_log_end_offset", "", 5, inf},
	{"kafka_server_raftmetrics_number_of_voters", "", 1, 9},
	{"kafka_server_raftmetrics_commit_latency_avg", "", .001, 10_000},
	{"kafka_server_raftmetrics_append_records_rate", "", 0, inf},
	{"kafka_server_raftmetrics_fetch_records_rate", "", 0, inf},
	{"kafka_server_raft_metrics_high_watermark", "", 5, inf},
	{"kafka_server_raft_metrics_current_state_info", `state="leader"`, 1, 1},
	{"kafka_server_raftchannelmetrics_incoming_byte_total", "", 0, inf},
	{"kafka_server_raftchannelmetrics_outgoing_byte_total", "", 0, inf},
	{"kafka_server_raftchannelmetrics_request_total", "", 0, inf},
	{"kafka_server_raftchannelmetrics_response_total", "", 0, inf},
	{"kafka_server_brokermetadatametrics_last_applied_record_lag_ms", "", 0, 30_000},
	{"kafka_server_brokermetadatametrics_metadata_apply_error_count", "", 0, 0},
	{"kafka_server_metadataloader_currentmetadataversion", "", 20, 200},
	{"kafka_server_kafkaserver_brokerstate", "", 3, 9},
	{"kafka_coordinator_group_groupmetadatamanager_numgroups", "", 1, 1},
	{"kafka_coordinator_group_groupmetadatamanager_numgroupsstable", "", 1, 1},
	{"kafka_coordinator_group_groupmetadatamanager_numgroupsempty", "", 0, 0},
	{"kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance", "", 0, 0},
	{"kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance", "", 0, 0},
	{"kafka_coordinator_group_groupmetadatamanager_numgroupsdead", "", 0, 0},
	{"kafka_server_group_coordinator_metrics_group_count", `protocol="classic"`, 1, 1},
	{"kafka_server_group_coordinator_metrics_group_completed_rebalance_count", "", 1, 20},
	{"kafka_server_group_coordinator_metrics_offset_commit_count", "", 4, 100},
	{"kafka_server_group_coordinator_metrics_partition_load_time_max", "", 0, 10_000},
	{"kafka_brokers", "", 1, 3},
	{"kafka_broker_info", "", 1, 3},
	{"kafka_topic_partitions", `topic="load"`, 4, 4},
	{"kafka_topic_partition_current_offset", `topic="load"`, 300, 300},
	{"kafka_topic_partition_oldest_offset", `topic="load"`, 0, 0},
	{"kafka_topic_partition_in_sync_replica", `topic="load"`, 4, 12},
	{"kafka_topic_partition_replicas", `topic="load"`, 4, 12},
	{"kafka_topic_partition_leader_is_preferred", `topic="load"`, 0, 4},
	{"kafka_topic_partition_under_replicated_partition", `topic="load"`, 0, 0},
	{"kafka_consumergroup_members", `consumergroup="readers"`, 1, 1},
	{"kafka_consumergroup_current_offset", `consumergroup="readers" topic="load"`, 200, 200},
	{"kafka_consumergroup_current_offset_sum", `consumergroup="readers" topic="load"`, 200, 200},
	{"kafka_consumergroup_lag", `consumergroup="readers" topic="load"`, 100, 100},
	{"kafka_consumergroup_lag_sum", `consumergroup="readers" topic="load"`, 100, 100},
	{"process_cpu_seconds_total", "", .001, inf},
	{"process_resident_memory_bytes", "", 1 << 20, inf},
	{"process_open_fds", "", 3, inf},
	{"process_max_fds", "", 64, inf},
	{"process_start_time_seconds", "", 1e9, inf},
	{"go_goroutines", "", 1, inf},
	{"jvm_memory_used_bytes", `area="heap"`, 1 << 10, inf},
	{"jvm_gc_collection_seconds_sum", "", 0, inf},
	{"jvm_gc_collection_seconds_count", "", 0, inf},
	{"jvm_threads_current", "", 1, inf},
}

// smallLoad puts 300 records into a topic and has a group consume and commit 200 of them. The
// group's member lives until the test ends.
func smallLoad(t *testing.T, ctx context.Context, replicas int16, client func(...kgo.Opt) *kgo.Client) {
	t.Helper()
	cl := client(kgo.ProducerBatchCompression(kgo.NoCompression()))
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, 4, replicas, nil, "load"); err != nil {
		t.Fatal(err)
	}
	value := []byte(strings.Repeat("x", 100))
	for i := range 300 {
		// One record a batch, as many to each partition.
		r := &kgo.Record{Topic: "load", Partition: int32(i % 4), Value: value}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	c := client(kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("load"), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for n := 0; n < 300; {
		f := c.PollFetches(ctx)
		if err := f.Err0(); err != nil {
			t.Fatal(err)
		}
		n += f.NumRecords()
	}
	commit := map[string]map[int32]kgo.EpochOffset{"load": {}}
	for p := range int32(4) {
		commit["load"][p] = kgo.EpochOffset{Epoch: -1, Offset: 50}
	}
	failed := make(chan error, 1)
	c.CommitOffsetsSync(ctx, commit, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) {
		failed <- err
	})
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

// check compares the sums over the nodes with what is plausible.
func check(t *testing.T, scrapes []series) (wrong []string) {
	t.Helper()
	for _, p := range panels {
		n, sum := 0, 0.
		for _, s := range scrapes {
			v := s.with(p.name, strings.Fields(p.labels)...)
			n += len(v)
			sum += s.sum(p.name, strings.Fields(p.labels)...)
		}
		most := p.max
		if !strings.HasPrefix(p.name, "kafka_consumergroup") && !strings.Contains(p.labels, `topic="load"`) && p.name != "kafka_controller_kafkacontroller_activecontrollercount" {
			most *= float64(len(scrapes)) // a value of every node
		}
		if p.name == "kafka_cluster_partition_atminisr" || p.name == "kafka_cluster_partition_insyncreplicascount" {
			most = 12
		}
		if n == 0 {
			wrong = append(wrong, fmt.Sprintf("%s{%s} is not there", p.name, p.labels))
		} else if sum < p.min || sum > most {
			wrong = append(wrong, fmt.Sprintf("%s{%s} is %v over %d nodes, plausible is %v to %v", p.name, p.labels, sum, len(scrapes), p.min, most))
		}
	}
	return wrong
}

// awaitPanels scrapes until all is plausible: some of it follows a moment later.
func awaitPanels(t *testing.T, ctx context.Context, nodes ...*broker.Broker) []series {
	t.Helper()
	for {
		var all []series
		for _, b := range nodes {
			all = append(all, scrape(t, ctx, b, ""))
		}
		wrong := check(t, all)
		if len(wrong) == 0 {
			return all
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s", strings.Join(wrong, "\n"))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func metricsContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

var metricsProperties = map[string]string{
	"gregor.http.listener": "127.0.0.1:0", "gregor.metrics.jvm.aliases.enable": "true", "offsets.topic.num.partitions": "1",
}

// TestDashboardsFindWhatTheyAskFor: every name that dashboards query is there on one
// node, with a plausible value under a small load.
func TestDashboardsFindWhatTheyAskFor(t *testing.T) {
	ctx := metricsContext(t)
	b, err := broker.Open(broker.Config{InProcess: true, Properties: metricsProperties})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	smallLoad(t, ctx, 1, func(o ...kgo.Opt) *kgo.Client {
		c := newClient(t, b, append(o, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
		t.Cleanup(c.Close)
		return c
	})
	awaitPanels(t, ctx, b)

	jmx := scrape(t, ctx, b, "?format=jmx")
	for _, name := range []string{
		`kafka_server_BrokerTopicMetrics_OneMinuteRate{name="BytesInPerSec"}`, `kafka_server_BrokerTopicMetrics_FifteenMinuteRate{name="BytesInPerSec",topic="load"}`,
		`kafka_network_RequestMetrics_999thPercentile{name="TotalTimeMs",request="Produce"}`, `kafka_server_raft_metrics_high_watermark`,
		`kafka_server_KafkaRequestHandlerPool_Value{name="RequestHandlerAvgIdlePercent"}`,
	} {
		if v, ok := jmx[name]; !ok || v < 0 {
			t.Errorf("%s is %v, there: %v", name, v, ok)
		}
	}
	if n := jmx.sum("kafka_log_Log_Value", `name="LogEndOffset"`, `topic="load"`); n != 300 {
		t.Errorf("log ends in the JMX format: %v", n)
	}
}

// TestDashboardsOfAClusterAddUp: what the exporter has once a cluster comes from one of
// three nodes only, what nodes count for themselves adds up, and followers' figures are
// there.
func TestDashboardsOfAClusterAddUp(t *testing.T) {
	ctx := metricsContext(t)
	c, err := broker.OpenCluster(broker.ClusterConfig{InProcess: true, Properties: metricsProperties})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	smallLoad(t, ctx, 3, func(o ...kgo.Opt) *kgo.Client {
		return clusterClient(t, c, append(o, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	})
	nodes := []*broker.Broker{c.Broker(1), c.Broker(2), c.Broker(3)}
	all := awaitPanels(t, ctx, nodes...)
	total := func(name string, labels ...string) (n int, sum float64) {
		for _, s := range all {
			n += len(s.with(name, labels...))
			sum += s.sum(name, labels...)
		}
		return n, sum
	}
	for _, w := range []struct {
		name, label string
		n           int
		sum         float64
	}{
		{"kafka_brokers", "", 1, 3},
		{"kafka_broker_info", "", 3, 3},
		{"kafka_topic_partitions", `topic="load"`, 1, 4},
		{"kafka_topic_partition_current_offset", `topic="load"`, 4, 300},
		{"kafka_topic_partition_in_sync_replica", `topic="load"`, 4, 12},
		{"kafka_consumergroup_lag", `topic="load"`, 4, 100},
		{"kafka_log_log_logendoffset", `topic="load"`, 12, 900},
		{"kafka_cluster_partition_insyncreplicascount", `topic="load"`, 12, 12},
		{"kafka_server_replicamanager_partitioncount", "", 3, 15},
		{"kafka_server_replicamanager_leadercount", "", 3, 5},
		{"kafka_server_fetcherlagmetrics_consumerlag", `topic="load"`, 8, 0},
		{"kafka_controller_kafkacontroller_globalpartitioncount", "", 3, 15},
		{"kafka_server_raftmetrics_current_state", `current_state="follower"`, 2, 2},
		{"kafka_server_raftmetrics_number_of_voters", "", 3, 9},
	} {
		if n, sum := total(w.name, w.label); n != w.n || sum != w.sum {
			t.Errorf("%s{%s}: %d samples, sum %v; want %d and %v", w.name, w.label, n, sum, w.n, w.sum)
		}
	}
	for _, name := range []string{
		"kafka_server_brokertopicmetrics_replicationbytesin_total", "kafka_server_brokertopicmetrics_replicationbytesout_total",
		"kafka_server_raftchannelmetrics_outgoing_byte_total", "kafka_server_raftchannelmetrics_incoming_byte_total",
	} {
		if _, sum := total(name); sum < 1000 {
			t.Errorf("%s: %v", name, sum)
		}
	}

	// A broker dies: the survivors' figures say so.
	c.Kill(3)
	rest := []*broker.Broker{c.Broker(1), c.Broker(2)}
	for {
		under, fenced, elections, unclean, silent := 0., 0., 0., 0., 0.
		for _, b := range rest {
			s := scrape(t, ctx, b, "")
			under += s.sum("kafka_server_replicamanager_underreplicatedpartitions")
			fenced = max(fenced, s.sum("kafka_controller_kafkacontroller_fencedbrokercount"))
			elections = max(elections, s.sum("kafka_controller_controllerstats_leaderelections_total"))
			unclean = max(unclean, s.sum("kafka_controller_controllerstats_uncleanleaderelections_total"))
			silent = max(silent, s.sum("kafka_controller_kafkacontroller_timedoutbrokerheartbeatcount"))
		}
		if under == 5 && fenced == 1 {
			if elections < 1 || unclean != 0 || silent != 1 {
				t.Errorf("%v elections, %v of them unclean, %v brokers fell silent", elections, unclean, silent)
			}
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after the death of a broker: %v partitions under replicated, %v brokers fenced", under, fenced)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestHealth: a broker is alive while it starts and ready once clients can connect.
func TestHealth(t *testing.T) {
	ctx := metricsContext(t)
	b, err := broker.Open(broker.Config{InProcess: true, Properties: metricsProperties})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/health", "/health/live", "/health/ready"} {
		status, body := get(t, ctx, b, path)
		var answer struct {
			Status  string
			Reasons []string
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK || answer.Status != "UP" || len(answer.Reasons) > 0 {
			t.Errorf("%s: %d %s %v", path, status, body, err)
		}
	}
	if status, _ := get(t, ctx, b, "/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("profiles without the switch: status %d", status)
	}
	if status, _ := get(t, ctx, b, "/metrics?format=xml"); status != http.StatusBadRequest {
		t.Errorf("an unknown format: status %d", status)
	}
}

// TestNotReadyWithoutAController: a broker that cannot register lives, and says that it is
// not ready and why; one that is registered stays ready when the controller dies.
func TestNotReadyWithoutAController(t *testing.T) {
	ctx := metricsContext(t)
	c, err := broker.OpenCluster(broker.ClusterConfig{Nodes: 1, Controllers: 1, InProcess: true, Properties: map[string]string{"gregor.http.listener": "127.0.0.1:9404"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if addr := c.Broker(2).HTTPAddr(); addr != "node2:9405" {
		t.Errorf("the second node's address is %s", addr)
	}
	for id := 1; id <= 2; id++ {
		if status, body := get(t, ctx, c.Broker(id), "/health/ready"); status != http.StatusOK {
			t.Errorf("node %d: %d %s", id, status, body)
		}
	}
	c.Kill(2)
	if status, body := get(t, ctx, c.Broker(1), "/health/ready"); status != http.StatusOK {
		t.Errorf("without a controller: %d %s", status, body)
	}
	// The broker is started again, with nobody to register with.
	c.Kill(1)
	starting, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Restart(starting, 1) // it does not come to anything
	}()
	client := &http.Client{Transport: &http.Transport{DialContext: c.Dial, DisableKeepAlives: true}}
	for {
		live, err1 := client.Get("http://node1:9404/health/live")
		ready, err2 := client.Get("http://node1:9404/health/ready")
		var state string
		if err1 == nil && err2 == nil {
			body, _ := io.ReadAll(ready.Body)
			_, _ = live.Body.Close(), ready.Body.Close()
			state = string(body)
			if live.StatusCode != http.StatusOK || ready.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("live %d, ready %d %s", live.StatusCode, ready.StatusCode, body)
			}
		}
		// It answers before its registration begins, and is NOT_RUNNING until then.
		if strings.Contains(state, "STARTING") {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%v, %v, last answer %q", err1, err2, state)
		case <-time.After(20 * time.Millisecond):
		}
	}
	stop()
	<-ended
}
