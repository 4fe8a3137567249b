package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/gregorhq/gregor/internal/kafka"
)

var codecs = []Codec{CodecGzip, CodecSnappy, CodecLZ4, CodecZstd}

func samples() map[string][]byte {
	random := make([]byte, 200_000)
	rand.New(rand.NewSource(1)).Read(random)
	return map[string][]byte{
		"empty":  {},
		"one":    {7},
		"text":   []byte(strings.Repeat("the quick brown fox ", 9000)),
		"random": random,
		"zeros":  make([]byte, 300_000),
		"block":  make([]byte, 64<<10),
	}
}

func TestCodecsRoundTrip(t *testing.T) {
	for _, c := range codecs {
		for name, want := range samples() {
			for _, level := range []int{0, 1, 9, -1} {
				packed, err := Compress([]byte("prefix"), want, c, level, MagicV2)
				if err != nil {
					t.Fatalf("%s %s: %v", c, name, err)
				}
				if !bytes.HasPrefix(packed, []byte("prefix")) {
					t.Fatalf("%s %s: what was in dst is gone", c, name)
				}
				got, err := Decompress(nil, packed[6:], c, MagicV2, max(len(want), 1))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s %s level %d: %d bytes back of %d: %v", c, name, level, len(got), len(want), err)
				}
				if len(want) > 1 {
					if _, err := Decompress(nil, packed[6:], c, MagicV2, len(want)-1); !errors.Is(err, kafka.MessageTooLarge) {
						t.Errorf("%s %s: one byte over the bound: %v", c, name, err)
					}
				}
			}
		}
	}
}

func TestCodecsCutOff(t *testing.T) {
	want := samples()["text"]
	for _, c := range codecs {
		packed, err := Compress(nil, want, c, 0, MagicV2)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 1, 5, 7, 20, len(packed) / 2, len(packed) - 1} {
			got, err := Decompress(nil, packed[:n], c, MagicV2, 1<<20)
			if err == nil && bytes.Equal(got, want) {
				t.Errorf("%s: %d of %d bytes are enough", c, n, len(packed))
			}
			if err != nil && kafka.CodeOf(err) != kafka.InvalidRecord {
				t.Errorf("%s: cut off at %d: %v", c, n, err)
			}
		}
	}
}

// TestBombs decompresses what grows a thousandfold: the memory that it takes is
// bounded by the bound, not by the data.
func TestBombs(t *testing.T) {
	const bound = 4 << 20
	zeros := make([]byte, 24<<20)
	for _, c := range codecs {
		packed, err := Compress(nil, zeros, c, 0, MagicV2)
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = Decompress(nil, packed, c, MagicV2, bound)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, kafka.MessageTooLarge) {
			t.Errorf("%s: %v", c, err)
		}
		// Smaller buffers were tried before the largest, and a decoder has
		// memory of its own.
		if got := after.TotalAlloc - before.TotalAlloc; got > 2*bound {
			t.Errorf("%s: %d bytes allocated for a bound of %d", c, got, bound)
		}
	}
}

func TestZstdDeclaredSizeLies(t *testing.T) {
	enc, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true))
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	packed := enc.EncodeAll(make([]byte, 100_000), nil)
	// Single segment, 4 bytes of content size after magic and descriptor.
	if packed[4]>>6 != 2 || binary.LittleEndian.Uint32(packed[5:]) != 100_000 {
		t.Fatalf("unexpected frame %x", packed[:12])
	}
	for _, lie := range []uint32{0, 1, 99_999, 100_001, 1 << 30, 1<<32 - 1} {
		bad := bytes.Clone(packed)
		binary.LittleEndian.PutUint32(bad[5:], lie)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decompress(nil, bad, CodecZstd, MagicV2, 1<<20)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("declared %d: accepted", lie)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
			t.Errorf("declared %d: %d bytes allocated", lie, got)
		}
	}
}

