package cli

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var javaDateTime = regexp.MustCompile(`^(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)\.(\d+)(Z|[+-]\d\d:\d\d|[+-]\d\d)`)

// parseJavaDateTime reads "YYYY-MM-DDThh:mm:ss.sss", in UTC unless it says where, as
// Kafka's tools read it: what is behind the milliseconds counts, not their digits.
// It returns milliseconds since 1970.
func parseJavaDateTime(text string) (int64, error) {
	_, clock, ok := strings.Cut(text, "T")
	if !ok || clock == "" {
		return 0, errors.New("Error parsing timestamp. It does not contain a 'T' according to ISO8601 format")
	}
	if !strings.ContainsAny(clock, "+-Z") {
		text += "Z"
	}
	wrong := fmt.Errorf("Unparseable date: \"%s\"", text)
	m := javaDateTime.FindStringSubmatch(text)
	if m == nil {
		return 0, wrong
	}
	var n [7]int
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(m[i+1]); err != nil {
			return 0, wrong
		}
	}
	t := time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], 0, time.UTC)
	// A day such as the 30th of February would be moved to another one.
	if n[6] > 999 || t.Year() != n[0] || int(t.Month()) != n[1] || t.Day() != n[2] || t.Hour() != n[3] || t.Minute() != n[4] || t.Second() != n[5] {
		return 0, wrong
	}
	zone := m[8]
	if zone != "Z" {
		if len(zone) == 3 {
			zone += ":00"
		}
		at, err := time.Parse("-07:00", zone)
		if err != nil {
			return 0, wrong
		}
		_, offset := at.Zone()
		t = t.Add(-time.Duration(offset) * time.Second)
	}
	return t.UnixMilli() + int64(n[6]), nil
}

var javaDuration = regexp.MustCompile(`(?i)^([-+]?)P(?:([-+]?\d+)D)?(T(?:([-+]?\d+)H)?(?:([-+]?\d+)M)?(?:([-+]?\d+)(?:[.,](\d{0,9}))?S)?)?$`)

// parseJavaDuration reads ISO 8601's "PnDTnHnMnS" into milliseconds.
func parseJavaDuration(text string) (int64, error) {
	wrong := errors.New("Text cannot be parsed to a Duration")
	m := javaDuration.FindStringSubmatch(text)
	if m == nil || m[2] == "" && m[3] == "" || strings.EqualFold(m[3], "T") {
		return 0, wrong
	}
	total := int64(0)
	for _, part := range []struct {
		text string
		unit int64
	}{{m[2], 86_400_000}, {m[4], 3_600_000}, {m[5], 60_000}, {m[6], 1000}} {
		if part.text == "" {
			continue
		}
		n, err := strconv.ParseInt(part.text, 10, 64)
		const most = 1 << 60
		if err != nil || n > most/part.unit || n < -most/part.unit {
			return 0, wrong
		}
		total += n * part.unit
	}
	if m[7] != "" {
		nanos, err := strconv.ParseInt((m[7] + "00000000")[:9], 10, 64)
		if err != nil {
			return 0, wrong
		}
		if strings.HasPrefix(m[6], "-") {
			nanos = -nanos
		}
		total += nanos / 1_000_000
	}
	if m[1] == "-" {
		total = -total
	}
	return total, nil
}
