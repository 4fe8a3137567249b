package cli_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	groupsTool = "kafka-consumer-groups --bootstrap-server ADDR"
	noRows     = "\nGROUP           TOPIC           PARTITION  NEW-OFFSET\n"
)

// commit gives a group without members positions in partitions of a topic.
func commit(t *testing.T, group, topic string, at map[int32]int64) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(addr(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	offsets := kadm.Offsets{}
	for p, o := range at {
		offsets.AddOffset(topic, p, o, -1)
	}
	if err := kadm.NewClient(c).CommitAllOffsets(t.Context(), group, offsets); err != nil {
		t.Fatal(err)
	}
}

// join makes a member of a group that stays until the test ends, and waits until it
// owns partitions.
func join(t *testing.T, group, topic string, more ...kgo.Opt) {
	t.Helper()
	assigned := make(chan struct{}, 16)
	c, err := kgo.NewClient(append(more, kgo.SeedBrokers(addr(t)), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ClientID("joiner"),
		kgo.DisableAutoCommit(), kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
			if len(got[topic]) > 0 {
				assigned <- struct{}{}
			}
		}))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	select {
	case <-assigned:
	case <-time.After(30 * time.Second):
		t.Fatal("the member was given no partitions")
	}
}

// resetLine is a row of the table that resets print.
func resetLine(group, topic, partition, offset string) string {
	pad := func(s string, n int) string { return s + strings.Repeat(" ", max(0, n-len(s))) }
	return "\n" + pad(group, 15) + " " + pad(topic, 15) + " " + pad(partition, 10) + " " + offset
}

func TestOffsetsOfGroupsAreReset(t *testing.T) {
	publish(t, "reset", 1000, 2000, 3000, 4e9) // to partition 1
	commit(t, "reset-g", "reset", map[int32]int64{1: 2})
	head := strings.TrimSuffix(noRows, "\n")
	one := func(offset string) string { return head + resetLine("reset-g", "reset", "1", offset) + "\n" }
	longAgo := fmt.Sprintf("PT%dS", time.Now().Unix()-1e6)
	file1 := file(t, "bare.csv", "reset,1,3\nreset,0,9\n")
	file2 := file(t, "grouped.csv", "reset-g,reset,1,1\nother,reset,1,2\n")
	script(t, groupsTool+" --reset-offsets --dry-run", []step{
		{line: "--group reset-g --topic reset:1 --to-earliest", out: one("0")},
		{line: "--group reset-g --topic reset:1 --to-latest", out: one("4")},
		{line: "--group reset-g --topic reset:1 --to-offset 3", out: one("3")},
		{line: "--group reset-g --topic reset:1 --to-offset 99", out: one("4"), err: "WARN New offset (99) is higher than latest offset for topic partition reset-1. Value will be set to 4"},
		{line: "--group reset-g --topic reset:1 --shift-by -1", out: one("1")},
		{line: "--group reset-g --all-topics --to-current", out: one("2")},
		{line: "--group reset-g --topic reset:1 --to-datetime 1970-01-01T00:00:02.500", out: one("2")},
		{line: "--group reset-g --topic reset:1 --to-datetime 1970-01-01T02:00:02.500+02:00", out: one("2")},
		{line: "--group reset-g --topic reset:1 --by-duration " + longAgo, out: one("3")},
		{line: "--group reset-g --topic reset:1 --by-duration PT1H", out: "\nWarn: Partition 1 from topic reset is empty. Falling back to latest known offset.\n" + one("4")},
		{line: "--group reset-g --from-file " + file1, out: head + resetLine("reset-g", "reset", "0", "0") + resetLine("reset-g", "reset", "1", "3") + "\n", err: "WARN New offset (9) is higher than latest offset for topic partition reset-0. Value will be set to 0"},
		{line: "--group reset-g --group other --from-file " + file2, out: head + resetLine("other", "reset", "1", "2") + resetLine("reset-g", "reset", "1", "1") + "\n"},
		{line: "--group third --from-file " + file2, out: "\nError: No reset plan for group third found\n" + noRows},
		{line: "--group reset-g --topic reset --to-latest --export", out: "reset,0,0\nreset,1,4\nreset,2,0\n\n"},
		{line: "--group reset-g --group other --topic reset:1 --to-latest --export", out: "other,reset,1,4\nreset-g,reset,1,4\n\n"},
		{line: "--group reset-g --topic reset:7 --to-latest", out: "\nError: Executing consumer group command failed due to The partitions \"reset-7\" do not exist\n"},
		{line: "--group reset-g --topic reset-none --to-latest", out: "\nError: Executing consumer group command failed due to This server does not host this topic-partition.\n"},
		{line: "--group reset-g --topic reset:0 --shift-by 1", err: "Cannot shift offset for partition reset-0 since there is no current committed offset", code: 1},
		{line: "--group reset-g --topic reset:1 --to-datetime 1970-01-01T00:00:02", out: "\nError: Executing consumer group command failed due to java.text.ParseException: Unparseable date: \"1970-01-01T00:00:02Z\"\n"},
		{line: "--group reset-g --topic reset:1 --by-duration PT", out: "\nError: Executing consumer group command failed due to Text cannot be parsed to a Duration\n"},
	})
	script(t, groupsTool, []step{
		{line: "--reset-offsets --group reset-g --topic reset:1 --to-earliest", out: one("0"), err: "WARN: No action will be performed as the --execute option is missing. In version 5.0, this command will require either --dry-run or --execute to be specified. You should add the --dry-run option explicitly if you are scripting this command and want to keep the current default behavior without prompting."},
		{line: "--reset-offsets --group reset-g --all-topics --to-current --dry-run", out: one("2")}, // so far nothing was changed
		{line: "--reset-offsets --group reset-g --topic reset:1 --to-earliest --execute", out: one("0")},
		{line: "--reset-offsets --group reset-g --all-topics --to-current --dry-run", out: one("0")},
		{line: "--describe --group reset-g", err: "", out: "\nGROUP           TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     HOST            CLIENT-ID" +
			"\nreset-g         reset           1          0               4               4               -               -               -\n"},
		{line: "--delete-offsets --group reset-g --topic reset:1 --topic reset-none", out: "Request succeeded for deleting offsets from group reset-g.\n\nTOPIC           PARTITION  STATUS         " +
			"\nreset-none      -          Error: org.apache.kafka.common.errors.UnknownTopicOrPartitionException: This server does not host this topic-partition.\nreset           1          Successful     \n"},
		{line: "--reset-offsets --group reset-g --all-topics --to-current --dry-run", out: noRows},
	})
}

