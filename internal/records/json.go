package records

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gregorhq/gregor/internal/kafka"
)

// JSON returns m as Kafka's dump tool prints the payload of a metadata record:
// type, version, data.
func JSON(m Message) []byte {
	dst := append([]byte(`{"type":"`), TypeName(m)...)
	dst = append(dst, `","version":`...)
	dst = strconv.AppendInt(dst, int64(m.RecordVersion()), 10)
	dst = append(dst, `,"data":`...)
	return append(m.AppendJSON(dst), '}')
}

// TypeName is the record's name as an enumeration constant, for example
// REGISTER_BROKER_RECORD.
func TypeName(m Message) string {
	var sb strings.Builder
	for i, r := range m.SchemaName() {
		if i > 0 && unicode.IsUpper(r) {
			sb.WriteByte('_')
		}
		sb.WriteRune(unicode.ToUpper(r))
	}
	return sb.String()
}

// jsonObject tracks the commas of one object.
type jsonObject struct{ open bool }

func (j *jsonObject) key(dst []byte, name string) []byte {
	if j.open {
		dst = append(dst, ',')
	} else {
		dst = append(dst, '{')
		j.open = true
	}
	return append(jsonString(dst, name), ':')
}

func (j *jsonObject) end(dst []byte) []byte {
	if !j.open {
		dst = append(dst, '{')
	}
	return append(dst, '}')
}

func jsonBool(dst []byte, v bool) []byte { return strconv.AppendBool(dst, v) }
func jsonInt(dst []byte, v int64) []byte { return strconv.AppendInt(dst, v, 10) }

func jsonUUID(dst []byte, v kafka.UUID) []byte { return jsonString(dst, v.String()) }

func jsonBytes(dst []byte, v []byte) []byte {
	return jsonString(dst, base64.StdEncoding.EncodeToString(v))
}

func jsonNullableBytes(dst []byte, v []byte) []byte {
	if v == nil {
		return append(dst, "null"...)
	}
	return jsonBytes(dst, v)
}

// jsonFloat prints a number as Java does: at least one decimal, and a power of ten
// from 10^7 on and below 10^-3.
func jsonFloat(dst []byte, v float64) []byte {
	if a := math.Abs(v); v == 0 || a >= 1e-3 && a < 1e7 {
		s := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return append(dst, s...)
	}
	mantissa, exponent, ok := strings.Cut(strconv.FormatFloat(v, 'e', -1, 64), "e")
	if !ok { // not a number, or infinite
		return append(dst, mantissa...)
	}
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	power := strings.TrimLeft(strings.TrimLeft(exponent, "+-"), "0")
	if exponent[0] == '-' {
		power = "-" + power
	}
	return append(dst, mantissa+"E"+power...)
}

// jsonString escapes what JSON demands and nothing else.
func jsonString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			dst = append(dst, '\\', byte(r))
		case '\b':
			dst = append(dst, `\b`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			if r < ' ' {
				dst = fmt.Appendf(dst, `\u%04X`, r)
				continue
			}
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

func jsonNullableString(dst []byte, s *string) []byte {
	if s == nil {
		return append(dst, "null"...)
	}
	return jsonString(dst, *s)
}
