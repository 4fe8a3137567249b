package inject

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call is a system call that changes files, or opens them.
type call struct {
	name   string
	nr     uintptr
	dirArg int // argument that is a directory's descriptor before the name, -1 if there is none
	fdArg  int // argument that is a file's descriptor, -1 if there is none
}

// calls are those by which Go's os package and vfs change files.
var calls = []call{
	{"openat", unix.SYS_OPENAT, 0, -1}, {"pwrite64", unix.SYS_PWRITE64, -1, 0},
	{"fdatasync", unix.SYS_FDATASYNC, -1, 0}, {"fsync", unix.SYS_FSYNC, -1, 0},
	{"renameat", unix.SYS_RENAMEAT, 2, -1}, {"unlinkat", unix.SYS_UNLINKAT, 0, -1},
	{"ftruncate", unix.SYS_FTRUNCATE, -1, 0}, {"mkdirat", unix.SYS_MKDIRAT, 0, -1},
	{"fallocate", unix.SYS_FALLOCATE, -1, 0},
}

// How a call is broken.
type How string

// Kill ends the process before the call, Torn after half of a write. EIO, ENOSPC and
// EMFILE are errors, and Lost makes a write seem to succeed that had no effect.
const (
	None   How = ""
	Kill   How = "kill"
	Torn   How = "torn"
	EIO    How = "EIO"
	ENOSPC How = "ENOSPC"
	EMFILE How = "EMFILE"
	Lost   How = "lost"
)

// Kinds are all faults.
var Kinds = []How{Kill, Torn, EIO, ENOSPC, EMFILE, Lost}

// Plan says which call is broken, and how.
type Plan struct {
	// Under is the directory whose files count.
	Under string
	How   How
	// N is the call that is broken, counted from 1 among those that How can break.
	N int
}

// Call is one call as it was seen.
type Call struct {
	Name string
	Path string // below Plan.Under
	// Opens is an openat that creates nothing.
	Opens bool
}

// Result is what became of a run.
type Result struct {
	// Counted are the calls that each kind of fault could have broken, in a process
	// that was killed those until then.
	Counted map[How]int
	// Hit is the broken call, nil if the process ended before.
	Hit  *Call
	Exit error
	Took time.Duration
}

// breakable says whether a kind of fault makes sense at a call.
func (h How) breakable(c Call) bool {
	switch h {
	case EMFILE:
		return c.Name == "openat"
	case Torn, Lost:
		return c.Name == "pwrite64"
	case EIO:
		return true
	case ENOSPC:
		return !c.Opens && c.Name != "unlinkat"
	case None:
		return false
	default:
		return !c.Opens
	}
}

// Run starts cmd with one more descriptor, which is number 3 in it, and carries out the
// plan. The process must call Surrender(3). limit bounds the run; a process that takes
// longer is killed, and its Exit says so.
func Run(cmd *exec.Cmd, plan Plan, limit time.Duration) (Result, error) {
	began := time.Now()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Result{}, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "victim")
	defer ours.Close()
	cmd.ExtraFiles = []*os.File{theirs}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return Result{}, err
	}
	b := &breaker{plan: plan, cmd: cmd, control: pair[0], counted: map[How]int{}}
	timer := time.AfterFunc(limit, func() {
		b.late.Store(true)
		// The runtime writes the stacks of all goroutines before it ends.
		cmd.Process.Signal(syscall.SIGQUIT)
		time.AfterFunc(time.Second, func() { cmd.Process.Kill() })
	})
	exited := make(chan error, 1)
	listener, err := b.receiveFilter()
	if err == nil {
		defer unix.Close(listener)
		go func() { exited <- cmd.Wait() }()
		err = b.serve(listener)
	} else {
		cmd.Process.Kill()
		go func() { exited <- cmd.Wait() }()
	}
	exit := <-exited
	timer.Stop()
	if b.late.Load() {
		exit = fmt.Errorf("it did not end within %v: %w", limit, errors.Join(exit, os.ErrDeadlineExceeded))
	}
	return Result{Counted: b.counted, Hit: b.hit, Exit: exit, Took: time.Since(began)}, err
}

// breaker is one run. Its fields belong to the goroutine of Run, late apart.
type breaker struct {
	plan    Plan
	cmd     *exec.Cmd
	control int
	armed   bool
	counted map[How]int
	hit     *Call
	late    atomic.Bool
}

