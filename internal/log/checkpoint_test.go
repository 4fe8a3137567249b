package log

import (
	"testing"

	"github.com/gregorhq/gregor/internal/vfs"
)

// A checkpoint without a byte may have lost what was in it, so it has to be told of; one
// that does not exist has not.
func TestEmptyCheckpointIsTold(t *testing.T) {
	mem := vfs.NewMem()
	for _, c := range []struct {
		name, content string
		ok            bool
	}{
		{"none", "0\n0\n", true},
		{"version", "0\n", true},
		{"empty", "", false},
		{"short", "0\n1\n", false},
	} {
		if err := vfs.WriteFileAtomic(mem, "/"+c.name, []byte(c.content)); err != nil {
			t.Fatal(err)
		}
		if _, err := readOffsets(mem, "/"+c.name); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if m, err := readOffsets(mem, "/missing"); err != nil || len(m) != 0 {
		t.Errorf("a missing file: %v, %v", m, err)
	}
}
