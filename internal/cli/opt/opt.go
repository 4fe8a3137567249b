package opt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Kind says whether an option takes an argument.
type Kind int

const (
	// Flag takes no argument.
	Flag Kind = iota
	// Value takes one argument and may be given once.
	Value
	// List takes one argument and may be given several times.
	List
)

// Option is one row of a tool's option table.
type Option struct {
	Name    string   // without dashes
	Aliases []string // other spellings of the same option
	Kind    Kind
	Arg     string // what the argument is, for the help text: "topic"
	Type    string // its type, for the help text; "String" when empty
	Default string // shown in the help and returned when the option is absent
	// Optional makes the argument optional: the value that stands for none.
	Optional string
	Required bool // shown in the help; Parse does not enforce it
	Doc      string
}

// Table is a tool's options.
type Table struct {
	Options []Option
}

// Values is what a command line said.
type Values struct {
	table *Table
	given map[string][]string
	order []string
	// Rest holds the words that are not options, in order.
	Rest []string
}

// ErrUsage is the class of every mistake on a command line.
var ErrUsage = errors.New("usage")

type usageError struct{ msg string }

func (e usageError) Error() string        { return e.msg }
func (e usageError) Is(target error) bool { return target == ErrUsage }

// Usagef returns an error of class ErrUsage.
func Usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

func (t *Table) find(name string) *Option {
	for i := range t.Options {
		o := &t.Options[i]
		if o.Name == name || slices.Contains(o.Aliases, name) {
			return o
		}
	}
	return nil
}

// Parse reads args (without the program's name). A word after "--" is never an
// option. The error is of class ErrUsage and names the option.
func (t *Table) Parse(args []string) (*Values, error) {
	v := &Values{table: t, given: map[string][]string{}}
	for i := 0; i < len(args); i++ {
		word := args[i]
		if word == "--" {
			v.Rest = append(v.Rest, args[i+1:]...)
			break
		}
		if len(word) < 2 || word[0] != '-' {
			v.Rest = append(v.Rest, word)
			continue
		}
		name, arg, hasArg := strings.Cut(strings.TrimLeft(word, "-"), "=")
		o := t.find(name)
		if o == nil {
			return nil, Usagef("%s is not a recognized option", name)
		}
		if o.Kind == Flag {
			if hasArg {
				return nil, Usagef("Option %s does not take an argument", name)
			}
			v.given[o.Name] = append(v.given[o.Name], "")
			v.order = append(v.order, o.Name)
			continue
		}
		if !hasArg && o.Optional != "" && (i+1 == len(args) || strings.HasPrefix(args[i+1], "-")) {
			arg, hasArg = o.Optional, true
		}
		if !hasArg {
			i++
			if i == len(args) {
				return nil, Usagef("Option %s requires an argument", name)
			}
			arg = args[i]
		}
		if o.Kind == Value && len(v.given[o.Name]) > 0 {
			return nil, Usagef("Found multiple arguments for option %s, but you asked for only one", o.Name)
		}
		v.given[o.Name] = append(v.given[o.Name], arg)
		v.order = append(v.order, o.Name)
	}
	return v, nil
}

// Order returns the names of the options as they came, one an occurrence.
func (v *Values) Order() []string { return v.order }

// Has says whether the option was on the command line.
func (v *Values) Has(name string) bool { return len(v.given[name]) > 0 }

// Get returns the option's argument, or its default.
func (v *Values) Get(name string) string {
	if g := v.given[name]; len(g) > 0 {
		return g[len(g)-1]
	}
	if o := v.table.find(name); o != nil {
		return o.Default
	}
	return ""
}

// All returns every argument that was given for the option, in order; the
// default alone when there was none and the default is not empty.
func (v *Values) All(name string) []string {
	if g := v.given[name]; len(g) > 0 {
		return g
	}
	if o := v.table.find(name); o != nil && o.Default != "" {
		return []string{o.Default}
	}
	return nil
}

// Require returns a usage error for the first option that is absent.
func (v *Values) Require(names ...string) error {
	for _, n := range names {
		if !v.Has(n) {
			return Usagef("Missing required argument \"[%s]\"", n)
		}
	}
	return nil
}

// Exclude returns a usage error when used is present together with any of others.
func (v *Values) Exclude(used string, others ...string) error {
	if !v.Has(used) {
		return nil
	}
	for _, n := range others {
		if v.Has(n) {
			return Usagef("Option \"[%s]\" can't be used with option \"[%s]\"", used, n)
		}
	}
	return nil
}

// OneOf returns a usage error unless exactly one of names is present.
func (v *Values) OneOf(names ...string) error {
	n := 0
	for _, name := range names {
		if v.Has(name) {
			n++
		}
	}
	if n == 1 {
		return nil
	}
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = "[" + name + "]"
	}
	return Usagef("Exactly one of the following arguments is required: %s", strings.Join(quoted, ", "))
}
