package coord

import "testing"

// The hashes are those of Java's String.hashCode.
func TestPartitionForIsKafkas(t *testing.T) {
	for _, c := range []struct {
		key        string
		hash       int32
		partitions int32
		want       int32
	}{
		{"", 0, 50, 0},
		{"a", 97, 50, 47},
		{"group", 98629247, 50, 47},
		{"polygenelubricants", -2147483648, 50, 0},
		{"my-group", -1906497762, 50, 12},
		{"orders", -1008770331, 50, 31},
		{"\u00e9", 233, 50, 33},
		{"\U0001F600", 1772899, 50, 49},
	} {
		if got := javaHash(c.key); got != c.hash {
			t.Errorf("hash of %q: %d, want %d", c.key, got, c.hash)
		}
		if got := PartitionFor(c.key, c.partitions); got != c.want {
			t.Errorf("partition of %q: %d, want %d", c.key, got, c.want)
		}
	}
}
