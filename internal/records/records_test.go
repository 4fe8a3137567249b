package records

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

func bodyOf(t testing.TB, m Message) []byte {
	t.Helper()
	b, err := m.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestUnknownTagsAreKept(t *testing.T) {
	r := NewPartitionChangeRecord()
	r.Version, r.PartitionID, r.Leader = 2, 7, 3
	r.UnknownTags = Tags{{ID: 0x40, Data: []byte("later")}}
	b := Encode(r)
	m, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	got := m.(*PartitionChangeRecord)
	if len(got.UnknownTags) != 1 || string(got.UnknownTags[0].Data) != "later" || got.Leader != 3 {
		t.Fatalf("got %+v", got)
	}
	if !bytes.Equal(Encode(got), b) {
		t.Error("the unknown tag is not written back")
	}
}

// TestTagOfLaterVersion has tags that version 1 does not know and version 2 does,
// before one that both know: they must be kept, and written back in their place.
func TestTagOfLaterVersion(t *testing.T) {
	r := NewPartitionChangeRecord()
	r.Version, r.Leader, r.EligibleLeaderReplicas = 2, 3, []int32{1}
	r.Directories = []kafka.UUID{{1}}
	body := bodyOf(t, r)
	var old PartitionChangeRecord
	if err := old.ReadFrom(1, body); err != nil {
		t.Fatal(err)
	}
	if old.EligibleLeaderReplicas != nil || len(old.UnknownTags) != 1 || old.UnknownTags[0].ID != 6 || len(old.Directories) != 1 {
		t.Fatalf("got %+v", old)
	}
	if got := bodyOf(t, &old); !bytes.Equal(got, body) {
		t.Errorf("got %x, want %x", got, body)
	}
}

// TestHugeCountAllocatesLittle decodes arrays that claim far more elements than
// bytes are there.
func TestHugeCountAllocatesLittle(t *testing.T) {
	head := append([]byte{1, 3, 0, 0, 0, 0, 0}, make([]byte, 16)...)
	huge := append(head, 0xff, 0xff, 0xff, 0x7f) // 268 million replicas
	entities := []byte{1, 14, 0, 0xff, 0xff, 0xff, 0x7f}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, b := range [][]byte{huge, entities} {
		if m, err := Decode(b); err == nil {
			t.Errorf("%x decoded to %+v", b, m)
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
}

func TestLongTag(t *testing.T) {
	r := NewPartitionChangeRecord()
	for i := range 5000 { // a size of three varint bytes
		r.Replicas = append(r.Replicas, int32(i))
	}
	r.ISR = []int32{}
	m, err := Decode(Encode(r))
	if err != nil {
		t.Fatal(err)
	}
	got := m.(*PartitionChangeRecord)
	if len(got.Replicas) != 5000 || got.Replicas[4999] != 4999 {
		t.Errorf("got %d replicas", len(got.Replicas))
	}
	if got.ISR == nil || got.RemovingReplicas != nil {
		t.Error("an empty list and none are not told apart")
	}
}

func TestDecodeRefuses(t *testing.T) {
	topic := NewTopicRecord()
	topic.Name = "t"
	good := Encode(topic)
	cases := map[string][]byte{
		"nothing":             {},
		"frame version 0":     {0, 2, 0},
		"frame version 2":     {2, 2, 0},
		"unknown type":        {1, 99, 0},
		"unknown version":     {1, 2, 9},
		"type above int16":    {1, 0xff, 0xff, 0xff, 0x0f, 0},
		"cut":                 good[:len(good)-3],
		"garbage at the end":  append(bytes.Clone(good), 0),
		"huge string":         {1, 2, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 'x'},
		"null string":         {1, 2, 0, 0},
		"varint of six bytes": {1, 2, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 1},
		"huge array": append([]byte{1, 3, 0, 0, 0, 0, 0}, append(make([]byte, 16),
			0xff, 0xff, 0xff, 0xff, 0x07, 0, 0)...),
		"huge tag count":     {1, 20, 0, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"tags not ascending": {1, 20, 0, 2, 9, 0, 9, 0},
		"known tag with rest": append([]byte{1, 5, 0, 0, 0, 0, 0}, append(make([]byte, 16),
			1, 1, 5, 0, 0, 0, 1, 9)...),
	}
	for name, b := range cases {
		m, err := Decode(b)
		if err == nil {
			t.Errorf("%s: decoded %+v", name, m)
		} else if !errors.Is(err, kafka.InvalidRecord) {
			t.Errorf("%s: %v has no code", name, err)
		}
	}
}

func TestControlKey(t *testing.T) {
	if got := ControlKey(ControlVoters); !bytes.Equal(got, []byte{0, 0, 0, 6}) {
		t.Errorf("got %x", got)
	}
	if n, err := ParseControlKey([]byte{0, 9, 0, 5, 1, 2}); err != nil || n != 5 {
		t.Errorf("a later key version: %d, %v", n, err)
	}
	for _, b := range [][]byte{{0, 0, 0}, {0xff, 0, 0, 1}} {
		if _, err := ParseControlKey(b); err == nil {
			t.Errorf("%x was taken", b)
		}
	}
	if m, err := DecodeControl(ControlKey(1), []byte{0, 0, 0, 0, 0, 1}); m != nil || err != nil {
		t.Errorf("a transaction marker gave %v, %v", m, err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, l := range goldenLines(f) {
		if !l.control {
			f.Add(l.bytes)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(Encode(m))
		if err != nil {
			t.Fatalf("%x decodes, its encoding %x does not: %v", b, Encode(m), err)
		}
		if !bytes.Equal(Encode(again), Encode(m)) {
			t.Fatalf("%x: encodings differ", b)
		}
		if len(JSON(m)) == 0 {
			t.Fatal("no JSON")
		}
	})
}

func FuzzDecodeControl(f *testing.F) {
	for _, l := range goldenLines(f) {
		if l.control {
			f.Add(l.decode(f).APIKey(), l.bytes)
		}
	}
	f.Fuzz(func(t *testing.T, key int16, b []byte) {
		m, err := DecodeControl(ControlKey(key), b)
		if err != nil || m == nil {
			return
		}
		k, v := EncodeControl(m)
		if _, err := DecodeControl(k, v); err != nil {
			t.Fatalf("%x decodes, its encoding %x does not: %v", b, v, err)
		}
	})
}
