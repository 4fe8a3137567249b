package wire

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestHeaderOfEveryRequest parses what a client's formatter writes.
func TestHeaderOfEveryRequest(t *testing.T) {
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("me"))
	eachVersion(func(key, version int16) {
		req := NewRequest(key)
		req.SetVersion(version)
		frame := f.AppendRequest(nil, req, 42)[4:]
		h, body, err := ParseRequestHeader(frame)
		if err != nil {
			t.Fatalf("%s v%d: %v", Name(key), version, err)
		}
		want := "me"
		if key == 7 && version == 0 {
			want = ""
		}
		if h.Key != key || h.Version != version || h.CorrelationID != 42 || h.ClientIDString() != want {
			t.Fatalf("%s v%d: header %+v", Name(key), version, h)
		}
		// The codec's formatter leaves the body of ControlledShutdown v0 out.
		if want != "" && string(body) != string(req.AppendTo(nil)) {
			t.Fatalf("%s v%d: wrong body", Name(key), version)
		}
		if mine := AppendRequestHeader(nil, h); string(mine) != string(frame[:len(frame)-len(body)]) {
			t.Fatalf("%s v%d: header encoded as %x", Name(key), version, mine)
		}
	})
}

func TestResponseHeader(t *testing.T) {
	for _, c := range []struct {
		key, version int16
		tags         bool
	}{{0, 8, false}, {0, 9, true}, {18, 0, false}, {18, 3, false}, {18, 4, false}, {7, 0, false}, {17, 1, false}, {56, 2, true}} {
		b := AppendResponseHeader(nil, c.key, c.version, 5)
		if got := len(b) == 5; got != c.tags {
			t.Errorf("%s v%d: tags %v", Name(c.key), c.version, got)
		}
		id, body, err := ParseResponseHeader(append(b, 9), c.key, c.version)
		if err != nil || id != 5 || len(body) != 1 || body[0] != 9 {
			t.Errorf("%s v%d: parsed as %d %x %v", Name(c.key), c.version, id, body, err)
		}
	}
}

func TestMalformedHeaders(t *testing.T) {
	for name, frame := range map[string][]byte{
		"empty":                {},
		"seven bytes":          {0, 18, 0, 0, 0, 0, 0},
		"no client id":         {0, 18, 0, 0, 0, 0, 0, 1},
		"client id cut off":    {0, 18, 0, 0, 0, 0, 0, 1, 0, 5, 'a'},
		"client id of -2":      {0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xfe},
		"unknown key":          {0, 95, 0, 0, 0, 0, 0, 1, 0xff, 0xff},
		"negative key":         {0xff, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff},
		"no tags":              {0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff},
		"too many tags":        {0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"tag cut off":          {0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 1, 0, 9},
		"varint over 32 bits":  {0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f},
		"varint of six groups": {0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0},
	} {
		if _, _, err := ParseRequestHeader(frame); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, _, err := ParseRequestHeader([]byte{0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 1, 7, 1, 0}); err != nil {
		t.Errorf("unknown tagged field: %v", err)
	}
}

// TestParserRemembersClientID checks that a repeated client id costs no allocation.
func TestParserRemembersClientID(t *testing.T) {
	var p HeaderParser
	id := "same"
	frame := AppendRequestHeader(nil, RequestHeader{Key: 1, Version: 12, ClientID: &id})
	if _, _, err := p.Parse(frame); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _, _ = p.Parse(frame) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCheckProduce(b *testing.B) {
	req := kmsg.NewPtrProduceRequest()
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "some-topic"
	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = make([]byte, 16<<10)
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	req.SetVersion(12)
	body := req.AppendTo(nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := checkBody(0, 12, true, body); err != nil {
			b.Fatal(err)
		}
	}
}
