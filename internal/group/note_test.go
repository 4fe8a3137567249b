package group

import (
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/coord"
)

// TestNoteIsOneLine: what clients call themselves makes no lines of its own in the log,
// and no endless ones.
func TestNoteIsOneLine(t *testing.T) {
	var out coord.Outcome
	note(&out, "Member %s in group %s has failed, removing it from the group.", "m\n[2026-12-01 00:00:00,000] ERROR forged", "g\x1b[31m")
	note(&out, "group %s", strings.Repeat("é", 40_000))
	want := `"Member m\n[2026-12-01 00:00:00,000] ERROR forged in group g\x1b[31m has failed, removing it from the group."`
	if out.Notes[0] != want {
		t.Errorf("%s, want %s", out.Notes[0], want)
	}
	if long := out.Notes[1]; len(long) > maxNote+3 || !strings.HasSuffix(long, "é...") {
		t.Errorf("a line of %d bytes ends in %q", len(long), long[len(long)-8:])
	}
}
