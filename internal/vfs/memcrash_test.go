package vfs

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// dump writes a whole tree down as text.
func dump(t testing.TB, fsys FS, dir string) string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	must(t, err)
	var out strings.Builder
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if e.IsDir() {
			fmt.Fprintf(&out, "%s/\n%s", name, dump(t, fsys, name))
			continue
		}
		b, err := ReadFile(fsys, name)
		must(t, err)
		fmt.Fprintf(&out, "%s %q\n", name, b)
	}
	return out.String()
}

// outcomes crashes m in many ways and returns how often each dump came out.
func outcomes(t testing.TB, m *Mem, n int) map[string]int {
	t.Helper()
	found := map[string]int{}
	for seed := range int64(n) {
		found[dump(t, m.Crash(rand.New(rand.NewSource(seed)), PowerLoss), "/")]++
	}
	return found
}

// expectOutcomes checks that exactly the given dumps come out of n crashes.
func expectOutcomes(t *testing.T, m *Mem, n int, want ...string) {
	t.Helper()
	found := outcomes(t, m, n)
	for _, w := range want {
		if found[w] == 0 {
			t.Errorf("never came out:\n%s", w)
		}
		delete(found, w)
	}
	for got := range found {
		t.Errorf("must not come out:\n%s", got)
	}
}

// synced makes a durable file.
func synced(t testing.TB, m *Mem, name, content string) File {
	t.Helper()
	f := create(t, m, name, content)
	must(t, f.Sync())
	must(t, m.SyncDir(path.Dir(name)))
	return f
}

func TestPowerLossEntries(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(t *testing.T, m *Mem)
		want []string
	}{
		{"synced file stays", func(t *testing.T, m *Mem) { synced(t, m, "/a", "x") }, []string{"/a \"x\"\n"}},
		{"content without entry", func(t *testing.T, m *Mem) {
			must(t, create(t, m, "/a", "x").Sync())
		}, []string{"", "/a \"x\"\n"}},
		{"entry without content", func(t *testing.T, m *Mem) {
			create(t, m, "/a", "x")
			must(t, m.SyncDir("/"))
		}, []string{"/a \"\"\n", "/a \"x\"\n", "/a \"\\x00\"\n"}},
		{"removed without sync", func(t *testing.T, m *Mem) {
			synced(t, m, "/a", "x")
			must(t, m.Remove("/a"))
		}, []string{"", "/a \"x\"\n"}},
		{"removed for good", func(t *testing.T, m *Mem) {
			synced(t, m, "/a", "x")
			must(t, m.Remove("/a"))
			must(t, m.SyncDir("/"))
		}, []string{""}},
		{"rename is atomic", func(t *testing.T, m *Mem) {
			synced(t, m, "/a", "new")
			synced(t, m, "/b", "old")
			must(t, m.Rename("/a", "/b"))
		}, []string{"/a \"new\"\n/b \"old\"\n", "/b \"new\"\n"}},
		{"atomic write", func(t *testing.T, m *Mem) {
			synced(t, m, "/b", "old")
			must(t, writeSynced(m, "/b.tmp", []byte("new")))
			must(t, m.Rename("/b.tmp", "/b"))
		}, []string{"/b \"old\"\n", "/b \"old\"\n/b.tmp \"new\"\n", "/b \"new\"\n"}},
		{"atomic write done", func(t *testing.T, m *Mem) {
			synced(t, m, "/b", "old")
			must(t, WriteFileAtomic(m, "/b", []byte("new")))
		}, []string{"/b \"new\"\n"}},
		{"independent removals", func(t *testing.T, m *Mem) {
			synced(t, m, "/a", "1")
			synced(t, m, "/b", "2")
			must(t, m.Remove("/a"))
			must(t, m.Remove("/b"))
		}, []string{"", "/a \"1\"\n", "/b \"2\"\n", "/a \"1\"\n/b \"2\"\n"}},
		{"directory of an unsynced parent", func(t *testing.T, m *Mem) {
			must(t, m.MkdirAll("/d", 0o755))
			synced(t, m, "/d/a", "x")
		}, []string{"", "/d/\n/d/a \"x\"\n"}},
		{"rename across directories", func(t *testing.T, m *Mem) {
			must(t, m.MkdirAll("/d", 0o755))
			must(t, m.MkdirAll("/e", 0o755))
			must(t, m.SyncDir("/"))
			must(t, create(t, m, "/d/a", "x").Sync())
			must(t, m.Rename("/d/a", "/e/a"))
			must(t, m.SyncDir("/e"))
		}, []string{"/d/\n/e/\n/e/a \"x\"\n"}},
		{"name used twice", func(t *testing.T, m *Mem) {
			synced(t, m, "/a", "1")
			must(t, m.Remove("/a"))
			must(t, create(t, m, "/a", "2").Sync())
		}, []string{"", "/a \"1\"\n", "/a \"2\"\n"}},
		{"renamed twice", func(t *testing.T, m *Mem) {
			synced(t, m, "/a", "x")
			must(t, m.Rename("/a", "/b"))
			must(t, m.Rename("/b", "/c"))
		}, []string{"/a \"x\"\n", "/b \"x\"\n", "/c \"x\"\n"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := NewMem()
			tc.do(t, m)
			expectOutcomes(t, m, 300, tc.want...)
		})
	}
}

