package main

import (
	"fmt"
	"strconv"
	"strings"
)

// noVersion stands for "never" as a first version and "for ever" as a last one.
const noVersion = 1<<15 - 1

// message is one paragraph of the schema file.
type message struct {
	name     string
	key      int
	last     int // versions run from 0 to last
	flexible int // first flexible version, or noVersion
	body     *structDef
	structs  []*structDef // nested ones, in the order of their first use
}

// structDef is the message itself or a nested struct.
type structDef struct {
	name   string
	fields []*field
}

type field struct {
	name        string // Kafka's spelling
	alias       string // the Go name, "" to derive it from name
	typ         string // element type for arrays
	array       bool
	first, last int // versions that have the field
	tag         int // -1 when not tagged
	nullable    bool
	def         string // default as written, or ""
	ref         *structDef
}

// line is one schema line with its nesting depth (two spaces a level).
type line struct {
	num, depth int
	words      []string
}

func parse(text string) ([]*message, error) {
	var messages []*message
	var cur *message
	var stack []*structDef // the struct that each depth's fields go to
	for _, l := range lines(text) {
		if l.depth == 0 {
			m, err := parseHead(l)
			if err != nil {
				return nil, err
			}
			messages = append(messages, m)
			cur, stack = m, []*structDef{m.body}
			continue
		}
		if cur == nil || l.depth > len(stack) {
			return nil, fmt.Errorf("line %d: nested too deep", l.num)
		}
		stack = stack[:l.depth]
		f, err := cur.parseField(l)
		if err != nil {
			return nil, err
		}
		stack[l.depth-1].fields = append(stack[l.depth-1].fields, f)
		if f.ref != nil {
			stack = append(stack, f.ref)
		}
	}
	for _, m := range messages {
		for _, s := range m.structs {
			if len(s.fields) == 0 {
				return nil, fmt.Errorf("%s: type %s has no fields", m.name, s.name)
			}
		}
	}
	return messages, nil
}

func lines(text string) []line {
	var all []line
	for i, raw := range strings.Split(text, "\n") {
		trimmed := strings.TrimLeft(raw, " ")
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		all = append(all, line{num: i + 1, depth: (len(raw) - len(trimmed)) / 2, words: strings.Fields(trimmed)})
	}
	return all
}

func parseHead(l line) (*message, error) {
	w := l.words
	if len(w) != 8 || w[0] != "message" || w[2] != "key" || w[4] != "versions" || w[6] != "flexible" {
		return nil, fmt.Errorf("line %d: want message <name> key <n> versions 0-<n> flexible <n>|none", l.num)
	}
	m := &message{name: w[1], flexible: noVersion, body: &structDef{name: w[1]}}
	var err error
	if m.key, err = strconv.Atoi(w[3]); err != nil {
		return nil, fmt.Errorf("line %d: key: %w", l.num, err)
	}
	if _, err = fmt.Sscanf(w[5], "0-%d", &m.last); err != nil {
		return nil, fmt.Errorf("line %d: versions: %w", l.num, err)
	}
	if w[7] != "none" {
		if m.flexible, err = strconv.Atoi(w[7]); err != nil {
			return nil, fmt.Errorf("line %d: flexible: %w", l.num, err)
		}
	}
	return m, nil
}

func (m *message) parseField(l line) (*field, error) {
	w := l.words
	if len(w) < 2 {
		return nil, fmt.Errorf("line %d: a field needs a type", l.num)
	}
	f := &field{name: w[0], typ: w[1], last: noVersion, tag: -1}
	if t, ok := strings.CutPrefix(f.typ, "[]"); ok {
		f.typ, f.array = t, true
	}
	for i := 2; i < len(w); i++ {
		var err error
		switch {
		case w[i] == "nullable":
			f.nullable = true
		case w[i] == "go" && i+1 < len(w):
			i++
			f.alias = w[i]
		case w[i] == "default" && i+1 < len(w):
			i++
			f.def = w[i]
		case w[i] == "tag" && i+1 < len(w):
			i++
			f.tag, err = strconv.Atoi(w[i])
		case strings.HasSuffix(w[i], "+"):
			f.first, err = strconv.Atoi(strings.TrimSuffix(w[i], "+"))
		default:
			_, err = fmt.Sscanf(w[i], "%d-%d", &f.first, &f.last)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", l.num, w[i], err)
		}
	}
	if _, primitive := goTypes[f.typ]; !primitive {
		f.ref = m.structNamed(f.typ)
	}
	return f, nil
}

// structNamed returns the nested struct of that name, creating it at first use.
func (m *message) structNamed(name string) *structDef {
	for _, s := range m.structs {
		if s.name == name {
			return s
		}
	}
	s := &structDef{name: name}
	m.structs = append(m.structs, s)
	return s
}
