// Command lines makes and checks the real input of the round-trip tests: every
// line of every .go file of the Go distribution, keyed by file name.
//
//	lines gen          writes "file<TAB>line" for every line
//	lines check        reads the same form, in any interleaving of files, and
//	                   fails unless each file's lines are whole and in order
//	lines produce ADDRS TOPIC CODEC    writes them with franz-go
//	lines consume ADDRS TOPIC          reads them back with franz-go, to check
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lines:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	defer out.Flush()
	switch {
	case len(args) == 1 && args[0] == "gen":
		return walk(func(file string, line []byte) error {
			out.WriteString(file)
			out.WriteByte('\t')
			out.Write(line)
			return out.WriteByte('\n')
		})
	case len(args) == 1 && args[0] == "check":
		return check(os.Stdin)
	case len(args) == 4 && args[0] == "produce":
		return produce(args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "consume":
		return consume(args[1], args[2], out)
	}
	return fmt.Errorf("usage: lines gen | check | produce ADDRS TOPIC CODEC | consume ADDRS TOPIC")
}

// walk calls fn for every line. Lines that a line-oriented tool cannot carry, those
// with a carriage return or a NUL, are left out on both sides.
func walk(fn func(file string, line []byte) error) error {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("finding the Go distribution: %w", err)
	}
	root := strings.TrimSpace(string(out))
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for len(text) > 0 {
			var line []byte
			line, text, _ = bytes.Cut(text, []byte{'\n'})
			if bytes.ContainsAny(line, "\r\x00") {
				continue
			}
			if err := fn(filepath.ToSlash(name), line); err != nil {
				return err
			}
		}
		return nil
	})
}

func check(in io.Reader) error {
	want := map[string][][]byte{}
	total := 0
	if err := walk(func(file string, line []byte) error {
		want[file] = append(want[file], bytes.Clone(line))
		total++
		return nil
	}); err != nil {
		return err
	}
	r := bufio.NewReaderSize(in, 1<<20)
	seen := 0
	for {
		text, err := r.ReadBytes('\n')
		if err == io.EOF && len(text) == 0 {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d lines: %w", seen, err)
		}
		key, line, ok := bytes.Cut(text[:len(text)-1], []byte{'\t'})
		left := want[string(key)]
		if !ok || len(left) == 0 {
			return fmt.Errorf("line %d is one too many for %q", seen, key)
		}
		if !bytes.Equal(left[0], line) {
			return fmt.Errorf("line %d of %s is %.200q, want %.200q", seen, key, line, left[0])
		}
		want[string(key)] = left[1:]
		seen++
	}
	if seen != total {
		return fmt.Errorf("%d of %d lines came back", seen, total)
	}
	fmt.Printf("%d lines of %d files identical and in order\n", seen, len(want))
	return nil
}

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func produce(addr, topic, codec string) error {
	c, ok := codecs[codec]
	if !ok {
		return fmt.Errorf("unknown codec %q", codec)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(addr, ",")...), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(c), kgo.ProducerLinger(5*time.Millisecond), kgo.ProducerBatchMaxBytes(4_000_000))
	if err != nil {
		return err
	}
	defer cl.Close()
	var failed atomic.Pointer[error]
	if err := walk(func(file string, line []byte) error {
		cl.Produce(ctx, &kgo.Record{Key: []byte(file), Value: bytes.Clone(line)}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
		return nil
	}); err != nil {
		return err
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	if e := failed.Load(); e != nil {
		return *e
	}
	return nil
}

func consume(addr, topic string, out *bufio.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(addr, ",")...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	for left > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			return err
		}
		fs.EachRecord(func(r *kgo.Record) {
			out.Write(r.Key)
			out.WriteByte('\t')
			out.Write(r.Value)
			out.WriteByte('\n')
			left--
		})
	}
	return nil
}
