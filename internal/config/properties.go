package config

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Property is one key with its value.
type Property struct{ Key, Value string }

// Properties is a list of properties in the order of their first appearance.
type Properties []Property

// Map makes a map; of a repeated key the last value counts.
func (p Properties) Map() map[string]string {
	m := make(map[string]string, len(p))
	for _, e := range p {
		m[e.Key] = e.Value
	}
	return m
}

// Set replaces the value of a key, or adds the key at the end.
func (p Properties) Set(key, value string) Properties {
	for i := range p {
		if p[i].Key == key {
			p[i].Value = value
			return p
		}
	}
	return append(p, Property{key, value})
}

// Override applies one key=value of a --override option.
func (p Properties) Override(option string) (Properties, error) {
	key, value, ok := strings.Cut(option, "=")
	if key = trim(key); !ok || key == "" {
		return p, fmt.Errorf("override %q is not of the form key=value", option)
	}
	return p.Set(key, trim(value)), nil
}

// ParseProperties reads a .properties file by the rules of
// java.util.Properties: # and ! begin comments; =, : or white space ends a key;
// a backslash continues a line and begins escapes; white space at the end of a
// value stays. A key that occurs twice keeps its first place with its last
// value. The text is read as UTF-8, or as Latin-1 where it is not UTF-8.
func ParseProperties(data []byte) (Properties, error) {
	text := string(data)
	if !utf8.ValidString(text) {
		runes := make([]rune, len(data))
		for i, b := range data {
			runes[i] = rune(b)
		}
		text = string(runes)
	}
	var props Properties
	at := map[string]int{}
	for n, line := range logicalLines(text) {
		rawKey, rawValue := splitProperty(line)
		key, err := unescape(rawKey)
		if err != nil {
			return nil, fmt.Errorf("properties, entry %d: %w", n+1, err)
		}
		value, err := unescape(rawValue)
		if err != nil {
			return nil, fmt.Errorf("properties, entry %d: %w", n+1, err)
		}
		if i, ok := at[key]; ok {
			props[i].Value = value
			continue
		}
		at[key] = len(props)
		props = append(props, Property{key, value})
	}
	return props, nil
}

const blanks = " \t\f"

// logicalLines joins continued lines and leaves out comments and blank lines. A
// comment is never continued, and a blank line ends what was continued.
func logicalLines(text string) []string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.ReplaceAll(text, "\r", "\n")
	var lines []string
	joined, continued := "", false
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimLeft(line, blanks)
		if !continued && (line == "" || line[0] == '#' || line[0] == '!') {
			continue
		}
		if continued = continues(line); continued {
			line = line[:len(line)-1]
		}
		joined += line
		if !continued {
			if joined != "" {
				lines = append(lines, joined)
			}
			joined = ""
		}
	}
	if joined != "" {
		lines = append(lines, joined)
	}
	return lines
}

// continues says whether the line ends in an odd number of backslashes.
func continues(line string) bool {
	n := len(line) - len(strings.TrimRight(line, "\\"))
	return n%2 == 1
}

// splitProperty cuts a logical line at the first separator that is not escaped:
// white space, then at most one = or :, then white space.
func splitProperty(line string) (key, value string) {
	i := 0
	for i < len(line) && !strings.ContainsRune(blanks+"=:", rune(line[i])) {
		if line[i] == '\\' {
			i++
		}
		i++
	}
	if i >= len(line) {
		return line, ""
	}
	rest := strings.TrimLeft(line[i:], blanks)
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], blanks)
	}
	return line[:i], rest
}

// unescape resolves backslash escapes: \t \n \r \f, \uXXXX with surrogate pairs,
// and any other character for itself.
func unescape(s string) (string, error) {
	if !strings.Contains(s, "\\") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			if s[i] != '\\' {
				b.WriteByte(s[i])
			}
			continue
		}
		i++
		switch c := s[i]; c {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			r, used, err := unicodeEscape(s[i+1:])
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
			i += used
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

// unicodeEscape reads what follows \u: four hex digits, and a second escape if
// they are the first half of a surrogate pair.
func unicodeEscape(s string) (r rune, used int, err error) {
	hi, ok := hex4(s)
	if !ok {
		return 0, 0, fmt.Errorf("malformed \\uxxxx encoding in %q", s)
	}
	if utf16.IsSurrogate(hi) && strings.HasPrefix(s[4:], "\\u") {
		if lo, ok := hex4(s[6:]); ok {
			if r := utf16.DecodeRune(hi, lo); r != utf8.RuneError {
				return r, 10, nil
			}
		}
	}
	return hi, 4, nil
}

func hex4(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	var r rune
	for i := range 4 {
		d := strings.IndexByte("0123456789abcdef", s[i]|0x20)
		if d < 0 || s[i] < '0' {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}

// ToMap is Properties.Map for callers that hold the list as such.
func ToMap(p Properties) map[string]string { return p.Map() }
