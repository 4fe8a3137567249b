package house

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/records"
)

// parser turns a record into what is printed for its key and value; nil prints
// nothing. An error ends the dump.
type parser func(r *batch.Record) (key, value *string, err error)

// decoder shows one field.
type decoder func(b []byte) string

func decoderByClass(class string) (decoder, error) {
	switch strings.TrimPrefix(class, decoderPackage) {
	case "StringDecoder":
		return javaString, nil
	case "IntegerDecoder":
		return func(b []byte) string {
			if len(b) < 4 {
				return shortField(b, 4)
			}
			return strconv.FormatInt(int64(int32(binary.BigEndian.Uint32(b))), 10)
		}, nil
	case "LongDecoder":
		return func(b []byte) string {
			if len(b) < 8 {
				return shortField(b, 8)
			}
			return strconv.FormatInt(int64(binary.BigEndian.Uint64(b)), 10)
		}, nil
	}
	return nil, fmt.Errorf("Failed to load decoder class %s: classes cannot be loaded here; the String-, Integer- and LongDecoder of %s are built in", class, decoderPackage)
}

func shortField(b []byte, want int) string {
	return fmt.Sprintf("<%d bytes where %d are needed>", len(b), want)
}

func plainParser(key, value decoder) parser {
	show := func(decode decoder, b []byte) *string {
		if b == nil {
			return nil
		}
		s := decode(b)
		return &s
	}
	return func(r *batch.Record) (*string, *string, error) { return show(key, r.Key), show(value, r.Value), nil }
}

// metadataParser shows the records of the metadata log as JSON.
func metadataParser(r *batch.Record) (_, value *string, err error) {
	m, err := records.Decode(r.Value)
	var s string
	if err != nil {
		s = fmt.Sprintf("Error at %d, skipping. %v", r.Offset, err)
	} else {
		s = string(records.JSON(m))
	}
	return nil, &s, nil
}

// javaString decodes UTF-8 as the JVM does: each longest beginning of a character
// that goes on wrongly becomes one replacement character, and not each byte.
func javaString(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			n = malformed(b)
		}
		s.WriteRune(r)
		b = b[n:]
	}
	return s.String()
}

// malformed is the length of the wrong sequence that b begins with: the bytes that
// could still have become a character, at least one. Half of a surrogate pair
// counts as a character here.
func malformed(b []byte) int {
	lo, hi, need := byte(0x80), byte(0xBF), 0
	switch c := b[0]; {
	case c >= 0xC2 && c <= 0xDF:
		need = 1
	case c >= 0xE0 && c <= 0xEF:
		need = 2
		if c == 0xE0 {
			lo = 0xA0
		}
	case c >= 0xF0 && c <= 0xF4:
		need = 3
		if c == 0xF0 {
			lo = 0x90
		}
		if c == 0xF4 {
			hi = 0x8F
		}
	}
	n := 1
	for ; n <= need && n < len(b) && b[n] >= lo && b[n] <= hi; n++ {
		lo, hi = 0x80, 0xBF
	}
	return n
}
