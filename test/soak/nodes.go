//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one node. mu guards what is below it; one goroutine for each of its lives
// waits for its end.
type process struct {
	id               int32
	bin, dir         string
	addr, ctrl, http string

	mu      sync.Mutex
	cmd     *exec.Cmd // nil while it is down
	done    chan struct{}
	asked   bool // it is meant to end
	err     error
	life    int
	log     string // of this life
	started time.Time
}

func (p *process) properties() string { return filepath.Join(p.dir, "server.properties") }
func (p *process) data() string       { return filepath.Join(p.dir, "data") }

// format writes the settings and formats the directory.
func (p *process) format(lines []string) error {
	lines = append(lines, "process.roles=broker,controller", fmt.Sprintf("node.id=%d", p.id), "log.dirs="+p.data(),
		fmt.Sprintf("listeners=PLAINTEXT://%s,CONTROLLER://%s", p.addr, p.ctrl), "advertised.listeners=PLAINTEXT://"+p.addr,
		"gregor.http.listener="+p.http)
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(p.properties(), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	out, err := exec.Command(p.bin, "kafka-storage", "format", "-t", "A1b2C3d4E5f6G7h8I9j0Kw", "-c", p.properties()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("formatting node %d: %w\n%s", p.id, err, out)
	}
	return nil
}

// start runs the process; ended is called if it ends without being asked to. It is in a
// group of its own, so that a terminal's ^C is only for the soak, and it ends with it: the
// kernel sends that signal when the thread ends that started it, which is why the goroutine
// that waits keeps its thread.
func (p *process) start(ended func(error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life++
	p.log = filepath.Join(p.dir, fmt.Sprintf("log.%d", p.life))
	out, err := os.Create(p.log)
	if err != nil {
		return err
	}
	os.Remove(filepath.Join(p.dir, fmt.Sprintf("log.%d", p.life-keptLogs))) // that of long ago
	cmd := exec.Command(p.bin, "kafka-server-start", p.properties())
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	begun, done, log := make(chan error), make(chan struct{}), p.log
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer out.Close()
		err := cmd.Start()
		if begun <- err; err != nil {
			return
		}
		err = cmd.Wait()
		p.mu.Lock()
		p.cmd, p.err = nil, err
		asked := p.asked
		p.mu.Unlock()
		close(done)
		if !asked {
			ended(fmt.Errorf("node %d ended by itself: %v\n%s", p.id, err, lastWords(log)))
		}
	}()
	if err := <-begun; err != nil {
		return err
	}
	p.cmd, p.done, p.asked, p.started = cmd, done, false, time.Now()
	return nil
}

// keptLogs is how many lives keep their logs.
const keptLogs = 8

// lastWords are the end of a log.
func lastWords(log string) string {
	b, _ := os.ReadFile(log)
	if len(b) > 3000 {
		b = b[len(b)-3000:]
	}
	return string(bytes.TrimSpace(b))
}

// signal asks the process to end and waits for that; false if it takes too long.
func (p *process) signal(s syscall.Signal, limit time.Duration) (ended bool, err error) {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.asked = true
	if cmd != nil {
		err = cmd.Process.Signal(s)
	}
	p.mu.Unlock()
	if cmd == nil {
		return true, nil
	}
	select {
	case <-done:
		return true, err
	case <-time.After(limit):
		return false, err
	}
}

func (p *process) kill() { _, _ = p.signal(syscall.SIGKILL, time.Minute) }

// stop ends it as SIGTERM does, and holds it to its exit code.
func (p *process) stop(bad *findings) {
	if ended, err := p.signal(syscall.SIGTERM, stopLimit); !ended || err != nil {
		bad.add("node %d did not stop within %v (%v)", p.id, stopLimit, err)
		p.kill()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		bad.add("node %d stopped with %v:\n%s", p.id, p.err, lastWords(p.log))
	}
}

const stopLimit = time.Minute

// running says which life it is and how old; false while it is down.
func (p *process) running() (life int, age time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life, time.Since(p.started), p.cmd != nil
}

// disk is how many bytes a directory has on its disk.
func disk(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // files go while they are counted
		}
		if info, err := d.Info(); err == nil {
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				total += s.Blocks * 512
			}
		}
		return nil
	})
	return total
}
