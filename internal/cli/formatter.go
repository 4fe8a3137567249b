package cli

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/records"
)

// columns is what the default formatter of kafka-console-consumer prints.
type columns struct {
	timestamp, key, value, partition, offset, epoch, headers bool
	keySep, lineSep, headerSep, null                         string
	readKey, readValue, readHeader                           func([]byte) (string, error)
}

// messageFormat appends what a formatter prints of a record.
type messageFormat func([]byte, *kgo.Record) ([]byte, error)

// formatterNames are the classes that consoleFormatter knows.
const formatterNames = "DefaultMessageFormatter, LoggingMessageFormatter and NoOpMessageFormatter, and for the records of internal topics OffsetsMessageFormatter, GroupMetadataMessageFormatter and TransactionLogMessageFormatter"

// consoleFormatter returns the formatter of the --formatter class.
func consoleFormatter(env *Env, v *opt.Values) (messageFormat, error) {
	class := v.Get("formatter")
	switch short := class[strings.LastIndexByte(class, '.')+1:]; short {
	case "DefaultMessageFormatter":
		return columnsFormat(v)
	case "LoggingMessageFormatter":
		format, err := columnsFormat(v)
		return loggingFormat(logTo(env, "org.apache.kafka.tools.consumer.LoggingMessageFormatter"), format), err
	case "NoOpMessageFormatter":
		return func(b []byte, _ *kgo.Record) ([]byte, error) { return b, nil }, nil
	case "OffsetsMessageFormatter":
		return stateFormat(records.OffsetsLog, new(records.LegacyOffsetCommitKey).APIKey(), new(records.OffsetCommitKey).APIKey()), nil
	case "GroupMetadataMessageFormatter":
		return stateFormat(records.OffsetsLog, new(records.GroupMetadataKey).APIKey()), nil
	case "TransactionLogMessageFormatter":
		return stateFormat(records.TransactionLog, new(records.TransactionLogKey).APIKey()), nil
	}
	return nil, fmt.Errorf("formatter %s: classes cannot be loaded here; there are %s", class, formatterNames)
}

// loggingFormat prints like format, and logs each record.
func loggingFormat(log *slog.Logger, format messageFormat) messageFormat {
	return func(b []byte, r *kgo.Record) ([]byte, error) {
		b, err := format(b, r)
		if err != nil {
			return b, err
		}
		text := timestampText(r) + ", "
		if text == "NO_TIMESTAMP, " {
			text = ""
		}
		if r.Key == nil {
			text += "key:null " // Kafka has no comma here
		} else {
			text += "key:" + string(r.Key) + ", "
		}
		if r.Value == nil {
			text += "value:null"
		} else {
			text += "value:" + string(r.Value)
		}
		log.Info(text)
		return b, nil
	}
}

// stateFormat prints the records of an internal topic that have one of the types, as JSON
// and, as Kafka does, one right after the other. Types that are not in the schema are
// passed over, and so are records without a key.
func stateFormat(log records.StateLog, types ...int16) messageFormat {
	return func(b []byte, r *kgo.Record) ([]byte, error) {
		if r.Key == nil {
			return b, nil
		}
		key, value, err := log.Decode(r.Key, r.Value)
		switch {
		case errors.As(err, new(*records.UnknownTypeError)):
			return b, nil
		case err != nil:
			return b, fmt.Errorf("Could not read record at offset %d due to: %w", r.Offset, err)
		case !slices.Contains(types, key.APIKey()):
			return b, nil
		}
		b = fmt.Appendf(b, `{"key":{"type":%d,"data":`, key.APIKey())
		b = append(key.AppendJSON(b), `},"value":`...)
		if value == nil {
			return append(b, "null}"...), nil
		}
		b = fmt.Appendf(b, `{"version":%d,"data":`, value.RecordVersion())
		return append(value.AppendJSON(b), "}}"...), nil
	}
}

// columnsFormat is the default formatter with the settings of the command line.
func columnsFormat(v *opt.Values) (messageFormat, error) {
	s, err := fileAndWords(v.Get("formatter-config"), either(v, "formatter-property", "property"))
	if err != nil {
		return nil, err
	}
	for key, option := range map[string]string{"key.deserializer": "key-deserializer", "value.deserializer": "value-deserializer"} {
		if _, set := s[key]; !set && v.Has(option) {
			s[key] = v.Get(option)
		}
	}
	get := func(key, def string) string {
		if t, ok := s[key]; ok {
			return t
		}
		return def
	}
	yes := func(key, def string) bool { return strings.EqualFold(strings.TrimSpace(get(key, def)), "true") }
	c := &columns{
		timestamp: yes("print.timestamp", ""), key: yes("print.key", ""), value: yes("print.value", "true"), partition: yes("print.partition", ""),
		offset: yes("print.offset", ""), epoch: yes("print.epoch", ""), headers: yes("print.headers", ""),
		keySep: get("key.separator", "\t"), lineSep: get("line.separator", "\n"), headerSep: get("headers.separator", ","), null: get("null.literal", "null"),
	}
	for key, to := range map[string]*func([]byte) (string, error){"key.deserializer": &c.readKey, "value.deserializer": &c.readValue, "headers.deserializer": &c.readHeader} {
		if *to, err = deserializer(s[key]); err != nil {
			return nil, err
		}
	}
	return c.format, nil
}

