package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"regexp"
	"strconv"
	"strings"
)

// versions is the range of versions in which a field is there.
type versions struct{ min, max int }

const allVersions = 32767

var (
	reFrom   = regexp.MustCompile(`^version >= (\d+)$`)
	reUntil  = regexp.MustCompile(`^version >= (\d+) && version <= (\d+)$`)
	reFixed  = regexp.MustCompile(`^v := b\.(Bool|Int8|Int16|Uint16|Int32|Uint32|Int64|Uuid|Float64)\(\)$`)
	reMake   = regexp.MustCompile(`make\(\[\](.+), l\)\.\.\.`)
	reNew    = regexp.MustCompile(`= new\((\w+)\)`)
	reReader = regexp.MustCompile(`b\.(\w+)\(`)
)

var fixedSize = map[string]int{
	"Bool": 1, "Int8": 1, "Int16": 2, "Uint16": 2, "Int32": 4, "Uint32": 4, "Int64": 8, "Uuid": 16, "Float64": 8,
}

// fields writes the fields that a list of statements decodes.
func (s *source) fields(out *bytes.Buffer, stmts []ast.Stmt) {
	for _, st := range stmts {
		switch st := st.(type) {
		case *ast.BlockStmt:
			s.field(out, versions{0, allVersions}, st)
		case *ast.IfStmt:
			cond := s.code(st.Cond)
			switch {
			case cond == "isFlexible" && strings.Contains(s.code(st.Body), "UnknownTags"):
				s.tags(out, st.Body)
			case reUntil.MatchString(cond):
				m := reUntil.FindStringSubmatch(cond)
				s.field(out, versions{atoi(m[1]), atoi(m[2])}, st.Body)
			case reFrom.MatchString(cond):
				s.field(out, versions{atoi(reFrom.FindStringSubmatch(cond)[1]), allVersions}, st.Body)
			case cond == "err := b.Complete(); err != nil" || strings.Contains(s.code(st), "b.Complete()"):
			default:
				s.fail(st, "unknown condition")
			}
		case *ast.AssignStmt, *ast.ExprStmt, *ast.ReturnStmt, *ast.DeclStmt:
			// The frame of the decoder: readers, receivers, defaults.
		default:
			s.fail(st, "unknown statement")
		}
	}
}

// field writes the one field that a block decodes.
func (s *source) field(out *bytes.Buffer, v versions, block *ast.BlockStmt) {
	open := func(kind string) {
		fmt.Fprintf(out, "{kind: %s", kind)
		if v.min != 0 {
			fmt.Fprintf(out, ", min: %d", v.min)
		}
		fmt.Fprintf(out, ", max: %d", v.max)
	}
	first := s.code(block.List[0])
	if m := reFixed.FindStringSubmatch(first); m != nil {
		open("fixed")
		fmt.Fprintf(out, ", size: %d},\n", fixedSize[m[1]])
		return
	}
	if strings.HasPrefix(first, "var t ") { // an enumeration over a fixed type
		s.field(out, v, block.List[1].(*ast.BlockStmt))
		return
	}
	if strings.HasPrefix(first, "if present := b.Int8()") {
		body := block.List[0].(*ast.IfStmt).Body
		open("nullableStruct")
		fmt.Fprintf(out, ", size: uint32(unsafe.Sizeof(kmsg.%s{})), sub: []field{\n", reNew.FindStringSubmatch(s.code(body))[1])
		s.fields(out, body.List)
		out.WriteString("}},\n")
		return
	}
	if array := s.arrayLoop(block); array != nil {
		m := reMake.FindStringSubmatch(s.code(block))
		open("array")
		fmt.Fprintf(out, ", size: uint32(%s), sub: []field{\n", sizeOf(m[1]))
		s.element(out, array.Body)
		out.WriteString("}},\n")
		return
	}
	if strings.HasPrefix(first, "v := &s.") {
		open("inlineStruct")
		out.WriteString(", sub: []field{\n")
		s.fields(out, block.List)
		out.WriteString("}},\n")
		return
	}
	s.lengthPrefixed(out, v, block)
}

