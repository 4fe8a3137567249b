package house

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mappedKB is how much of its executable this process has mapped, in KiB: what smaps says
// of the mappings that can be given back.
func mappedKB(t *testing.T) (n int) {
	t.Helper()
	smaps := readSmaps()
	ranges := executablePages(smaps, executable())
	if len(ranges) == 0 {
		t.Fatalf("no mappings of the executable in %s", smaps)
	}
	ours := false
	for line := range strings.Lines(string(smaps)) {
		f := strings.Fields(line)
		if from, _, ok := strings.Cut(f[0], "-"); ok {
			a, err := strconv.ParseUint(from, 16, 64)
			ours = err == nil && slices.ContainsFunc(ranges, func(r pageRange) bool { return r.from == uintptr(a) })
		}
		if ours && f[0] == "Rss:" {
			kb, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			n += kb
		}
	}
	return n
}

// A process goes on after its executable's pages were given back, with fewer of them.
func TestStartPagesAreGivenBack(t *testing.T) {
	before := mappedKB(t)
	releaseStartPages()
	if after := mappedKB(t); after > before*3/4 {
		t.Errorf("%d KiB of the executable were mapped, %d KiB after the pages were given back", before, after)
	}
}
