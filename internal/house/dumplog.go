package house

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/buildinfo"
	"github.com/gregorhq/gregor/internal/cli"
	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/vfs"
)

const (
	decoderPackage = "org.apache.kafka.tools.api."
	stringDecoder  = decoderPackage + "StringDecoder"
)

var dumpLogTable = opt.Table{Options: []opt.Option{
	{Name: "files", Kind: opt.Value, Arg: "file1, file2, ...", Doc: "REQUIRED: The files to dump, separated by commas: segments, their indexes, producer snapshots, snapshots of the metadata log."},
	{Name: "print-data-log", Doc: "Print the content of messages too. Any decoder option implies it."},
	{Name: "deep-iteration", Doc: "Print every message and not only batches. --print-data-log implies it."},
	{Name: "skip-record-metadata", Doc: "Print only the content of messages, and no control records."},
	{Name: "index-sanity-check", Doc: "Only check an index the way a starting broker does to decide whether to build it anew."},
	{Name: "verify-index-only", Doc: "Only compare an index with its log, without printing it."},
	{Name: "max-message-size", Kind: opt.Value, Type: "Integer", Arg: "size", Default: "5242880", Doc: "The size of the largest batch that an index may point to."},
	{Name: "max-bytes", Kind: opt.Value, Type: "Integer", Arg: "size", Default: "2147483647", Doc: "How many bytes of each log to read."},
	{Name: "key-decoder-class", Kind: opt.Value, Optional: stringDecoder, Default: stringDecoder, Doc: "How keys are shown: the String-, Integer- or LongDecoder of " + decoderPackage[:len(decoderPackage)-1] + "."},
	{Name: "value-decoder-class", Kind: opt.Value, Optional: stringDecoder, Default: stringDecoder, Doc: "How values are shown, as with --key-decoder-class."},
	{Name: "offsets-decoder", Doc: "Show messages as the records of __consumer_offsets that they are."},
	{Name: "transaction-log-decoder", Doc: "Show messages as the records of __transaction_state that they are."},
	{Name: "cluster-metadata-decoder", Doc: "Show messages as the records of the metadata log that they are."},
	{Name: "remote-log-metadata-decoder", Doc: "Show messages as the records of __remote_log_metadata that they are, as Kafka's own manager of remote log metadata writes them."},
	{Name: "share-group-state-decoder", Doc: "Show messages as the records of __share_group_state that they are."},
	{Name: "help", Doc: "Print usage information."},
	{Name: "version", Doc: "Display Kafka version."},
}}

const dumpLogUsage = "This tool helps to parse a log file and dump its contents to the console, useful for debugging a seemingly corrupt log segment."

// dumpLog is kafka-dump-log. It only reads.
func dumpLog(_ context.Context, env *cli.Env) int {
	v, err := dumpLogTable.Parse(env.Args)
	switch {
	case err == nil && v.Has("version"):
		fmt.Fprintln(env.Out, buildinfo.KafkaVersion)
		return 0
	case err == nil && (len(env.Args) == 0 || v.Has("help")):
		err = opt.Usagef("%s", dumpLogUsage)
	case err == nil:
		err = v.Require("files")
	}
	if err != nil {
		fmt.Fprintf(env.Err, "%v\n%s", err, dumpLogTable.Help())
		return 1
	}
	d, err := newDumper(env, v)
	if err == nil {
		err = d.dump(strings.Split(v.Get("files"), ","))
	}
	if err != nil {
		fmt.Fprintln(env.Err, err)
		return 1
	}
	return 0
}

// dumper prints files. It belongs to one goroutine.
type dumper struct {
	fs     vfs.FS
	out    *bufio.Writer
	errOut io.Writer

	contents, deep, skipMetadata bool
	sanityOnly, verifyOnly       bool
	maxMessageSize, maxBytes     int64
	parser                       parser

	// What is wrong, to be told after the last file.
	indexMismatches, nonConsecutive         findings
	timeMismatches, timeOrder, timeNotFound findings
}

func newDumper(env *cli.Env, v *opt.Values) (*dumper, error) {
	d := &dumper{
		fs: vfs.OS(), out: bufio.NewWriterSize(env.Out, 64<<10), errOut: env.Err,
		skipMetadata: v.Has("skip-record-metadata"), sanityOnly: v.Has("index-sanity-check"), verifyOnly: v.Has("verify-index-only"),
	}
	for _, o := range []string{"print-data-log", "value-decoder-class", "key-decoder-class"} {
		d.contents = d.contents || v.Has(o)
	}
	for _, l := range logDecoders {
		if v.Has(l.option) && d.parser == nil {
			d.contents, d.parser = true, l.parser
		}
	}
	d.deep = d.contents || v.Has("deep-iteration")
	var err error
	size := func(name string) int64 {
		n, e := strconv.ParseInt(v.Get(name), 10, 32)
		if e != nil || n < 0 {
			err = fmt.Errorf("Cannot parse argument '%s' of option %s", v.Get(name), name)
		}
		return n
	}
	d.maxMessageSize, d.maxBytes = size("max-message-size"), size("max-bytes")
	if err != nil {
		return nil, err
	}
	if d.parser != nil {
		return d, nil
	}
	key, err := decoderByClass(v.Get("key-decoder-class"))
	if err != nil {
		return nil, err
	}
	value, err := decoderByClass(v.Get("value-decoder-class"))
	if err != nil {
		return nil, err
	}
	d.parser = plainParser(key, value)
	return d, nil
}

