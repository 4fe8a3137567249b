// Command gregor is Apache Kafka in one binary: the server, Kafka's tools under
// their own names, and a few commands of its own.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/gregorhq/gregor/internal/cli"
	"github.com/gregorhq/gregor/internal/house"
)

// commands are all tools, gregor's own first.
func commands() []cli.Command {
	return append(house.Commands(commands), cli.Commands()...)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	info, err := os.Stdout.Stat()
	env := &cli.Env{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv,
		Terminal: err == nil && info.Mode()&os.ModeCharDevice != 0,
	}
	os.Exit(cli.Dispatch(ctx, commands(), os.Args, env))
}
