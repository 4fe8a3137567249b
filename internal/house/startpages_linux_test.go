package house

import (
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/vfs"
)

// fileKB is how much of files this process has mapped, in KiB.
func fileKB(t *testing.T) int {
	t.Helper()
	f, err := vfs.OS().Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxSmaps))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "RssFile:" {
			kb, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return kb
		}
	}
	t.Skip("the kernel does not tell how much of files is mapped")
	return 0
}

// A process goes on after its executable's pages were given back, with fewer of them.
func TestStartPagesAreGivenBack(t *testing.T) {
	before := fileKB(t)
	releaseStartPages()
	if after := fileKB(t); after > before*3/4 {
		t.Errorf("%d KiB of files were mapped, %d KiB after the pages were given back", before, after)
	}
}
