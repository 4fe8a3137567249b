package house

import (
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
)

// segmentName is the file of each log in testdata/dumplog/state. They hold every record
// type in every version, empty and full, tombstones, and what cannot be read; Kafka's own
// classes wrote them, and the texts beside them are what its tool printed.
const segmentName = "00000000000000000000.log"

func TestDumpShowsInternalTopicsAsKafkasTool(t *testing.T) {
	for option, dir := range map[string]string{
		"offsets-decoder": "offsets", "transaction-log-decoder": "transactions",
		"share-group-state-decoder": "share", "remote-log-metadata-decoder": "remote",
	} {
		t.Run(dir, func(t *testing.T) {
			want := golden(t, "state/"+dir+".txt")
			out, errs, code := runDump(t, "testdata/dumplog/state/"+dir, "--"+option, "--files", segmentName)
			sameLines(t, out, want)
			if code != 0 || errs != "" {
				t.Errorf("code %d, %s", code, errs)
			}
		})
	}
}

// oneRecord is a log of one record without a key.
func oneRecord(t *testing.T, value []byte) []byte {
	t.Helper()
	b := batch.NewBuilder(0)
	b.Append(7, nil, value, nil)
	out, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDumpOfAStateLogNeedsKeys(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, segmentName, oneRecord(t, []byte{0, 0}))
	out, errs, code := runDump(t, dir, "--offsets-decoder", "--files", segmentName)
	const want = "Failed to decode message at offset 0 using the specified decoder (message had a missing key)"
	if code != 1 || !strings.Contains(errs, want) {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
}

func TestDumpRefusesImpossibleRemoteLogMetadata(t *testing.T) {
	dir := t.TempDir()
	// A deletion in a state that does not exist: frame, key 2, version 0, topic "t".
	value := append([]byte{1, 2, 0, 2, 't'}, make([]byte, 16+4)...)
	value = append(value, 0)                                      // tags of the partition
	value = append(value, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 77) // broker, time, state
	value = append(value, 0)
	write(t, dir, segmentName, oneRecord(t, value))
	out, _, code := runDump(t, dir, "--remote-log-metadata-decoder", "--files", segmentName)
	if code != 0 || !strings.Contains(out, " payload: Error at offset 0, skipping. there is no state 77\n") {
		t.Errorf("code %d, %s", code, out)
	}
}