// receiveFilter takes the listener's descriptor from the victim and lets it go on.
func (b *breaker) receiveFilter() (int, error) {
	buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(b.control, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n != 1 {
		return 0, fmt.Errorf("the process handed no filter over: %d bytes, %v", n, err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		return 0, fmt.Errorf("the process handed no filter over: %d messages, %v", len(msgs), err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return 0, err
	}
	_, err = unix.Write(b.control, []byte{'.'})
	return fds[0], err
}

// serve answers notifications until the process has ended.
func (b *breaker) serve(listener int) error {
	for {
		fds := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}, {Fd: int32(b.control), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil {
			if err == unix.EINTR {
				continue
			}
			return err
		}
		if fds[0].Revents&unix.POLLIN != 0 {
			if err := b.notification(listener); err != nil {
				return err
			}
			continue
		}
		if fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 {
			return nil
		}
		if fds[1].Revents&unix.POLLIN != 0 {
			var buf [1]byte
			n, err := unix.Read(b.control, buf[:])
			if n == 0 || err != nil {
				b.control = -1 // the process is going; its last calls still want an answer
				continue
			}
			b.armed = true
			if _, err := unix.Write(b.control, []byte{'.'}); err != nil {
				b.control = -1
			}
		} else if fds[1].Revents != 0 {
			b.control = -1
		}
	}
}

// notification is one call that waits. The structures are the kernel's.
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type response struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

const (
	ioctlRecv    = 0xc0502100
	ioctlSend    = 0xc0182101
	flagContinue = 1
)

func ioctl(fd int, req uintptr, p unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(p))
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return errno
		}
		return nil
	}
}

// notification takes one waiting call and decides on it.
func (b *breaker) notification(listener int) error {
	var n notification
	if err := ioctl(listener, ioctlRecv, unsafe.Pointer(&n)); err != nil {
		if err == unix.ENOENT {
			return nil // its thread is gone
		}
		return fmt.Errorf("receiving a notification: %w", err)
	}
	resp := response{id: n.id, flags: flagContinue}
	if c, inside := b.identify(&n); b.armed && inside {
		for _, how := range Kinds {
			if how.breakable(c) {
				b.counted[how]++
			}
		}
		if b.hit == nil && b.plan.How.breakable(c) && b.counted[b.plan.How] == b.plan.N {
			b.hit = &c
			if !b.strike(&n, &resp) {
				return nil // the process is dead
			}
		}
	}
	if err := ioctl(listener, ioctlSend, unsafe.Pointer(&resp)); err != nil && err != unix.ENOENT {
		return fmt.Errorf("answering a notification: %w", err)
	}
	return nil
}

var errnos = map[How]unix.Errno{EIO: unix.EIO, ENOSPC: unix.ENOSPC, EMFILE: unix.EMFILE}

// strike breaks the call; false says that there is nobody left to answer.
func (b *breaker) strike(n *notification, resp *response) bool {
	switch b.plan.How {
	case Kill:
		b.cmd.Process.Kill()
		return false
	case Torn:
		b.half(n)
		b.cmd.Process.Kill()
		return false
	case Lost:
		resp.flags, resp.val = 0, int64(n.args[2])
	default:
		resp.flags, resp.err = 0, -int32(errnos[b.plan.How])
	}
	return true
}

// half does the first half of a write in the victim's place.
func (b *breaker) half(n *notification) {
	data := make([]byte, n.args[2]/2)
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", n.pid))
	if err != nil {
		return
	}
	defer mem.Close()
	file, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/%d", n.pid, int32(n.args[0])), os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer file.Close()
	if _, err := mem.ReadAt(data, int64(n.args[1])); err == nil {
		file.WriteAt(data, int64(n.args[3]))
	}
}

// identify says what a call is and whether it is about a file below Plan.Under.
func (b *breaker) identify(n *notification) (Call, bool) {
	for _, c := range calls {
		if c.nr != uintptr(n.nr) {
			continue
		}
		seen := Call{Name: c.name, Opens: c.nr == unix.SYS_OPENAT && n.args[2]&(unix.O_CREAT|unix.O_TRUNC) == 0}
		path := ""
		if c.fdArg >= 0 {
			path = fdPath(n.pid, n.args[c.fdArg])
		} else {
			path = stringAt(n.pid, n.args[c.dirArg+1])
			if !filepath.IsAbs(path) {
				path = filepath.Join(fdPath(n.pid, n.args[c.dirArg]), path)
			}
		}
		rel, inside := strings.CutPrefix(path, b.plan.Under+"/")
		seen.Path = rel
		return seen, inside
	}
	return Call{}, false
}

func fdPath(pid uint32, fd uint64) string {
	if int32(fd) == unix.AT_FDCWD {
		path, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		return path
	}
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, int32(fd)))
	return path
}

// stringAt reads a string of the victim's memory.
func stringAt(pid uint32, addr uint64) string {
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return ""
	}
	defer mem.Close()
	var out []byte
	buf := make([]byte, 256)
	for len(out) < 4096 {
		n, _ := mem.ReadAt(buf, int64(addr)+int64(len(out)))
		for i := range n {
			if buf[i] == 0 {
				return string(append(out, buf[:i]...))
			}
		}
		if n == 0 {
			break
		}
		out = append(out, buf[:n]...)
	}
	return string(out)
}
