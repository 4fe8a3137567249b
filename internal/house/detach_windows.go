package house

import (
	"os"
	"os/exec"
	"syscall"
)

// startDetached runs this binary in a process group of its own; it outlives the caller.
func startDetached(args []string, out *os.File) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// signalNames are those that SIGNAL may hold; Windows can only end a process.
var signalNames = map[string]os.Signal{"TERM": os.Kill, "KILL": os.Kill}