func TestSnappyForms(t *testing.T) {
	want := samples()["text"]
	xerial := func(blocks ...[]byte) []byte {
		b := append([]byte(nil), xerialMagic...)
		b = append(b, 0, 0, 0, 1, 0, 0, 0, 1)
		for _, x := range blocks {
			b = binary.BigEndian.AppendUint32(b, uint32(len(x)))
			b = append(b, x...)
		}
		return b
	}
	half := len(want) / 2
	one := snappy.Encode(nil, want[:half])
	two := snappy.Encode(nil, want[half:])
	for name, in := range map[string][]byte{
		"raw":          snappy.Encode(nil, want),
		"xerial":       xerial(one, two),
		"concatenated": append(xerial(one), xerial(two)...),
	} {
		got, err := Decompress(nil, in, CodecSnappy, MagicV2, len(want))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	lies := xerial(one)
	binary.BigEndian.PutUint32(lies[16:], uint32(len(one)+1))
	huge := xerial(one)
	binary.BigEndian.PutUint32(huge[16:], 1<<32-1)
	for name, in := range map[string][]byte{
		"block too long":       lies,
		"block absurd":         huge,
		"length cut off":       xerial(one)[:18],
		"declares 4 GiB":       {0xff, 0xff, 0xff, 0xff, 0x0f, 0, 1},
		"declares more":        {0xff, 0x7f, 0, 1},
		"length never ends":    {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"repeat offset of s2":  {8, 0x00, 'a', 0x01, 0x00},
		"header of xerial, no": append(append([]byte(nil), xerialMagic...), 1),
	} {
		if _, err := Decompress(nil, in, CodecSnappy, MagicV2, 1<<20); kafka.CodeOf(err) != kafka.InvalidRecord {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLZ4Forms(t *testing.T) {
	want := samples()["text"]
	frame := func(o ...lz4.Option) []byte {
		var b bytes.Buffer
		w := lz4.NewWriter(&b)
		if err := w.Apply(o...); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for name, in := range map[string][]byte{
		"defaults":        frame(),
		"block checksums": frame(lz4.BlockChecksumOption(true), lz4.BlockSizeOption(lz4.Block64Kb)),
		"content size":    frame(lz4.SizeOption(uint64(len(want)))),
		"no checksum":     frame(lz4.ChecksumOption(false), lz4.BlockSizeOption(lz4.Block256Kb)),
		"after the end":   append(frame(), 1, 2, 3),
	} {
		got, err := Decompress(nil, in, CodecLZ4, MagicV2, len(want))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	broken, err := Compress(nil, want, CodecLZ4, 0, MagicV0)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decompress(nil, broken, CodecLZ4, MagicV0, len(want)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("format v0: %v", err)
	}
	flip := func(at int, bit byte) []byte {
		b := frame(lz4.BlockChecksumOption(true))
		b[at] ^= bit
		return b
	}
	dependent := frame()
	dependent[4] &^= lz4FlagIndependent
	dependent[6] = byte(xxh32(dependent[4:6]) >> 8)
	for name, in := range map[string][]byte{
		"v0's header checksum in v2": broken,
		"header":                     flip(6, 1),
		"magic":                      flip(0, 1),
		"block":                      flip(40, 1),
		"block length":               flip(9, 0x80),
		"dependent blocks":           dependent,
		"no end":                     frame(lz4.ChecksumOption(false))[:40],
	} {
		if _, err := Decompress(nil, in, CodecLZ4, MagicV2, 1<<20); kafka.CodeOf(err) != kafka.InvalidRecord {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What others read, too.
	ours, err := Compress(nil, want, CodecLZ4, 5, MagicV2)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := out.ReadFrom(lz4.NewReader(bytes.NewReader(ours))); err != nil || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("another reader: %v", err)
	}
}

func TestXXH32(t *testing.T) {
	for in, want := range map[string]uint32{
		"":    0x02cc5d05,
		"a":   0x550d7456,
		"abc": 0x32d153ff,
		"Nobody inspects the spammish repetition": 0xe2293b2f,
	} {
		if got := xxh32([]byte(in)); got != want {
			t.Errorf("%q: %08x, want %08x", in, got, want)
		}
	}
}

func TestUnknownCodec(t *testing.T) {
	if _, err := Compress(nil, nil, 5, 0, MagicV2); !errors.Is(err, kafka.UnsupportedCompressionType) {
		t.Error(err)
	}
	if _, err := Decompress(nil, nil, 7, MagicV2, 9); err == nil {
		t.Error("codec 7 decompresses")
	}
}

// FuzzDecompress gives every decoder arbitrary bytes: no panic, never more than
// the bound, and what was decompressed can be compressed and read again.
func FuzzDecompress(f *testing.F) {
	for _, c := range codecs {
		for _, name := range []string{"one", "text", "zeros"} {
			packed, err := Compress(nil, samples()[name], c, 0, MagicV2)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(packed[:min(len(packed), 4000)], byte(c))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, which byte) {
		const bound = 1 << 20
		c := Codec(which%4) + 1
		magic := int8(which >> 2 & 1 * 2)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		out, err := Decompress(nil, in, c, magic, bound)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 24<<20 {
			t.Fatalf("%s: %d bytes allocated for %d", c, got, len(in))
		}
		if err != nil {
			return
		}
		if len(out) > bound {
			t.Fatalf("%s: %d bytes came out", c, len(out))
		}
		packed, err := Compress(nil, out, c, 0, MagicV2)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decompress(nil, packed, c, MagicV2, bound)
		if err != nil || !bytes.Equal(out, again) {
			t.Fatalf("%s: %v", c, err)
		}
	})
}
