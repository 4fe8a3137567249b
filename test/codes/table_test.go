package codes

import (
	"flag"
	"os"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

var update = flag.Bool("update", false, "write docs/compat/codes.md")

// TestPage: the page says what the table says.
func TestPage(t *testing.T) {
	const file = "../../docs/compat/codes.md"
	page, err := Page()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != page {
		t.Errorf("%s is not what the table says; go test ./test/codes -run Page -update", file)
	}
}

// TestRowsOfOtherKindsAreRefused: a word that is mistyped must not become a row that
// nobody tries.
func TestRowsOfOtherKindsAreRefused(t *testing.T) {
	good := []string{"EndTxn", "txn-v1", "INVALID_TXN_STATE", "fatal", "fatal", "-"}
	r, err := parseRow(good)
	if err != nil {
		t.Fatal(err)
	}
	if r.Key != int16(kmsg.EndTxn) || r.Code != kafka.InvalidTxnState || !r.Scenario.OldTxns || !r.Scenario.Running || r.Want["franz-go"] != Untried {
		t.Errorf("%+v", r)
	}
	for i, bad := range map[int]string{0: "EndTx", 1: "txn-v3", 2: "INVALID", 3: "fatl"} {
		row := append([]string(nil), good...)
		row[i] = bad
		if _, err := parseRow(row); err == nil {
			t.Errorf("%q was accepted", row)
		}
	}
	if _, err := parseRow(good[:5]); err == nil {
		t.Error("a row of five words was accepted")
	}
}

// TestCodesAreCarried puts a code into a response of every request of the table, in each
// version, and reads it back.
func TestCodesAreCarried(t *testing.T) {
	for name, api := range apis {
		last := kmsg.ResponseForKey(int16(api.key)).MaxVersion()
		for v := int16(0); v <= last; v++ {
			resp := filled(api.key)
			resp.SetVersion(v)
			header := make([]byte, 8)
			if resp.IsFlexible() {
				header = append(header, 0)
			}
			a := asked{key: int16(api.key), version: v}
			frame, ok := withCode(append(header, resp.AppendTo(nil)...), a, 42)
			_, got := parse(frame, a)
			if !ok || errorCode(reflect.ValueOf(got)) != 42 {
				t.Errorf("%s v%d does not carry the code: %+v", name, v, got)
			}
		}
	}
}

// filled is a response with a place for every code.
func filled(key kmsg.Key) kmsg.Response {
	switch key {
	case kmsg.Produce:
		return &kmsg.ProduceResponse{Topics: []kmsg.ProduceResponseTopic{{Partitions: make([]kmsg.ProduceResponseTopicPartition, 1)}}}
	case kmsg.AddPartitionsToTxn:
		topics := []kmsg.AddPartitionsToTxnResponseTopic{{Partitions: make([]kmsg.AddPartitionsToTxnResponseTopicPartition, 1)}}
		return &kmsg.AddPartitionsToTxnResponse{Topics: topics}
	case kmsg.TxnOffsetCommit:
		return &kmsg.TxnOffsetCommitResponse{Topics: []kmsg.TxnOffsetCommitResponseTopic{{Partitions: make([]kmsg.TxnOffsetCommitResponseTopicPartition, 1)}}}
	case kmsg.OffsetCommit:
		return &kmsg.OffsetCommitResponse{Topics: []kmsg.OffsetCommitResponseTopic{{Partitions: make([]kmsg.OffsetCommitResponseTopicPartition, 1)}}}
	case kmsg.OffsetFetch:
		return &kmsg.OffsetFetchResponse{Topics: []kmsg.OffsetFetchResponseTopic{{Partitions: make([]kmsg.OffsetFetchResponseTopicPartition, 1)}}, Groups: make([]kmsg.OffsetFetchResponseGroup, 1)}
	case kmsg.FindCoordinator:
		return &kmsg.FindCoordinatorResponse{Coordinators: make([]kmsg.FindCoordinatorResponseCoordinator, 1)}
	}
	return kmsg.ResponseForKey(int16(key))
}
