package cli_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestLeadersAreElected(t *testing.T) {
	f := startFake(t)
	f.broker()
	var asked *kmsg.ElectLeadersRequest
	f.on(43, func(q kmsg.Request, r kmsg.Response) {
		asked = q.(*kmsg.ElectLeadersRequest)
		for _, row := range []struct {
			topic string
			index int32
			code  int16
		}{{"a", 0, 0}, {"a", 1, 84}, {"b", 0, 80}, {"b", 1, 0}} {
			p := kmsg.NewElectLeadersResponseTopicPartition()
			p.Partition, p.ErrorCode = row.index, row.code
			if row.code == 80 {
				p.ErrorMessage = kmsg.StringPtr("not now")
			}
			out := kmsg.NewElectLeadersResponseTopic()
			out.Topic, out.Partitions = row.topic, append(out.Partitions, p)
			r.(*kmsg.ElectLeadersResponse).Topics = append(r.(*kmsg.ElectLeadersResponse).Topics, out)
		}
	})
	list := file(t, "list.json", `{"partitions":[{"topic":"a","partition":0},{"topic":"b","partition":7},{"topic":"a","partition":1}]}`)
	tool := "kafka-leader-election --bootstrap-server " + f.addr
	elect := func(line string) {
		t.Helper()
		r := call(t, "", strings.Fields(tool+" "+line)...)
		how := "PREFERRED"
		if strings.Contains(line, "unclean") {
			how = "UNCLEAN"
		}
		want := "Successfully completed leader election (" + how + ") for partitions a-0, b-1\nValid replica already elected for partitions a-1\n" +
			"Error completing leader election (" + how + ") for partition: b-0: org.apache.kafka.common.errors.PreferredLeaderNotAvailableException: not now\n"
		if r.out != want || r.firstErr() != "1 replica(s) could not be elected" || r.code != 1 {
			t.Errorf("%s: code %d, %q, %q", line, r.code, r.out, r.err)
		}
	}
	elect("--election-type preferred --all-topic-partitions")
	if asked.Topics != nil || asked.ElectionType != 0 {
		t.Errorf("all: %+v", asked)
	}
	elect("--election-type unclean --topic x --partition 3")
	if len(asked.Topics) != 1 || asked.Topics[0].Topic != "x" || asked.Topics[0].Partitions[0] != 3 || asked.ElectionType != 1 {
		t.Errorf("one: %+v", asked)
	}
	elect("--election-type Preferred --path-to-json-file " + list)
	if len(asked.Topics) != 2 || len(asked.Topics[0].Partitions) != 2 || asked.Topics[1].Partitions[0] != 7 {
		t.Errorf("file: %+v", asked)
	}
}

func TestWrongElectionsAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`nonsense`: "Replica election data is empty",
		`{}`:       `Replica election data is missing "partitions" field`,
		`{"partitions":[{"topic":"a","partition":0},{"topic":"a","partition":0}]}`: "Replica election data contains duplicate partitions: [a-0]",
		`{"partitions":[{"topic":"a"}]}`:                                           "No such field exists: `partition`",
	} {
		path := file(t, "x.json", text)
		if r := call(t, "", strings.Fields("kafka-leader-election --bootstrap-server ADDR --election-type preferred --path-to-json-file "+path)...); r.firstErr() != want || r.code != 1 {
			t.Errorf("%s: code %d, %q", text, r.code, r.firstErr())
		}
	}
	script(t, "kafka-leader-election", []step{
		{line: "--topic a", err: "Missing required option(s): bootstrap-server, election-type", code: 1},
		{line: "--bootstrap-server ADDR --election-type preferred", err: "One and only one of the following options is required: topic, all-topic-partitions, path-to-json-file", code: 1},
		{line: "--bootstrap-server ADDR --election-type preferred --topic a", err: "Missing required option(s): partition", code: 1},
		{line: "--bootstrap-server ADDR --election-type preferred --all-topic-partitions --partition 1", err: "Option partition is only allowed if topic is used", code: 1},
		{line: "--bootstrap-server ADDR --election-type any --all-topic-partitions", err: "Cannot parse argument 'any' of option election-type", code: 1},
		{line: "--bootstrap-server ADDR --election-type preferred --topic a --partition b", err: "Cannot parse argument 'b' of option partition", code: 1},
		{line: "--bootstrap-server ADDR --election-type preferred --path-to-json-file none", err: "java.io.IOException: Unable to read file none", code: 1},
	})
}
