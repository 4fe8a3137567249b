package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

// groupOptions are those of all group commands.
var groupOptions = []opt.Option{
	{Name: "bootstrap-server", Aliases: []string{"b"}, Kind: opt.Value, Arg: "host:port,...", Default: defaultBootstrap, Doc: "The brokers to connect to first."},
	{Name: "command-config", Aliases: []string{"X"}, Kind: opt.Value, Arg: "file", Doc: "Property file with client settings."},
	{Name: "help", Aliases: []string{"h"}, Doc: "Print this text."},
}

// groupCommand is one of the words behind "gregor group".
type groupCommand struct {
	name, form, what string
	table            opt.Table
	words            int // that are not options
	run              func(context.Context, *Env, *cluster, *opt.Values) error
}

func groupCommands() []groupCommand {
	return []groupCommand{
		{"list", "gregor group list [OPTION]...", "Lists consumer groups with their members and how far they are behind.",
			opt.Table{Options: append([]opt.Option{
				{Name: "state", Kind: opt.List, Arg: "state", Doc: "Only groups in this state; may be repeated."},
			}, groupOptions...)}, 0, groupList},
		{"describe", "gregor group describe GROUP [OPTION]...", "Shows a group's position in each partition, how many records it is behind, and how old the oldest of these is.",
			opt.Table{Options: append([]opt.Option{
				{Name: "topic", Aliases: []string{"t"}, Kind: opt.List, Arg: "topic[:0,1]", Doc: "Only this topic, or these partitions of it; may be repeated."},
				{Name: "no-age", Doc: "Do not read records to find their age."},
			}, groupOptions...)}, 1, groupDescribe},
		{"seek", "gregor group seek GROUP --to WHERE [OPTION]...", "Moves a group without members to another position. Without --execute it only shows what would change.",
			opt.Table{Options: append([]opt.Option{
				{Name: "to", Kind: opt.Value, Arg: "earliest|latest|N|time|-age", Required: true, Doc: "Where to: an end of the log, an offset, a time such as 2006-01-02T15:04:05Z, @ with milliseconds since 1970, or an age such as -2h or -7d. Of a time it is the first record since."},
				{Name: "topic", Aliases: []string{"t"}, Kind: opt.List, Arg: "topic[:0,1]", Doc: "The topic, or partitions of it; may be repeated. Without it all that the group has a position in."},
				{Name: "execute", Aliases: []string{"yes", "y"}, Doc: "Do it."},
			}, groupOptions...)}, 1, groupSeek},
	}
}

// group runs "gregor group list", "describe" and "seek".
func group(ctx context.Context, env *Env) int {
	commands := groupCommands()
	help := "Usage:\n"
	for _, c := range commands {
		help += "  " + c.form + "\n      " + c.what + "\n"
	}
	word := ""
	if len(env.Args) > 0 {
		word = env.Args[0]
	}
	if word == "-h" || word == "--help" || word == "help" {
		fmt.Fprint(env.Out, help)
		return 0
	}
	for _, c := range commands {
		if c.name == word {
			return c.start(ctx, env, env.Args[1:])
		}
	}
	if word == "" {
		fmt.Fprintf(env.Err, "gregor group: say what to do\n%s", help)
	} else {
		fmt.Fprintf(env.Err, "gregor group: there is no command %q\n%s", word, help)
	}
	return 2
}

func (g *groupCommand) start(ctx context.Context, env *Env, args []string) int {
	v, err := g.table.Parse(args)
	if err == nil && v.Has("help") {
		fmt.Fprintf(env.Out, "Usage: %s\n%s\n\n%s", g.form, g.what, g.table.Help())
		return 0
	}
	if err == nil && len(v.Rest) != g.words {
		err = opt.Usagef("%s", []string{"it takes options only", "name one group"}[g.words])
	}
	if err == nil && g.name == "seek" && !v.Has("to") {
		err = opt.Usagef("say where with --to")
	}
	if err != nil {
		fmt.Fprintf(env.Err, "gregor group %s: %v\nUsage: %s\n", g.name, err, g.form)
		return 2
	}
	if err := g.connected(ctx, env, v); err != nil && ctx.Err() == nil {
		fmt.Fprintf(env.Err, "gregor group %s: %s\n", g.name, reason(err))
		return 1
	}
	return 0
}

func (g *groupCommand) connected(ctx context.Context, env *Env, v *opt.Values) error {
	props, err := readProperties(v.Get("command-config"))
	if err != nil {
		return err
	}
	// Records are read for their timestamps only, one batch a partition.
	c, err := connect(v.Get("bootstrap-server"), props, kgo.KeepControlRecords(), kgo.FetchMaxWait(500*time.Millisecond),
		kgo.FetchMaxPartitionBytes(64<<10), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := within(ctx)
	defer cancel()
	return g.run(ctx, env, c, v)
}

// statusLine draws one line that changes, where somebody sees it.
type statusLine struct {
	env   *Env
	drawn bool
}

func (p *statusLine) show(format string, args ...any) {
	if p.env.Terminal {
		fmt.Fprintf(p.env.Err, "\r\x1b[K"+format, args...)
		p.drawn = true
	}
}

// end removes the line.
func (p *statusLine) end() {
	if p.drawn {
		fmt.Fprint(p.env.Err, "\r\x1b[K")
		p.drawn = false
	}
}

// describeOne describes one group; a group that is not there is an error.
func describeOne(ctx context.Context, c *cluster, id string) (*describedGroup, error) {
	g := describeGroups(ctx, c, []string{id})[id]
	if g.err == nil && g.state == stateDead {
		return nil, fmt.Errorf("Group %s not found.", id)
	}
	return g, g.err
}

// chooseTopics keeps the partitions that the --topic words name: all without any.
func chooseTopics(partitions []kafka.TopicPartition, words []string) ([]kafka.TopicPartition, error) {
	if len(words) == 0 {
		return partitions, nil
	}
	whole, listed := map[string]bool{}, map[kafka.TopicPartition]bool{}
	for _, word := range words {
		if !strings.Contains(word, ":") {
			whole[word] = true
			continue
		}
		ps, err := parsePartitions(word)
		if err != nil {
			return nil, err
		}
		for _, tp := range ps {
			listed[tp] = true
		}
	}
	var out []kafka.TopicPartition
	for _, tp := range partitions {
		if whole[tp.Topic] || listed[tp] {
			out = append(out, tp)
		}
	}
	return out, nil
}
