package log

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/gregorhq/gregor/internal/vfs"
)

// lockHolder names the processes that hold a lock on a file, as far as the system
// tells; empty when it does not.
func lockHolder(fsys vfs.FS, name string) string {
	inode, ok := inodeOf(fsys, name)
	if !ok {
		return ""
	}
	f, err := fsys.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer f.Close()
	var pids []string
	lines := bufio.NewScanner(io.NewSectionReader(f, 0, 1<<20))
	for lines.Scan() {
		// 1: POSIX ADVISORY WRITE pid major:minor:inode start end
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[4] == "-1" {
			continue
		}
		if strings.HasSuffix(fields[5], fmt.Sprintf(":%d", inode)) {
			pids = append(pids, fields[4])
		}
	}
	if len(pids) == 0 {
		return ""
	}
	return " It is held by process " + strings.Join(pids, ", ") + "."
}
