package batch

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

// TestRetainReadsWhatItWrote: a delete horizon makes every record longer. A batch that
// was as large as it may be is compacted again and again all the same.
func TestRetainReadsWhatItWrote(t *testing.T) {
	for _, codec := range []Codec{CodecGzip, CodecSnappy, CodecLZ4, CodecZstd} {
		b := NewBuilder(0)
		b.Codec = codec
		for i := range 1000 {
			v := []byte("v")
			if i%10 == 0 {
				v = nil
			}
			b.Append(1000, []byte(fmt.Sprint(i)), v, nil)
		}
		in, err := b.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := Decompress(nil, in[HeaderSize:], codec, MagicV2, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		// As far ahead as it goes: the records grow as much as they can.
		o := RetainOptions{HorizonMs: 1<<63 - 1, MaxDecompressedBytes: len(plain)}
		var rt Retainer
		for round := range 4 {
			info, err := Peek(in)
			if err != nil {
				t.Fatal(err)
			}
			out, got, err := rt.Retain(nil, in, &info, o, each(func(r *Record) bool { return int(r.Offset) >= round }))
			if err != nil || got.Kept != 1000-round {
				t.Fatalf("%s, round %d: %+v, %v", codec, round, got, err)
			}
			in = out
		}
	}
}

// TestTheRoomForAHorizonIsBounded: the number of records in a header is only a claim.
func TestTheRoomForAHorizonIsBounded(t *testing.T) {
	const bound = 10_000
	for _, records := range []uint32{0x7fffffff, 1000} {
		b, err := Compress(make([]byte, HeaderSize), bytes.Repeat([]byte{0}, 3*bound), CodecGzip, 0, MagicV2)
		if err != nil {
			t.Fatal(err)
		}
		putHeader(b, &Info{Size: len(b), Magic: MagicV2, Codec: CodecGzip, HasDeleteHorizon: true})
		be.PutUint32(b[posRecordCount:], records)
		setCRC(b)
		var it Iter
		if err := it.Reset(b, bound); kafka.CodeOf(err) != kafka.MessageTooLarge {
			t.Errorf("%d records: %v", records, err)
		}
		it.Close()
	}
}
