package cli_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	consoleIn  = "kafka-console-producer --bootstrap-server ADDR --topic console"
	consoleOut = "kafka-console-consumer --bootstrap-server ADDR --topic console --partition 0 --from-beginning"
)

func TestTheConsoleToolsMoveKeysHeadersAndNulls(t *testing.T) {
	must(t, "", "kafka-topics --bootstrap-server ADDR --create --topic console")
	must(t, "plain\n", consoleIn+" --timeout 0 --sync --compression-codec")
	must(t, "h1:x,h2:y\tk\tv\nNULL\tk\tNULL\n", consoleIn+" --timeout 0 --reader-property parse.key=true --reader-property parse.headers=true --reader-property null.marker=NULL")
	script(t, consoleOut, []step{
		{line: "--max-messages 3", out: "plain\nv\nnull\n", err: "Processed a total of 3 messages"},
		{line: "--max-messages 2 --formatter-property print.key=true --formatter-property print.headers=true --formatter-property print.offset=true --formatter-property print.partition=true",
			out: "Partition:0\tOffset:0\tNO_HEADERS\tnull\tplain\nPartition:0\tOffset:1\th1:x,h2:y\tk\tv\n", err: "Processed a total of 2 messages"},
		{line: "--max-messages 1 --property print.value=false --property print.key=true",
			out: "Option --property is deprecated and will be removed in a future version. Use --formatter-property instead.\nnull\n", err: "Processed a total of 1 messages"},
	})
	r := call(t, "", strings.Fields(consoleOut+" --max-messages 1 --formatter-property value.deserializer=LongDeserializer")...)
	if r.code != 1 || !strings.Contains(r.err, "Size of data received by LongDeserializer is not 8") {
		t.Errorf("a message that cannot be read: code %d, %s", r.code, r.err)
	}
	r = call(t, "", strings.Fields(consoleOut+" --timeout-ms 300 --max-messages 9")...)
	if r.code != 0 || r.out != "plain\nv\nnull\n" || !strings.HasSuffix(r.err, "Processed a total of 3 messages\n") {
		t.Errorf("after silence: code %d, %q, %s", r.code, r.out, r.err)
	}
}

func TestMistakesOnTheConsoleCommandLines(t *testing.T) {
	script(t, "kafka-console-producer", []step{
		{line: "--bootstrap-server ADDR", err: `Missing required argument "[topic]"`, code: 1},
		{line: "--topic x", err: `Missing required argument "[bootstrap-server]"`, code: 1},
		{line: "--topic x --bootstrap-server ADDR --reader-property headers.separator=:", err: "headers.separator and headers.key.separator may not be equal", code: 1},
	})
	script(t, "kafka-console-consumer --bootstrap-server ADDR", []step{
		{line: "--max-messages 1", err: "Exactly one of the following arguments is required: [topic], [include]", code: 1},
		{line: "--topic x --offset 3", err: "The partition is required when offset is specified.", code: 1},
		{line: "--topic x --partition 0 --offset -3", err: "The provided offset value '-3' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long.", code: 1},
		{line: "--topic x --partition 0 --group g", err: "Options group and partition cannot be specified together.", code: 1},
	})
}

// The end of ctx is what SIGINT and SIGTERM are for a tool.
func TestAnInterruptedProducerDeliversWhatItRead(t *testing.T) {
	for topic, tool := range map[string]struct {
		line string
		code int
	}{
		"interrupted-console": {"kafka-console-producer --bootstrap-server ADDR --topic interrupted-console --timeout 60000", 130},
		"interrupted-produce": {"produce interrupted-produce -b ADDR", 0},
	} {
		must(t, "", "kafka-topics --bootstrap-server ADDR --create --topic "+topic)
		in, keyboard := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			// Half a line is taken from the pipe once the lines before it were.
			for _, text := range []string{"one\ntwo\n", "half"} {
				if _, err := io.WriteString(keyboard, text); err != nil {
					t.Error(err)
				}
			}
			cancel()
		}()
		r := ends(ctx, t, 20*time.Second, in, tool.line)
		if r.code != tool.code || r.err != "" {
			t.Errorf("%s: code %d: %s", tool.line, r.code, r.err)
		}
		keyboard.Close()
		got := call(t, "", strings.Fields("kafka-console-consumer --bootstrap-server ADDR --partition 0 --from-beginning --timeout-ms 300 --max-messages 9 --topic "+topic)...)
		if got.out != "one\ntwo\n" {
			t.Errorf("%s delivered %q", tool.line, got.out)
		}
	}
}

