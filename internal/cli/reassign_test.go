package cli_test

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// movingCluster is three brokers on one socket, with topic t of one partition that moves
// as slowly as the test wants.
type movingCluster struct {
	*fakeNode
	replicas, adding, removing []int32
	refuse                     int16
	dirs                       map[int32][2]string          // by broker: where the replica is, and where it goes
	configs                    map[string]map[string]string // by "TYPE:NAME"
}

func startMoving(t *testing.T) *movingCluster {
	m := &movingCluster{fakeNode: startFake(t), replicas: []int32{1, 2}, configs: map[string]map[string]string{},
		dirs: map[int32][2]string{1: {"/d1"}, 2: {"/d2"}}}
	m.on(3, m.metadata)
	m.on(60, func(_ kmsg.Request, r kmsg.Response) {
		resp := r.(*kmsg.DescribeClusterResponse)
		for id := range int32(3) {
			b := kmsg.NewDescribeClusterResponseBroker()
			b.NodeID, b.Host, b.Port = id+1, m.host, m.port
			resp.Brokers = append(resp.Brokers, b)
		}
	})
	m.on(34, m.moveDirs)
	m.on(35, m.logDirs)
	m.on(44, m.alterConfigs)
	m.on(45, m.alter)
	m.on(46, func(_ kmsg.Request, r kmsg.Response) {
		if len(m.adding)+len(m.removing) == 0 {
			return
		}
		p := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
		p.Replicas, p.AddingReplicas, p.RemovingReplicas = m.replicas, m.adding, m.removing
		t := kmsg.NewListPartitionReassignmentsResponseTopic()
		t.Topic, t.Partitions = "t", append(t.Partitions, p)
		r.(*kmsg.ListPartitionReassignmentsResponse).Topics = append(r.(*kmsg.ListPartitionReassignmentsResponse).Topics, t)
	})
	return m
}

