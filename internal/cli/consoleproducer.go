package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

const readerPropertyDoc = "A setting of the line reader, key=value; may be repeated: parse.key (false), parse.headers (false), ignore.error (false), key.separator (tab), headers.delimiter (tab), headers.separator (,), headers.key.separator (:), null.marker (none)."

var consoleProducerTable = opt.Table{Options: append([]opt.Option{
	{Name: "topic", Kind: opt.Value, Arg: "topic", Doc: "REQUIRED: The topic name to produce messages to."},
	{Name: "bootstrap-server", Kind: opt.Value, Arg: "server to connect to", Doc: "REQUIRED: The server(s) to connect to, in the form HOST1:PORT1,HOST2:PORT2."},
	{Name: "sync", Doc: "Wait for the answer to each message before the next is sent."},
	{Name: "compression-codec", Kind: opt.Value, Optional: "gzip", Arg: "compression-codec", Doc: "The compression codec: none, gzip, snappy, lz4 or zstd; without a value gzip."},
	{Name: "batch-size", Kind: opt.Value, Type: "Integer", Arg: "size", Default: "16384", Doc: "How many bytes a batch for one partition gathers (batch.size)."},
	{Name: "message-send-max-retries", Kind: opt.Value, Type: "Integer", Doc: "How often a failed send is tried again (retries); without it until delivery.timeout.ms is over."},
	{Name: "retry-backoff-ms", Kind: opt.Value, Type: "Long", Default: "100", Doc: "The wait before a failed send is tried again (retry.backoff.ms)."},
	{Name: "timeout", Kind: opt.Value, Type: "Long", Arg: "timeout_ms", Default: "1000", Doc: "How long a message waits for others of its batch (linger.ms)."},
	{Name: "request-required-acks", Kind: opt.Value, Arg: "request required acks", Default: "-1", Doc: "The acknowledgements that a message needs (acks)."},
	{Name: "request-timeout-ms", Kind: opt.Value, Type: "Integer", Arg: "request timeout ms", Default: "1500", Doc: "How long a request may take (request.timeout.ms)."},
	{Name: "metadata-expiry-ms", Kind: opt.Value, Type: "Long", Arg: "metadata expiration interval", Default: "300000", Doc: "After which time metadata is asked for again (metadata.max.age.ms)."},
	{Name: "max-block-ms", Kind: opt.Value, Type: "Long", Arg: "max block on send", Default: "60000", Doc: "How long a send may wait until the topic is known (max.block.ms)."},
	{Name: "max-memory-bytes", Kind: opt.Value, Type: "Long", Arg: "total memory in bytes", Default: "33554432", Doc: "The memory for messages that wait to be sent (buffer.memory)."},
	{Name: "max-partition-memory-bytes", Kind: opt.Value, Type: "Integer", Arg: "memory in bytes per partition", Doc: "(Deprecated) Like --batch-size."},
	{Name: "line-reader", Kind: opt.Value, Arg: "reader_class", Default: lineReaderClass, Doc: "The class that reads lines; only the default one is known."},
	{Name: "socket-buffer-size", Kind: opt.Value, Type: "Integer", Arg: "size", Default: "102400", Doc: "The size of the TCP send buffer (send.buffer.bytes)."},
	{Name: "reader-property", Kind: opt.List, Arg: "prop", Doc: readerPropertyDoc},
	{Name: "property", Kind: opt.List, Arg: "prop", Doc: "(DEPRECATED) Like --reader-property."},
	{Name: "reader-config", Kind: opt.Value, Arg: "config file", Doc: "A properties file for the line reader; --reader-property wins over it."},
	{Name: "command-property", Kind: opt.List, Arg: "producer_prop", Doc: "A producer setting, key=value; may be repeated."},
	{Name: "producer-property", Kind: opt.List, Arg: "producer_prop", Doc: "(DEPRECATED) Like --command-property."},
	{Name: "command-config", Kind: opt.Value, Arg: "config file", Doc: "A properties file with producer settings; --command-property wins over it."},
	{Name: "producer.config", Kind: opt.Value, Arg: "config file", Doc: "(DEPRECATED) Like --command-config."},
}, helpOptions...)}

const lineReaderClass = "org.apache.kafka.tools.LineMessageReader"

func consoleProducer(ctx context.Context, env *Env) int {
	v, code, done := parse(env, &consoleProducerTable, "This tool helps to read data from standard input and publish it to Kafka.")
	if done {
		return code
	}
	err := firstError(v.Require("topic"), v.Require("bootstrap-server"),
		renamed(env, v, "property", "reader-property"), renamed(env, v, "producer-property", "command-property"), renamed(env, v, "producer.config", "command-config"))
	if err != nil {
		return wrongUsage(env, &consoleProducerTable, err)
	}
	reader, props, err := consoleProducerSettings(v)
	if err != nil {
		fmt.Fprintln(env.Err, err)
		return 1
	}
	err = publishConsole(ctx, env, v, reader, props)
	if err != nil {
		fmt.Fprintln(env.Err, exception(err))
	}
	switch {
	case ctx.Err() != nil:
		return signalCode(ctx)
	case err != nil:
		return 1
	}
	return 0
}

