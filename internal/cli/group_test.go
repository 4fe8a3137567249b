package cli_test

import (
	"strings"
	"testing"
	"time"
)

const groupWord = "group"

// fields makes the columns of a table independent of their widths.
func fields(text string) string {
	var out []string
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		out = append(out, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(out, "\n")
}

func TestAGroupShowsHowOldItsOldestUnreadRecordIs(t *testing.T) {
	now := time.Now()
	publish(t, "gage", now.Add(-50*time.Hour).UnixMilli(), now.Add(-3*time.Hour-10*time.Minute-30*time.Second).UnixMilli(), now.UnixMilli())
	commit(t, "gage-g", "gage", map[int32]int64{0: 0, 1: 1})
	head := "gage-g: Empty, classic protocol, 0 members, coordinator " + addr(t) + " (id 1)\nTOPIC PARTITION COMMITTED END LAG AGE MEMBER HOST\n"
	if got, want := fields(must(t, "", groupWord+" describe gage-g -b ADDR")), head+"gage 0 0 0 0 - - -\ngage 1 1 3 2 3h10m - -\ntotal 2"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := fields(must(t, "", groupWord+" describe gage-g -b ADDR --topic gage:1 --no-age")), head+"gage 1 1 3 2 - - -"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	listed := fields(must(t, "", groupWord+" list -b ADDR --state empty"))
	if !strings.HasPrefix(listed, "GROUP PROTOCOL STATE MEMBERS LAG\n") || !strings.Contains(listed, "\ngage-g classic Empty 0 2") {
		t.Error(listed)
	}
	r := call(t, "", groupWord, "describe", "gage-none", "-b", "ADDR")
	if r.code != 1 || r.err != "gregor group describe: Group gage-none not found.\n" {
		t.Errorf("code %d: %s", r.code, r.err)
	}
}

func TestAGroupIsMovedOnlyWhenAsked(t *testing.T) {
	now := time.Now()
	publish(t, "gseek", now.Add(-50*time.Hour).UnixMilli(), now.Add(-3*time.Hour).UnixMilli(), now.UnixMilli(), now.UnixMilli())
	commit(t, "gseek-g", "gseek", map[int32]int64{1: 1})
	const head = "TOPIC PARTITION BEFORE AFTER CHANGE LAG AFTER NOTE\n"
	for _, s := range []struct{ line, out, err string }{
		{"--to earliest", "gseek 1 1 0 -1 4 -", "Nothing was changed. Add --execute to do it."},
		{"--to latest --topic gseek:1,2", "gseek 1 1 4 +3 0 -\ngseek 2 - 0 - 0 -", "Nothing was changed. Add --execute to do it."},
		{"--to -2d", "gseek 1 1 1 +0 3 -", "Nothing was changed. Add --execute to do it."},
		{"--to -1h", "gseek 1 1 2 +1 2 -", "Nothing was changed. Add --execute to do it."},
		{"--to 2099-01-01T00:00:00Z", "gseek 1 1 4 +3 0 no record since; to the end", "Nothing was changed. Add --execute to do it."},
		{"--to 77", "gseek 1 1 4 +3 0 the log ends here", "Nothing was changed. Add --execute to do it."},
		{"--to 3 --execute", "gseek 1 1 3 +2 1 -", "Moved gseek-g in 1 partition."},
		{"--to @0", "gseek 1 3 0 -3 4 -", "Nothing was changed. Add --execute to do it."},
		{"--to 0 -y", "gseek 1 3 0 -3 4 -", "Moved gseek-g in 1 partition."},
		{"--to latest", "gseek 1 0 4 +4 0 -", "Nothing was changed. Add --execute to do it."},
	} {
		r := call(t, "", strings.Fields(groupWord+" seek gseek-g -b ADDR "+s.line)...)
		if fields(r.out) != head+s.out || r.firstErr() != s.err || r.code != 0 {
			t.Errorf("%s: code %d, %s\n%s", s.line, r.code, r.err, r.out)
		}
	}
	script(t, groupWord, []step{
		{line: "seek gseek-none -b ADDR --to 1", err: "gregor group seek: the group gseek-none does not exist; name topics with --topic to make it", code: 1},
		{line: "seek gseek-g -b ADDR --to 2h", err: `gregor group seek: --to is "2h"; it can be earliest, latest, an offset, a time such as 2006-01-02T15:04:05Z, @milliseconds or an age such as -2h or -7d`, code: 1},
		{line: "seek gseek-g -b ADDR", err: "gregor group seek: say where with --to", code: 2},
		{line: "seek -b ADDR --to 1", err: "gregor group seek: name one group", code: 2},
		{line: "list -b ADDR --state lost", err: `gregor group list: there is no state "lost"; there are PreparingRebalance, CompletingRebalance, Stable, Dead, Empty, Assigning, Reconciling, NotReady`, code: 1},
		{line: "leave", err: `gregor group: there is no command "leave"`, code: 2},
		{line: "", err: "gregor group: say what to do", code: 2},
	})
}

func TestAConsoleConsumerOfAGroupGoesOnWhereItStopped(t *testing.T) {
	must(t, "", "kafka-topics --bootstrap-server ADDR --create --topic cgroup")
	must(t, "1\n2\n3\n4\n", "kafka-console-producer --bootstrap-server ADDR --topic cgroup")
	for _, protocol := range []string{"classic", "consumer"} {
		line := "--topic cgroup --isolation-level read_committed --from-beginning --max-messages 2 --timeout-ms 20000 --group cgroup-" + protocol + " --command-property group.protocol=" + protocol
		script(t, "kafka-console-consumer --bootstrap-server ADDR", []step{
			{line: line, out: "1\n2\n", err: "Processed a total of 2 messages"},
		})
		if got := fields(must(t, "", groupWord+" describe -b ADDR --no-age cgroup-"+protocol)); !strings.Contains(got, "Empty, "+protocol+" protocol") || !strings.Contains(got, "\ncgroup 0 2 4 2 ") {
			t.Error(got)
		}
	}
	script(t, "kafka-console-consumer --bootstrap-server ADDR", []step{
		{line: "--topic cgroup --group cgroup-classic --max-messages 2 --timeout-ms 20000", out: "3\n4\n", err: "Processed a total of 2 messages"},
		{line: "--topic cgroup --group g --command-property group.protocol=x", err: "Invalid value x for configuration group.protocol: String must be one of (case insensitive): CLASSIC, CONSUMER", code: 1},
	})
}
