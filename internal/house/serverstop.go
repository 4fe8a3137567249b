package house

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/cli"
	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/vfs"
)

var serverStopTable = opt.Table{Options: []opt.Option{
	{Name: "process-role", Kind: opt.Value, Arg: "broker|controller", Doc: "Stop only nodes with this role."},
	{Name: "node-id", Kind: opt.Value, Type: "Integer", Arg: "id", Doc: "Stop only the node with this id."},
}}

// running is one server process of this machine.
type running struct {
	pid  int
	args []string
}

// serverStop is kafka-server-stop: it signals every node of this machine and leaves
// at once. SIGNAL in the environment names another signal than TERM.
func serverStop(_ context.Context, env *cli.Env) int {
	v, err := serverStopTable.Parse(env.Args)
	if err != nil {
		fmt.Fprintf(env.Err, "%v\n%s", err, serverStopTable.Help())
		return 1
	}
	name := strings.TrimPrefix(env.Getenv("SIGNAL"), "SIG")
	if name == "" {
		name = "TERM"
	}
	signal, ok := signalNames[name]
	if !ok {
		fmt.Fprintf(env.Err, "kafka-server-stop: SIGNAL is %q, which is no signal that can be sent here\n", name)
		return 1
	}
	all, err := servers()
	if err != nil {
		fmt.Fprintf(env.Err, "kafka-server-stop: listing processes: %v\n", err)
		return 1
	}
	stopped := 0
	for _, r := range all {
		if !wanted(r, v) {
			continue
		}
		p, err := os.FindProcess(r.pid)
		if err == nil {
			err = p.Signal(signal)
		}
		if err != nil {
			fmt.Fprintf(env.Err, "kafka-server-stop: process %d: %v\n", r.pid, err)
			return 1
		}
		stopped++
	}
	if stopped == 0 {
		fmt.Fprintln(env.Out, "No kafka server to stop")
		return 1
	}
	return 0
}

// wanted applies the filters, which need the node's properties file.
func wanted(r running, v *opt.Values) bool {
	if !v.Has("process-role") && !v.Has("node-id") {
		return true
	}
	file := slices.IndexFunc(r.args, func(a string) bool { return strings.HasSuffix(a, ".properties") })
	if file < 0 {
		return false
	}
	text, err := vfs.ReadFile(vfs.OS(), r.args[file])
	if err != nil {
		return false
	}
	props, err := config.ParseProperties(text)
	if err != nil {
		return false
	}
	m := props.Map()
	if v.Has("process-role") && !strings.Contains(m["process.roles"], v.Get("process-role")) {
		return false
	}
	return !v.Has("node-id") || strings.TrimSpace(m["node.id"]) == v.Get("node-id")
}

// servers lists the processes that run a node of this program.
func servers() ([]running, error) {
	var all []running
	add := func(pid int, args []string) {
		if pid != os.Getpid() && runsServer(args) {
			all = append(all, running{pid, args})
		}
	}
	entries, err := os.ReadDir("/proc")
	if err == nil && len(entries) > 0 {
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			if line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")); err == nil {
				add(pid, strings.Split(strings.TrimRight(string(line), "\x00"), "\x00"))
			}
		}
		return all, nil
	}
	out, err := exec.Command("ps", "ax", "-o", "pid=,args=").Output()
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Split(string(out), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if pid, err := strconv.Atoi(f[0]); err == nil {
			add(pid, f[1:])
		}
	}
	return all, nil
}

func runsServer(args []string) bool {
	name := func(s string) string { return strings.TrimSuffix(filepath.Base(s), ".sh") }
	if len(args) == 0 {
		return false
	}
	if name(args[0]) == "kafka-server-start" {
		return true
	}
	return name(args[0]) == "gregor" && len(args) > 1 && (name(args[1]) == "kafka-server-start" || args[1] == "dev")
}
