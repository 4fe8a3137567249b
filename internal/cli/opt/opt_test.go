package opt

import (
	"errors"
	"strings"
	"testing"
)

var table = Table{Options: []Option{
	{Name: "topic", Kind: Value, Arg: "topic", Doc: "The topic."},
	{Name: "config", Kind: List, Arg: "k=v", Doc: "A setting."},
	{Name: "time", Kind: Value, Default: "latest", Doc: "Which offset."},
	{Name: "new-name", Aliases: []string{"old-name"}, Kind: Value, Doc: "Renamed."},
	{Name: "list", Doc: "List."},
}}

func TestParse(t *testing.T) {
	v, err := table.Parse([]string{"--topic", "-x", "--config=a=b", "--config", "c=d", "--list", "word", "--old-name", "n", "--", "--topic"})
	if err != nil {
		t.Fatal(err)
	}
	if v.Get("topic") != "-x" || strings.Join(v.All("config"), " ") != "a=b c=d" || !v.Has("list") || v.Get("new-name") != "n" {
		t.Errorf("read %+v", v.given)
	}
	if strings.Join(v.Rest, " ") != "word --topic" || v.Get("time") != "latest" || v.Has("time") {
		t.Errorf("rest %v, time %q", v.Rest, v.Get("time"))
	}
}

func TestMistakesAreNamedAsKafkasToolsNameThem(t *testing.T) {
	for line, want := range map[string]string{
		"--nope":              "nope is not a recognized option",
		"--top x":             "top is not a recognized option",
		"--topic":             "Option topic requires an argument",
		"--topic a --topic":   "Option topic requires an argument",
		"--list=x":            "Option list does not take an argument",
		"--topic a --topic b": "Found multiple arguments for option topic, but you asked for only one",
	} {
		_, err := table.Parse(strings.Fields(line))
		if !errors.Is(err, ErrUsage) || err.Error() != want {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
	v, err := table.Parse([]string{"--topic", "a", "--list"})
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[error]string{
		v.Require("topic", "config"): `Missing required argument "[config]"`,
		v.Exclude("topic", "list"):   `Option "[topic]" can't be used with option "[list]"`,
		v.OneOf("topic", "list"):     `Exactly one of the following arguments is required: [topic], [list]`,
	} {
		if got == nil || got.Error() != want {
			t.Errorf("%v, want %s", got, want)
		}
	}
	if v.OneOf("topic", "config") != nil || v.Exclude("config", "topic") != nil || v.Require("list") != nil {
		t.Error("a right command line was refused")
	}
}

func TestHelpFitsATerminal(t *testing.T) {
	long := Table{Options: []Option{{Name: "x", Kind: Value, Arg: strings.Repeat("y", 100), Doc: strings.Repeat("word ", 60)}}}
	for _, line := range strings.Split(long.Help()+table.Help(), "\n") {
		if len(line) > helpWidth {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	if h := table.Help(); !strings.Contains(h, "--time <String>") || !strings.Contains(h, "(default: latest)") {
		t.Error(h)
	}
}
