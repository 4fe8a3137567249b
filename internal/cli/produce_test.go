package cli_test

import (
	"strings"
	"testing"
)

func TestLinesThatAreProducedAreConsumed(t *testing.T) {
	must(t, "", "kafka-topics --bootstrap-server ADDR --create --topic lines --partitions 2")
	must(t, "k1:one\nk2:two\nk1:three", "produce lines -b ADDR -K : -H a=b -p 1 -z lz4")
	for _, s := range []step{
		{line: "", out: "one\ntwo\nthree\n"},
		{line: "-n 2", out: "one\ntwo\n"},
		{line: "-o 1 --format %t/%p/%o:%k=%v[%h]", out: "lines/1/1:k2=two[a=b]\nlines/1/2:k1=three[a=b]\n"},
		{line: "-o -2", out: "two\nthree\n"},
		{line: "-o end", out: ""},
		{line: "-p 0", out: ""},
		{line: "-p 9", err: "gregor consume: lines: there is no partition 9; the topic has 2", code: 1},
		{line: "-o x", err: `gregor consume: lines: -o is "x"; it can be start, end, N, -N or @time`, code: 1},
		{line: "--format %q", err: "gregor consume: lines: the format has %q; there are %t %p %o %T %k %v %h and %%", code: 1},
	} {
		script(t, "consume lines -b ADDR", []step{s})
	}
	if got := must(t, "", "consume lines -b ADDR -n 1 --json"); !strings.Contains(got, `"offset":0,`) || !strings.Contains(got, `"key":"k1","value":"one","headers":[{"key":"a","value":"b"}]`) {
		t.Error(got)
	}
}

func TestMistakesOfProduceAndConsume(t *testing.T) {
	script(t, "produce", []step{
		{line: "", err: "gregor produce: name one topic", code: 2},
		{line: "lines -b ADDR -z rar", err: `gregor produce: lines: compression is "rar"; it can be none, gzip, snappy, lz4 or zstd`, code: 1},
		{line: "lines -b ADDR --acks 2", err: `gregor produce: lines: acks is "2"; it can be 0, 1 or all`, code: 1},
		{line: "lines --nope", err: "gregor produce: nope is not a recognized option", code: 2},
	})
	script(t, "consume", []step{
		{line: "a b", err: "gregor consume: name one topic", code: 2},
		{line: "no-such-topic -b ADDR", err: "gregor consume: no-such-topic: This server does not host this topic-partition.", code: 1},
	})
	if r := call(t, "no separator\n", "produce", "lines", "-b", "ADDR", "-K", ":"); r.code != 1 || r.firstErr() != `gregor produce: lines: the line "no separator" has no key separator ":"` {
		t.Errorf("code %d: %s", r.code, r.err)
	}
}
