package metadata

import (
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// FuzzReplay replays records made from any bytes: two bytes of length, one record,
// and so on. Records that contradict the state must be refused without harm, and
// whatever image comes out must survive its own snapshot.
func FuzzReplay(f *testing.F) {
	w := newWriter(3)
	var seed []byte
	for _, m := range w.bootstrap(f, DefaultVersion) {
		seed = appendSized(seed, m)
	}
	for range 40 {
		seed = appendSized(seed, w.next())
	}
	f.Add(seed)
	f.Add(appendSized(appendSized(nil, topicRecord("a", 1)), partitionRecord(1, 70)))
	f.Fuzz(func(t *testing.T, b []byte) {
		img := Empty()
		for len(b) > 2 {
			n := min(int(b[0])<<8|int(b[1]), len(b)-2)
			m, err := records.Decode(b[2 : 2+n])
			b = b[2+n:]
			if err != nil {
				continue
			}
			if r, ok := m.(*records.PartitionRecord); ok && r.PartitionID > 1<<16 {
				continue // allowed, and too slow to try often
			}
			if next, err := img.With(Provenance{Offset: img.Offset + 1}, []records.Message{m}); err == nil {
				img = next
			}
		}
		if _, ok := img.MetadataVersion(); !ok {
			return
		}
		l := NewLog(Empty())
		var msgs []records.Message
		for m := range img.Snapshot() {
			msgs = append(msgs, m)
		}
		if _, err := l.LoadSnapshot(img.Provenance, msgs); err != nil {
			t.Fatal(err)
		}
		if string(dump(l.Image())) != string(dump(img)) {
			t.Fatalf("the snapshot gives\n%s\nwant\n%s", dump(l.Image()), dump(img))
		}
	})
}

func appendSized(dst []byte, m records.Message) []byte {
	b := records.Encode(m)
	return append(append(dst, byte(len(b)>>8), byte(len(b))), b...)
}

// BenchmarkPartitionChange changes one partition of an image with 100,000.
func BenchmarkPartitionChange(b *testing.B) {
	img := manyTopics(b, 1000, 100)
	c := records.NewPartitionChangeRecord()
	c.Version, c.TopicID, c.PartitionID, c.Leader = 2, topicNumber(500), 50, 1
	b.ReportAllocs()
	for b.Loop() {
		if _, err := img.With(Provenance{}, []records.Message{c}); err != nil {
			b.Fatal(err)
		}
	}
}

func topicNumber(i int) kafka.TopicID { return kafka.TopicID{8, byte(i >> 8), byte(i)} }

func manyTopics(b *testing.B, topics, partitions int) *Image {
	var msgs []records.Message
	for i := range topics {
		r := records.NewTopicRecord()
		r.Name, r.TopicID = topicNumber(i).String(), topicNumber(i)
		msgs = append(msgs, r)
		for j := range partitions {
			p := partitionRecord(0, int32(j))
			p.TopicID = r.TopicID
			msgs = append(msgs, p)
		}
	}
	return mustImage(b, Empty(), msgs...)
}

// BenchmarkSnapshot replays the snapshot of 100,000 partitions.
func BenchmarkSnapshot(b *testing.B) {
	img := manyTopics(b, 1000, 100)
	var msgs []records.Message
	for m := range img.Snapshot() {
		msgs = append(msgs, m)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewLog(Empty()).LoadSnapshot(img.Provenance, msgs); err != nil {
			b.Fatal(err)
		}
	}
}
