package inject

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Victim is the process whose calls are broken, as it sees itself.
type Victim struct{ control *os.File }

// Surrender puts every call of calls on this process's threads, now and later, into
// the hands of whoever holds the other end of the socket fd.
func Surrender(fd int) (*Victim, error) {
	// The whole process gets the filter, or none of it.
	listener, err := installFilter()
	if err != nil {
		return nil, fmt.Errorf("installing the filter of system calls: %w", err)
	}
	if err := unix.Sendmsg(fd, []byte{'F'}, unix.UnixRights(listener), nil, 0); err != nil {
		return nil, fmt.Errorf("handing over the filter: %w", err)
	}
	unix.Close(listener)
	v := &Victim{control: os.NewFile(uintptr(fd), "control")}
	return v, v.wait()
}

// Arm says that from here on calls count, and returns when the other side knows it.
func (v *Victim) Arm() error {
	if _, err := v.control.Write([]byte{'A'}); err != nil {
		return err
	}
	return v.wait()
}

func (v *Victim) wait() error {
	var b [1]byte
	_, err := v.control.Read(b[:])
	return err
}

// auditArch is how seccomp calls the machine.
var auditArch = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// Offsets in struct seccomp_data.
const (
	dataNr   = 0
	dataArch = 4
)

const retUserNotif = 0x7fc00000

// installFilter makes the calls of the list wait for a listener, whose descriptor it
// returns; all others are as before.
func installFilter() (int, error) {
	arch, ok := auditArch[runtime.GOARCH]
	if !ok {
		return 0, fmt.Errorf("the processor %s is not known", runtime.GOARCH)
	}
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	ret := func(k uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}
	}
	equal := func(k uint32, yes, no int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: uint8(yes), Jf: uint8(no)}
	}
	prog := []unix.SockFilter{load(dataArch), equal(arch, 1, 0), ret(unix.SECCOMP_RET_ALLOW), load(dataNr)}
	for i, c := range calls {
		// Behind the remaining comparisons stand "allow" and "notify".
		prog = append(prog, equal(uint32(c.nr), len(calls)-i, 0))
	}
	prog = append(prog, ret(unix.SECCOMP_RET_ALLOW), ret(retUserNotif))
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	p := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	flags := unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH |
		unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV // a signal must not make a call come twice
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&p)))
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}
