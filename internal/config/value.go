package config

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Password is a secret value. Its String never shows it.
type Password string

// hidden stands for a secret wherever one would be shown.
const hidden = "[hidden]"

// String hides the value, also from %v and from logs.
func (Password) String() string { return hidden }

// GoString hides the value from %#v.
func (Password) GoString() string { return hidden }

// MarshalText hides the value from encoders.
func (Password) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Value is the secret itself, for the code that needs it.
func (p Password) Value() string { return string(p) }

// parse turns text into the Go value of the key's type: bool, string, int64 (for
// INT, SHORT and LONG), float64, []string or Password. It does not run the
// key's check.
func (k *Key) parse(text string) (any, error) { return parseAs(k.Name, k.Type, text) }

func parseAs(key string, t Type, text string) (any, error) {
	s := trim(text)
	switch t {
	case TypeBoolean:
		switch {
		case strings.EqualFold(s, "true"):
			return true, nil
		case strings.EqualFold(s, "false"):
			return false, nil
		}
		return nil, invalidValue(key, text, "Expected value to be either true or false")
	case TypeInt, TypeShort, TypeLong:
		bits := map[Type]int{TypeInt: 32, TypeShort: 16, TypeLong: 64}[t]
		n, err := strconv.ParseInt(s, 10, bits)
		if err != nil {
			return nil, invalidValue(key, text, "Not a number of type "+t.String())
		}
		return n, nil
	case TypeDouble:
		f, ok := parseDouble(s)
		if !ok {
			return nil, invalidValue(key, text, "Not a number of type "+t.String())
		}
		return f, nil
	case TypeList:
		return splitList(s), nil
	case TypePassword:
		return Password(s), nil
	}
	return s, nil
}

// value parses text and runs the check. text nil stands for null.
func (k *Key) value(text *string) (any, error) {
	var v any
	if text != nil {
		var err error
		if v, err = k.parse(*text); err != nil {
			return nil, err
		}
	}
	if err := k.check.run(k.Name, v); err != nil {
		return nil, err
	}
	return v, nil
}

// Validate says whether text is a value of the key; the error is in Kafka's
// words with code InvalidConfig.
func (k *Key) Validate(text string) error {
	_, err := k.value(&text)
	return err
}

// trim removes what Java's String.trim removes: everything up to the space.
func trim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
}

var comma = regexp.MustCompile(`[ \t\n\x0b\f\r]*,[ \t\n\x0b\f\r]*`)

// splitList splits a trimmed text at commas; an empty text is an empty list.
func splitList(s string) []string {
	if s == "" {
		return []string{}
	}
	return comma.Split(s, -1)
}

var javaDouble = regexp.MustCompile(`^[+-]?(NaN|Infinity|((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)[dDfF]?)$`)

// parseDouble reads the decimal forms of Java's Double.parseDouble.
func parseDouble(s string) (float64, bool) {
	if !javaDouble.MatchString(s) {
		return 0, false
	}
	if t := strings.TrimRight(s, "dDfF"); t != "" {
		s = t
	}
	// A value out of range is an infinity or a zero, in Java as here.
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && f == 0 && !math.IsInf(f, 0) {
		return 0, err.(*strconv.NumError).Err == strconv.ErrRange
	}
	return f, true
}

func formatLong(n int64) string { return strconv.FormatInt(n, 10) }

// formatDouble prints a double as Java does: 0.5, 1.0, 1.0E10.
func formatDouble(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-3 || a >= 1e7) {
		mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'E', -1, 64), "E")
		if !strings.Contains(mantissa, ".") {
			mantissa += ".0"
		}
		n, _ := strconv.Atoi(exponent)
		return mantissa + "E" + strconv.Itoa(n)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// format is the text form of a parsed value, as DescribeConfigs prints it. A
// password keeps its text: the caller decides whether it may be seen.
func format(v any) string {
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return formatLong(v)
	case float64:
		return formatDouble(v)
	case []string:
		return strings.Join(v, ",")
	case Password:
		return string(v)
	case string:
		return v
	}
	return ""
}

// display is how a value stands in an error message.
func display(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case []string:
		return "[" + strings.Join(v, ", ") + "]"
	case Password:
		return hidden
	}
	return format(v)
}

// redact hides the text of a secret from an error about it.
func redact(k *Key, err error) error {
	if err == nil || !k.Sensitive() {
		return err
	}
	return kafka.InvalidConfig.Errorf("Invalid value %s for configuration %s", hidden, k.Name)
}
