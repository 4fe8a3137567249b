package cli

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

var produceTable = opt.Table{Options: []opt.Option{
	{Name: "bootstrap-server", Aliases: []string{"b"}, Kind: opt.Value, Arg: "host:port,...", Default: defaultBootstrap, Doc: "The brokers to connect to first."},
	{Name: "key-separator", Aliases: []string{"K"}, Kind: opt.Value, Arg: "text", Doc: "What stands between key and value of a line; without it lines have no key. \\t is a tab."},
	{Name: "header", Aliases: []string{"H"}, Kind: opt.List, Arg: "name=value", Doc: "A header for every record; may be repeated."},
	{Name: "partition", Aliases: []string{"p"}, Kind: opt.Value, Type: "Integer", Arg: "number", Doc: "The partition for every record; without it the key decides, or records spread."},
	{Name: "compression", Aliases: []string{"z"}, Kind: opt.Value, Arg: "none|gzip|snappy|lz4|zstd", Default: "none", Doc: "The codec of batches."},
	{Name: "acks", Kind: opt.Value, Arg: "0|1|all", Default: "all", Doc: "Who must have a record before it counts."},
	{Name: "command-config", Aliases: []string{"X"}, Kind: opt.Value, Arg: "file", Doc: "Property file with client settings."},
	{Name: "help", Aliases: []string{"h"}, Doc: "Print this text."},
}}

const produceUsage = "Usage: gregor produce TOPIC [OPTION]...\nPublishes the lines of standard input, one record a line.\n"

func produce(ctx context.Context, env *Env) int {
	v, err := produceTable.Parse(env.Args)
	if err == nil && v.Has("help") {
		fmt.Fprint(env.Out, produceUsage, "\n", produceTable.Help())
		return 0
	}
	if err == nil && len(v.Rest) != 1 {
		err = opt.Usagef("name one topic")
	}
	if err != nil {
		fmt.Fprintf(env.Err, "gregor produce: %v\n%s", err, produceUsage)
		return 2
	}
	if err := produceLines(ctx, env, v); err != nil {
		fmt.Fprintf(env.Err, "gregor produce: %s: %s\n", v.Rest[0], reason(err))
		return 1
	}
	return 0
}

var codecNames = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

// ackOptions are those of a producer with the given acks. Fewer than all cannot be
// idempotent.
func ackOptions(acks string) ([]kgo.Opt, error) {
	switch acks {
	case "all", "-1":
		return []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks())}, nil
	case "1":
		return []kgo.Opt{kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()}, nil
	case "0":
		return []kgo.Opt{kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite()}, nil
	}
	return nil, fmt.Errorf("acks is %q; it can be 0, 1 or all", acks)
}

func produceOptions(v *opt.Values) ([]kgo.Opt, error) {
	codec, ok := codecNames[v.Get("compression")]
	if !ok {
		return nil, fmt.Errorf("compression is %q; it can be none, gzip, snappy, lz4 or zstd", v.Get("compression"))
	}
	opts, err := ackOptions(v.Get("acks"))
	if err != nil {
		return nil, err
	}
	opts = append(append(opts, deliveryOptions()...), kgo.DefaultProduceTopic(v.Rest[0]), kgo.AllowAutoTopicCreation(),
		kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(5*time.Millisecond))
	if v.Has("partition") {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	return opts, nil
}

func produceLines(ctx context.Context, env *Env, v *opt.Values) error {
	opts, err := produceOptions(v)
	if err != nil {
		return err
	}
	partition := 0
	if v.Has("partition") {
		if partition, err = strconv.Atoi(v.Get("partition")); err != nil || partition < 0 {
			return fmt.Errorf("partition is %q; it must be a number, not negative", v.Get("partition"))
		}
	}
	headers, err := parseHeaders(v.All("header"))
	if err != nil {
		return err
	}
	props, err := readProperties(v.Get("command-config"))
	if err != nil {
		return err
	}
	c, err := connect(v.Get("bootstrap-server"), props, opts...)
	if err != nil {
		return err
	}
	defer c.Close()

	// ctx ends the reading; what was read is still delivered.
	work, cancel := lasting(ctx, leavePatience)
	defer cancel()
	var first firstFailure
	send := &sender{c: c, failed: first.note}
	sep := []byte(unescapeSeparator(v.Get("key-separator")))
	err = eachLine(ctx, env.In, func() {}, func(line []byte) error {
		r, err := lineRecord(line, sep)
		if err != nil {
			return err
		}
		r.Headers, r.Partition = headers, int32(partition)
		send.send(work, r)
		return first.get()
	})
	send.finish(work)
	if failure := first.get(); failure != nil {
		return failure
	}
	return err
}

func lineRecord(line, sep []byte) (*kgo.Record, error) {
	if len(sep) == 0 {
		return &kgo.Record{Value: line}, nil
	}
	key, value, ok := bytes.Cut(line, sep)
	if !ok {
		return nil, fmt.Errorf("the line %.80q has no key separator %q", line, sep)
	}
	return &kgo.Record{Key: key, Value: value}, nil
}

func unescapeSeparator(s string) string {
	return strings.NewReplacer(`\t`, "\t", `\n`, "\n", `\0`, "\x00", `\\`, `\`).Replace(s)
}

func parseHeaders(list []string) ([]kgo.RecordHeader, error) {
	var headers []kgo.RecordHeader
	for _, h := range list {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("the header %q is not of the form name=value", h)
		}
		headers = append(headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	return headers, nil
}