var memberID = regexp.MustCompile(`joiner-[0-9a-f-]{36}| [A-Za-z0-9_+/-]{22}(==)? `)

func TestGroupsOfBothProtocolsAreDescribed(t *testing.T) {
	publish(t, "gdesc", 1, 2, 3)
	commit(t, "gd-classic", "gdesc", map[int32]int64{1: 1})
	join(t, "gd-classic", "gdesc", kgo.Balancers(kgo.RangeBalancer()), kgo.InstanceID("static"))
	join(t, "gd-consumer", "gdesc", kgo.Balancers(kgo.StickyBalancer()), kgo.ServerSideBalancer())

	lines := func(line string) []string {
		out := must(t, "", groupsTool+" "+line)
		var rows []string
		for _, l := range strings.Split(out, "\n") {
			rows = append(rows, strings.Join(strings.Fields(memberID.ReplaceAllString(l, " ID ")), " "))
		}
		return rows
	}
	want := func(line string, rows ...string) {
		t.Helper()
		if got := strings.Join(lines(line), "\n"); got != strings.Join(rows, "\n") {
			t.Errorf("%s\n got %q\nwant %q", line, got, strings.Join(rows, "\n"))
		}
	}
	out := strings.Join(lines("--describe --group gd-classic --verbose"), "\n")
	if !strings.Contains(out, "\ngd-classic gdesc 0 - - 0 - ") || !strings.Contains(out, "\ngd-classic gdesc 1 - 1 3 2 ") {
		t.Error(out)
	}
	want("--describe --group gd-consumer --members --verbose", "",
		"GROUP CONSUMER-ID HOST CLIENT-ID #PARTITIONS CURRENT-EPOCH CURRENT-ASSIGNMENT TARGET-EPOCH TARGET-ASSIGNMENT",
		"gd-consumer ID /127.0.0.1 joiner 3 2 gdesc:0,1,2 2 gdesc:0,1,2", "")
	classic := lines("--describe --group gd-classic --members --verbose")
	if classic[1] != "GROUP CONSUMER-ID GROUP-INSTANCE-ID HOST CLIENT-ID #PARTITIONS CURRENT-EPOCH CURRENT-ASSIGNMENT TARGET-EPOCH TARGET-ASSIGNMENT" ||
		!strings.HasSuffix(classic[2], " static /127.0.0.1 joiner 3 - gdesc:0,1,2 - -") {
		t.Error(classic)
	}
	host, port, _ := strings.Cut(addr(t), ":")
	want("--describe --group gd-classic --group gd-consumer --state --verbose", "",
		"GROUP COORDINATOR (ID) ASSIGNMENT-STRATEGY STATE GROUP-EPOCH TARGET-ASSIGNMENT-EPOCH #MEMBERS",
		"gd-classic "+host+":"+port+" (1) range Stable - - 1", "",
		"GROUP COORDINATOR (ID) ASSIGNMENT-STRATEGY STATE GROUP-EPOCH TARGET-ASSIGNMENT-EPOCH #MEMBERS",
		"gd-consumer "+host+":"+port+" (1) uniform Stable 2 2 1", "")

	listed := must(t, "", groupsTool+" --list --state stable --type")
	for _, l := range []string{"gd-classic                Classic              Stable              \n", "gd-consumer               Consumer             Stable              \n"} {
		if !strings.Contains(listed, l) {
			t.Errorf("%q is not in %q", l, listed)
		}
	}
	if all := must(t, "", "kafka-groups --bootstrap-server ADDR --list --group-type consumer"); !strings.Contains(all, "GROUP                TYPE                 PROTOCOL            \n") ||
		!strings.Contains(all, "gd-consumer          Consumer             consumer             \n") || strings.Contains(all, "gd-classic") {
		t.Error(all)
	}
	script(t, groupsTool, []step{
		{line: "--reset-offsets --group gd-consumer --topic gdesc --to-earliest --execute", out: "\nError: Assignments can only be reset if the group 'gd-consumer' is inactive, but the current state is Stable.\n" + noRows},
		{line: "--delete --group gd-consumer --group gd-none", out: "\nError: Deletion of some consumer groups failed:\n" +
			"* Group 'gd-consumer' could not be deleted due to: org.apache.kafka.common.errors.GroupNotEmptyException: The group is not empty.\n" +
			"* Group 'gd-none' could not be deleted due to: org.apache.kafka.common.errors.GroupIdNotFoundException: The group id does not exist.\n"},
		{line: "--delete-offsets --group gd-classic --topic gdesc:1", out: "\nError: Encountered some partition-level error, see the follow-up details.\n\nTOPIC           PARTITION  STATUS         \n" +
			"gdesc           1          Error: org.apache.kafka.common.errors.GroupSubscribedToTopicException: Deleting offsets of a topic is forbidden while the consumer group is actively subscribed to it.\n"},
	})
	r := call(t, "", strings.Fields("gregor-group group seek gd-classic -b ADDR --to earliest --execute")[1:]...)
	if r.code != 1 || !strings.HasPrefix(r.err, "gregor group seek: the group gd-classic is in use (Stable) by 1 member") || !strings.Contains(r.err, "client joiner  host /127.0.0.1  holds gdesc:0,1,2") {
		t.Errorf("code %d: %s", r.code, r.err)
	}
}