// dump prints the files in order, then what is wrong with them. The first file that
// cannot be read ends it.
func (d *dumper) dump(names []string) error {
	for len(names) > 1 && names[len(names)-1] == "" {
		names = names[:len(names)-1]
	}
	for _, name := range names {
		name = cleanSlashes(name)
		fmt.Fprintf(d.out, "Dumping %s\n", name)
		if err := d.file(name); err != nil {
			return errors.Join(d.out.Flush(), fmt.Errorf("%s: %w", name, err))
		}
	}
	if err := d.out.Flush(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	d.report()
	return nil
}

func (d *dumper) file(name string) error {
	switch filepath.Ext(name) {
	case ".log", ".checkpoint":
		return d.log(name)
	case ".index":
		return d.offsetIndex(name)
	case ".timeindex":
		return d.timeIndex(name)
	case ".snapshot":
		return d.producerSnapshot(name)
	case ".txnindex":
		return d.txnIndex(name)
	}
	if err := d.out.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(d.errOut, "Ignoring unknown file %s\n", name)
	return nil
}

// cleanSlashes leaves single slashes and none at the end.
func cleanSlashes(name string) string {
	for strings.Contains(name, "//") {
		name = strings.ReplaceAll(name, "//", "/")
	}
	if len(name) > 1 {
		name = strings.TrimSuffix(name, "/")
	}
	return name
}

// baseOffset is the offset in the name of a segment's file.
func baseOffset(name string) (int64, error) {
	digits, _, _ := strings.Cut(filepath.Base(name), ".")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the name does not begin with an offset: %q", digits)
	}
	return n, nil
}

// sibling is another file of the same segment.
func sibling(name, suffix string) string {
	digits, _, _ := strings.Cut(filepath.Base(name), ".")
	return filepath.Join(filepath.Dir(name), digits+suffix)
}

// open opens a file and tells its size.
func (d *dumper) open(name string) (vfs.File, int64, error) {
	f, err := d.fs.Open(name)
	if err != nil {
		return nil, 0, err
	}
	n, err := f.Size()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, n, nil
}

// pair is one line of a report.
type pair struct{ a, b int64 }

// findings are what is wrong, by file, in the order of finding.
type findings struct {
	files []string
	pairs map[string][]pair
}

func (f *findings) add(name string, p pair) {
	if abs, err := filepath.Abs(name); err == nil {
		name = abs
	}
	if f.pairs == nil {
		f.pairs = map[string][]pair{}
	}
	if _, seen := f.pairs[name]; !seen {
		f.files = append(f.files, name)
	}
	f.pairs[name] = append(f.pairs[name], p)
}

func (f *findings) print(w io.Writer, head, line string) {
	for _, name := range f.files {
		fmt.Fprintln(w, head+name)
		for _, p := range f.pairs[name] {
			fmt.Fprintf(w, line, p.a, p.b)
		}
	}
}

func (d *dumper) report() {
	d.indexMismatches.sortUnique(func(a, b int64) bool { return a > b })
	d.indexMismatches.print(d.errOut, "Mismatches in :", "  Index offset: %d, log offset: %d\n")
	d.timeMismatches.print(d.errOut, "Found timestamp mismatch in :", "  Index timestamp: %d, log timestamp: %d\n")
	d.timeOrder.print(d.errOut, "Found out of order timestamp in :", "  Index timestamp: %d, Previously indexed timestamp: %d\n")
	d.timeNotFound.print(d.errOut, "The following indexed offsets are not found in :", "Indexed offset: %d, found log offset: %d\n")
	d.nonConsecutive.sortUnique(func(a, b int64) bool { return a < b })
	d.nonConsecutive.print(d.errOut, "Non-consecutive offsets in ", "  %d is followed by %d\n")
}

// optional is how the tool shows a number that may be missing.
func optional(n int64, there bool) string {
	if !there {
		return "OptionalLong.empty"
	}
	return fmt.Sprintf("OptionalLong[%d]", n)
}

// unlimited is the value of --max-bytes that means the whole file.
const unlimited = math.MaxInt32