// renamed warns of an option's old name and refuses both together (KIP-1147).
func renamed(env *Env, v *opt.Values, old, name string) error {
	if !v.Has(old) {
		return nil
	}
	if v.Has(name) {
		return opt.Usagef("Options --%s and --%s cannot be specified together.", old, name)
	}
	fmt.Fprintf(env.Out, "Option --%s is deprecated and will be removed in a future version. Use --%s instead.\n", old, name)
	return nil
}

// either returns what was given under the new name or else under the old one.
func either(v *opt.Values, name, old string) []string {
	if v.Has(old) {
		return v.All(old)
	}
	return v.All(name)
}

// keyValues makes a map of key=value words; a word without "=" has an empty value.
func keyValues(words []string) map[string]string {
	m := map[string]string{}
	for _, w := range words {
		k, val, _ := strings.Cut(w, "=")
		m[k] = val
	}
	return m
}

// fileAndWords merges a properties file with key=value words, which win.
func fileAndWords(file string, words []string) (map[string]string, error) {
	props, err := readProperties(file)
	if err != nil {
		return nil, err
	}
	if props == nil {
		props = map[string]string{}
	}
	maps.Copy(props, keyValues(words))
	return props, nil
}

func firstOf(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func consoleProducerSettings(v *opt.Values) (*lineReader, map[string]string, error) {
	if c := v.Get("line-reader"); c != lineReaderClass {
		return nil, nil, fmt.Errorf("line-reader %s: classes cannot be loaded here; the default reader is %s", c, lineReaderClass)
	}
	settings, err := fileAndWords(v.Get("reader-config"), either(v, "reader-property", "property"))
	if err != nil {
		return nil, nil, err
	}
	reader, err := newLineReader(settings)
	if err != nil {
		return nil, nil, err
	}
	props, err := fileAndWords(firstOf(either(v, "command-config", "producer.config")), either(v, "command-property", "producer-property"))
	if err != nil {
		return nil, nil, err
	}
	for key, option := range map[string]string{
		"batch.size": "batch-size", "retry.backoff.ms": "retry-backoff-ms", "linger.ms": "timeout",
		"acks": "request-required-acks", "request.timeout.ms": "request-timeout-ms", "metadata.max.age.ms": "metadata-expiry-ms",
		"max.block.ms": "max-block-ms", "buffer.memory": "max-memory-bytes", "send.buffer.bytes": "socket-buffer-size",
	} {
		if _, set := props[key]; !set || v.Has(option) {
			props[key] = v.Get(option)
		}
	}
	// The client counts a connection that is refused as a try, which Kafka's producer does
	// not: with the default of 3 a leader that restarts would lose records. Unless a number
	// is asked for, the delivery timeout alone ends the tries.
	if v.Has("message-send-max-retries") {
		props["retries"] = v.Get("message-send-max-retries")
	}
	if v.Has("max-partition-memory-bytes") {
		props["batch.size"] = v.Get("max-partition-memory-bytes")
	}
	if v.Has("compression-codec") {
		props["compression.type"] = v.Get("compression-codec")
	}
	return reader, props, nil
}

// producerOptions turns the Java producer's settings into the client's.
func producerOptions(props map[string]string) ([]kgo.Opt, error) {
	acks := orDefault(props["acks"], "all")
	opts, err := ackOptions(acks)
	if err != nil {
		return nil, err
	}
	if props["enable.idempotence"] == "false" && (acks == "all" || acks == "-1") {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	codec, ok := codecNames[orDefault(props["compression.type"], "none")]
	if !ok {
		return nil, fmt.Errorf("Invalid value %s for configuration compression.type: String must be one of: none, gzip, snappy, lz4, zstd", props["compression.type"])
	}
	opts = append(opts, kgo.ProducerBatchCompression(codec), kgo.AllowAutoTopicCreation())
	var errs []error
	number := func(key string, use func(int64)) {
		text, ok := props[key]
		if !ok {
			return
		}
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil || n < 0 {
			errs = append(errs, fmt.Errorf("Invalid value %s for configuration %s: it must be a number, not negative", text, key))
			return
		}
		use(n)
	}
	maxRequest := int64(1 << 20)
	number("max.request.size", func(n int64) { maxRequest = n })
	number("batch.size", func(n int64) {
		opts = append(opts, kgo.ProducerBatchMaxBytes(int32(min(max(n, maxRequest), 1<<30))))
	})
	number("linger.ms", func(n int64) { opts = append(opts, kgo.ProducerLinger(time.Duration(n)*time.Millisecond)) })
	number("buffer.memory", func(n int64) { opts = append(opts, kgo.MaxBufferedBytes(int(max(n, 1)))) })
	number("delivery.timeout.ms", func(n int64) { opts = append(opts, kgo.RecordDeliveryTimeout(time.Duration(n)*time.Millisecond)) })
	number("retries", func(n int64) { opts = append(opts, kgo.RecordRetries(int(min(n, math.MaxInt32)))) })
	number("request.timeout.ms", func(n int64) {
		// The client takes nothing shorter or longer.
		limit := min(max(time.Duration(n)*time.Millisecond, 100*time.Millisecond), 15*time.Minute)
		opts = append(opts, kgo.ProduceRequestTimeout(limit), kgo.RequestTimeoutOverhead(limit))
	})
	return opts, errors.Join(errs...)
}

// lineReader takes records out of lines: headers, key, value.
type lineReader struct {
	parseKey, parseHeaders, ignoreError bool
	keySep, headersDelim, headersSep    string
	headerKeySep                        string
	nullMarker                          *string
	line                                int
}

func newLineReader(s map[string]string) (*lineReader, error) {
	get := func(key, def string) string {
		if v, ok := s[key]; ok {
			return v
		}
		return def
	}
	yes := func(key string) bool { return strings.EqualFold(strings.TrimSpace(s[key]), "true") }
	r := &lineReader{
		parseKey: yes("parse.key"), parseHeaders: yes("parse.headers"), ignoreError: yes("ignore.error"),
		keySep: get("key.separator", "\t"), headersDelim: get("headers.delimiter", "\t"),
		headersSep: get("headers.separator", ","), headerKeySep: get("headers.key.separator", ":"),
	}
	if m, ok := s["null.marker"]; ok {
		r.nullMarker = &m
	}
	names := []string{"headers.delimiter", "headers.separator", "headers.key.separator"}
	seps := []string{r.headersDelim, r.headersSep, r.headerKeySep}
	for i := range seps {
		for j := i + 1; j < len(seps); j++ {
			if seps[i] == seps[j] {
				return nil, fmt.Errorf("%s and %s may not be equal", names[i], names[j])
			}
		}
	}
	for i, sep := range append([]string{r.keySep}, seps...) {
		if r.nullMarker != nil && sep == *r.nullMarker {
			return nil, fmt.Errorf("null.marker and %s may not be equal", append([]string{"key.separator"}, names...)[i])
		}
	}
	return r, nil
}

// part cuts the text before sep off rest.
func (l *lineReader) part(enabled bool, line string, rest *string, sep, what string) (string, bool, error) {
	if !enabled {
		return "", false, nil
	}
	before, after, ok := strings.Cut(*rest, sep)
	if !ok {
		if l.ignoreError {
			return "", false, nil
		}
		return "", false, fmt.Errorf("No %s found on line number %d: '%s'", what, l.line, line)
	}
	*rest = after
	return before, true, nil
}

func (l *lineReader) bytes(s string) []byte {
	if l.nullMarker != nil && s == *l.nullMarker {
		return nil
	}
	return []byte(s)
}

func (l *lineReader) record(text []byte) (*kgo.Record, error) {
	l.line++
	line := string(text)
	rest := line
	headers, hasHeaders, err := l.part(l.parseHeaders, line, &rest, l.headersDelim, "headers delimiter")
	if err != nil {
		return nil, err
	}
	key, hasKey, err := l.part(l.parseKey, line, &rest, l.keySep, "key separator")
	if err != nil {
		return nil, err
	}
	r := &kgo.Record{Value: l.bytes(rest)}
	if hasKey {
		r.Key = l.bytes(key)
	}
	if hasHeaders && l.bytes(headers) != nil {
		r.Headers, err = l.headers(headers)
	}
	return r, err
}

func (l *lineReader) headers(text string) ([]kgo.RecordHeader, error) {
	var out []kgo.RecordHeader
	for _, pair := range strings.Split(text, l.headersSep) {
		key, value, ok := strings.Cut(pair, l.headerKeySep)
		switch {
		case !ok && !l.ignoreError:
			return nil, fmt.Errorf("No header key separator found in pair '%s' on line number %d", pair, l.line)
		case !ok:
			out = append(out, kgo.RecordHeader{Key: pair})
			continue
		case l.nullMarker != nil && key == *l.nullMarker:
			return nil, fmt.Errorf("Header keys should not be equal to the null marker '%s' as they can't be null", key)
		}
		out = append(out, kgo.RecordHeader{Key: key, Value: l.bytes(value)})
	}
	return out, nil
}
