package cli_test

import (
	"strings"
	"testing"
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
