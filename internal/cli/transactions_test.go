package cli_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/buildinfo"
)

const txnLine = "kafka-transactions --bootstrap-server ADDR"

// openTxn leaves a transaction open with one record in a partition of a topic.
func openTxn(t *testing.T, id, topic string) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(addr(t)), kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// cells are the columns of a table's rows without their head.
func cells(table string) [][]string {
	var rows [][]string
	for _, line := range strings.Split(strings.TrimSuffix(table, "\n"), "\n")[1:] {
		rows = append(rows, strings.Fields(line))
	}
	return rows
}

func TestTransactionsAreShownAndEnded(t *testing.T) {
	must(t, "", "kafka-topics --bootstrap-server ADDR --create --topic txn-tool --partitions 2")
	openTxn(t, "txn-tool-a", "txn-tool")
	got := must(t, "", txnLine+" list --transactional-id-pattern txn-tool-.*")
	if rows := cells(got); !strings.HasPrefix(got, "TransactionalId\tCoordinator\tProducerId\tTransactionState\t\n") || len(rows) != 1 || rows[0][0] != "txn-tool-a" || rows[0][1] != "1" || rows[0][3] != "Ongoing" {
		t.Error(got)
	}
	if got := must(t, "", txnLine+" list --transactional-id-pattern txn-tool-.* --duration-filter 3600000"); len(cells(got)) != 0 {
		t.Error(got)
	}
	got = must(t, "", txnLine+" describe --transactional-id txn-tool-a")
	if rows := cells(got); len(rows) != 1 || rows[0][0] != "1" || rows[0][4] != "Ongoing" || rows[0][8] != "txn-tool-0" ||
		!strings.HasPrefix(got, "CoordinatorId\tTransactionalId\tProducerId\tProducerEpoch\tTransactionState\tTransactionTimeoutMs\tCurrentTransactionStartTimeMs\tTransactionDurationMs\tTopicPartitions\t\n") {
		t.Error(got)
	}
	producers := txnLine + " describe-producers --topic txn-tool --partition 0"
	for _, replica := range []string{"", " --broker-id 1"} {
		if rows := cells(must(t, "", producers+replica)); len(rows) != 1 || rows[0][2] != "-1" || rows[0][5] != "0" {
			t.Errorf("%q: %v", replica, rows)
		}
	}
	const find = "find-hanging --topic txn-tool --max-transaction-timeout 0"
	none := "Topic\tPartition\tProducerId\tProducerEpoch\tCoordinatorEpoch\tStartOffset\tLastTimestamp\tDuration(min)\t\n"
	script(t, txnLine, []step{
		{line: "abort --topic txn-tool --partition 0 --start-offset 7", err: "Could not find any open transactions starting at offset 7 on partition txn-tool-0", code: 1},
		{line: find, out: none},
		{line: "abort --topic txn-tool --partition 0 --start-offset 0"},
	})
	if rows := cells(must(t, "", producers)); len(rows) != 1 || rows[0][2] != "0" || rows[0][5] != "None" {
		t.Errorf("after the abort: %v", rows)
	}
	script(t, txnLine, []step{{line: "forceTerminateTransaction --transactionalId txn-tool-a"}})
	if rows := cells(must(t, "", txnLine+" list --transactional-id-pattern txn-tool-a")); len(rows) != 1 || rows[0][3] == "Ongoing" {
		t.Errorf("after the fence: %v", rows)
	}
}

func TestTransactionsThatCannotBeShown(t *testing.T) {
	const more = ". Enable debug logging for additional detail."
	const usage = "usage: kafka-transactions.sh [-h] [OPTION]... {list,describe,describe-producers,abort,find-hanging,forceTerminateTransaction} ..."
	script(t, txnLine, []step{
		{line: "describe --transactional-id txn-none", code: 1,
			err: "Failed to describe transaction state of transactional-id `txn-none`: DescribeTransactions request for transactionalId `txn-none` failed because the ID could not be found" + more},
		{line: "list --transactional-id-pattern [", err: "Failed to list transactions: ListTransactions request sent to broker 1 failed with an unexpected exception" + more, code: 1},
		{line: "find-hanging", err: "The `find-hanging` command requires either --topic or --broker-id to limit the scope of the search", code: 1},
		{line: "find-hanging --broker-id 1 --partition 0", err: "The --partition argument requires --topic to be provided", code: 1},
		{line: "find-hanging --topic txn-none", err: "Failed to describe 1 topics: This server does not host this topic-partition." + more, code: 1},
		{line: "abort --topic t --partition 0", code: 1,
			err: "The transaction to abort must be identified either with --start-offset (for brokers on 3.0 or above) or with --producer-id, --producer-epoch, and --coordinator-epoch (for older brokers)"},
		{line: "abort --topic t --partition 0 --producer-id 1", err: "Missing required argument --producer-epoch", code: 1},
		{line: "abort --topic t --partition 0 --producer-id 1 --producer-epoch 1", err: "Missing required argument --coordinator-epoch", code: 1},
		{line: "-v", out: buildinfo.KafkaVersion + "\n"},
		{line: "abort --topic t", err: usage, code: 1},
	})
	for line, want := range map[string]string{
		"list":                                   "argument --bootstrap-server is required",
		"--bootstrap-server h:1 abort --topic t": "argument --partition is required",
		"--bootstrap-server h:1 abort --topic t --partition x":                                        `argument --partition: could not convert 'x' to Integer (For input string: "x")`,
		"--bootstrap-server h:1 abort --topic t --partition 0 --producer-id 1 --producer-epoch 99999": `argument --producer-epoch: could not convert '99999' to Short (Value out of range. Value:"99999" Radix:10)`,
	} {
		r := call(t, "", append([]string{"kafka-transactions"}, strings.Fields(line)...)...)
		if r.code != 1 || r.err != usage+"\nkafka-transactions.sh: error: "+want+"\n" {
			t.Errorf("%s: code %d, %s", line, r.code, r.err)
		}
	}
	if r := call(t, "", "kafka-transactions", "-h"); r.code != 1 || !strings.HasPrefix(r.out, usage) {
		t.Errorf("help: code %d, %s", r.code, r.out)
	}
}

