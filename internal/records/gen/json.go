package main

import "fmt"

// json writes the method that prints a struct as Kafka's JSON converters do:
// untagged fields always, tagged ones when they differ from their default.
func (g *gen) json(s *structDef) {
	g.p("func (m *%s) appendJSON(dst []byte, v int16) []byte {", s.name)
	g.p("j := jsonObject{}")
	for _, f := range s.fields {
		cond := f.versionCond()
		if f.tag >= 0 {
			cond = and(cond, f.notDefault())
		}
		g.guarded(cond, func() { g.jsonField(f) })
	}
	g.p("_ = v\nreturn j.end(dst)\n}\n")
}

func (g *gen) jsonField(f *field) {
	n := "m." + f.goName()
	g.p("dst = j.key(dst, %q)", jsonName(f.name))
	if !f.array {
		g.jsonValue(f, n, f.nullable)
		return
	}
	if f.nullable {
		g.p("if %s == nil {\ndst = append(dst, \"null\"...)\n} else {", n)
	}
	g.p("dst = append(dst, '[')\nfor i := range %s {\nif i > 0 {\ndst = append(dst, ',')\n}", n)
	g.jsonValue(f, n+"[i]", false)
	g.p("}\ndst = append(dst, ']')")
	if f.nullable {
		g.p("}")
	}
}

func (g *gen) jsonValue(f *field, expr string, nullable bool) {
	fn := ""
	switch f.typ {
	case "bool":
		fn = "jsonBool"
	case "int8", "int16", "uint16", "int32", "int64":
		g.p("dst = jsonInt(dst, int64(%s))", expr)
		return
	case "float64":
		fn = "jsonFloat"
	case "uuid":
		fn = "jsonUUID"
	case "bytes":
		fn = "jsonBytes"
		if nullable {
			fn = "jsonNullableBytes"
		}
	case "string":
		fn = "jsonString"
		if nullable {
			fn = "jsonNullableString"
		}
	default:
		if nullable {
			g.p("if %s == nil {\ndst = append(dst, \"null\"...)\n} else {", expr)
		}
		g.p("dst = %s.appendJSON(dst, v)", expr)
		if nullable {
			g.p("}")
		}
		return
	}
	g.p("%s", fmt.Sprintf("dst = %s(dst, %s)", fn, expr))
}
