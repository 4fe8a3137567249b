package main

import (
	"strings"
	"testing"
)

func TestParseRefuses(t *testing.T) {
	cases := map[string]string{
		"field before a message": "  A int8",
		"no type":                "message M key 1 versions 0-0 flexible 0\n  A",
		"too deep":               "message M key 1 versions 0-0 flexible 0\n      A int8",
		"unknown word":           "message M key 1 versions 0-0 flexible 0\n  A int8 sometimes",
		"type without fields":    "message M key 1 versions 0-0 flexible 0\n  A []Thing",
		"bad head":               "message M key 1",
		"bad versions":           "message M key 1 versions x flexible 0",
	}
	for name, text := range cases {
		if _, err := parse(text); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

func TestGenerate(t *testing.T) {
	messages, err := parse(`
message Thing key 3 versions 0-2 flexible 1
  ThingId int32 default -1
  Name string 1+ nullable
  Old int8 0-1
  Parts []Part
    Isr []int32 2+ tag 0 nullable default null
    Elr []int32 2+ tag 1 nullable
  Endpoint Place 1+ nullable default null
    Host string
  Data bytes nullable
`)
	if err != nil {
		t.Fatal(err)
	}
	src := string(generate("test", "newThing", messages))
	for _, want := range []string{
		"type Thing struct", "ThingID int32", "ISR []int32", "m.ThingID = -1",
		"if v <= 1 {", "if v < 1 {", "case id == 0 && v >= 2:", "w.nullableString(m.Name, v >= 1)",
		"m.ELR = []int32{}", "(m.ELR == nil || len(m.ELR) > 0)", "w.int8(-1)", "r.int8() >= 0", "jsonNullableBytes(dst, m.Data)",
	} {
		if !strings.Contains(src, want) {
			t.Errorf("the output lacks %q", want)
		}
	}
}
