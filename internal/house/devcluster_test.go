package house

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The folders of one node and of several are not taken for each other: the nodes'
// folders would be topics of the single one.
func TestDevKeepsClustersAndNodesApart(t *testing.T) {
	write := func(path ...string) string {
		t.Helper()
		dir := t.TempDir()
		file := filepath.Join(append([]string{dir}, path...)...)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("version=1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--nodes", "0"}, 2, "it must be between 1 and 99"},
		{[]string{"--nodes", "3", "--port", "65533"}, 1, "need the ports from 65533 to 65538"},
		{[]string{"--nodes", "3", "--data", write("meta.properties")}, 1, "has the data of a single node"},
		{[]string{"--data", write("node-1", "meta.properties")}, 1, "has the data of several nodes"},
	} {
		code, _, errs := run(t, dev, c.args...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: %d, %q", c.args, code, errs)
		}
	}
}
