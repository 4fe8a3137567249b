package cli

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

// recordPrinter returns what appends a record's text to a buffer.
func recordPrinter(v *opt.Values) (func([]byte, *kgo.Record) []byte, error) {
	if v.Has("json") {
		if v.Has("format") {
			return nil, fmt.Errorf("give --json or --format, not both")
		}
		return appendJSON, nil
	}
	format := strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\r`, "\r", `\0`, "\x00", `\\`, `\`).Replace(v.Get("format"))
	if v.Has("format") && !strings.HasSuffix(format, "\n") {
		format += "\n"
	}
	return compileFormat(format)
}

func compileFormat(format string) (func([]byte, *kgo.Record) []byte, error) {
	var parts []func([]byte, *kgo.Record) []byte
	text := func(s string) {
		if s != "" {
			parts = append(parts, func(b []byte, _ *kgo.Record) []byte { return append(b, s...) })
		}
	}
	for {
		before, rest, found := strings.Cut(format, "%")
		text(before)
		if !found {
			break
		}
		if rest == "" {
			return nil, fmt.Errorf("the format ends in a single %%; write %%%% for a percent sign")
		}
		part, ok := formatVerbs[rest[0]]
		if !ok {
			return nil, fmt.Errorf("the format has %%%c; there are %%t %%p %%o %%T %%k %%v %%h and %%%%", rest[0])
		}
		parts = append(parts, part)
		format = rest[1:]
	}
	return func(b []byte, r *kgo.Record) []byte {
		for _, p := range parts {
			b = p(b, r)
		}
		return b
	}, nil
}

var formatVerbs = map[byte]func([]byte, *kgo.Record) []byte{
	'%': func(b []byte, r *kgo.Record) []byte { return append(b, '%') },
	't': func(b []byte, r *kgo.Record) []byte { return append(b, r.Topic...) },
	'p': func(b []byte, r *kgo.Record) []byte { return strconv.AppendInt(b, int64(r.Partition), 10) },
	'o': func(b []byte, r *kgo.Record) []byte { return strconv.AppendInt(b, r.Offset, 10) },
	'T': func(b []byte, r *kgo.Record) []byte { return strconv.AppendInt(b, r.Timestamp.UnixMilli(), 10) },
	'k': func(b []byte, r *kgo.Record) []byte { return append(b, r.Key...) },
	'v': func(b []byte, r *kgo.Record) []byte { return append(b, r.Value...) },
	'h': func(b []byte, r *kgo.Record) []byte {
		for i, h := range r.Headers {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, h.Key...)
			b = append(b, '=')
			b = append(b, h.Value...)
		}
		return b
	},
}

// jsonRecord is the form of --json. Bytes that are not UTF-8 are base64, and the
// field's name says so.
type jsonRecord struct {
	Topic     string       `json:"topic"`
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
	Timestamp int64        `json:"timestamp"`
	Key       *string      `json:"key"`
	KeyB64    string       `json:"key_base64,omitempty"`
	Value     *string      `json:"value"`
	ValueB64  string       `json:"value_base64,omitempty"`
	Headers   []jsonHeader `json:"headers,omitempty"`
}

type jsonHeader struct {
	Key      string  `json:"key"`
	Value    *string `json:"value"`
	ValueB64 string  `json:"value_base64,omitempty"`
}

func appendJSON(b []byte, r *kgo.Record) []byte {
	j := jsonRecord{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli()}
	j.Key, j.KeyB64 = jsonText(r.Key)
	j.Value, j.ValueB64 = jsonText(r.Value)
	for _, h := range r.Headers {
		jh := jsonHeader{Key: h.Key}
		jh.Value, jh.ValueB64 = jsonText(h.Value)
		j.Headers = append(j.Headers, jh)
	}
	text, err := json.Marshal(j)
	if err != nil { // strings and numbers always marshal
		text = strconv.AppendQuote(nil, err.Error())
	}
	return append(append(b, text...), '\n')
}

func jsonText(b []byte) (*string, string) {
	if b == nil {
		return nil, ""
	}
	if !utf8.Valid(b) {
		return nil, base64.StdEncoding.EncodeToString(b)
	}
	s := string(b)
	return &s, ""
}
