package group

import (
	"testing"

	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
)

// TestXXH3 compares with the hashes of the library that Kafka uses.
func TestXXH3(t *testing.T) {
	for n, want := range map[int]uint64{
		0:    0x2d06800538d394c2,
		1:    0x13e608bc156defed,
		2:    0x1c9074b93943b86c,
		3:    0xa9088dda485b481c,
		4:    0x6d9253b16c8b1ed3,
		5:    0x998620e10e3a4b37,
		8:    0x60539db630471163,
		9:    0xfeff668361d723a8,
		12:   0x6829454be0cc3199,
		16:   0xb8c859b0f030b585,
		17:   0x714a04408e79b80f,
		31:   0xed41ac283d0674b3,
		32:   0x19ff4ee1d6ba1a55,
		33:   0x3e44983ad21679c8,
		63:   0x1353bea3d0ebf7e1,
		64:   0x287eb1fa9e4be2c1,
		96:   0xf084e7cfbc624743,
		97:   0x1daa83271a8e7b7c,
		127:  0x998fa0631fd78d0b,
		128:  0x67425a03650261bf,
		129:  0xc664bf3311c6abc4,
		144:  0x606a17fa700bb932,
		200:  0x746cd0025327bf5b,
		239:  0x1d861931c1f3cafa,
		240:  0x64556dc6b462a6cf,
		241:  0x8beadd3a8874fe17,
		255:  0xb67b6637a76e6c39,
		256:  0x3c38817f6d79c0da,
		257:  0x2a300c3495738ea6,
		320:  0x44bee046b4a45d45,
		500:  0xb8bc3e5683ce226a,
		512:  0xf58202b8d9019d1d,
		1023: 0xd26986a0b85dcc44,
		1024: 0x9b81661c641c72b1,
		1025: 0x806c2072ed713576,
		1088: 0x2f8781e01841f0da,
		2000: 0x71f8268c6d856c4a,
		5000: 0x799aaddd7339581d,
	} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i*7 + 3)
		}
		if got := xxh3(b); got != want {
			t.Errorf("%d bytes: %016x, not %016x", n, got, want)
		}
	}
}

// TestTopicHash compares with the hashes that Kafka computes of the same topics.
func TestTopicHash(t *testing.T) {
	w := newWorld(t)
	if got := topicHash(w.img.Topic("t"), w.img); got != 0xb7783932843fdaac {
		t.Errorf("four partitions: %016x", got)
	}
	w.img = metadata.Empty()
	var msgs []records.Message
	for i, rack := range []string{"rack-b", "a"} {
		r := records.NewRegisterBrokerRecord()
		r.BrokerID, r.Rack = int32(i+1), &rack
		msgs = append(msgs, r)
	}
	p := records.NewPartitionRecord()
	p.TopicID, p.PartitionID, p.Replicas, p.ISR, p.Leader = topicUUID(1), 0, []int32{1, 2}, []int32{1}, 1
	w.change(append(msgs, &records.TopicRecord{Name: "t", TopicID: topicUUID(1)}, p))
	if got := topicHash(w.img.Topic("t"), w.img); got != 0x944e5355a2d41c89 {
		t.Errorf("two racks: %016x", got)
	}
	if got := uint64(w.m.hashOf(map[string]int{"t": 1, "none": 1})); got != 0x614fd6edb2e8effb {
		t.Errorf("the group: %016x", got)
	}
}
