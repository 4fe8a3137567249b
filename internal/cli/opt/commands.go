package opt

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Commands is the command line of a tool whose first word that is no option names
// what to do: options of the tool, the command, options of the command. Names of
// options may be cut short as long as they are clear, and the last of a repeated
// option counts. An alias that begins with a dash is an option of one letter.
type Commands struct {
	Program string
	Doc     string
	Global  Table
	// OneOf names options of Global of which at most one may be given, and exactly
	// one must be when OneRequired is set.
	OneOf       []string
	OneRequired bool
	List        []Command
}

// Command is one of the tool's commands.
type Command struct {
	Name, Doc string
	Table     Table
	// OneOf names options of Table of which exactly one must be given.
	OneOf []string
}

// Chosen is what such a command line said.
type Chosen struct {
	Command string
	Global  *Values
	Values  *Values
	// Help is the text that was asked for; then nothing else is set.
	Help string
}

// Parse reads args (without the program's name).
func (c *Commands) Parse(args []string) (*Chosen, error) {
	out := &Chosen{Global: &Values{table: &c.Global, given: map[string][]string{}}}
	rest, help, err := out.Global.words(args, true)
	if err != nil {
		return nil, err
	}
	if help {
		return &Chosen{Help: c.Help()}, nil
	}
	if err := checkOneOf(out.Global, c.OneOf, false); err != nil {
		return nil, err
	}
	if len(rest) == 0 {
		return nil, Usagef("too few arguments")
	}
	i := slices.IndexFunc(c.List, func(sub Command) bool { return sub.Name == rest[0] })
	if i < 0 {
		return nil, Usagef("invalid choice: '%s' (choose from '%s')", rest[0], strings.Join(c.names(), "', '"))
	}
	sub := &c.List[i]
	out.Command, out.Values = sub.Name, &Values{table: &sub.Table, given: map[string][]string{}}
	if _, help, err = out.Values.words(rest[1:], false); err != nil {
		return nil, err
	}
	if help {
		return &Chosen{Help: sub.help(c.Program)}, nil
	}
	for _, o := range sub.Table.Options {
		if o.Required && !out.Values.Has(o.Name) {
			return nil, Usagef("argument %s is required", o.dashed())
		}
	}
	if err := checkOneOf(out.Values, sub.OneOf, len(sub.OneOf) > 0); err != nil {
		return nil, err
	}
	return out, checkOneOf(out.Global, c.OneOf, c.OneRequired)
}

// checkOneOf fails when more than one of the named options was given, or none though one
// must be.
func checkOneOf(v *Values, names []string, required bool) error {
	given := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !v.Has(n) })
	if len(given) > 1 {
		return Usagef("argument %s: not allowed with argument %s", v.table.find(given[1]).dashed(), v.table.find(given[0]).dashed())
	}
	if required && len(given) == 0 {
		all := make([]string, len(names))
		for i, n := range names {
			all[i] = v.table.find(n).dashed()
		}
		return Usagef("one of the arguments %s is required", strings.Join(all, " "))
	}
	return nil
}

// dashed is the option as messages name it: all its spellings.
func (o *Option) dashed() string {
	names := []string{"--" + o.Name}
	for _, a := range o.Aliases {
		names = append(names, dashed(a))
	}
	return strings.Join(names, "/")
}

// dashed is a spelling of an option as it is typed.
func dashed(name string) string {
	if strings.HasPrefix(name, "-") {
		return name
	}
	return "--" + name
}

func (c *Commands) names() []string {
	names := make([]string, len(c.List))
	for i, sub := range c.List {
		names[i] = sub.Name
	}
	return names
}

// words reads options into v. It ends at the first word that is no option when
// stop is set, and refuses such a word otherwise.
func (v *Values) words(args []string, stop bool) (rest []string, help bool, err error) {
	for i := 0; i < len(args); i++ {
		word := args[i]
		if word == "-h" || word == "--help" {
			return nil, true, nil
		}
		if len(word) < 2 || word[0] != '-' {
			if stop {
				return args[i:], false, nil
			}
			return nil, false, Usagef("unrecognized arguments: '%s'", word)
		}
		o, arg, hasArg, err := v.table.option(word)
		if err != nil {
			return nil, false, err
		}
		switch {
		case o.Kind == Flag && hasArg:
			return nil, false, Usagef("argument %s: ignored explicit argument '%s'", o.dashed(), arg)
		case o.Kind != Flag && !hasArg:
			i++
			if i == len(args) || looksLikeOption(args[i]) {
				return nil, false, Usagef("argument %s: expected one argument", o.dashed())
			}
			arg = args[i]
		}
		v.given[o.Name] = append(v.given[o.Name], arg)
	}
	return nil, false, nil
}

// option finds the option that a word names, with the argument that hangs on it.
func (t *Table) option(word string) (o *Option, arg string, hasArg bool, err error) {
	if strings.HasPrefix(word, "--") {
		name, arg, hasArg := strings.Cut(word[2:], "=")
		if o, err = t.findPrefix(name); o != nil || err != nil {
			return o, arg, hasArg, err
		}
	} else if o = t.find(word[:2]); o != nil {
		return o, word[2:], len(word) > 2, nil
	}
	return nil, "", false, Usagef("unrecognized arguments: '%s'", word)
}

// looksLikeOption says whether a word cannot be an option's argument. A negative
// number can.
func looksLikeOption(word string) bool {
	if len(word) < 2 || word[0] != '-' {
		return false
	}
	_, err := strconv.ParseFloat(word, 64)
	return err != nil
}

// findPrefix finds the option of that name, or the only one that begins with it.
func (t *Table) findPrefix(name string) (*Option, error) {
	if o := t.find(name); o != nil {
		return o, nil
	}
	var found []*Option
	var names []string
	for i := range t.Options {
		if o := &t.Options[i]; strings.HasPrefix(o.Name, name) {
			found, names = append(found, o), append(names, "--"+o.Name)
		}
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	return nil, Usagef("ambiguous option: --%s could match %s", name, strings.Join(names, ", "))
}

// Usage is the one line that shows the tool's form.
func (c *Commands) Usage() string {
	return fmt.Sprintf("usage: %s [-h] [OPTION]... {%s} ...\n", c.Program, strings.Join(c.names(), ","))
}

// Help is the text of --help.
func (c *Commands) Help() string {
	var b strings.Builder
	b.WriteString(c.Usage() + "\n" + c.Doc + "\n\nCommands:\n")
	for _, sub := range c.List {
		writeRow(&b, wrap(sub.Name, 24, "  "), wrap(sub.Doc, helpWidth-26, ""), 24)
	}
	b.WriteString("\n" + c.Global.Help())
	return b.String()
}

func (s *Command) help(program string) string {
	return fmt.Sprintf("usage: %s %s [-h] [OPTION]...\n\n%s\n\n%s", program, s.Name, s.Doc, s.Table.Help())
}
