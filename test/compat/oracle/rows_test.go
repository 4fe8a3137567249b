package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestThePageIsReadable: a row that is no row is found without running the oracle.
func TestThePageIsReadable(t *testing.T) {
	all, err := readRows("../../../docs/compat/differences.md")
	if err != nil || len(all) == 0 {
		t.Fatalf("%d rows, %v", len(all), err)
	}
}

func TestRows(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	write := func(text string) {
		if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("| other | table |\n|---|---|\n| x | y |\n\n| request | scenario | field | Apache Kafka | gregor | reason |\n|---|---|---|---|---|---|\n" +
		"| `Produce` | `bad\\|worse` | `Topics\\[.*\\]\\.ErrorCode` | 1 | 2 | because |\n")
	all, err := readRows(page)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d rows, %v", len(all), err)
	}
	for _, c := range []struct {
		d    difference
		want bool
	}{
		{difference{request: "Produce", scenario: "worse", path: "Topics[t].ErrorCode"}, true},
		{difference{request: "Produce", scenario: "much worse", path: "Topics[t].ErrorCode"}, false},
		{difference{request: "Produce", scenario: "bad", path: "Topics[t].ErrorCode.More"}, false},
		{difference{request: "Fetch", scenario: "bad", path: "Topics[t].ErrorCode"}, false},
	} {
		if got := all.explain(c.d); got != c.want {
			t.Errorf("%+v: explained %v", c.d, got)
		}
	}
	if all[0].seen != 1 {
		t.Errorf("seen %d times", all[0].seen)
	}
	write("| request | scenario | field | Apache Kafka | gregor | reason |\n| `Produce` | `(` | `.*` | 1 | 2 | because |\n")
	if _, err := readRows(page); err == nil {
		t.Error("a bad expression was accepted")
	}
}

// TestFlattenLeavesOutWhatAlwaysDiffers compares answers that two servers would give.
func TestFlattenLeavesOutWhatAlwaysDiffers(t *testing.T) {
	build := func(topic string, end int64, text string) answer {
		r := kmsg.NewPtrDescribeQuorumResponse()
		p := kmsg.NewDescribeQuorumResponseTopicPartition()
		p.HighWatermark, p.ErrorMessage = end, &text
		r.Topics = []kmsg.DescribeQuorumResponseTopic{{Topic: topic, Partitions: []kmsg.DescribeQuorumResponseTopicPartition{p}}}
		return answer{resp: r}
	}
	a, b := newSide("Apache", "h:1000", "/a"), newSide("gregor", "h:2000", "/b")
	for _, c := range []struct {
		name  string
		x, y  answer
		equal bool
	}{
		{"the metadata log's end", build("__cluster_metadata", 5, ""), build("__cluster_metadata", 7, ""), true},
		{"its sign", build("__cluster_metadata", 5, ""), build("__cluster_metadata", -1, ""), false},
		{"another log's end", build("t", 5, ""), build("t", 7, ""), false},
		{"addresses and directories", build("t", 5, "h:1000 h:1001 /a/x"), build("t", 5, "h:2000 h:2001 /b/x"), true},
		{"other addresses", build("t", 5, "h:1000"), build("t", 5, "h:2002"), false},
	} {
		x, _ := a.flatten(c.x)
		y, _ := b.flatten(c.y)
		same := len(x) == len(y)
		for k := range x {
			same = same && x[k] == y[k]
		}
		if same != c.equal {
			t.Errorf("%s: equal %v\n%v\n%v", c.name, same, x, y)
		}
	}
}
