package cli_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/buildinfo"
	"github.com/gregorhq/gregor/internal/features"
)

func TestFeaturesAreDescribedAndChanged(t *testing.T) {
	got := must(t, "", "kafka-features --bootstrap-s ADDR describe --node-id 1")
	epoch := got[strings.LastIndexByte(got, ' ')+1:]
	row := func(name, lowest, highest, level string) string {
		return fmt.Sprintf("Feature: %-40s  SupportedMinVersion: %-15s  SupportedMaxVersion: %-15s  FinalizedVersionLevel: %-15s  Epoch: %s", name, lowest, highest, level, epoch)
	}
	want := row("eligible.leader.replicas.version", "0", "1", "1") + row("group.version", "0", "1", "1") + row("kraft.version", "0", "1", "0") +
		row("metadata.version", "3.3-IV3", features.LatestProduction.String(), features.DefaultVersion.String()) + row("share.version", "0", "2", "1") +
		row("streams.version", "0", "1", "1") + row("transaction.version", "0", "2", "2")
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	const refused = "The update failed for all features since the following feature had an error: Invalid update version 9 for feature share.version. Local controller 1 only supports versions 0-2\n"
	script(t, "kafka-features --bootstrap-server ADDR", []step{
		{line: "upgrade --feature group.version=1 --dry-run", out: "group.version can be upgraded to 1.\n"},
		{line: "upgrade --feature share.version=9 --feature group.version=1", out: "Could not upgrade group.version to 1. " + refused + "Could not upgrade share.version to 9. " + refused, err: "2 out of 2 operation(s) failed.", code: 1},
		{line: "disable --feature streams.version --dry-run", out: "streams.version can be disabled.\n"},
		{line: "downgrade --feature streams.version=0", out: "streams.version was downgraded to 0.\n"},
		{line: "upgrade --metadata 4.3 --dry-run", out: " `metadata` flag is deprecated and may be removed in a future release.\nmetadata.version can be upgraded to 30.\n"},
		{line: "upgrade --feature streams.version=1", out: "streams.version was upgraded to 1.\n"},
		{line: "upgrade", err: "You must specify at least one feature to upgrade", code: 1},
		{line: "upgrade --feature x", err: "Can't parse feature=level string x: equals sign not found.", code: 1},
		{line: "disable --feature a --feature a", err: "Feature a was specified more than once.", code: 1},
		{line: "downgrade --release-version 4.0 --feature a=1", err: "Can not specify `release-version` with other feature flags.", code: 1},
		{line: "describe --node-id -3", err: "Invalid node id -3: must be non-negative.", code: 1},
		{line: "describe --node-id x", err: `Command line error: argument --node-id: could not convert 'x' to Integer (For input string: "x"). Type --help for help.`, code: 1},
		{line: "bogus", err: "Command line error: invalid choice: 'bogus' (choose from 'describe', 'upgrade', 'downgrade', 'disable', 'version-mapping', 'feature-dependencies'). Type --help for help.", code: 1},
	})
}

func TestFeatureTablesNeedNoCluster(t *testing.T) {
	script(t, "kafka-features", []step{
		{line: "version-mapping --release-version 4.0", out: "metadata.version=25 (4.0)\nkraft.version=1\ntransaction.version=2\ngroup.version=1\neligible.leader.replicas.version=0\nshare.version=0\nstreams.version=0\n"},
		{line: "feature-dependencies --feature metadata.version=23 --feature eligible.leader.replicas.version=1 --feature group.version=1",
			out: "metadata.version=23 (4.0-IV1) has no dependencies.\neligible.leader.replicas.version=1 requires:\n    metadata.version=23 (4.0-IV1)\ngroup.version=1 has no dependencies.\n"},
		{line: "feature-dependencies --feature group.version=7", err: "No feature:group.version with feature level 7", code: 1},
		{line: "feature-dependencies", err: "Command line error: argument --feature is required. Type --help for help.", code: 1},
		{line: "", err: "Command line error: too few arguments. Type --help for help.", code: 1},
		{line: "describe", err: "Command line error: You must specify either --bootstrap-controller or --bootstrap-server.. Type --help for help.", code: 1},
	})
}

