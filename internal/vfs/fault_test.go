package vfs

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"
)

func TestFaultRules(t *testing.T) {
	for _, tc := range []struct {
		name string
		rule Rule
		want []bool // which of five writes to x.log fail
	}{
		{"first", Rule{Op: OpWrite}, []bool{true, false, false, false, false}},
		{"third", Rule{Op: OpWrite, Nth: 3}, []bool{false, false, true, false, false}},
		{"two from the second", Rule{Op: OpWrite, Nth: 2, Times: 2}, []bool{false, true, true, false, false}},
		{"from the fourth on", Rule{Op: OpWrite, Nth: 4, Times: -1}, []bool{false, false, false, true, true}},
		{"by base name", Rule{Op: OpWrite, Path: "*.log"}, []bool{true, false, false, false, false}},
		{"by whole name", Rule{Op: OpWrite, Path: "d/x*"}, []bool{true, false, false, false, false}},
		{"other file", Rule{Op: OpWrite, Path: "*.index"}, make([]bool, 5)},
		{"other operation", Rule{Op: OpSync}, make([]bool, 5)},
		{"bad glob", Rule{Op: OpWrite, Path: "["}, make([]bool, 5)},
		{"any", Rule{Op: OpAny, Nth: 5}, []bool{false, false, false, false, true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fault := NewFault(NewMem())
			must(t, fault.MkdirAll("d", 0o755))
			f := create(t, fault, "d/x.log", "")
			tc.rule.Err = syscall.EIO
			fault.Add(tc.rule)
			var got []bool
			for range 5 {
				_, err := f.WriteAt([]byte("x"), 0)
				if err != nil && !errors.Is(err, syscall.EIO) {
					t.Fatalf("error %v", err)
				}
				got = append(got, err != nil)
			}
			if !slices.Equal(got, tc.want) {
				t.Fatalf("failed %v, want %v", got, tc.want)
			}
			fault.Clear()
			if _, err := f.WriteAt([]byte("x"), 0); err != nil {
				t.Fatalf("after Clear: %v", err)
			}
			if n := fault.Calls(OpWrite); n != 6 {
				t.Fatalf("%d writes counted", n)
			}
		})
	}
}

func TestFaultShortWriteAndRead(t *testing.T) {
	fault := NewFault(NewMem())
	f := create(t, fault, "x", "")
	fault.Add(Rule{Op: OpWrite, Err: syscall.ENOSPC, Short: 3})
	if n, err := f.WriteAt([]byte("abcdef"), 0); n != 3 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if got, err := ReadFile(fault, "x"); string(got) != "abc" || err != nil {
		t.Fatalf("content %q, %v", got, err)
	}
	fault.Add(Rule{Op: OpRead, Err: syscall.EIO, Short: 2})
	b := make([]byte, 3)
	if n, err := f.ReadAt(b, 0); n != 2 || !errors.Is(err, syscall.EIO) || string(b[:2]) != "ab" {
		t.Fatalf("read %d, %v", n, err)
	}
}