func TestGroupsAreDeletedAndMissed(t *testing.T) {
	publish(t, "gdel", 1)
	commit(t, "gdel-a", "gdel", map[int32]int64{1: 1})
	const none = "\nError: Executing consumer group command failed due to org.apache.kafka.common.errors.GroupIdNotFoundException: Group gdel-none not found.\n"
	script(t, groupsTool, []step{
		{line: "--describe --group gdel-none", out: none},
		{line: "--describe --group gdel-none --members", out: none},
		{line: "--describe --group gdel-none --state", out: none},
		{line: "--delete --group gdel-a", out: "Deletion of requested consumer groups ('gdel-a') was successful.\n"},
		{line: "--delete-offsets --group gdel-a --topic gdel:1", out: "\nError: The group id does not exist.\n\nTOPIC           PARTITION  STATUS         " +
			"\ngdel            1          Error: org.apache.kafka.common.errors.GroupIdNotFoundException: The group id does not exist.\n"},
	})
}

func TestMistakesOnTheGroupCommandLines(t *testing.T) {
	script(t, groupsTool, []step{
		{line: "", err: "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets, --validate-regex", code: 1},
		{line: "--describe", err: "Option [describe] takes one of these options: [group], [all-groups]", code: 1},
		{line: "--describe --group g --members --state", err: "Option [describe] takes at most one of these options: [members], [offsets], [state]", code: 1},
		{line: "--describe --group g --state stable", err: "Option [describe] does not take a value for [state]", code: 1},
		{line: "--list --verbose", err: "Option(s) [verbose] are unavailable given other options on the command line", code: 1},
		{line: "--list --group g", err: `Option "[group]" can't be used with option "[list]"`, code: 1},
		{line: "--list --type share", err: "Invalid types list 'share'. Valid types are: Consumer, Classic", code: 1},
		{line: "--list --state lost", err: "Invalid state list 'lost'. Valid states are: Empty, Stable, Dead, PreparingRebalance, CompletingRebalance, Assigning, Reconciling", code: 1},
		{line: "--delete --group g --topic x", err: "The consumer does not support topic-specific offset deletion from a consumer group.", code: 1},
		{line: "--delete-offsets --group g", err: "Option [delete-offsets] takes the following options: [group], [topic]", code: 1},
		{line: "--reset-offsets --group g --topic t --dry-run --execute", err: "Option [reset-offsets] only accepts one of [execute] and [dry-run]", code: 1},
		{line: "--reset-offsets --group g --topic t --dry-run --to-earliest --to-latest", err: `Option "[to-earliest]" can't be used with option "[to-latest]"`, code: 1},
		{line: "--reset-offsets --group g --to-latest --dry-run", err: "One of the reset scopes should be defined: --all-topics, --topic.", code: 1},
		{line: "--reset-offsets --group g --topic t:x --to-latest --dry-run", err: "Invalid partition 'x' specified in topic arg 't:x''", code: 1},
		{line: "--list --timeout x", out: "\nError: Executing consumer group command failed due to Cannot parse argument 'x' of option timeout\n"},
	})
	script(t, "kafka-consumer-groups", []step{
		{line: "--validate-regex a(b", out: "The regular expression `a(b` is invalid: missing closing ).\n"},
		{line: "--validate-regex a.*b", out: "The regular expression `a.*b` is valid.\n"},
		{line: "--list", err: `Missing required argument "[bootstrap-server]"`, code: 1},
		{line: "--list --bootstrap-server nowhere", out: "\nError: Executing consumer group command failed due to Failed to create new KafkaAdminClient\n", err: "invalid url in bootstrap.servers: nowhere (give host:port)"},
	})
	script(t, "kafka-groups --bootstrap-server ADDR", []step{
		{line: "", err: "Command must include exactly one action: --list.", code: 1},
		{line: "--list --group-type x", err: "--group-type must be a valid group type.", code: 1},
		{line: "--list --consumer --share", err: `Option "[consumer]" can't be used with option "[share]"`, code: 1},
	})
	r := call(t, "", "kafka-consumer-groups", "--bootstrap-server", "127.0.0.1:1", "--timeout", "50", "--delete", "--group", "g")
	if want := "\nError: Deletion of some consumer groups failed:\n* Group 'g' could not be deleted due to: org.apache.kafka.common.errors.TimeoutException: Timed out waiting for a node assignment. Call: deleteConsumerGroups(api=FIND_COORDINATOR)\n"; r.out != want || r.code != 0 {
		t.Errorf("code %d: %s", r.code, r.out)
	}
}