func TestTheRequestsOfABrokerArePrinted(t *testing.T) {
	got := must(t, "", "kafka-broker-api-versions --bootstrap-server ADDR")
	if !strings.HasPrefix(got, strings.ReplaceAll("ADDR (id: 1 rack: null isFenced: false) -> (\n\tProduce(0): ", "ADDR", addr(t))) || !strings.HasSuffix(got, "\n)\n") {
		t.Error(got)
	}
	for _, line := range []string{"\tDescribeTopicPartitions(75): 0 [usable: 0],\n", "\tListConfigResources(74): 0 to 1 [usable: 1],\n", "\tPushTelemetry(72): UNSUPPORTED,\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("%q is not in\n%s", line, got)
		}
	}
	f := startFake(t)
	f.broker()
	f.on(18, func(_ kmsg.Request, r kmsg.Response) {
		for _, k := range [][3]int16{{3, 0, 9}, {18, 0, 3}, {4, 0, 2}, {1, 30, 40}, {8, 0, 1}, {500, 1, 2}} {
			key := kmsg.NewApiVersionsResponseApiKey()
			key.ApiKey, key.MinVersion, key.MaxVersion = k[0], k[1], k[2]
			r.(*kmsg.ApiVersionsResponse).ApiKeys = append(r.(*kmsg.ApiVersionsResponse).ApiKeys, key)
		}
	})
	got = must(t, "", "kafka-broker-api-versions --bootstrap-server "+f.addr)
	for _, line := range []string{"\tFetch(1): 30 to 40 [unusable: node too new],\n", "\tUNKNOWN(4): 0 to 2,\n", "\tOffsetCommit(8): 0 to 1 [unusable: node too old],\n", "\tMetadata(3): 0 to 9 [usable: 9],\n", "\tUNKNOWN(500): 1 to 2\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("%q is not in\n%s", line, got)
		}
	}
	script(t, "kafka-broker-api-versions --bootstrap-server", []step{
		{line: "127.0.0.1:1", err: "Request METADATA failed on brokers [127.0.0.1:1 (id: -1 rack: null isFenced: false)]", code: 1},
		{line: "nowhere", err: "Failed to create new KafkaAdminClient", code: 1},
		{line: "ADDR --version", out: buildinfo.KafkaVersion + "\n"},
	})
}

// quorumOf makes a controller that says that it leads two voters and an observer.
func quorumOf(f *fakeNode) {
	f.on(60, func(q kmsg.Request, r kmsg.Response) {
		resp := r.(*kmsg.DescribeClusterResponse)
		if q.(*kmsg.DescribeClusterRequest).EndpointType != 2 {
			resp.ErrorCode = 114
			return
		}
		b := kmsg.NewDescribeClusterResponseBroker()
		b.NodeID, b.Host, b.Port = 3, f.host, f.port
		resp.ClusterID, resp.ControllerID, resp.Brokers = "a-cluster", 3, append(resp.Brokers, b)
	})
	f.on(55, func(_ kmsg.Request, r kmsg.Response) {
		replica := func(id int32, end, fetched, caughtUp int64) kmsg.DescribeQuorumResponseTopicPartitionReplicaState {
			s := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
			s.ReplicaID, s.ReplicaDirectoryID, s.LogEndOffset, s.LastFetchTimestamp, s.LastCaughtUpTimestamp = id, [16]byte{15: byte(id)}, end, fetched, caughtUp
			return s
		}
		p := kmsg.NewDescribeQuorumResponseTopicPartition()
		p.LeaderID, p.LeaderEpoch, p.HighWatermark = 3, 7, 90
		p.CurrentVoters = append(p.CurrentVoters, replica(2, 95, 4000, 3500), replica(3, 100, 5000, 5000))
		p.Observers = append(p.Observers, replica(1, 60, -1, -1))
		topic := kmsg.NewDescribeQuorumResponseTopic()
		topic.Topic, topic.Partitions = "__cluster_metadata", append(topic.Partitions, p)
		node := kmsg.NewDescribeQuorumResponseNode()
		node.NodeID = 3
		for _, host := range []string{"controller-3", "::1"} {
			l := kmsg.NewDescribeQuorumResponseNodeListener()
			l.Name, l.Host, l.Port = "CONTROLLER", host, 9093
			node.Listeners = append(node.Listeners, l)
		}
		resp := r.(*kmsg.DescribeQuorumResponse)
		resp.Topics, resp.Nodes = append(resp.Topics, topic), append(resp.Nodes, node)
	})
}