// TestHangingTransactionsAreFound asks a node whose producers are: 5 without a
// transactional id; 6 with an ongoing transaction of the partition; 7 with one that does
// not count the partition; 8 whose id is gone; 9 busy just now; 10 without a transaction.
func TestHangingTransactionsAreFound(t *testing.T) {
	f := startFake(t)
	f.broker()
	old, now := time.Now().Add(-61*time.Minute).UnixMilli(), time.Now().UnixMilli()
	f.on(60, func(_ kmsg.Request, r kmsg.Response) {
		b := kmsg.NewDescribeClusterResponseBroker()
		b.NodeID, b.Host, b.Port = 1, f.host, f.port
		r.(*kmsg.DescribeClusterResponse).Brokers = []kmsg.DescribeClusterResponseBroker{b}
	})
	f.on(10, func(q kmsg.Request, r kmsg.Response) {
		for _, key := range q.(*kmsg.FindCoordinatorRequest).CoordinatorKeys {
			c := kmsg.NewFindCoordinatorResponseCoordinator()
			c.Key, c.NodeID, c.Host, c.Port = key, 1, f.host, f.port
			r.(*kmsg.FindCoordinatorResponse).Coordinators = append(r.(*kmsg.FindCoordinatorResponse).Coordinators, c)
		}
	})
	f.on(61, func(q kmsg.Request, r kmsg.Response) {
		p := kmsg.NewDescribeProducersResponseTopicPartition()
		for id, stamp := range []int64{5: old, 6: old, 7: old, 8: old, 9: now, 10: old} {
			if stamp == 0 {
				continue
			}
			a := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
			a.ProducerID, a.ProducerEpoch, a.CoordinatorEpoch, a.LastTimestamp, a.CurrentTxnStartOffset = int64(id), 3, -1, stamp, int64(100+id)
			if id == 10 {
				a.CurrentTxnStartOffset = -1
			}
			p.ActiveProducers = append([]kmsg.DescribeProducersResponseTopicPartitionActiveProducer{a}, p.ActiveProducers...)
		}
		topic := kmsg.NewDescribeProducersResponseTopic()
		topic.Topic, topic.Partitions = "hang", append(topic.Partitions, p)
		r.(*kmsg.DescribeProducersResponse).Topics = append(r.(*kmsg.DescribeProducersResponse).Topics, topic)
	})
	f.on(66, func(q kmsg.Request, r kmsg.Response) {
		for id, name := range map[int64]string{6: "known", 7: "lost", 8: "gone", 99: "not-asked"} {
			s := kmsg.NewListTransactionsResponseTransactionState()
			s.ProducerID, s.TransactionalID, s.TransactionState = id, name, "Ongoing"
			r.(*kmsg.ListTransactionsResponse).TransactionStates = append(r.(*kmsg.ListTransactionsResponse).TransactionStates, s)
		}
	})
	f.on(65, func(q kmsg.Request, r kmsg.Response) {
		for _, id := range q.(*kmsg.DescribeTransactionsRequest).TransactionalIDs {
			s := kmsg.NewDescribeTransactionsResponseTransactionState()
			s.TransactionalID = id
			topic := kmsg.NewDescribeTransactionsResponseTransactionStateTopic()
			topic.Topic, topic.Partitions = "hang", []int32{0}
			switch id {
			case "lost":
				topic.Partitions = []int32{1}
			case "gone":
				s.ErrorCode = kerr.TransactionalIDNotFound.Code
			}
			s.Topics = append(s.Topics, topic)
			r.(*kmsg.DescribeTransactionsResponse).TransactionStates = append(r.(*kmsg.DescribeTransactionsResponse).TransactionStates, s)
		}
	})
	rows := cells(must(t, "", "kafka-transactions --bootstrap-server "+f.addr+" find-hanging --topic hang --partition 0 --broker-id 1"))
	var want [][]string
	for _, id := range []int{5, 7, 8} {
		want = append(want, []string{"hang", "0", fmt.Sprint(id), "3", "-1", fmt.Sprint(100 + id), fmt.Sprint(old), "61"})
	}
	if fmt.Sprint(rows) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", rows, want)
	}
}
