package records

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"

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

// jsonFloat prints whole numbers with one decimal, as Java does.
func jsonFloat(dst []byte, v float64) []byte {
	s := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.ContainsAny(s, ".IN") {
		s += ".0"
	}
	return append(dst, s...)
}

func jsonString(dst []byte, s string) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if e.Encode(s) != nil { // a string always encodes
		return append(dst, `""`...)
	}
	return append(dst, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}

func jsonNullableString(dst []byte, s *string) []byte {
	if s == nil {
		return append(dst, "null"...)
	}
	return jsonString(dst, *s)
}
