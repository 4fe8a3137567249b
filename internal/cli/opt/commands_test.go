package opt

import (
	"errors"
	"strings"
	"testing"
)

var tool = Commands{
	Program: "tool", Doc: "Does things.", OneOf: []string{"a", "b"}, OneRequired: true,
	Global: Table{Options: []Option{{Name: "a", Kind: Value}, {Name: "b", Kind: Value}, {Name: "config", Kind: Value}}},
	List: []Command{
		{Name: "show", Doc: "Show.", Table: Table{Options: []Option{{Name: "num", Kind: Value}, {Name: "number", Kind: Value}, {Name: "noise"}}}},
		{Name: "set", Doc: "Set.", Table: Table{Options: []Option{{Name: "key", Kind: List, Required: true}}}},
	},
}

func TestCommandsAreParsed(t *testing.T) {
	p, err := tool.Parse(strings.Fields("--conf x --a=1 --config y show --num -3 --noi"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Command != "show" || p.Global.Get("a") != "1" || p.Global.Get("config") != "y" || p.Values.Get("num") != "-3" || !p.Values.Has("noise") || p.Values.Has("number") {
		t.Errorf("%+v %+v", p.Global.given, p.Values.given)
	}
	if p, err = tool.Parse(strings.Fields("--b 1 set --key k --key l")); err != nil || strings.Join(p.Values.All("key"), " ") != "k l" {
		t.Errorf("%v %+v", err, p)
	}
	for line, want := range map[string]string{"-h": "usage: tool ", "--a 1 show --help": "usage: tool show "} {
		if p, err := tool.Parse(strings.Fields(line)); err != nil || !strings.HasPrefix(p.Help, want) {
			t.Errorf("%s: %v %+v", line, err, p)
		}
	}
}

func TestMistakesWithCommandsAreNamed(t *testing.T) {
	for line, want := range map[string]string{
		"":                     "too few arguments",
		"--a":                  "argument --a: expected one argument",
		"--a --b":              "argument --a: expected one argument",
		"--a 1 --b 2 show":     "argument --b: not allowed with argument --a",
		"--a 1 other":          "invalid choice: 'other' (choose from 'show', 'set')",
		"--nope show":          "unrecognized arguments: '--nope'",
		"--a 1 show --a 2":     "unrecognized arguments: '--a'",
		"--a 1 show word":      "unrecognized arguments: 'word'",
		"--a 1 show --n 2":     "ambiguous option: --n could match --num, --number, --noise",
		"--a 1 show --noise=2": "argument --noise: ignored explicit argument '2'",
		"--a 1 set":            "argument --key is required",
		"show":                 "one of the arguments --a --b is required",
	} {
		if _, err := tool.Parse(strings.Fields(line)); !errors.Is(err, ErrUsage) || err.Error() != want {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

func TestTheOrderOfOptionsIsKept(t *testing.T) {
	v, err := table.Parse(strings.Fields("--list --config a --topic t --config b"))
	if err != nil || strings.Join(v.Order(), " ") != "list config topic config" {
		t.Errorf("%v %v", err, v.Order())
	}
}