func TestAGroupThatIsBeingUpgradedShowsWhoHasBeen(t *testing.T) {
	f := startFake(t)
	f.broker()
	f.on(10, func(req kmsg.Request, r kmsg.Response) {
		resp := r.(*kmsg.FindCoordinatorResponse)
		for _, key := range req.(*kmsg.FindCoordinatorRequest).CoordinatorKeys {
			c := kmsg.NewFindCoordinatorResponseCoordinator()
			c.Key, c.NodeID, c.Host, c.Port = key, 1, f.host, f.port
			resp.Coordinators = append(resp.Coordinators, c)
		}
	})
	f.on(69, func(_ kmsg.Request, r kmsg.Response) {
		g := kmsg.NewConsumerGroupDescribeResponseGroup()
		g.Group, g.State, g.Epoch, g.AssignmentEpoch = "up", "Reconciling", 4, 3
		for i, id := range []string{"old", "new"} {
			m := kmsg.NewConsumerGroupDescribeResponseGroupMember()
			m.MemberID, m.ClientID, m.ClientHost, m.MemberEpoch, m.MemberType = id, "c", "/h", 3, int8(i)
			m.Assignment.TopicPartitions = []kmsg.AssignmentTopicPartition{{Topic: "b", Partitions: []int32{1, 0}}, {Topic: "a", Partitions: []int32{int32(i)}}}
			g.Members = append(g.Members, m)
		}
		r.(*kmsg.ConsumerGroupDescribeResponse).Groups = append(r.(*kmsg.ConsumerGroupDescribeResponse).Groups, g)
	})
	r := call(t, "", strings.Fields("kafka-consumer-groups --bootstrap-server "+f.addr+" --describe --group up --members --verbose")...)
	want := "\nGROUP           CONSUMER-ID     HOST            CLIENT-ID       #PARTITIONS     CURRENT-EPOCH   CURRENT-ASSIGNMENT   TARGET-EPOCH    TARGET-ASSIGNMENT    UPGRADED\n" +
		"up              old             /h              c               3               3               a:0;b:0,1            3               -                    false\n" +
		"up              new             /h              c               3               3               a:1;b:0,1            3               -                    true\n"
	if r.out != want || r.err != "\nWarning: Consumer group 'up' is rebalancing.\n" || r.code != 0 {
		t.Errorf("code %d, err %q, out\n%swant\n%s", r.code, r.err, r.out, want)
	}
}
