package metadata

import (
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/records"
)

func fileLines(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "#") })
}

// TestReferenceImage replays a recorded history and compares the snapshot with the
// one that the reference software writes after the same records: the same records,
// the areas in the same order; within an area the order is free.
func TestReferenceImage(t *testing.T) {
	var msgs []records.Message
	for _, line := range fileLines(t, "testdata/history.txt") {
		b, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		m, err := records.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		msgs = append(msgs, m)
	}
	img, err := Empty().With(Provenance{}, msgs)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(string(dump(img))), "\n")
	want := fileLines(t, "testdata/history_image.txt")
	if a, b := areas(got), areas(want); !slices.Equal(a, b) {
		t.Errorf("areas in the order %v, want %v", a, b)
	}
	slices.Sort(got)
	slices.Sort(want)
	for i := range max(len(got), len(want)) {
		g, w := "", ""
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("got  %s\nwant %s", g, w)
		}
	}
}

// areas lists the record types in the order of their first appearance.
func areas(lines []string) []string {
	var types []string
	for _, l := range lines {
		if typ := strings.Split(l, `"`)[3]; !slices.Contains(types, typ) {
			types = append(types, typ)
		}
	}
	return types
}