func TestAnInterruptedConsumerSaysHowFarItCame(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := ends(ctx, t, 20*time.Second, nil, consoleOut+" --enable-systest-events")
	if r.code != 130 || r.out != "shutdown_complete\n" || r.err != "Processed a total of 0 messages\n" {
		t.Errorf("code %d: %q, %s", r.code, r.out, r.err)
	}
}

// nobody is an address at which nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestTheConsoleProducerDoesNotWaitForAClusterForEver(t *testing.T) {
	line := "kafka-console-producer --topic absent --max-block-ms 500 --bootstrap-server " + nobody(t)
	const timeout = "org.apache.kafka.common.errors.TimeoutException: Topic absent not present in metadata after 500 ms.\n"
	r := ends(t.Context(), t, 20*time.Second, strings.NewReader("one\n"), line)
	if r.code != 0 || !strings.HasSuffix(r.err, "] ERROR Error when sending message to topic absent with key: null, value: 3 bytes with error: (org.apache.kafka.clients.producer.internals.ErrorLoggingCallback)\n"+timeout) {
		t.Errorf("code %d: %s", r.code, r.err)
	}
	r = ends(t.Context(), t, 20*time.Second, strings.NewReader("one\ntwo\n"), line+" --sync")
	if r.code != 1 || r.err != timeout {
		t.Errorf("with --sync: code %d: %s", r.code, r.err)
	}
}

// A cluster that does not answer holds up the end of a tool for a moment only.
func TestAnInterruptedProducerLeavesAClusterThatDoesNotAnswer(t *testing.T) {
	where := nobody(t)
	for name, tool := range map[string]struct {
		line, err string
		code      int
	}{
		"console": {"kafka-console-producer --topic absent --bootstrap-server " + where, "\norg.apache.kafka.common.KafkaException: Producer is closed forcefully.\n", 130},
		"produce": {"produce absent -b " + where, "gregor produce: absent: Producer is closed forcefully.\n", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, keyboard := io.Pipe()
			defer keyboard.Close()
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				if _, err := io.WriteString(keyboard, "one\n"); err != nil {
					t.Error(err)
				}
				cancel()
			}()
			r := ends(ctx, t, 20*time.Second, in, tool.line)
			if r.code != tool.code || !strings.HasSuffix(r.err, tool.err) {
				t.Errorf("code %d: %s", r.code, r.err)
			}
		})
	}
}

func TestTheConsoleProducerKeepsItsLimits(t *testing.T) {
	f := startFake(t)
	tried := 0
	f.on(3, func(q kmsg.Request, r kmsg.Response) {
		resp := r.(*kmsg.MetadataResponse)
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = 1, f.host, f.port
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Leader, p.Replicas, p.ISR = 1, []int32{1}, []int32{1}
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.TopicID, topic.Partitions = kmsg.StringPtr("thin"), [16]byte{15: 1}, append(topic.Partitions, p)
		resp.Brokers, resp.Topics, resp.ControllerID = append(resp.Brokers, b), append(resp.Topics, topic), 1
	})
	f.on(22, func(_ kmsg.Request, r kmsg.Response) { r.(*kmsg.InitProducerIDResponse).ProducerID = 5 })
	f.on(0, func(q kmsg.Request, r kmsg.Response) {
		req, resp := q.(*kmsg.ProduceRequest), r.(*kmsg.ProduceResponse)
		if tried++; req.TimeoutMillis != 1500 {
			t.Errorf("the broker has %d ms", req.TimeoutMillis)
		}
		p := kmsg.NewProduceResponseTopicPartition()
		p.ErrorCode = 19
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID, topic.Partitions = req.Topics[0].Topic, req.Topics[0].TopicID, append(topic.Partitions, p)
		resp.Topics = append(resp.Topics, topic)
	})
	r := ends(t.Context(), t, 20*time.Second, strings.NewReader("k\tone\n"), "kafka-console-producer --topic thin --timeout 0 --message-send-max-retries 1 --reader-property parse.key=true --bootstrap-server "+f.addr)
	if r.code != 0 || tried != 2 || !strings.Contains(r.err, " to topic thin with key: 1 bytes, value: 3 bytes with error: ") || !strings.Contains(r.err, "\norg.apache.kafka.common.errors.NotEnoughReplicasException: ") {
		t.Errorf("code %d after %d tries: %s", r.code, tried, r.err)
	}
}

