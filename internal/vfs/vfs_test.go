package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// eachFS runs a test on the machine's file system and on one in memory, each in an empty directory.
func eachFS(t *testing.T, test func(t *testing.T, fsys FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, OS(), t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := NewMem()
		must(t, m.MkdirAll("/data/dir", 0o755))
		test(t, m, "/data/dir")
	})
	t.Run("wrapped", func(t *testing.T) {
		m := NewMem()
		must(t, m.MkdirAll("d", 0o755))
		test(t, NewTrace(NewFault(m), func(string) {}), "d")
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// create makes a file with content and returns it open.
func create(t testing.TB, fsys FS, name, content string) File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	must(t, err)
	if content != "" {
		_, err = f.WriteAt([]byte(content), 0)
		must(t, err)
	}
	return f
}

func names(t *testing.T, fsys FS, dir string) []string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	must(t, err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestFileOperations(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "a")
		f := create(t, fsys, name, "hello")
		if f.Name() != name {
			t.Fatalf("name %q", f.Name())
		}
		_, err := f.WriteAt([]byte("world"), 10000)
		must(t, err)
		b := make([]byte, 6)
		if n, err := f.ReadAt(b, 3); n != 6 || err != nil || string(b) != "lo\x00\x00\x00\x00" {
			t.Fatalf("read %q, %v", b[:n], err)
		}
		if n, err := f.ReadAt(b, 10001); n != 4 || err != io.EOF {
			t.Fatalf("at the end: %d, %v", n, err)
		}
		if n, err := f.ReadAt(b, 99999); n != 0 || err != io.EOF {
			t.Fatalf("beyond the end: %d, %v", n, err)
		}
		must(t, f.Truncate(2))
		must(t, f.Truncate(4))
		must(t, f.Sync())
		must(t, f.Preallocate(3))
		if size, err := f.Size(); size != 4 || err != nil {
			t.Fatalf("size %d, %v", size, err)
		}
		must(t, f.Preallocate(6))
		must(t, f.Close())
		if _, err := f.ReadAt(b, 0); !errors.Is(err, fs.ErrClosed) {
			t.Fatalf("read after Close: %v", err)
		}
		if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
			t.Fatalf("second Close: %v", err)
		}
		got, err := ReadFile(fsys, name)
		if err != nil || string(got) != "he\x00\x00\x00\x00" {
			t.Fatalf("content %q, %v", got, err)
		}
	})
}

// TestChtimes: the time stays until the file is written again, under any name.
func TestChtimes(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		if err := fsys.Chtimes(a, time.UnixMilli(1)); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("of a missing file: %v", err)
		}
		must(t, create(t, fsys, a, "content").Close())
		want := time.UnixMilli(1_600_000_000_123)
		must(t, fsys.Chtimes(a, want))
		must(t, fsys.Rename(a, b))
		info, err := fsys.Stat(b)
		must(t, err)
		if !info.ModTime().Equal(want) {
			t.Fatalf("modified at %v, want %v", info.ModTime(), want)
		}
		must(t, create(t, fsys, b, "more").Close())
		if info, err = fsys.Stat(b); err != nil || info.ModTime().Equal(want) {
			t.Fatalf("modified at %v after a write, %v", info.ModTime(), err)
		}
	})
}

// TestGrow checks the way of Preallocate that only makes the file longer.
func TestGrow(t *testing.T) {
	f := create(t, OS(), filepath.Join(t.TempDir(), "f"), "content").(*osFile)
	defer f.Close()
	for _, tc := range []struct{ n, want int64 }{{3, 7}, {100, 100}, {100, 100}, {50, 100}} {
		must(t, growTo(f, tc.n))
		if size, err := f.Size(); size != tc.want || err != nil {
			t.Fatalf("size %d after %d, %v", size, tc.n, err)
		}
	}
}

func TestOpenFlags(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "a")
		if _, err := fsys.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("open of a missing file: %v", err)
		}
		must(t, create(t, fsys, name, "old").Close())
		if _, err := fsys.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644); !errors.Is(err, fs.ErrExist) {
			t.Fatalf("exclusive create: %v", err)
		}
		if _, err := fsys.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0o644); !errors.Is(err, fs.ErrInvalid) {
			t.Fatalf("append: %v", err)
		}
		f, err := fsys.Open(name)
		must(t, err)
		if _, err := f.WriteAt([]byte("x"), 0); err == nil {
			t.Fatal("a file opened for reading was written")
		}
		must(t, f.Close())
		f, err = fsys.OpenFile(name, os.O_RDWR|os.O_TRUNC, 0)
		must(t, err)
		if size, _ := f.Size(); size != 0 {
			t.Fatalf("size %d after O_TRUNC", size)
		}
		must(t, f.Close())
	})
}

