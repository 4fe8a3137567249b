package metrics

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Sample is one line of a scrape.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// maxLine bounds a line of a scrape.
const maxLine = 1 << 20

// Parse reads what Write wrote in Prometheus' format, by name. It is for gregor's own
// tools and knows no time stamps.
func Parse(r io.Reader) (map[string][]Sample, error) {
	all := map[string][]Sample{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := parseSample(line)
		if err != nil {
			return nil, fmt.Errorf("a line that is no sample: %.100q: %w", line, err)
		}
		all[s.Name] = append(all[s.Name], s)
	}
	return all, lines.Err()
}

func parseSample(line string) (s Sample, err error) {
	rest := ""
	if i := strings.IndexAny(line, "{ "); i < 0 {
		return s, strconv.ErrSyntax
	} else if s.Name, rest = line[:i], line[i:]; rest[0] == '{' {
		if s.Labels, rest, err = parseLabels(rest[1:]); err != nil {
			return s, err
		}
	}
	s.Value, err = strconv.ParseFloat(strings.TrimSpace(rest), 64)
	return s, err
}

// parseLabels reads labels up to the brace that closes them.
func parseLabels(text string) (labels map[string]string, rest string, err error) {
	labels = map[string]string{}
	for {
		if after, ok := strings.CutPrefix(text, "}"); ok {
			return labels, after, nil
		}
		name, after, ok := strings.Cut(text, "=")
		if !ok {
			return nil, "", strconv.ErrSyntax
		}
		quoted, err := strconv.QuotedPrefix(after)
		if err != nil {
			return nil, "", err
		}
		if labels[name], err = strconv.Unquote(quoted); err != nil {
			return nil, "", err
		}
		text = strings.TrimPrefix(after[len(quoted):], ",")
	}
}
