package opt

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// helpWidth is the width of a terminal that the help text fits.
const helpWidth = 80

// Help renders the table in two columns, options in alphabetical order.
func (t *Table) Help() string {
	rows := make([][2]string, 0, len(t.Options)+2)
	required := slices.ContainsFunc(t.Options, func(o Option) bool { return o.Required })
	head, rule := "Option", "------"
	if required {
		head, rule = "Option (* = required)", "---------------------"
	}
	rows = append(rows, [2]string{head, "Description"}, [2]string{rule, "-----------"})

	sorted := slices.Clone(t.Options)
	slices.SortFunc(sorted, func(a, b Option) int { return strings.Compare(a.Name, b.Name) })
	for _, o := range sorted {
		rows = append(rows, [2]string{o.label(), o.text()})
	}

	left := 0
	for _, r := range rows {
		left = max(left, utf8.RuneCountInString(r[0]))
	}
	left = min(left, helpWidth/2-2)
	var b strings.Builder
	for _, r := range rows {
		writeRow(&b, wrap(r[0], left, "  "), wrap(r[1], helpWidth-left-2, "  "), left)
	}
	return b.String()
}

func (o *Option) label() string {
	var b strings.Builder
	if o.Required {
		b.WriteString("* ")
	}
	b.WriteString("--" + o.Name)
	for _, a := range o.Aliases {
		b.WriteString(", " + dashed(a))
	}
	if o.Kind != Flag {
		typ := o.Type
		if typ == "" {
			typ = "String"
		}
		b.WriteString(" <" + typ)
		if o.Arg != "" {
			b.WriteString(": " + o.Arg)
		}
		b.WriteString(">")
	}
	return b.String()
}

func (o *Option) text() string {
	if o.Default == "" {
		return o.Doc
	}
	return o.Doc + " (default: " + o.Default + ")"
}

func writeRow(b *strings.Builder, l, r []string, left int) {
	for i := 0; i < max(len(l), len(r)); i++ {
		var a, c string
		if i < len(l) {
			a = l[i]
		}
		if i < len(r) {
			c = r[i]
		}
		line := a + strings.Repeat(" ", left-utf8.RuneCountInString(a)+2) + c
		b.WriteString(strings.TrimRight(line, " "))
		b.WriteByte('\n')
	}
}

// wrap breaks text at spaces into lines of at most width; lines after the first
// begin with indent. A word longer than a line is cut.
func wrap(text string, width int, indent string) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		for {
			sep := " "
			if line == "" || line == indent {
				sep = ""
			}
			if len(line)+len(sep)+len(word) <= width {
				line += sep + word
				break
			}
			if line != "" && line != indent {
				lines = append(lines, line)
				line = indent
				continue
			}
			cut := width - len(line)
			lines = append(lines, line+word[:cut])
			word, line = word[cut:], indent
		}
	}
	return append(lines, line)
}
