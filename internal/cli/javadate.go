package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// javaDate prints times by a pattern of java.text.SimpleDateFormat, in English and
// local time.
type javaDate struct {
	parts []datePart
}

// datePart is a run of one pattern letter, or text.
type datePart struct {
	letter byte // 0 for text
	width  int
	text   string
}

// dateLetters are the pattern letters that are known.
const dateLetters = "GyYMLdDFEuaHkKhmsSzZX"

func newJavaDate(pattern string) (*javaDate, error) {
	d := &javaDate{}
	text := func(s string) {
		if n := len(d.parts); n > 0 && d.parts[n-1].letter == 0 {
			d.parts[n-1].text += s
			return
		}
		d.parts = append(d.parts, datePart{text: s})
	}
	quoted := false
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case c == '\'' && i+1 < len(pattern) && pattern[i+1] == '\'':
			text("'")
			i++
		case c == '\'':
			quoted = !quoted
		case quoted || !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'):
			text(string([]byte{c}))
		case !strings.Contains(dateLetters, string(c)) || c == 'Y':
			return nil, fmt.Errorf("Illegal pattern character '%c'", c)
		default:
			n := 1
			for i+1 < len(pattern) && pattern[i+1] == c {
				n, i = n+1, i+1
			}
			if c == 'X' && n > 3 {
				return nil, fmt.Errorf("invalid ISO 8601 format: length=%d", n)
			}
			d.parts = append(d.parts, datePart{letter: c, width: n})
		}
	}
	if quoted {
		return nil, fmt.Errorf("Unterminated quote")
	}
	return d, nil
}

func (d *javaDate) format(t time.Time) string {
	var b strings.Builder
	for _, p := range d.parts {
		if p.letter == 0 {
			b.WriteString(p.text)
			continue
		}
		b.WriteString(p.format(t))
	}
	return b.String()
}

func (p *datePart) format(t time.Time) string {
	number := func(n int) string {
		s := strconv.Itoa(n)
		return strings.Repeat("0", max(0, p.width-len(s))) + s
	}
	switch p.letter {
	case 'G':
		return "AD"
	case 'y':
		if p.width == 2 {
			return fmt.Sprintf("%02d", t.Year()%100)
		}
		return number(t.Year())
	case 'M', 'L':
		return p.name(t.Month().String(), number(int(t.Month())))
	case 'E':
		if p.width < 4 {
			return t.Weekday().String()[:3]
		}
		return t.Weekday().String()
	case 'u':
		return number((int(t.Weekday())+6)%7 + 1)
	case 'd':
		return number(t.Day())
	case 'D':
		return number(t.YearDay())
	case 'F':
		return number((t.Day()-1)/7 + 1)
	case 'a':
		return t.Format("PM")
	case 'm':
		return number(t.Minute())
	case 's':
		return number(t.Second())
	case 'S':
		return number(t.Nanosecond() / int(time.Millisecond))
	case 'z', 'Z', 'X':
		return p.zone(t)
	}
	return number(p.hour(t.Hour()))
}

// name is a month in letters from three pattern letters on.
func (p *datePart) name(full, number string) string {
	switch {
	case p.width < 3:
		return number
	case p.width == 3:
		return full[:3]
	}
	return full
}

func (p *datePart) hour(h int) int {
	switch p.letter {
	case 'k': // 1 to 24
		return (h+23)%24 + 1
	case 'K': // 0 to 11
		return h % 12
	case 'h': // 1 to 12
		return (h+11)%12 + 1
	}
	return h
}

func (p *datePart) zone(t time.Time) string {
	if p.letter == 'z' {
		return t.Format("MST")
	}
	if p.letter == 'X' {
		return t.Format([]string{"Z07", "Z0700", "Z07:00"}[p.width-1])
	}
	return t.Format("-0700")
}
