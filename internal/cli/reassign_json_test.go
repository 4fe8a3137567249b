package cli

import (
	"maps"
	"slices"
	"testing"
)

// What was read from a file and written again reads as the same.
func FuzzReassignmentFile(f *testing.F) {
	f.Add([]byte(`{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1,2],"log_dirs":["any","/d"]}]}`))
	f.Add([]byte(`{"partitions":[{"topic":"t","partition":-1,"replicas":[]}]}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`[null]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = parseElections(text)
		_, _ = parseTopicsToMove(text)
		r, err := parseReassignment(text)
		if err != nil || r.checkExecutable() != nil {
			return
		}
		again, err := reassignmentJSON(r.parts, r.dirs)
		if err != nil {
			t.Fatal(err)
		}
		r2, err := parseReassignment([]byte(again))
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		slices.SortFunc(r.parts, func(a, b assignment) int { return comparePartitions(a.TopicPartition, b.TopicPartition) })
		same := func(a, b assignment) bool {
			return a.TopicPartition == b.TopicPartition && slices.Equal(a.replicas, b.replicas)
		}
		if !slices.EqualFunc(r.parts, r2.parts, same) || !maps.Equal(r.dirs, r2.dirs) {
			t.Errorf("%s became %s", text, again)
		}
	})
}
