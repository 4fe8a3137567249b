package txn

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

// goldenTransactions are the transactions that Apache's TransactionLog wrote into
// testdata/golden/records.txt, a line a name, version and bytes.
var goldenTransactions = map[string]Transaction{
	"empty": {ProducerID: 4000, PreviousProducerID: 4000, NextProducerID: -1, ProducerEpoch: 0, TimeoutMs: 60000, State: Empty, StartMs: -1, LastUpdateMs: 1700000000000},
	"ongoing": {ProducerID: 4000, PreviousProducerID: 4000, NextProducerID: -1, ProducerEpoch: 7, TimeoutMs: 60000, State: Ongoing,
		Partitions: []kafka.TopicPartition{{Topic: "t", Partition: 12}}, StartMs: 1700000000001, LastUpdateMs: 1700000000002, ClientTransactionVersion: 2},
	"preparecommit": {ProducerID: 4000, PreviousProducerID: 3999, NextProducerID: 4001, ProducerEpoch: 32767, TimeoutMs: 900000, State: PrepareCommit,
		Partitions: []kafka.TopicPartition{{Topic: "__consumer_offsets", Partition: 49}}, StartMs: 5, LastUpdateMs: 6, ClientTransactionVersion: 2},
	"prepareabort": {ProducerID: 4000, PreviousProducerID: 4000, NextProducerID: -1, ProducerEpoch: 3, TimeoutMs: 1, State: PrepareAbort,
		Partitions: []kafka.TopicPartition{{Topic: "t"}}, StartMs: 5, LastUpdateMs: 6},
	"completecommit": {ProducerID: 4001, PreviousProducerID: 4000, NextProducerID: -1, ProducerEpoch: 0, TimeoutMs: 900000, State: CompleteCommit, StartMs: 5, LastUpdateMs: 7, ClientTransactionVersion: 2},
	"completeabort":  {ProducerID: 4001, PreviousProducerID: 4001, NextProducerID: -1, ProducerEpoch: 0, TimeoutMs: 2147483647, State: CompleteAbort, StartMs: 5, LastUpdateMs: 7, ClientTransactionVersion: 1},
}

func TestRecordsAreApaches(t *testing.T) {
	text, err := os.ReadFile("testdata/golden/records.txt")
	if err != nil {
		t.Fatal(err)
	}
	values := 0
	for _, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		f := strings.Split(line, " ")
		want, err := hex.DecodeString(f[2])
		if err != nil {
			t.Fatal(err)
		}
		if f[0] == "key" {
			id, _ := hex.DecodeString(f[1])
			if got := AppendKey(nil, string(id)); !bytes.Equal(got, want) {
				t.Errorf("key %q: %x, want %x", id, got, want)
			}
			if got, ok, err := ParseKey(want); !ok || err != nil || got != string(id) {
				t.Errorf("key %q: parsed %q, %v, %v", id, got, ok, err)
			}
			continue
		}
		version := int16(f[1][0] - '0')
		v, ok, err := ParseValue(want)
		if !ok || err != nil {
			t.Errorf("%s v%d: %v, %v", f[0], version, ok, err)
			continue
		}
		if got := AppendValue(nil, &v, version); !bytes.Equal(got, want) {
			t.Errorf("%s v%d: %x, want %x", f[0], version, got, want)
		}
		if f[0] == "all" {
			if v.NextProducerEpoch != 4 || v.NextProducerID != 10 || v.PreviousProducerID != 8 || v.ClientTransactionVersion != 2 || len(v.Topics) != 2 {
				t.Errorf("all: %+v", v)
			}
			continue
		}
		values++
		txn, ok := goldenTransactions[f[0]]
		if !ok {
			t.Fatalf("unknown %s", f[0])
		}
		if got := txn.record(version).Value; !bytes.Equal(got, want) {
			t.Errorf("%s v%d: wrote %x, want %x", f[0], version, got, want)
		}
		if version < 1 {
			txn.PreviousProducerID, txn.NextProducerID = -1, -1
		}
		txn.LastProducerEpoch = NoProducerEpoch
		if got, err := fromValue("", &v); err != nil || !reflect.DeepEqual(*got, txn) {
			t.Errorf("%s v%d: %+v, %v, want %+v", f[0], version, got, err, txn)
		}
	}
	if values < 8 {
		t.Errorf("only %d golden values", values)
	}
}

func TestDamagedRecords(t *testing.T) {
	for _, h := range []string{"", "00", "0000", "0000ffff", "00000005616263"} {
		b, _ := hex.DecodeString(h)
		if id, ok, err := ParseKey(b); err == nil || ok {
			t.Errorf("key %s: %q, %v, %v", h, id, ok, err)
		}
	}
	good := goldenTransactions["ongoing"]
	b := good.record(2).Value
	for n := range b {
		if _, ok, err := ParseValue(b[:n]); ok && err == nil {
			t.Errorf("a value cut at %d of %d bytes was read", n, len(b))
		}
	}
	if _, ok, err := ParseValue([]byte{0, 2, 1, 2, 3}); ok || err != nil {
		t.Errorf("an unknown version: %v, %v", ok, err)
	}
	if _, ok, err := ParseKey([]byte{0, 9, 1}); ok || err != nil {
		t.Errorf("an unknown kind: %v, %v", ok, err)
	}
	// A count that the record has no room for takes no memory.
	huge := append(append([]byte{}, b[:17]...), 0xff, 0xff, 0xff, 0xff, 0x0f)
	if n := testing.AllocsPerRun(1, func() { _, _, _ = ParseValue(huge) }); n > 20 {
		t.Errorf("%v allocations", n)
	}
	if _, _, err := ParseValue(huge); err == nil {
		t.Error("a list of 2^32 topics was read")
	}
}

// TestKeysOfLongIDs: the key of one id never reads as that of another, and an id that a
// key has no room for has none.
func TestKeysOfLongIDs(t *testing.T) {
	for _, n := range []int{1, 32767} {
		id := strings.Repeat("x", n)
		key := AppendKey(nil, id)
		if got, ok, err := ParseKey(key); !ok || err != nil || got != id {
			t.Errorf("%d bytes: parsed %d, %v, %v", n, len(got), ok, err)
		}
		if got, ok, err := ParseKey(append(key, 'x')); ok || err == nil {
			t.Errorf("%d bytes and one more: parsed %d, %v, %v", n, len(got), ok, err)
		}
	}
	for _, n := range []int{32768, 65536, 65536 + 6} {
		txn := Transaction{ID: "victim" + strings.Repeat("x", n-6), State: Empty}
		if r := txn.record(2); len(r.Key) > 0 {
			t.Errorf("%d bytes: a key of %d", n, len(r.Key))
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, txn := range goldenTransactions {
		f.Add(txn.record(0).Value)
		f.Add(txn.record(2).Value)
	}
	f.Add(AppendKey(nil, "tid"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, ok, err := ParseKey(b); ok && err == nil {
			if again, _, err := ParseKey(AppendKey(nil, id)); err != nil || again != id {
				t.Fatalf("key %q became %q, %v", id, again, err)
			}
		}
		v, ok, err := ParseValue(b)
		if !ok || err != nil {
			return
		}
		again, ok, err := ParseValue(AppendValue(nil, &v, valueVersionFlex))
		if !ok || err != nil || !reflect.DeepEqual(v, again) {
			t.Fatalf("%+v became %+v, %v, %v", v, again, ok, err)
		}
	})
}
