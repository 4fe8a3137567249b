package house

import (
	"bytes"
	"strconv"
	"strings"
)

// pageRange is a mapping of this process's memory, from the first address to the one
// behind the last.
type pageRange struct{ from, to uintptr }

// executablePages lists the mappings of the executable that can be given back without
// a loss: those that nothing can write and of which no page differs from the file.
// smaps is the beginning of /proc/self/smaps (proc(5)), perhaps cut off anywhere; a
// mapping whose description is not whole is left out.
func executablePages(smaps []byte, executable string) []pageRange {
	var out []pageRange
	var now pageRange
	ours := false
	if executable == "" {
		return nil
	}
	for line := range bytes.Lines(smaps) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		f := strings.Fields(string(line))
		switch {
		case len(f) >= 5 && strings.Contains(f[0], "-"):
			now, ours = pageRange{}, false
			from, to, _ := strings.Cut(f[0], "-")
			a, err1 := strconv.ParseUint(from, 16, 64)
			b, err2 := strconv.ParseUint(to, 16, 64)
			if err1 == nil && err2 == nil && a < b && !strings.Contains(f[1], "w") && len(f) >= 6 {
				now = pageRange{uintptr(a), uintptr(b)}
				ours = strings.HasSuffix(strings.TrimSuffix(string(line), "\n"), " "+executable)
			}
		case len(f) == 3 && f[0] == "Anonymous:":
			if ours && f[1] == "0" {
				out = append(out, now)
			}
			ours = false
		}
	}
	return out
}
