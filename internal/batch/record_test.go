package batch

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// checkBothWays: what parseCommon accepts is what parseAny says, in every field.
func checkBothWays(t *testing.T, b []byte) (common bool) {
	t.Helper()
	var quick, full rawRecord
	n := parseCommon(b, &quick)
	if n == 0 {
		return false
	}
	size, reason := parseAny(b, &full)
	if n != size || reason != "" || quick != full {
		t.Fatalf("%x: %d bytes %+v, but %d bytes %+v %q", b, n, quick, size, full, reason)
	}
	return true
}

// encoded is a record with its size before it.
func encoded(tsDelta int64, offsetDelta int32, key, value []byte, headers int64, rest string) []byte {
	b := binary.AppendVarint([]byte{3}, tsDelta)
	b = binary.AppendVarint(b, int64(offsetDelta))
	b = appendField(appendField(b, key), value)
	b = append(binary.AppendVarint(b, headers), rest...)
	return append(binary.AppendVarint(nil, int64(len(b))), b...)
}

// TestCommonRecords goes through the sizes at which a number grows by a byte.
func TestCommonRecords(t *testing.T) {
	edges := []int{-1, 0, 1, 57, 63, 64, 65, 8191, 8192, 1<<20 - 1, 1 << 20}
	var behind [8]byte
	for _, key := range edges {
		for _, value := range edges {
			for _, delta := range edges {
				var k, v []byte
				if key >= 0 {
					k = make([]byte, key)
				}
				if value >= 0 {
					v = make([]byte, value)
				}
				rec := encoded(int64(delta), int32(delta), k, v, 0, "")
				wide := max(delta, key, value) >= 1<<20 || key+value >= 1<<20-20
				if !checkBothWays(t, append(rec, behind[:]...)) && !wide {
					t.Errorf("key %d, value %d, deltas %d: not seen as a common record", key, value, delta)
				}
				checkBothWays(t, rec)
				if key+value < 200 {
					for cut := range rec {
						checkBothWays(t, rec[:cut])
					}
				}
			}
		}
	}
}

// FuzzRecord compares the two ways of parsing on whatever there is.
func FuzzRecord(f *testing.F) {
	f.Add(append(encoded(5, 70, []byte("key"), bytes.Repeat([]byte("v"), 90), 0, ""), make([]byte, 8)...))
	f.Add(encoded(1, 1, nil, []byte("v"), 1, "\x02h\x02x\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) { checkBothWays(t, b) })
}
