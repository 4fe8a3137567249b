package main

import (
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// resident is how many pages of a file the page cache holds.
func resident(t *testing.T, name string) (n int) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	page := os.Getpagesize()
	vec := make([]byte, (len(m)+page-1)/page)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&vec[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for _, b := range vec {
		n += int(b & 1)
	}
	return n
}

// TestEvict: what row 4b reads is not in memory, or the row ends with an error.
func TestEvict(t *testing.T) {
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "cold-3"), 0o755); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "cold-3", "00000000000000000000.log")
	if err := os.WriteFile(name, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if resident(t, name) == 0 {
		t.Fatal("a file that was just written is not in the page cache")
	}
	err := evict(dir, "cold")
	if fs.Type == unix.TMPFS_MAGIC {
		if err == nil {
			t.Error("files of a tmpfs were evicted, which are nowhere else")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := resident(t, name); n != 0 {
		t.Errorf("%d pages are left", n)
	}
	if evict(dir, "hot") == nil {
		t.Error("a topic that is not there was evicted")
	}
}

func TestDeviceBytes(t *testing.T) {
	if _, err := deviceBytes(os.Getpid()); err != nil {
		t.Error(err)
	}
	if _, err := deviceBytes(-1); err == nil {
		t.Error("a process that is not there has read")
	}
}

// TestVerdicts: goals are ratios to Apache Kafka, or bounds of our own figures.
func TestVerdicts(t *testing.T) {
	samples := map[string][]float64{gregor: {1, 2, 3}, kafka: {10, 10, 10}}
	for _, c := range []struct {
		l             line
		goal, verdict string
	}{
		{line{Lower: true, Goal: 0.25}, "<= 1/4", "met"},
		{line{Lower: true, Goal: 0.1}, "<= 1/10.0", "missed"},
		{line{Goal: 3}, ">= 3x", "missed"},
		{line{Lower: true, Goal: 2, Absolute: true}, "<= 2", "met"},
		{line{Lower: true, Goal: 1.2, Absolute: true}, "<= 1.2", "missed"},
		{line{Goal: 0.9, Absolute: true}, ">= 0.9", "met"},
		{line{Goal: 2.5, Absolute: true}, ">= 2.5", "missed"},
		{line{Absolute: true}, "", ""},
	} {
		c.l.Samples = samples
		if c.l.goal() != c.goal || c.l.verdict() != c.verdict {
			t.Errorf("%+v: %q, %q, want %q, %q", c.l, c.l.goal(), c.l.verdict(), c.goal, c.verdict)
		}
	}
}