// deserializer finds the reading of one of Kafka's own classes.
func deserializer(class string) (func([]byte) (string, error), error) {
	sized := func(name string, size int, read func([]byte) string) func([]byte) (string, error) {
		return func(b []byte) (string, error) {
			if len(b) != size {
				return "", fmt.Errorf("Size of data received by %s is not %d", name, size)
			}
			return read(b), nil
		}
	}
	switch short := class[strings.LastIndexByte(class, '.')+1:]; short {
	case "", "StringDeserializer", "ByteArrayDeserializer", "BytesDeserializer":
		return func(b []byte) (string, error) { return string(b), nil }, nil
	case "IntegerDeserializer":
		return sized(short, 4, func(b []byte) string { return strconv.Itoa(int(int32(binary.BigEndian.Uint32(b)))) }), nil
	case "LongDeserializer":
		return sized(short, 8, func(b []byte) string { return strconv.FormatInt(int64(binary.BigEndian.Uint64(b)), 10) }), nil
	case "ShortDeserializer":
		return sized(short, 2, func(b []byte) string { return strconv.Itoa(int(int16(binary.BigEndian.Uint16(b)))) }), nil
	case "DoubleDeserializer":
		return sized(short, 8, func(b []byte) string { return javaFloat(math.Float64frombits(binary.BigEndian.Uint64(b)), 64) }), nil
	case "FloatDeserializer":
		return sized(short, 4, func(b []byte) string {
			return javaFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(b))), 32)
		}), nil
	case "BooleanDeserializer":
		return sized(short, 1, func(b []byte) string { return strconv.FormatBool(b[0] == 1) }), nil
	case "UUIDDeserializer":
		return func(b []byte) (string, error) { return string(b), nil }, nil
	}
	return nil, fmt.Errorf("%s cannot be loaded here; there are the deserializers of org.apache.kafka.common.serialization for strings, bytes, numbers, booleans and UUIDs", class)
}

// javaFloat writes a number as Java does: 1.0, 1.5E10.
func javaFloat(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 0):
		return strings.Replace(strconv.FormatFloat(f, 'g', -1, bits), "Inf", "Infinity", 1)[btoi(f > 0):]
	}
	if a := math.Abs(f); a != 0 && (a < 1e-3 || a >= 1e7) {
		mantissa, exp, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, bits), "e")
		if !strings.Contains(mantissa, ".") {
			mantissa += ".0"
		}
		n, err := strconv.Atoi(exp)
		if err != nil {
			return mantissa + "E" + exp
		}
		return mantissa + "E" + strconv.Itoa(n)
	}
	s := strconv.FormatFloat(f, 'f', -1, bits)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// format writes the columns in the default formatter's order, with the separator
// between them and the line's end after the last.
func (c *columns) format(b []byte, r *kgo.Record) ([]byte, error) {
	type column struct {
		on    bool
		write func([]byte) ([]byte, error)
	}
	plain := func(s string) func([]byte) ([]byte, error) {
		return func(b []byte) ([]byte, error) { return append(b, s...), nil }
	}
	read := func(raw []byte, decode func([]byte) (string, error)) func([]byte) ([]byte, error) {
		return func(b []byte) ([]byte, error) {
			if raw == nil {
				raw = []byte(c.null)
			}
			s, err := decode(raw)
			return append(b, s...), err
		}
	}
	all := []column{
		{c.timestamp, plain(timestampText(r))},
		{c.partition, plain("Partition:" + strconv.Itoa(int(r.Partition)))},
		{c.offset, plain("Offset:" + strconv.FormatInt(r.Offset, 10))},
		{c.epoch, plain("Epoch:NOT_PRESENT")},
		{c.headers, func(b []byte) ([]byte, error) { return c.headersText(b, r) }},
		{c.key, read(r.Key, c.readKey)},
		{c.value, read(r.Value, c.readValue)},
	}
	first := true
	for _, col := range all {
		if !col.on {
			continue
		}
		if !first {
			b = append(b, c.keySep...)
		}
		first = false
		var err error
		if b, err = col.write(b); err != nil {
			return b, err
		}
	}
	if !first {
		b = append(b, c.lineSep...)
	}
	return b, nil
}

func timestampText(r *kgo.Record) string {
	switch r.Attrs.TimestampType() {
	case 0:
		return "CreateTime:" + strconv.FormatInt(r.Timestamp.UnixMilli(), 10)
	case 1:
		return "LogAppendTime:" + strconv.FormatInt(r.Timestamp.UnixMilli(), 10)
	}
	return "NO_TIMESTAMP"
}

func (c *columns) headersText(b []byte, r *kgo.Record) ([]byte, error) {
	if len(r.Headers) == 0 {
		return append(b, "NO_HEADERS"...), nil
	}
	for i, h := range r.Headers {
		if i > 0 {
			b = append(b, c.headerSep...)
		}
		b = append(append(b, h.Key...), ':')
		value := h.Value
		if value == nil {
			value = []byte(c.null)
		}
		s, err := c.readHeader(value)
		if err != nil {
			return b, err
		}
		b = append(b, s...)
	}
	return b, nil
}
