//go:build unix

package house

import (
	"os"
	"os/exec"
	"syscall"
)

// startDetached runs this binary in a session of its own; it outlives the caller.
func startDetached(args []string, out *os.File) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// signalNames are those that SIGNAL may hold for kafka-server-stop.
var signalNames = map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "QUIT": syscall.SIGQUIT, "HUP": syscall.SIGHUP}
