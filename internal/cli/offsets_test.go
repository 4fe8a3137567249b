package cli_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const offsetsTool = "kafka-get-offsets --bootstrap-server ADDR"

// publish makes a topic with three partitions and puts one batch of four records
// with the given timestamps into partition 1.
func publish(t *testing.T, topic string, stamps ...int64) {
	t.Helper()
	must(t, "", "kafka-topics --bootstrap-server ADDR --create --topic "+topic+" --partitions 3")
	c, err := kgo.NewClient(kgo.SeedBrokers(addr(t)), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var records []*kgo.Record
	for i, ms := range stamps {
		records = append(records, &kgo.Record{Topic: topic, Partition: 1, Value: fmt.Append(nil, i), Timestamp: time.UnixMilli(ms)})
	}
	if err := c.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestOffsetsOfPartitionsArePrinted(t *testing.T) {
	publish(t, "offs", 1000, 3000, 2000, 3000)
	script(t, offsetsTool, []step{
		{line: "--topic offs", out: "offs:0:0\noffs:1:4\noffs:2:0\n"},
		{line: "--topic offs --time earliest --partitions 1,2", out: "offs:1:0\noffs:2:0\n"},
		{line: "--topic offs --time -3", out: "offs:1:1\n"},
		{line: "--topic offs --time 1500", out: "offs:1:1\n"},
		{line: "--topic offs --time 9999", out: ""},
		{line: "--topic offs --time latest-tiered", out: ""},
		{line: "--topic-partitions off.*:1-,nothing:0", out: "offs:1:4\noffs:2:0\n"},
		{line: "--topic-partitions offs:1", out: "offs:1:4\n"},
		{line: "--topic-partitions offs:-1,offs:2", out: "offs:0:0\noffs:2:0\n"},
	})
	script(t, offsetsTool, []step{
		{line: "--topic offs-none", err: "Error occurred: Could not match any topic-partitions with the specified filters", code: 1},
		{line: "--topic offs --time x", err: "Error occurred: Malformed time argument x. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload, or a specified long format timestamp", code: 1},
		{line: "--topic offs --topic-partitions offs", err: "Error occurred: --topic-partitions cannot be used with --topic or --partitions", code: 1},
		{line: "--topic-partitions offs:a", err: "Error occurred: org.apache.kafka.tools.TerseException: Invalid rule specification: offs:a", code: 1},
		{line: "--partitions 0,x", err: "Error occurred: --partitions expects a comma separated list of numeric partition ids, but received: 0,x", code: 1},
		{line: "--nope", err: "Error occurred: nope is not a recognized option", code: 1},
		{line: "--command-config /none --topic offs", err: "Error occurred: /none", code: 1},
	})
	script(t, "kafka-get-offsets", []step{
		{line: "", err: "An interactive shell for getting topic-partition offsets.", code: 1},
		{line: "--topic offs", err: `Missing required argument "[bootstrap-server]"`, code: 1},
		{line: "--bootstrap-server localhost", err: "Please provide valid host:port like host1:9091,host2:9092", code: 1},
	})
}

func TestRecordsAreDeletedUpToAnOffset(t *testing.T) {
	publish(t, "del", 1, 2, 3, 4)
	wanted := file(t, "wanted.json", `{"partitions":[{"topic":"del","partition":2,"offset":9},{"topic":"del","partition":1,"offset":3},{"topic":"del","partition":0,"offset":-1}],"version":1}`)
	const done = "Executing records delete operation\nRecords delete operation completed:\n"
	script(t, "kafka-delete-records --bootstrap-server ADDR", []step{
		{line: "--offset-json-file " + wanted, out: done + "partition: del-0\tlow_watermark: 0\npartition: del-1\tlow_watermark: 3\n" +
			"partition: del-2\terror: org.apache.kafka.common.errors.OffsetOutOfRangeException: The requested offset is not within the range of offsets maintained by the server.\n"},
		{line: "", err: `Missing required argument "[offset-json-file]"`, code: 1},
		{line: "--offset-json-file /none", err: "Unable to read file /none", code: 1},
	})
	script(t, offsetsTool, []step{{line: "--topic del --time -2", out: "del:0:0\ndel:1:3\ndel:2:0\n"}})
	for text, want := range map[string]string{
		`nojson`:        "The input string is not a valid JSON",
		`{} {}`:         "The input string is not a valid JSON",
		`{}`:            "Missing partitions field",
		`{"version":2}`: "Not supported version field value 2",
		`[]`:            "Expected JSON object, received []",
		`{"partitions":[{"topic":"del","offset":1}]}`:                                                    "No such field exists: `partition`",
		`{"partitions":[{"topic":"del","partition":"x","offset":1}]}`:                                    "Expected `Integer` value, received \"x\"",
		`{"partitions":[{"topic":"del","partition":4294967296,"offset":1}]}`:                             "Expected `Integer` value, received 4294967296",
		`{"partitions":[{"topic":"d","partition":0,"offset":1},{"topic":"d","partition":0,"offset":2}]}`: "Offset json file contains duplicate topic partitions: d-0",
	} {
		r := call(t, "", "kafka-delete-records", "--bootstrap-server", "ADDR", "--offset-json-file", file(t, "bad.json", text))
		if r.code != 1 || r.firstErr() != want || r.out != "" {
			t.Errorf("%s: code %d, %s, want %s", text, r.code, r.err, want)
		}
	}
}

func TestLogDirectoriesAreDescribed(t *testing.T) {
	publish(t, "dirs", 1, 2)
	const head = "Querying brokers for log directories information\nReceived log directory information from brokers 1\n"
	got := must(t, "", "kafka-log-dirs --bootstrap-server ADDR --describe --broker-list 1,1 --topic-list dirs")
	want := head + `{"brokers":[{"broker":1,"logDirs":[{"partitions":[{"partition":"dirs-0","size":0,"offsetLag":0,"isFuture":false},` +
		`{"partition":"dirs-1","size":SIZE,"offsetLag":0,"isFuture":false},{"partition":"dirs-2","size":0,"offsetLag":0,"isFuture":false}],"error":null,"logDir":"/data"}]}],"version":1}` + "\n"
	_, size, _ := strings.Cut(got, `"dirs-1","size":`)
	size, _, _ = strings.Cut(size, ",")
	if len(size) < 2 || got != strings.Replace(want, "SIZE", size, 1) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	script(t, "kafka-log-dirs --bootstrap-server ADDR", []step{
		{line: "--describe --topic-list none", out: head + `{"brokers":[{"broker":1,"logDirs":[{"partitions":[],"error":null,"logDir":"/data"}]}],"version":1}` + "\n"},
		{line: "--describe --broker-list 7,8", err: "ERROR: The given brokers do not exist from --broker-list: 7,8. Current existent brokers: 1", code: 1},
		{line: "--describe --broker-list x", err: `For input string: "x"`, code: 1},
		{line: "--topic-list x", err: `Missing required argument "[describe]"`, code: 1},
	})
}
