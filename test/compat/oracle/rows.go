package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// row is a line of docs/compat/differences.md: request, scenario and path are
// expressions that must match as a whole.
type row struct {
	request, scenario, path string
	match                   [3]*regexp.Regexp
	seen                    int
}

type rows []*row

// readRows reads the table whose head begins with "| request | scenario | field |".
func readRows(page string) (rows, error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return nil, err
	}
	var all rows
	in := false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "| request | scenario | field |"):
			in = true
			continue
		case !strings.HasPrefix(line, "|"):
			in = false
			continue
		case !in || strings.HasPrefix(line, "|---"):
			continue
		}
		cells := strings.Split(strings.ReplaceAll(line, `\|`, "\x00"), "|")
		if len(cells) < 7 || strings.TrimSpace(cells[6]) == "" && len(cells) < 8 {
			return nil, fmt.Errorf("%s:%d: a row has request, scenario, field, Apache Kafka, gregor, reason", page, i+1)
		}
		cell := func(n int) string {
			return strings.Trim(strings.ReplaceAll(strings.TrimSpace(cells[n]), "\x00", "|"), "`")
		}
		r := &row{request: cell(1), scenario: cell(2), path: cell(3)}
		for n, expr := range []string{r.request, r.scenario, r.path} {
			if r.match[n], err = regexp.Compile("^(?:" + expr + ")$"); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", page, i+1, err)
			}
		}
		all = append(all, r)
	}
	return all, nil
}

// explain says whether a row is about the difference.
func (all rows) explain(d difference) bool {
	for _, r := range all {
		if r.match[0].MatchString(d.request) && r.match[1].MatchString(d.scenario) && r.match[2].MatchString(d.path) {
			r.seen++
			return true
		}
	}
	return false
}
