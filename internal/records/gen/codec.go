package main

import "fmt"

func (g *gen) writer(m *message, s *structDef) {
	g.p("func (m *%s) writeBody(w *writer, v int16) {", s.name)
	for _, f := range s.fields {
		if f.tag < 0 {
			g.guarded(f.versionCond(), func() { g.writeField(m, f) })
		}
	}
	if m.flexible == noVersion {
		g.p("_ = v\n}\n")
		return
	}
	if m.flexible > 0 {
		g.p("if v < %d {\nreturn\n}", m.flexible)
	}
	tagged := s.tagged()
	if len(tagged) == 0 {
		g.p("_ = v\nw.tags(m.UnknownTags)\n}\n")
		return
	}
	g.p("t := tagWriter{w: w, unknown: m.UnknownTags}")
	for _, f := range tagged {
		g.guarded(and(f.versionCond(), f.notDefault()), func() { g.p("t.known++") })
	}
	g.p("t.begin()")
	for _, f := range tagged {
		g.guarded(and(f.versionCond(), f.notDefault()), func() {
			g.p("t.open(%d)", f.tag)
			g.writeField(m, f)
			g.p("t.close()")
		})
	}
	g.p("t.end()\n}\n")
}

func and(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + " && " + b
}

// flexExpr tells the helpers whether the version at hand is flexible.
func (m *message) flexExpr() string {
	switch m.flexible {
	case 0:
		return "true"
	case noVersion:
		return "false"
	}
	return fmt.Sprintf("v >= %d", m.flexible)
}

func (g *gen) writeField(m *message, f *field) {
	n, flex := "m."+f.goName(), m.flexExpr()
	if f.array {
		null := "false"
		if f.nullable {
			null = n + " == nil"
		}
		g.p("w.arrayLen(len(%s), %s, %s)", n, null, flex)
		g.p("for i := range %s {", n)
		g.writeValue(f, n+"[i]", flex, false)
		g.p("}")
		return
	}
	g.writeValue(f, n, flex, f.nullable)
}

func (g *gen) writeValue(f *field, expr, flex string, nullable bool) {
	switch f.typ {
	case "string":
		if nullable {
			g.p("w.nullableString(%s, %s)", expr, flex)
		} else {
			g.p("w.string(%s, %s)", expr, flex)
		}
	case "bytes":
		g.p("w.bytes(%s, %t, %s)", expr, nullable, flex)
	case "bool", "int8", "int16", "uint16", "int32", "int64", "float64", "uuid":
		g.p("w.%s(%s)", f.typ, expr)
	default:
		switch {
		case nullable && f.tag >= 0:
			g.p("w.bool(%s != nil)\nif %s != nil {", expr, expr)
		case nullable: // -1 stands for null here, and 0 in a tag
			g.p("if %s == nil {\nw.int8(-1)\n} else {\nw.int8(1)", expr)
		}
		g.p("%s.writeBody(w, v)", expr)
		if nullable {
			g.p("}")
		}
	}
}

func (g *gen) reader(m *message, s *structDef) {
	g.p("func (m *%s) readBody(r *reader, v int16) {", s.name)
	for _, f := range s.fields {
		if f.tag < 0 {
			g.guarded(f.versionCond(), func() { g.readField(m, f, "r") })
		}
	}
	if m.flexible == noVersion {
		g.p("_ = v\n}\n")
		return
	}
	if m.flexible > 0 {
		g.p("if v < %d {\nreturn\n}", m.flexible)
	}
	tagged := s.tagged()
	g.p("for n := r.tagCount(); n > 0; n-- {\nid, t := r.tag()")
	if len(tagged) > 0 {
		g.p("switch {")
		for _, f := range tagged {
			g.p("case %s:", and(fmt.Sprintf("id == %d", f.tag), f.versionCond()))
			g.readField(m, f, "t")
			g.p("r.closeTag(id, &t)\ncontinue")
		}
		g.p("}")
	}
	g.p("m.UnknownTags = r.keepTag(m.UnknownTags, id, &t)\n}\n_ = v\n}\n")
}

func (g *gen) readField(m *message, f *field, src string) {
	n, flex := "m."+f.goName(), m.flexExpr()
	if !f.array {
		g.readValue(f, n, src, flex, f.nullable)
		return
	}
	if f.ref == nil {
		g.p("%s = %s.%sArray(%t, %s)", n, src, f.typ, f.nullable, flex)
		return
	}
	g.p("if n, ok := %s.arrayLen(%d, %t, %s); ok {", src, structMin(m, f.ref, 0), f.nullable, flex)
	g.p("%s = make([]%s, n)\nfor i := range %s {\n%s[i].setDefaults()\n%s[i].readBody(%s, v)\n}\n}", n, f.typ, n, n, n, ref(src))
}

// ref is the expression for a pointer to the reader.
func ref(src string) string {
	if src == "t" {
		return "&t"
	}
	return src
}

func (g *gen) readValue(f *field, expr, src, flex string, nullable bool) {
	switch f.typ {
	case "string":
		if nullable {
			g.p("%s = %s.nullableString(%s)", expr, src, flex)
		} else {
			g.p("%s = %s.string(%s)", expr, src, flex)
		}
	case "bytes":
		g.p("%s = %s.bytes(%t, %s)", expr, src, nullable, flex)
	case "bool", "int8", "int16", "uint16", "int32", "int64", "float64", "uuid":
		g.p("%s = %s.%s()", expr, src, f.typ)
	default:
		if nullable {
			present := "uvarint() != 0"
			if f.tag < 0 {
				present = "int8() >= 0"
			}
			g.p("if %s = nil; %s.%s {\n%s = &%s{}\n%s.setDefaults()", expr, src, present, expr, f.typ, expr)
		}
		g.p("%s.readBody(%s, v)", expr, ref(src))
		if nullable {
			g.p("}")
		}
	}
}

// structMin is the least size of a struct in any version.
func structMin(m *message, s *structDef, depth int) int {
	size := 0
	if m.flexible == 0 {
		size = 1
	}
	for _, f := range s.fields {
		if f.tag >= 0 || f.versionCond() != "" {
			continue
		}
		switch {
		case f.array, f.nullableStruct():
			size++
		case f.ref != nil && depth < 8:
			size += structMin(m, f.ref, depth+1)
		case f.ref == nil:
			size += minSize[f.typ]
		}
	}
	return max(size, 1)
}