// TestPowerLossAppends checks what may become of a durable prefix and unsynced appends: never a byte of the prefix
// changes, and each of the promised kinds of loss is seen.
func TestPowerLossAppends(t *testing.T) {
	m := NewMem()
	prefix := bytes.Repeat([]byte("p"), 5000)
	f := synced(t, m, "/log", string(prefix))
	whole := slices.Clone(prefix)
	for i := range 10 {
		batch := bytes.Repeat([]byte{byte('a' + i)}, 1700)
		_, err := f.WriteAt(batch, int64(len(whole)))
		must(t, err)
		whole = append(whole, batch...)
	}
	seen := map[string]bool{}
	for seed := range int64(2000) {
		after := m.Crash(rand.New(rand.NewSource(seed)), PowerLoss)
		got, err := ReadFile(after, "/log")
		must(t, err)
		if len(got) < len(prefix) || !bytes.Equal(got[:len(prefix)], prefix) {
			t.Fatalf("seed %d: the synced prefix was lost", seed)
		}
		if len(got) > len(whole) {
			t.Fatalf("seed %d: %d bytes, %d were written", seed, len(got), len(whole))
		}
		for i := range got {
			if got[i] != whole[i] && got[i] != 0 {
				t.Fatalf("seed %d: byte %d is %q, never written there", seed, i, got[i])
			}
		}
		f, err := after.OpenFile("/log", os.O_RDWR, 0)
		must(t, err)
		must(t, f.Truncate(int64(len(got))+memPage))
		tail := make([]byte, memPage)
		if _, err := f.ReadAt(tail, int64(len(got))); err != nil || bytes.Trim(tail, "\x00") != nil {
			t.Fatalf("seed %d: what the size cut off came back, %v", seed, err)
		}
		firstHole := bytes.IndexByte(got, 0)
		if firstHole > len(prefix) && (firstHole-len(prefix))%1700 == 0 {
			seen["page of between two writes"] = true
		}
		switch {
		case len(got) == len(prefix):
			seen["lost wholly"] = true
		case bytes.Equal(got, whole):
			seen["kept wholly"] = true
		case firstHole < 0:
			seen["kept a prefix"] = true
			if (len(got)-len(prefix))%1700 == 0 {
				seen["cut between writes"] = true
			}
		case bytes.TrimLeft(got[firstHole:], "\x00") != nil:
			seen["out of order"] = true
		default:
			seen["zeros at the end"] = true
		}
	}
	if len(seen) != 7 {
		t.Fatalf("only seen: %v", seen)
	}
}