func TestTheQuorumIsDescribedByItsControllers(t *testing.T) {
	f := startFake(t)
	quorumOf(f)
	script(t, "kafka-metadata-quorum --bootstrap-controller "+f.addr, []step{
		{line: "describe --status", out: `ClusterId:              a-cluster
LeaderId:               3
LeaderEpoch:            7
HighWatermark:          90
MaxFollowerLag:         5
MaxFollowerLagTimeMs:   1500
CurrentVoters:          [{"id": 2, "directoryId": "AAAAAAAAAAAAAAAAAAAAAg"}, {"id": 3, "directoryId": "AAAAAAAAAAAAAAAAAAAAAw", "endpoints": ["CONTROLLER://controller-3:9093", "CONTROLLER://[::1]:9093"]}]
CurrentObservers:       [{"id": 1, "directoryId": "AAAAAAAAAAAAAAAAAAAAAQ"}]
`},
		{line: "describe --replication", out: "NodeId\tDirectoryId           \tLogEndOffset\tLag\tLastFetchTimestamp\tLastCaughtUpTimestamp\tStatus  \t\n" +
			"3     \tAAAAAAAAAAAAAAAAAAAAAw\t100         \t0  \t5000              \t5000                 \tLeader  \t\n" +
			"2     \tAAAAAAAAAAAAAAAAAAAAAg\t95          \t5  \t4000              \t3500                 \tFollower\t\n" +
			"1     \tAAAAAAAAAAAAAAAAAAAAAQ\t60          \t40 \t-1                \t-1                   \tObserver\t\n"},
		{line: "describe --status --human-readable", err: "The option --human-readable is only supported along with --replication", code: 1},
	})
	r := call(t, "", strings.Fields("kafka-configs --bootstrap-controller "+f.addr+" --describe --topic x")...)
	if r.code != 1 || !strings.Contains(r.err, "\norg.apache.kafka.common.errors.UnsupportedEndpointTypeException: This Admin API is not yet supported") {
		t.Errorf("topics of a controller: code %d: %s", r.code, r.err)
	}
}

// A leader that is to be removed says that it does not lead any more.
func TestAVoterIsRemovedByTheNextLeader(t *testing.T) {
	f := startFake(t)
	quorumOf(f)
	asked := 0
	f.on(81, func(q kmsg.Request, r kmsg.Response) {
		if asked++; asked < 3 {
			r.(*kmsg.RemoveRaftVoterResponse).ErrorCode = []int16{41, 6}[asked-1]
		}
	})
	script(t, "kafka-metadata-quorum --bootstrap-controller "+f.addr, []step{
		{line: "remove-controller --controller-id 3 --controller-directory-id AAAAAAAAAAAAAAAAAAAAAw",
			out: "Removed  KRaft controller 3 with directory id AAAAAAAAAAAAAAAAAAAAAw\n"},
	})
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}
}

func TestTheQuorumIsDescribedByABroker(t *testing.T) {
	got := must(t, "", "kafka-metadata-quorum --bootstrap-server ADDR describe --status")
	if !regexp.MustCompile(`^ClusterId: {14}\S{22}\nLeaderId: {15}1\nLeaderEpoch: {12}\d+\nHighWatermark: {10}\d+\nMaxFollowerLag: {9}0\nMaxFollowerLagTimeMs:   0\nCurrentVoters: {10}\[\{"id": 1, .*\}\]\nCurrentObservers: {7}\[\]\n$`).MatchString(got) {
		t.Error(got)
	}
	got = must(t, "", "kafka-metadata-quorum --bootstrap-server ADDR describe --replication --human-readable")
	if !regexp.MustCompile(`\n1 +\t\S{22}\t\d+ +\t0  \t\d+ ms ago +\t\d+ ms ago +\tLeader\t\n$`).MatchString(got) {
		t.Error(got)
	}
	for line, want := range map[string]string{
		"--bootstrap-server ADDR":          "kafka-metadata-quorum: error: too few arguments\n",
		"describe --status":                "kafka-metadata-quorum: error: one of the arguments --bootstrap-server --bootstrap-controller is required\n",
		"--bootstrap-server ADDR describe": "One of --status or --replication must be specified with describe sub-command\n",
		"--bootstrap-server ADDR --command-config /none describe --status": "Properties file /none does not exists!\n",
		"--bootstrap-server ADDR describe --status --replication":          "Only one of --status or --replication should be specified with describe sub-command\n",
	} {
		if r := call(t, "", strings.Fields("kafka-metadata-quorum "+line)...); r.code != 1 || !strings.HasSuffix(r.err, want) || r.out != "" {
			t.Errorf("%s: code %d, %s, want %s", line, r.code, r.err, want)
		}
	}
}