// lengthPrefixed writes a string or bytes field. A string that became nullable in
// some version reads by two methods under a condition; it becomes two fields.
func (s *source) lengthPrefixed(out *bytes.Buffer, v versions, block *ast.BlockStmt) {
	text := s.code(block)
	if m := regexp.MustCompile(`if version < (\d+) {\s*var vv string`).FindStringSubmatch(text); m != nil {
		n := atoi(m[1])
		fmt.Fprintf(out, "{kind: str, min: %d, max: %d, size: ptrSize},\n", v.min, n-1)
		fmt.Fprintf(out, "{kind: nullableStr, min: %d, max: %d},\n", max(n, v.min), v.max)
		return
	}
	kinds := map[string]string{
		"String": "str", "NullableString": "nullableStr", "Bytes": "byteSlice", "NullableBytes": "nullableByteSlice",
	}
	kind := ""
	for _, m := range reReader.FindAllStringSubmatch(text, -1) {
		name := strings.TrimPrefix(strings.TrimPrefix(m[1], "Unsafe"), "Compact")
		if name == "Complete" {
			continue
		}
		k, ok := kinds[name]
		if !ok || kind != "" && k != kind {
			s.fail(block, "unknown reader "+m[1])
		}
		kind = k
	}
	if kind == "" {
		s.fail(block, "a field without a reader")
	}
	fmt.Fprintf(out, "{kind: %s, min: %d, max: %d},\n", kind, v.min, v.max)
}

// arrayLoop returns the loop over the elements when the block decodes an array.
func (s *source) arrayLoop(block *ast.BlockStmt) *ast.ForStmt {
	for _, st := range block.List {
		if f, ok := st.(*ast.ForStmt); ok {
			return f
		}
	}
	return nil
}

// element writes the fields of one array element: those of a struct, or the one
// value of a primitive.
func (s *source) element(out *bytes.Buffer, body *ast.BlockStmt) {
	if strings.HasPrefix(s.code(body.List[0]), "v := &a[i]") {
		s.fields(out, body.List)
		return
	}
	s.field(out, versions{0, allVersions}, body)
}

// tags writes the tagged-field section of a struct: its known tags are fields whose
// min is the tag.
func (s *source) tags(out *bytes.Buffer, body *ast.BlockStmt) {
	loop, ok := body.List[0].(*ast.ForStmt)
	if !ok {
		out.WriteString("{kind: tags, max: 32767},\n")
		return
	}
	out.WriteString("{kind: tags, max: 32767, sub: []field{\n")
	for _, c := range loop.Body.List[0].(*ast.SwitchStmt).Body.List {
		clause := c.(*ast.CaseClause)
		if clause.List == nil {
			continue
		}
		// The first statement makes the reader of the tag's bytes; the rest decodes one
		// field from it, or a struct.
		rest := &ast.BlockStmt{Lbrace: clause.Body[1].Pos(), List: clause.Body[1:], Rbrace: clause.End() - 1}
		fmt.Fprintf(out, "{kind: tag, size: %s, sub: []field{\n", s.code(clause.List[0]))
		s.field(out, versions{0, allVersions}, rest)
		out.WriteString("}},\n")
	}
	out.WriteString("}},\n")
}

// sizeOf returns the expression for the memory of one element.
func sizeOf(typ string) string {
	if typ == "string" {
		return `unsafe.Sizeof("")`
	}
	if n, ok := map[string]int{"bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "[16]byte": 16}[typ]; ok {
		return strconv.Itoa(n)
	}
	if typ == "[]byte" {
		return "unsafe.Sizeof([]byte(nil))"
	}
	if c := typ[0]; c < 'A' || c > 'Z' {
		panic("unknown element type " + typ)
	}
	return "unsafe.Sizeof(*new(kmsg." + typ + "))"
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}
