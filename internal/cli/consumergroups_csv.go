package cli

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
)

// exportOffsets are plans in the form that --from-file reads: "topic,partition,offset"
// for one group, and with the group in front for several.
func exportOffsets(ids []string, plans []newOffsets, single bool) string {
	var b strings.Builder
	for i, id := range ids {
		for _, tp := range sortedPartitions(plans[i]) {
			if !single {
				b.WriteString(csvField(id) + ",")
			}
			fmt.Fprintf(&b, "%s,%d,%d\n", csvField(tp.Topic), tp.Partition, plans[i][tp])
		}
	}
	return b.String()
}

// csvField quotes what could be misread, and long text always.
func csvField(s string) string {
	const certainly, firstSafe = 24, '-'
	if len(s) <= certainly && !strings.ContainsFunc(s, func(r rune) bool { return r < firstSafe }) {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

func (t *groupTool) planFromFile(ctx context.Context, id string) (newOffsets, error) {
	path := t.v.Get("from-file")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("java.io.IOException: Unable to read file %s\n%w", path, err)
	}
	groups, err := parsePlans(string(text), t.v.All("group"))
	if err != nil {
		return nil, err
	}
	plan, ok := groups[id]
	if !ok {
		printGroupError(t.env, fmt.Sprintf("No reset plan for group %s found", id))
		return nil, nil
	}
	return t.withinLog(ctx, plan)
}

// parsePlans reads a file of offsets. Its lines are without the group when one group
// was named and the first line has that form.
func parsePlans(text string, named []string) (map[string]newOffsets, error) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	first, err := csvLine(lines[0])
	if err != nil {
		return nil, err
	}
	bare := len(named) == 1 && len(first) <= 3
	if bare && len(first) > 1 {
		_, err := strconv.ParseInt(strings.TrimSpace(first[1]), 10, 32)
		bare = err == nil
	}
	plans := map[string]newOffsets{}
	for _, line := range lines {
		fields, err := csvLine(line)
		if err != nil {
			return nil, err
		}
		if bare {
			fields = append([]string{named[0]}, fields...)
		}
		if len(fields) > 4 {
			return nil, fmt.Errorf("Too many entries: expected at most 4 in %q", line)
		}
		var numbers [2]int64 // partition and offset; what is missing is 0
		for i, field := range fields[min(2, len(fields)):] {
			if numbers[i], err = strconv.ParseInt(strings.TrimSpace(field), 10, 32+32*i); err != nil {
				return nil, fmt.Errorf("Cannot read %q in the line %q: it must be a number", field, line)
			}
		}
		if len(fields) < 2 {
			return nil, fmt.Errorf("Cannot read the line %q: it has no topic", line)
		}
		if plans[fields[0]] == nil {
			plans[fields[0]] = newOffsets{}
		}
		plans[fields[0]][kafka.TopicPartition{Topic: fields[1], Partition: int32(numbers[0])}] = numbers[1]
	}
	return plans, nil
}

func csvLine(line string) ([]string, error) {
	r := csv.NewReader(strings.NewReader(line))
	r.FieldsPerRecord = -1
	fields, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("Cannot read the line %q: %w", line, err)
	}
	return fields, nil
}