func TestTheConsoleProducerGoesOnAfterARecordThatFails(t *testing.T) {
	lines := "a\n" + strings.Repeat("x", 2<<20) + "\nb\n"
	for topic, want := range map[string]struct {
		option, out, err string
		code             int
	}{
		"fails-async": {"", "a\nb\n", "] ERROR Error when sending message to topic fails-async with key: null, value: 2097152 bytes with error: (org.apache.kafka.clients.producer.internals.ErrorLoggingCallback)\norg.apache.kafka.common.errors.RecordTooLargeException: ", 0},
		"fails-sync":  {" --sync", "a\n", "org.apache.kafka.common.errors.RecordTooLargeException: ", 1},
	} {
		must(t, "", "kafka-topics --bootstrap-server ADDR --create --topic "+topic)
		r := call(t, lines, strings.Fields("kafka-console-producer --bootstrap-server ADDR --timeout 0 --topic "+topic+want.option)...)
		if r.code != want.code || !strings.Contains(r.err, want.err) {
			t.Errorf("%s: code %d: %s", topic, r.code, r.err)
		}
		r = call(t, "", strings.Fields("kafka-console-consumer --bootstrap-server ADDR --partition 0 --from-beginning --timeout-ms 300 --max-messages 9 --topic "+topic)...)
		if r.out != want.out {
			t.Errorf("%s: %q arrived", topic, r.out)
		}
	}
}

func TestCommittedOffsetsArePrinted(t *testing.T) {
	must(t, "", "kafka-topics --bootstrap-server ADDR --create --topic committed")
	must(t, "", "kafka-consumer-groups --bootstrap-server ADDR --group committed --topic committed --reset-offsets --to-earliest --execute")
	r := call(t, "", strings.Fields("kafka-console-consumer --bootstrap-server ADDR --topic __consumer_offsets --from-beginning --timeout-ms 1000 --formatter org.apache.kafka.tools.consumer.OffsetsMessageFormatter")...)
	if r.code != 0 || !strings.Contains(r.out, `{"key":{"type":1,"data":{"group":"committed","topic":"committed","partition":0}},"value":{"version":`) {
		t.Errorf("code %d: %s%s", r.code, r.out, r.err)
	}
}

func TestTheLoggingFormatterPrintsAndLogs(t *testing.T) {
	must(t, "", "kafka-topics --bootstrap-server ADDR --create --topic logged")
	must(t, "k\tv\nk2\tNULL\n", "kafka-console-producer --bootstrap-server ADDR --topic logged --timeout 0 --reader-property parse.key=true --reader-property null.marker=NULL")
	r := call(t, "", strings.Fields("kafka-console-consumer --bootstrap-server ADDR --topic logged --partition 0 --from-beginning --max-messages 2 --formatter org.apache.kafka.tools.consumer.LoggingMessageFormatter --formatter-property print.key=true")...)
	if r.code != 0 || r.out != "k\tv\nk2\tnull\n" {
		t.Errorf("code %d: %q, %s", r.code, r.out, r.err)
	}
	const logged = `(?m)^\[[-0-9]+ [:,0-9]+\] INFO CreateTime:\d+, key:%s, value:%s \(org\.apache\.kafka\.tools\.consumer\.LoggingMessageFormatter\)$`
	for key, value := range map[string]string{"k": "v", "k2": "null"} {
		if !regexp.MustCompile(fmt.Sprintf(logged, key, value)).MatchString(r.err) {
			t.Errorf("%s: %s is not logged in\n%s", key, value, r.err)
		}
	}
}