// TestPowerLossOverwrites checks that an overwritten page is a mix of what was ever there, in whole sectors, and that
// states between occur.
func TestPowerLossOverwrites(t *testing.T) {
	m := NewMem()
	f := synced(t, m, "/f", strings.Repeat("1", memPage))
	for _, s := range []string{"2", "3"} {
		_, err := f.WriteAt([]byte(strings.Repeat(s, memPage)), 0)
		must(t, err)
	}
	torn, versions := false, map[byte]bool{}
	for seed := range int64(500) {
		got, err := ReadFile(m.Crash(rand.New(rand.NewSource(seed)), PowerLoss), "/f")
		must(t, err)
		if len(got) != memPage {
			t.Fatalf("seed %d: size %d", seed, len(got))
		}
		for i := 0; i < memPage; i += 512 {
			sector := got[i : i+512]
			if !bytes.Equal(sector, bytes.Repeat(sector[:1], 512)) {
				t.Fatalf("seed %d: a torn sector", seed)
			}
			versions[sector[0]] = true
			torn = torn || sector[0] != got[0]
		}
	}
	if !torn || len(versions) != 3 {
		t.Fatalf("torn %v, versions %v", torn, versions)
	}
}

// TestPowerLossTruncate checks that a truncated file may have its old size, and that bytes cut off may come back only
// there.
func TestPowerLossTruncate(t *testing.T) {
	m := NewMem()
	f := synced(t, m, "/f", "abcdef")
	must(t, f.Truncate(2))
	must(t, f.Truncate(4))
	found := outcomes(t, m, 500)
	for _, want := range []string{"/f \"abcdef\"\n", "/f \"ab\"\n", "/f \"ab\\x00\\x00\"\n"} {
		if found[want] == 0 {
			t.Errorf("never came out: %s", want)
		}
	}
	must(t, f.Sync())
	expectOutcomes(t, m, 100, "/f \"ab\\x00\\x00\"\n")
}

// scribble does random operations on a few files and directories.
func scribble(t testing.TB, m *Mem, seed int64, n int) {
	rng := rand.New(rand.NewSource(seed))
	open := map[string]File{}
	for range n {
		name := fmt.Sprintf("/d%d/f%d", rng.Intn(3), rng.Intn(4))
		must(t, m.MkdirAll(path.Dir(name), 0o755))
		switch rng.Intn(8) {
		case 0:
			must(t, m.SyncDir(path.Dir(name)))
		case 1:
			must(t, m.RemoveAll(name))
			delete(open, name)
		case 2:
			other := fmt.Sprintf("/d%d/f%d", rng.Intn(3), rng.Intn(4))
			if open[name] != nil && m.Rename(name, other) == nil && name != other {
				open[other] = open[name]
				delete(open, name)
			}
		case 3:
			if f := open[name]; f != nil {
				must(t, f.Sync())
			}
		case 4:
			if f := open[name]; f != nil {
				must(t, f.Truncate(int64(rng.Intn(9000))))
			}
		case 5:
			must(t, m.SyncDir("/"))
		default:
			f := open[name]
			if f == nil {
				f = create(t, m, name, "")
				open[name] = f
			}
			data := make([]byte, rng.Intn(3000))
			rng.Read(data)
			_, err := f.WriteAt(data, int64(rng.Intn(9000)))
			must(t, err)
		}
	}
}

func TestCrashRepeatsAndIsIndependent(t *testing.T) {
	for seed := range int64(8) {
		m := NewMem()
		scribble(t, m, seed, 200)
		before := dump(t, m, "/")
		a := m.Crash(rand.New(rand.NewSource(seed)), PowerLoss)
		b := m.Crash(rand.New(rand.NewSource(seed)), PowerLoss)
		first := dump(t, a, "/")
		if first != dump(t, b, "/") {
			t.Fatalf("seed %d: two crashes differ", seed)
		}
		if again := dump(t, a.Crash(rand.New(rand.NewSource(seed+1)), PowerLoss), "/"); again != first {
			t.Fatalf("seed %d: what survived a power loss did not survive the next", seed)
		}
		scribble(t, a, seed+100, 200)
		if dump(t, m, "/") != before || dump(t, b, "/") != first {
			t.Fatalf("seed %d: a write shows through to another file system", seed)
		}
		scribble(t, m, seed+200, 200)
		if dump(t, b, "/") != first {
			t.Fatalf("seed %d: a write shows through to a crashed file system", seed)
		}
	}
}