func (m *movingCluster) metadata(q kmsg.Request, r kmsg.Response) {
	resp := r.(*kmsg.MetadataResponse)
	for id := range int32(3) {
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = id+1, m.host, m.port
		resp.Brokers = append(resp.Brokers, b)
	}
	resp.ControllerID = 1
	for _, asked := range q.(*kmsg.MetadataRequest).Topics {
		t := kmsg.NewMetadataResponseTopic()
		if t.Topic = asked.Topic; *t.Topic != "t" {
			t.ErrorCode = 3
		} else {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Leader, p.Replicas, p.ISR = 1, m.replicas, m.replicas
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
}

func (m *movingCluster) alter(q kmsg.Request, r kmsg.Response) {
	for _, in := range q.(*kmsg.AlterPartitionAssignmentsRequest).Topics {
		out := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		out.Topic = in.Topic
		for _, p := range in.Partitions {
			row := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			row.Partition, row.ErrorCode = p.Partition, m.refuse
			out.Partitions = append(out.Partitions, row)
			switch {
			case m.refuse != 0:
			case p.Replicas == nil:
				m.replicas, m.adding, m.removing = []int32{2, 1}, nil, nil
			default:
				m.replicas, m.adding, m.removing = []int32{3, 2, 1}, []int32{3}, []int32{1}
			}
		}
		r.(*kmsg.AlterPartitionAssignmentsResponse).Topics = append(r.(*kmsg.AlterPartitionAssignmentsResponse).Topics, out)
	}
}

// logDirs answers for whichever broker has the replica; the socket is the same.
func (m *movingCluster) logDirs(_ kmsg.Request, r kmsg.Response) {
	resp := r.(*kmsg.DescribeLogDirsResponse)
	add := func(dir string, future bool) {
		p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		p.IsFuture = future
		t := kmsg.NewDescribeLogDirsResponseDirTopic()
		t.Topic, t.Partitions = "t", append(t.Partitions, p)
		d := kmsg.NewDescribeLogDirsResponseDir()
		d.Dir, d.Topics = dir, append(d.Topics, t)
		resp.Dirs = append(resp.Dirs, d)
	}
	at := m.dirs[2]
	if at[0] != "" {
		add(at[0], false)
	}
	if at[1] != "" {
		add(at[1], true)
	}
}

func (m *movingCluster) moveDirs(q kmsg.Request, r kmsg.Response) {
	for _, d := range q.(*kmsg.AlterReplicaLogDirsRequest).Dirs {
		m.dirs[2] = [2]string{m.dirs[2][0], d.Dir}
		p := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
		t := kmsg.NewAlterReplicaLogDirsResponseTopic()
		t.Topic, t.Partitions = "t", append(t.Partitions, p)
		r.(*kmsg.AlterReplicaLogDirsResponse).Topics = append(r.(*kmsg.AlterReplicaLogDirsResponse).Topics, t)
	}
}

func (m *movingCluster) alterConfigs(q kmsg.Request, r kmsg.Response) {
	for _, res := range q.(*kmsg.IncrementalAlterConfigsRequest).Resources {
		key := res.ResourceType.String() + ":" + res.ResourceName
		for _, c := range res.Configs {
			if m.configs[key] == nil {
				m.configs[key] = map[string]string{}
			}
			if c.Op == kmsg.IncrementalAlterConfigOpDelete {
				delete(m.configs[key], c.Name)
			} else {
				m.configs[key][c.Name] = *c.Value
			}
		}
		row := kmsg.NewIncrementalAlterConfigsResponseResource()
		row.ResourceType, row.ResourceName = res.ResourceType, res.ResourceName
		r.(*kmsg.IncrementalAlterConfigsResponse).Resources = append(r.(*kmsg.IncrementalAlterConfigsResponse).Resources, row)
	}
}

// set lists the configs that are set, a line each.
func (m *movingCluster) set() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var lines []string
	for res, keys := range m.configs {
		for k, v := range keys {
			lines = append(lines, res+" "+k+"="+v)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

const throttled = `BROKER:1 follower.replication.throttled.rate=1000
BROKER:1 leader.replication.throttled.rate=1000
BROKER:2 follower.replication.throttled.rate=1000
BROKER:2 leader.replication.throttled.rate=1000
BROKER:3 follower.replication.throttled.rate=1000
BROKER:3 leader.replication.throttled.rate=1000
TOPIC:t follower.replication.throttled.replicas=0:3
TOPIC:t leader.replication.throttled.replicas=0:1,0:2`

func TestReassignmentIsExecutedVerifiedAndCancelled(t *testing.T) {
	m := startMoving(t)
	move := file(t, "move.json", `{"version": 1, "partitions": [{"topic": "t", "partition": 0, "replicas": [3, 2]}]}`)
	run := func(line, want string, code int) {
		t.Helper()
		words := strings.Fields("kafka-reassign-partitions --bootstrap-server " + m.addr + " " + strings.ReplaceAll(line, "FILE", "--reassignment-json-file "+move))
		if r := call(t, "", words...); r.out != want || r.err != "" || r.code != code {
			t.Errorf("%s\n got code %d, %q, err %q\nwant code %d, %q", line, r.code, r.out, r.err, code, want)
		}
	}
	const before = "Current partition replica assignment\n\n{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0,\"replicas\":"
	const rollback = "}]}\n\nSave this to use as the --reassignment-json-file option during rollback\n"
	const warning = "Warning: You must run --verify periodically, until the reassignment completes, to ensure the throttle is removed.\nThe inter-broker throttle limit was set to 1000 B/s\n"
	const started = "Successfully started partition reassignment for t-0\n"
	const cleared = "Clearing broker-level throttles on brokers 1,2,3\nClearing topic-level throttles on topic t\n"
	run("--list", "No partition reassignments found.\n", 0)
	run("--verify FILE --preserve-throttles", "Status of partition reassignment:\nThere is no active reassignment of partition t-0, but replica set is 1,2 rather than 3,2.\n\n", 0)
	run("--execute FILE --throttle 1000", before+`[1,2],"log_dirs":["/d2","/d2"]`+rollback+warning+started, 0)
	if got := m.set(); got != throttled {
		t.Error(got)
	}
	run("--list", "Current partition reassignments:\nt-0: replicas: 3,2,1. adding: 3. removing: 1.\n", 0)
	run("--verify FILE", "Status of partition reassignment:\nReassignment of partition t-0 is still in progress.\n\n", 0)
	if got := m.set(); got != throttled {
		t.Errorf("a verification before the end changed throttles:\n%s", got)
	}
	run("--execute FILE", "Cannot execute because there is an existing partition assignment.  Use --additional to override this and create a new partition assignment in addition to the existing one. The --additional flag can also be used to change the throttle by resubmitting the current reassignment.\n", 1)
	run("--execute FILE --additional --throttle 1000", before+`[3,2,1],"log_dirs":["/d2","/d2","/d2"]`+rollback+warning+started, 0)
	if got := m.set(); got != throttled {
		t.Errorf("what moves already lost its sources:\n%s", got)
	}
	run("--cancel FILE --preserve-throttles", "Successfully cancelled partition reassignment for: t-0\nNone of the specified partition moves are active.", 0)
	if got := m.set(); got != throttled {
		t.Error(got)
	}
	run("--cancel FILE", "None of the specified partition reassignments are active.\nNone of the specified partition moves are active."+cleared, 0)
	if got := m.set(); got != "" {
		t.Error(got)
	}
	m.mu.Lock()
	m.replicas = []int32{3, 2}
	m.mu.Unlock()
	run("--verify FILE", "Status of partition reassignment:\nReassignment of partition t-0 is completed.\n\n"+cleared, 0)
	m.mu.Lock()
	m.refuse = 38
	m.mu.Unlock()
	run("--execute FILE", before+`[3,2],"log_dirs":["/d2","/d2"]`+rollback+"Error reassigning partition(s):\nt-0: Replication factor is below 1 or larger than the number of available brokers.\n", 1)
}

func TestReplicasAreMovedBetweenDirectories(t *testing.T) {
	m := startMoving(t)
	move := file(t, "move.json", `{"partitions": [{"topic": "t", "partition": 0, "replicas": [2], "log_dirs": ["/new"]}]}`)
	last := func(line, want string) {
		t.Helper()
		r := call(t, "", strings.Fields("kafka-reassign-partitions --bootstrap-server "+m.addr+" --reassignment-json-file "+move+" "+line)...)
		if !strings.HasSuffix(r.out, want) || r.code != 0 {
			t.Errorf("%s: code %d, %q, want %q", line, r.code, r.out, want)
		}
	}
	last("--verify --preserve-throttles", "\nPartition t-0 on broker 2 is not being moved from log dir /d2 to /new.\n")
	last("--execute --replica-alter-log-dirs-throttle 77", "The replica-alter-dir throttle limit was set to 77 B/s\nSuccessfully started partition reassignment for t-0\nSuccessfully started moving log directory to /new for replica t-0 with broker 2 \n")
	if got := m.set(); got != "BROKER:2 replica.alter.log.dirs.io.max.bytes.per.second=77" {
		t.Error(got)
	}
	last("--verify", "\nReassignment of replica t-0-2 is still in progress.\n")
	last("--cancel --preserve-throttles", "Successfully started moving log directory to /d2 for replica t-0 with broker 2 \n")
	for at, want := range map[[2]string]string{
		{"/new", ""}:    "Reassignment of replica t-0-2 completed successfully.",
		{"", ""}:        "Partition t-0 is not found in any live log dir on broker 2. There is likely an offline log directory on the broker.",
		{"/d2", "/d3"}:  "Partition t-0 on broker 2 is being moved to log dir /d3 instead of /new.",
		{"/d2", "/new"}: "Reassignment of replica t-0-2 is still in progress.",
	} {
		m.mu.Lock()
		m.dirs[2] = at
		m.mu.Unlock()
		last("--verify --preserve-throttles", "\n"+want+"\n")
	}
}

func TestProposalsUseTheGivenBrokers(t *testing.T) {
	m := startMoving(t)
	topics := file(t, "topics.json", `{"topics": [{"topic": "t"}], "version": 1}`)
	seen := map[string]bool{}
	for range 20 {
		out := must(t, "", "kafka-reassign-partitions --bootstrap-server "+m.addr+" --generate --topics-to-move-json-file "+topics+" --broker-list 3,2")
		_, plan, ok := strings.Cut(out, "Current partition replica assignment\n"+`{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1,2],"log_dirs":["/d2","/d2"]}]}`+"\n\nProposed partition reassignment configuration\n")
		if !ok {
			t.Fatal(out)
		}
		seen[plan] = true
	}
	const head, tail = `{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[`, `],"log_dirs":["any","any"]}]}` + "\n"
	for plan := range seen {
		if plan != head+"2,3"+tail && plan != head+"3,2"+tail {
			t.Error(plan)
		}
	}
	if len(seen) != 2 {
		t.Errorf("the proposals are always %v", slices.Collect(maps.Keys(seen)))
	}
}

func TestWrongReassignmentsAreRefused(t *testing.T) {
	m := startMoving(t)
	tool := "kafka-reassign-partitions --bootstrap-server " + m.addr
	for i, c := range []struct{ text, want string }{
		{`{"version":2}`, "Not supported version field value 2"},
		{`{"partitions":[]}`, "Partition reassignment list cannot be empty"},
		{`[1]`, "Expected JSON object, received [1]"},
		{`{"partitions":{}}`, "Expected JSON array, received {}"},
		{`{"partitions":[{"topic":"t","replicas":[1]}]}`, "No such field exists: `partition`"},
		{`{"partitions":[{"topic":"t","partition":"0","replicas":[1]}]}`, "Expected `Integer` value, received \"0\""},
		{`{"partitions":[{"topic":"t","partition":0,"replicas":[1],"log_dirs":["a","b"]}]}`, "Size of replicas list [1] is different from size of log dirs list [a, b] for partition t-0"},
		{`{"partitions":[{"topic":"t","partition":0,"replicas":[]}]}`, "Partition replica list cannot be empty"},
		{`{"partitions":[{"topic":"t","partition":0,"replicas":[1,1]}]}`, "Partition replica lists may not contain duplicate entries: t-0 contains multiple entries for 1"},
		{`{"partitions":[{"topic":"t","partition":0,"replicas":[1]},{"topic":"t","partition":0,"replicas":[2]}]}`, "Partition reassignment contains duplicate topic partitions: t-0"},
		{`{"partitions":[{"topic":"t","partition":0,"replicas":[1,9]}]}`, "Unknown broker id 9"},
		{`{"partitions":[{"topic":"t","partition":4,"replicas":[1]}]}`, "org.apache.kafka.common.errors.UnknownTopicOrPartitionException: Unable to find partition: t-4"},
		{`{"partitions":[{"topic":"u","partition":0,"replicas":[1]}]}`, "org.apache.kafka.common.errors.UnknownTopicOrPartitionException: Topic u not found."},
	} {
		path := file(t, strconv.Itoa(i)+".json", c.text)
		if r := call(t, "", strings.Fields(tool+" --execute --reassignment-json-file "+path)...); r.out != "Error: "+c.want+"\n" || r.code != 1 {
			t.Errorf("%s: code %d, %q", c.text, r.code, r.out)
		}
	}
	if m.adding != nil {
		t.Error("a refused reassignment was sent")
	}
	for line, want := range map[string]string{
		"":                                  "Command must include exactly one action: --generate, --execute, --verify, --cancel, --list",
		"--list --execute":                  "Command must include exactly one action: --generate, --execute, --verify, --cancel, --list",
		"--list --bootstrap-controller a:1": "Please don't specify both --bootstrap-server and --bootstrap-controller",
		"--execute":                         `Missing required argument "[reassignment-json-file]"`,
		"--verify --reassignment-json-file x --throttle 3": `Option "[throttle]" can't be used with action "[verify]"`,
	} {
		if r := call(t, "", strings.Fields(tool+" "+line)...); r.firstErr() != want || r.code != 1 {
			t.Errorf("%s: code %d, %q", line, r.code, r.firstErr())
		}
	}
}
