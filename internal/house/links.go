package house

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gregorhq/gregor/internal/cli"
)

// installLinks makes DIR/kafka-topics and DIR/kafka-topics.sh and so on point to
// this binary. It replaces links, never files.
func installLinks(all func() []cli.Command) func(context.Context, *cli.Env) int {
	return func(_ context.Context, env *cli.Env) int {
		if len(env.Args) != 1 {
			fmt.Fprintln(env.Err, "Usage: gregor install-links DIR")
			return 2
		}
		n, err := makeLinks(all(), env.Args[0])
		if err != nil {
			fmt.Fprintf(env.Err, "gregor install-links: %v\n", err)
			return 1
		}
		fmt.Fprintf(env.Out, "%d links in %s\n", n, env.Args[0])
		return 0
	}
}

func makeLinks(commands []cli.Command, dir string) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("finding this binary: %w", err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return 0, fmt.Errorf("finding this binary: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	n := 0
	for _, c := range commands {
		if !c.KafkaName {
			continue
		}
		for _, name := range []string{c.Name, c.Name + ".sh"} {
			link := filepath.Join(dir, name)
			info, err := os.Lstat(link)
			if err == nil && info.Mode()&os.ModeSymlink == 0 {
				return n, fmt.Errorf("%s exists and is not a link; remove it or choose another folder", link)
			}
			if err == nil {
				if err := os.Remove(link); err != nil {
					return n, err
				}
			}
			if err := os.Symlink(self, link); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}