func TestDirectories(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		in := func(name string) string { return filepath.Join(dir, name) }
		must(t, fsys.MkdirAll(in("x/y"), 0o755))
		must(t, create(t, fsys, in("x/y/f"), "f").Close())
		must(t, create(t, fsys, in("g"), "g").Close())
		must(t, fsys.Rename(in("x"), in("z")))
		must(t, fsys.Rename(in("g"), in("z/y/f")))
		if got := names(t, fsys, dir); !slices.Equal(got, []string{"z"}) {
			t.Fatalf("entries %v", got)
		}
		if b, err := ReadFile(fsys, in("z/y/f")); string(b) != "g" || err != nil {
			t.Fatalf("content %q, %v", b, err)
		}
		for what, err := range map[string]error{
			"remove of a full directory": fsys.Remove(in("z/y")),
			"mkdir below a file":         fsys.MkdirAll(in("z/y/f/d"), 0o755),
			"rename into itself":         fsys.Rename(in("z"), in("z/y/z")),
			"rename of nothing":          fsys.Rename(in("no"), in("yes")),
			"remove of nothing":          fsys.Remove(in("no")),
			"file over directory":        fsys.Rename(in("z/y/f"), in("z")),
			"syncdir of nothing":         fsys.SyncDir(in("no")),
		} {
			if err == nil {
				t.Errorf("no error: %s", what)
			}
		}
		must(t, fsys.SyncDir(dir))
		info, err := fsys.Stat(in("z"))
		if err != nil || !info.IsDir() || info.Name() != "z" {
			t.Fatalf("stat %v, %v", info, err)
		}
		if ok, err := Exists(fsys, in("z/y/f")); !ok || err != nil {
			t.Fatalf("exists %v, %v", ok, err)
		}
		must(t, fsys.RemoveAll(in("z")))
		must(t, fsys.RemoveAll(in("z")))
		if ok, err := Exists(fsys, in("z")); ok || err != nil {
			t.Fatalf("exists %v, %v after RemoveAll", ok, err)
		}
	})
}

func TestLockExcludes(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, ".lock")
		held, err := fsys.Lock(name)
		must(t, err)
		if _, err := fsys.Lock(name); !errors.Is(err, ErrLocked) {
			t.Fatalf("second lock: %v", err)
		}
		must(t, held.Close())
		again, err := fsys.Lock(name)
		must(t, err)
		must(t, again.Close())
	})
}

func TestSpace(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		s, err := fsys.Space(dir)
		if err != nil || s.Total <= 0 || s.Usable < 0 || s.Usable > s.Total {
			t.Fatalf("%+v, %v", s, err)
		}
		if _, err := fsys.Space(filepath.Join(dir, "no")); err == nil {
			t.Fatal("space of a missing directory")
		}
	})
}

func TestWriteFileAtomic(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "checkpoint")
		for _, content := range []string{"first", "", "a longer second"} {
			must(t, WriteFileAtomic(fsys, name, []byte(content)))
			if got, err := ReadFile(fsys, name); string(got) != content || err != nil {
				t.Fatalf("content %q, %v", got, err)
			}
		}
		if got := names(t, fsys, dir); len(got) != 1 {
			t.Fatalf("left behind: %v", got)
		}
	})
}

// TestMemAgainstBytes drives one file of Mem beside a plain slice.
func TestMemAgainstBytes(t *testing.T) {
	for seed := range int64(20) {
		rng := rand.New(rand.NewSource(seed))
		f := create(t, NewMem(), "f", "")
		var want []byte
		for range 300 {
			off := rng.Intn(20000)
			switch rng.Intn(6) {
			case 0:
				must(t, f.Truncate(int64(off)))
				want = append(want, make([]byte, max(0, off-len(want)))...)[:off]
			case 1:
				must(t, f.Sync())
			default:
				if rng.Intn(2) == 0 {
					off = len(want)
				}
				data := make([]byte, rng.Intn(6000))
				rng.Read(data)
				_, err := f.WriteAt(data, int64(off))
				must(t, err)
				if len(data) > 0 {
					want = append(want, make([]byte, max(0, off+len(data)-len(want)))...)
				}
				copy(want[min(off, len(want)):], data)
			}
			got := make([]byte, len(want)+10)
			n, err := f.ReadAt(got, 0)
			if err != io.EOF || !bytes.Equal(got[:n], want) {
				t.Fatalf("seed %d: %d bytes differ from the model's %d, %v", seed, n, len(want), err)
			}
		}
	}
}