func TestProcessKillKeepsEverything(t *testing.T) {
	for seed := range int64(8) {
		m := NewMem()
		scribble(t, m, seed, 200)
		killed := m.Crash(nil, ProcessKill)
		if dump(t, killed, "/") != dump(t, m, "/") {
			t.Fatalf("seed %d: a killed process lost writes", seed)
		}
		var losses []string
		for loss := range int64(5) {
			a := dump(t, m.Crash(rand.New(rand.NewSource(loss)), PowerLoss), "/")
			b := dump(t, killed.Crash(rand.New(rand.NewSource(loss)), PowerLoss), "/")
			if a != b {
				t.Fatalf("seed %d: what was unsynced before the kill is something else after it", seed)
			}
			losses = append(losses, a)
		}
		scribble(t, killed, seed+100, 100)
		for loss, before := range losses {
			if dump(t, m.Crash(rand.New(rand.NewSource(int64(loss))), PowerLoss), "/") != before {
				t.Fatalf("seed %d: writes after the kill changed the history of before it", seed)
			}
		}
		if lock, err := killed.Lock("/l"); err != nil {
			t.Fatal(err)
		} else {
			lock.Close()
		}
	}
}

// TestSyncedStateSurvives checks the promise itself after random histories: sync everything, then no crash loses a byte.
func TestSyncedStateSurvives(t *testing.T) {
	for seed := range int64(8) {
		m := NewMem()
		scribble(t, m, seed, 150)
		for _, dir := range names(t, m, "/") {
			for _, name := range names(t, m, "/"+dir) {
				f, err := m.OpenFile("/"+dir+"/"+name, os.O_RDWR, 0)
				must(t, err)
				must(t, f.Sync())
			}
			must(t, m.SyncDir("/"+dir))
		}
		must(t, m.SyncDir("/"))
		expectOutcomes(t, m, 15, dump(t, m, "/"))
		if len(m.pending) != 0 {
			t.Fatalf("seed %d: %d changes are pending", seed, len(m.pending))
		}
	}
}

// TestPendingIsForgotten checks that changes inside a directory that is gone for good are not kept for ever.
func TestPendingIsForgotten(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("/a/b", 0o755))
	synced(t, m, "/a/b/f", "x")
	must(t, m.SyncDir("/a"))
	must(t, m.SyncDir("/"))
	create(t, m, "/a/b/g", "never synced")
	must(t, m.RemoveAll("/a"))
	if len(m.pending) != 5 {
		t.Fatalf("%d changes are pending, want one create and four removals", len(m.pending))
	}
	must(t, m.SyncDir("/"))
	if len(m.pending) != 0 {
		t.Fatalf("%d changes are pending", len(m.pending))
	}
}

func TestCrashFreesLocks(t *testing.T) {
	m := NewMem()
	if _, err := m.Lock("/l"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Crash(nil, ProcessKill).Lock("/l"); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkCrash crashes a broker-like disk: 50 files, 8 MiB, a few of them with unsynced tails.
func BenchmarkCrash(b *testing.B) {
	m := NewMem()
	for d := range 10 {
		dir := fmt.Sprintf("/t-%d", d)
		must(b, m.MkdirAll(dir, 0o755))
		for i := range 5 {
			f := synced(b, m, fmt.Sprintf("%s/%d.log", dir, i), strings.Repeat("x", 160<<10))
			if i == 0 {
				for j := range 100 {
					_, err := f.WriteAt(make([]byte, 100), int64(160<<10+j*100))
					must(b, err)
				}
			}
		}
	}
	must(b, m.SyncDir("/"))
	rng := rand.New(rand.NewSource(1))
	b.ReportAllocs()
	for b.Loop() {
		m.Crash(rng, PowerLoss)
	}
}