// TestFaultReachesEveryOperation fails each kind of operation once.
func TestFaultReachesEveryOperation(t *testing.T) {
	calls := map[Op]func(fsys FS, f File) error{
		OpOpen:        func(fsys FS, f File) error { _, err := fsys.Open("x"); return err },
		OpCreate:      func(fsys FS, f File) error { _, err := fsys.OpenFile("y", os.O_CREATE|os.O_RDWR, 0o644); return err },
		OpRead:        func(fsys FS, f File) error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		OpWrite:       func(fsys FS, f File) error { _, err := f.WriteAt([]byte("x"), 0); return err },
		OpTruncate:    func(fsys FS, f File) error { return f.Truncate(0) },
		OpPreallocate: func(fsys FS, f File) error { return f.Preallocate(9) },
		OpSync:        func(fsys FS, f File) error { return f.Sync() },
		OpSize:        func(fsys FS, f File) error { _, err := f.Size(); return err },
		OpClose:       func(fsys FS, f File) error { return f.Close() },
		OpRename:      func(fsys FS, f File) error { return fsys.Rename("x", "z") },
		OpRemove:      func(fsys FS, f File) error { return fsys.Remove("x") },
		OpMkdir:       func(fsys FS, f File) error { return fsys.MkdirAll("d/e", 0o755) },
		OpReadDir:     func(fsys FS, f File) error { _, err := fsys.ReadDir("."); return err },
		OpStat:        func(fsys FS, f File) error { _, err := fsys.Stat("x"); return err },
		OpSyncDir:     func(fsys FS, f File) error { return fsys.SyncDir(".") },
		OpLock:        func(fsys FS, f File) error { _, err := fsys.Lock(".lock"); return err },
		OpChtimes:     func(fsys FS, f File) error { return fsys.Chtimes("x", time.Unix(1, 0)) },
	}
	if len(calls) != int(numOps)-1 {
		t.Fatalf("%d of %d kinds are tried", len(calls), numOps-1)
	}
	for op, call := range calls {
		fault := NewFault(NewMem())
		f := create(t, fault, "x", "content")
		fault.Add(Rule{Op: op, Err: syscall.EIO})
		if err := call(fault, f); !errors.Is(err, syscall.EIO) {
			t.Errorf("%v: %v", op, err)
		}
		if op == OpClose {
			continue
		}
		if err := call(fault, f); err != nil {
			t.Errorf("%v again: %v", op, err)
		}
	}
}

func TestFaultBefore(t *testing.T) {
	fault := NewFault(NewMem())
	f := create(t, fault, "d.log", "")
	stalled, goOn := make(chan string), make(chan struct{})
	fault.Add(Rule{Op: OpSync, Before: func(op Op, name string) { stalled <- op.String() + " " + name; <-goOn }})
	done := make(chan error)
	go func() { done <- f.Sync() }()
	if got := <-stalled; got != "sync d.log" {
		t.Fatalf("stalled in %q", got)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal("another operation is stalled too")
	}
	close(goOn)
	must(t, <-done)
}

func TestTrace(t *testing.T) {
	var got []string
	fault := NewFault(NewMem())
	fsys := NewTrace(fault, func(op string) { got = append(got, op) })
	must(t, fsys.MkdirAll("t-0", 0o755))
	f := create(t, fsys, "t-0/00000.log", "seventy")
	must(t, f.Preallocate(100))
	must(t, f.Truncate(7))
	must(t, f.Sync())
	_, err := f.ReadAt(make([]byte, 1), 0)
	must(t, err)
	fault.Add(Rule{Op: OpWrite, Err: syscall.ENOSPC, Short: 2})
	f.WriteAt([]byte("more"), 7)
	fault.Add(Rule{Op: OpSync, Err: syscall.EIO})
	f.Sync()
	must(t, f.Close())
	must(t, WriteFileAtomic(fsys, "t-0/c", []byte("x")))
	must(t, WriteFileAtomic(fsys, "t-0/c", nil))
	create(t, fsys, "t-0/c", "")
	lock, err := fsys.Lock(".lock")
	must(t, err)
	must(t, lock.Close())
	must(t, fsys.Chtimes("t-0/c", time.Unix(1, 0)))
	must(t, fsys.Remove("t-0/c"))
	must(t, fsys.RemoveAll("t-0"))
	want := []string{
		"mkdir t-0",
		"create t-0/00000.log",
		"write t-0/00000.log off=0 len=7",
		"preallocate t-0/00000.log n=100",
		"truncate t-0/00000.log size=7",
		"sync t-0/00000.log",
		"write t-0/00000.log off=7 len=4 wrote=2 failed",
		"sync t-0/00000.log failed",
		"create t-0/c.tmp",
		"write t-0/c.tmp off=0 len=1",
		"sync t-0/c.tmp",
		"rename t-0/c.tmp t-0/c",
		"syncdir t-0",
		"create t-0/c.tmp",
		"sync t-0/c.tmp",
		"rename t-0/c.tmp t-0/c",
		"syncdir t-0",
		"lock .lock",
		"chtimes t-0/c",
		"remove t-0/c",
		"removeall t-0",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("trace:\n%q\nwant:\n%q", got, want)
	}
}
