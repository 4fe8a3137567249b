package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/gregorhq/gregor/internal/buildinfo"
)

// Env is the world that a command sees. Streams belong to the caller.
type Env struct {
	Name string   // the command's name without directory and without ".sh"
	Args []string // the words after the name
	// In may still be in a Read of the command's when Run returns because ctx ended.
	In     io.Reader
	Out    io.Writer
	Err    io.Writer
	Getenv func(string) string
	// Terminal says whether Out is a terminal, where progress may be drawn.
	Terminal bool
}

// Command is one tool of the binary.
type Command struct {
	Name    string
	Summary string // one line for the overview
	// Run returns the exit code. ctx ends when the user interrupts.
	Run func(ctx context.Context, env *Env) int
	// KafkaName is true for the names that Kafka ships in bin/; links are made for these.
	KafkaName bool
}

// Exit codes of a tool that a signal ended, which are those of a Java program.
const (
	interrupted = 128 + int(syscall.SIGINT)
	terminated  = 128 + int(syscall.SIGTERM)
)

// signalCode is the exit code of a tool that ended because ctx did. The cause that
// signal.NotifyContext gives begins with the signal's name.
func signalCode(ctx context.Context) int {
	if cause := context.Cause(ctx); cause != nil && strings.HasPrefix(cause.Error(), syscall.SIGTERM.String()) {
		return terminated
	}
	return interrupted
}

// Dispatch picks the command by argv[0] when that is a tool's name, else by the
// first argument, and runs it. It returns the exit code.
func Dispatch(ctx context.Context, commands []Command, argv []string, env *Env) int {
	name := toolName(argv[0])
	args := argv[1:]
	if find(commands, name) == nil {
		if len(args) == 0 || args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
			fmt.Fprint(env.Out, overview(commands))
			return 0
		}
		if args[0] == "--version" || args[0] == "version" {
			fmt.Fprintf(env.Out, "gregor %s (Apache Kafka %s)\n", buildinfo.Version, buildinfo.KafkaVersion)
			return 0
		}
		name, args = toolName(args[0]), args[1:]
	}
	c := find(commands, name)
	if c == nil {
		fmt.Fprintf(env.Err, "gregor: there is no command %q; \"gregor help\" lists them.\n", name)
		return 2
	}
	env.Name, env.Args = name, args
	return c.Run(ctx, env)
}

// toolName strips directories and the endings that scripts and Windows add.
func toolName(arg string) string {
	name := filepath.Base(arg)
	name = strings.TrimSuffix(name, ".exe")
	return strings.TrimSuffix(name, ".sh")
}

func find(commands []Command, name string) *Command {
	i := slices.IndexFunc(commands, func(c Command) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &commands[i]
}

func overview(commands []Command) string {
	var b strings.Builder
	b.WriteString("gregor is Apache Kafka in one binary.\n\nUsage: gregor COMMAND [OPTION]...\n")
	for _, kafka := range []bool{false, true} {
		if kafka {
			b.WriteString("\nKafka's tools (each also runs under its own name; see install-links):\n")
		} else {
			b.WriteString("\nCommands:\n")
		}
		for _, c := range commands {
			if c.KafkaName == kafka {
				fmt.Fprintf(&b, "  %-34s %s\n", c.Name, c.Summary)
			}
		}
	}
	return b.String()
}
