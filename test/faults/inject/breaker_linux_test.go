package inject

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// victimDir makes the test binary the victim.
const victimDir = "GREGOR_TEST_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		os.Exit(victim(dir))
	}
	os.Exit(m.Run())
}

// victim writes a file, renames it and removes another, and says how each went.
func victim(dir string) int {
	v, err := Surrender(3)
	if err == nil {
		// Calls before this one are not counted.
		os.WriteFile(filepath.Join(dir, "other"), []byte("x"), 0o644)
		err = v.Arm()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	f, err := os.Create(filepath.Join(dir, "file")) // call 1
	fmt.Println("create", err == nil)
	if err == nil {
		_, err = f.WriteAt([]byte("0123456789"), 0) // call 2
		fmt.Println("write", err == nil)
		fmt.Println("sync", f.Sync() == nil) // call 3
	}
	fmt.Println("rename", os.Rename(filepath.Join(dir, "file"), filepath.Join(dir, "renamed")) == nil) // call 4
	fmt.Println("remove", os.Remove(filepath.Join(dir, "other")) == nil)                               // call 5
	return 0
}

// TestBreaks breaks one call after the other in each way.
func TestBreaks(t *testing.T) {
	const all = "create true\nwrite true\nsync true\nrename true\nremove true\n"
	for _, tc := range []struct {
		how    How
		n      int
		out    string // what the victim said
		exists string // what is left of the file under its old and its new name, and of the other
		hit    string
	}{
		{None, 0, all, "- 0123456789 -", ""},
		{Kill, 1, "", "- - x", "openat"},
		{Kill, 2, "create true\n", " - x", "pwrite64"},
		{Kill, 3, "create true\nwrite true\n", "0123456789 - x", "fsync"},
		{Kill, 4, "create true\nwrite true\nsync true\n", "0123456789 - x", "renameat"},
		{Kill, 5, "create true\nwrite true\nsync true\nrename true\n", "- 0123456789 x", "unlinkat"},
		{Kill, 6, all, "- 0123456789 -", ""},
		{Torn, 1, "create true\n", "01234 - x", "pwrite64"},
		{EIO, 2, "create true\nwrite false\nsync true\nrename true\nremove true\n", "-  -", "pwrite64"},
		{EIO, 3, "create true\nwrite true\nsync false\nrename true\nremove true\n", "- 0123456789 -", "fsync"},
		{ENOSPC, 4, "create true\nwrite true\nsync true\nrename false\nremove true\n", "0123456789 - -", "renameat"},
		{EMFILE, 1, "create false\nrename false\nremove true\n", "- - -", "openat"},
		{Lost, 1, all, "-  -", "pwrite64"},
	} {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), victimDir+"="+dir)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		r, err := Run(cmd, Plan{Under: dir, How: tc.how, N: tc.n}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "installing the filter") {
			t.Skipf("system calls are broken by the notifications of seccomp, which this kernel (before Linux 5.19) or container refuses: %s", out.String())
		}
		exists := ""
		for _, name := range []string{"file", "renamed", "other"} {
			text := "-"
			if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
				text = string(b)
			}
			exists += " " + text
		}
		hit := ""
		if r.Hit != nil {
			hit = r.Hit.Name
		}
		if out.String() != tc.out || exists[1:] != tc.exists || hit != tc.hit {
			t.Errorf("%s of call %d: %q, left %q, hit %q; want %q, %q, %q", tc.how, tc.n, out.String(), exists[1:], hit, tc.out, tc.exists, tc.hit)
		}
		if killed := (tc.how == Kill || tc.how == Torn) && hit != ""; killed != (r.Exit != nil) {
			t.Errorf("%s of call %d: the process ended with %v", tc.how, tc.n, r.Exit)
		}
		if tc.how == None && r.Counted[Kill] != 5 {
			t.Errorf("%d calls were counted", r.Counted[Kill])
		}
	}
}

// TestLateVictim: a process that does not end is ended.
func TestLateVictim(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if _, err := Run(cmd, Plan{Under: t.TempDir()}, 10*time.Millisecond); err == nil {
		t.Error("a process that hands nothing over is served")
	}
}
