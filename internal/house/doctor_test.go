package house

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/cli"
)

// apacheDir is a copy of a directory that Apache Kafka left, as it stopped cleanly or
// was killed.
func apacheDir(t *testing.T, kind string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "log", "testdata", "kafka-4.3.1", kind))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// content is every file with its bytes.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			m[path] = "folder"
			return err
		}
		b, err := os.ReadFile(path)
		m[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func runDoctor(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var b bytes.Buffer
	code = doctor(context.Background(), &cli.Env{Name: "doctor", Args: args, Out: &b, Err: &b})
	return code, b.String()
}

// TestDoctorSaysWhatIsWrong damages a directory in many ways: each is found, with the
// file, and nothing is changed.
func TestDoctorSaysWhatIsWrong(t *testing.T) {
	files, err := filepath.Glob("../log/testdata/kafka-4.3.1/clean/sample-0/*.log")
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	segment := func(i int, suffix string) string {
		return "sample-0/" + strings.TrimSuffix(filepath.Base(files[i]), ".log") + suffix
	}
	put := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	change := func(name string, f func(b []byte) []byte) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			put(name, string(f(b)))(t, dir)
		}
	}
	flipMiddle := func(b []byte) []byte { b[len(b)/2] ^= 0x55; return b }
	cutEnd := func(b []byte) []byte { return b[:len(b)-3] }
	for _, c := range []struct {
		name, kind  string
		damage      func(t *testing.T, dir string)
		verdict     string
		check, file string
		says        string // in the detail or the action
	}{
		{"no meta.properties", "clean", remove("meta.properties"), "fail", "identity", "meta.properties", "kafka-storage"},
		{"damaged meta.properties", "clean", put("meta.properties", "version=1\nnode.id=x\n"), "fail", "identity", "meta.properties", ""},
		{"no marker", "clean", remove(".kafka_cleanshutdown"), "warn", "shutdown", ".kafka_cleanshutdown", "recovery point"},
		{"damaged checkpoint", "clean", put("recovery-point-offset-checkpoint", "nonsense"), "warn", "checkpoint", "recovery-point-offset-checkpoint", "from its beginning"},
		{"entry without a folder", "clean", put("log-start-offset-checkpoint", "0\n1\ngone 3 7\n"), "warn", "checkpoint", "log-start-offset-checkpoint", "gone-3"},
		{"log below its start", "clean", put("log-start-offset-checkpoint", "0\n1\nsample 0 700\n"), "fail", "offsets", "sample-0", "700"},
		{"damaged closed segment", "clean", change(segment(0, ".log"), flipMiddle), "fail", "segment", segment(0, ".log"), "another replica"},
		{"damaged active segment", "clean", change(segment(2, ".log"), flipMiddle), "fail", "segment", segment(2, ".log"), ""},
		{"torn end", "unclean", change(segment(2, ".log"), cutEnd), "warn", "segment", segment(2, ".log"), "cuts off"},
		{"damaged segment after a kill", "unclean", change(segment(0, ".log"), flipMiddle), "fail", "segment", segment(0, ".log"), ""},
		{"missing segment", "clean", remove(segment(1, ".log")), "warn", "segments", segment(0, ".log"), "gap"},
		{"orphaned index", "clean", remove(segment(1, ".log")), "warn", "leftover", segment(1, ".index"), "removes it"},
		{"damaged index", "clean", change(segment(0, ".index"), flipMiddle), "warn", "offset index", segment(0, ".index"), "built again"},
		{"no time index", "clean", remove(segment(0, ".timeindex")), "warn", "time index", segment(0, ".timeindex"), "built again"},
		{"damaged time index", "clean", change(segment(0, ".timeindex"), func(b []byte) []byte { b[2] ^= 1; return b }), "warn", "time index", segment(0, ".timeindex"), "built again"},
		{"damaged transaction index", "clean", put(segment(0, ".txnindex"), "nonsense"), "warn", "transaction index", segment(0, ".txnindex"), "built again"},
		{"damaged epochs", "clean", put("sample-0/leader-epoch-checkpoint", "0\n2\n1 5\n0 3\n"), "warn", "leader epochs", "sample-0/leader-epoch-checkpoint", ""},
		{"wrong epochs", "clean", put("sample-0/leader-epoch-checkpoint", "0\n1\n99 0\n"), "warn", "leader epochs", "sample-0/leader-epoch-checkpoint", "truncate"},
		{"damaged snapshot", "clean", put("sample-0/00000000000000000001.snapshot", "nonsense"), "warn", "producers", "sample-0/00000000000000000001.snapshot", "removed"},
		{"damaged topic id", "clean", put("sample-0/partition.metadata", "version: 0\n"), "fail", "topic id", "sample-0/partition.metadata", ""},
		{"another topic id", "clean", put("sample-1/partition.metadata", "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAABA"), "fail", "topic id", "sample-1/partition.metadata", "another"},
		{"no segments", "clean", put("empty-0/x", ""), "warn", "segments", "empty-0", "empty log"},
		{"foreign folder", "clean", put("notes/x", ""), "fail", "folder", "notes", "refuses"},
		{"deleted folder", "clean", put("t-0.0123-delete/x", ""), "warn", "folder", "t-0.0123-delete", "removed"},
		{"stray folder", "clean", put("t-0.0123-stray/x", ""), "warn", "folder", "t-0.0123-stray", "does not know"},
		{"future folder", "clean", put("t-0.0123-future/x", ""), "warn", "folder", "t-0.0123-future", "on its way"},
		{"unfinished compaction", "clean", put(segment(0, ".log.cleaned"), ""), "warn", "leftover", segment(0, ".log.cleaned"), "removes it"},
		{"unfinished swap", "clean", put(segment(0, ".log.swap"), ""), "warn", "leftover", segment(0, ".log.swap"), "completes"},
		{"no quorum-state", "clean", put("__cluster_metadata-0/partition.metadata", "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ"), "warn", "quorum", "__cluster_metadata-0/quorum-state", "missing"},
		{"damaged quorum-state", "clean", put("__cluster_metadata-0/quorum-state", "{"), "fail", "quorum", "__cluster_metadata-0/quorum-state", "vote"},
		{"damaged metadata snapshot", "clean", put("__cluster_metadata-0/00000000000000000007-0000000001.checkpoint", "nonsense"), "fail", "quorum", "__cluster_metadata-0/00000000000000000007-0000000001.checkpoint", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := apacheDir(t, c.kind)
			c.damage(t, dir)
			before := content(t, dir)
			code, out := runDoctor(t, "--json", dir)
			var got struct{ Directories []diagnosis }
			if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Directories) != 1 {
				t.Fatalf("%v in\n%s", err, out)
			}
			d := got.Directories[0]
			if (code == 1) != (d.Failed > 0) || code > 1 {
				t.Errorf("exit code %d with %d failed", code, d.Failed)
			}
			found := false
			for _, f := range d.Checks {
				found = found || f.Verdict == c.verdict && f.Check == c.check && f.Subject == c.file && strings.Contains(f.Detail+" "+f.Action, c.says)
			}
			if !found {
				t.Errorf("%s of %s %s %q is not among\n%s", c.verdict, c.check, c.file, c.says, out)
			}
			for name, b := range content(t, dir) {
				if before[name] != b {
					t.Errorf("%s was changed", name)
				}
				delete(before, name)
			}
			for name := range before {
				t.Errorf("%s was removed", name)
			}
		})
	}
}

// TestDoctorFindsNothingInOrder: what Apache Kafka left after a clean stop, and after a
// kill, passes.
func TestDoctorFindsNothingInOrder(t *testing.T) {
	for _, args := range [][]string{{"--verbose"}, {"--verbose", "--quick"}} {
		for _, kind := range []string{"clean", "unclean"} {
			code, out := runDoctor(t, append(args, apacheDir(t, kind))...)
			if code != 0 || !strings.Contains(out, "pass  partition sample-0: 3 segments") || !strings.Contains(out, " 0 failed\n") {
				t.Errorf("%s %v: exit code %d\n%s", kind, args, code, out)
			}
		}
	}
	if code, out := runDoctor(t); code != 1 || !strings.Contains(out, "usage") {
		t.Errorf("without a directory: exit code %d\n%s", code, out)
	}
	if code, _ := runDoctor(t, filepath.Join(t.TempDir(), "nothing")); code != 1 {
		t.Errorf("a directory that does not exist: exit code %d", code)
	}
}
