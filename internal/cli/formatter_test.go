package cli

import (
	"io"
	"regexp"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/records"
)

// formatted is what the formatter of a class prints of a record.
func formatted(t *testing.T, class string, key, value []byte) (string, error) {
	t.Helper()
	v, err := consoleConsumerTable.Parse([]string{"--formatter", "org.apache.kafka.tools.consumer." + class})
	if err != nil {
		t.Fatal(err)
	}
	format, err := consoleFormatter(&Env{Err: io.Discard}, v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := format(nil, &kgo.Record{Key: key, Value: value, Offset: 7})
	return string(out), err
}

func TestFormattersOfInternalTopics(t *testing.T) {
	var (
		offsetKey = records.EncodeCoordinatorKey(&records.OffsetCommitKey{Group: "g", Topic: "t", Partition: 3})
		offset    = records.EncodeCoordinatorValue(&records.OffsetCommitValue{Version: 3, Offset: 9, LeaderEpoch: -1, Metadata: "m", CommitTimestamp: 5})
		groupKey  = records.EncodeCoordinatorKey(&records.GroupMetadataKey{Group: "g"})
		txnKey    = records.EncodeCoordinatorKey(&records.TransactionLogKey{TransactionalID: "x"})
		txn       = records.EncodeCoordinatorValue(&records.TransactionLogValue{ProducerID: 4, TransactionTimeoutMs: 60, TransactionPartitions: []records.TransactionLogPartitions{}})
	)
	const offsetOut = `{"key":{"type":1,"data":{"group":"g","topic":"t","partition":3}},"value":`
	for _, c := range []struct {
		class      string
		key, value []byte
		want       string
	}{
		{"OffsetsMessageFormatter", offsetKey, offset, offsetOut + `{"version":3,"data":{"offset":9,"leaderEpoch":-1,"metadata":"m","commitTimestamp":5}}}`},
		{"OffsetsMessageFormatter", offsetKey, nil, offsetOut + "null}"},
		{"OffsetsMessageFormatter", groupKey, nil, ""},
		{"OffsetsMessageFormatter", []byte{0, 99, 1}, nil, ""},
		{"OffsetsMessageFormatter", nil, offset, ""},
		{"GroupMetadataMessageFormatter", groupKey, nil, `{"key":{"type":2,"data":{"group":"g"}},"value":null}`},
		{"GroupMetadataMessageFormatter", offsetKey, offset, ""},
		{"TransactionLogMessageFormatter", txnKey, txn, `{"key":{"type":0,"data":{"transactionalId":"x"}},"value":{"version":0,"data":{"producerId":4,"producerEpoch":0,"transactionTimeoutMs":60,"transactionStatus":0,"transactionPartitions":[],"transactionLastUpdateTimestampMs":0,"transactionStartTimestampMs":0}}}`},
		{"NoOpMessageFormatter", txnKey, txn, ""},
	} {
		if got, err := formatted(t, c.class, c.key, c.value); err != nil || got != c.want {
			t.Errorf("%s of %q: %s, %v", c.class, c.key, got, err)
		}
	}
	const want = "Could not read record at offset 7 due to: Could not read version from value's buffer."
	if _, err := formatted(t, "OffsetsMessageFormatter", offsetKey, []byte{1}); err == nil || err.Error() != want {
		t.Errorf("a value that cannot be read: %v", err)
	}
}

// What the help of a tool names can be given to it.
func TestEveryFormatterThatTheHelpNamesIsKnown(t *testing.T) {
	i := slices.IndexFunc(consoleConsumerTable.Options, func(o opt.Option) bool { return o.Name == "formatter" })
	classes := regexp.MustCompile(`\w+MessageFormatter`).FindAllString(consoleConsumerTable.Options[i].Doc, -1)
	if len(classes) < 6 {
		t.Errorf("the help names %q only", classes)
	}
	for _, class := range classes {
		if _, err := formatted(t, class, nil, nil); err != nil {
			t.Errorf("%s: %v", class, err)
		}
	}
	v, err := consoleConsumerTable.Parse([]string{"--formatter", "MyFormatter"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := consoleFormatter(&Env{Err: io.Discard}, v); err == nil {
		t.Error("MyFormatter is known")
	}
}
