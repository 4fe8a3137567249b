package log

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"syscall"
	"testing"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// packed makes a batch of several records that says offsets from base on.
func packed(t *testing.T, codec batch.Codec, base, ts int64) []byte {
	t.Helper()
	b := batch.NewBuilder(base)
	b.Codec = codec
	for i := range 5 {
		b.Append(ts+int64(i), []byte("k"), []byte(strings.Repeat("value ", 20)), nil)
	}
	out, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const packedTs = 1_700_000_000_000

// packedLog has one such batch in a closed segment.
func packedLog(t *testing.T, data []byte) (*rig, *Log) {
	t.Helper()
	r := newRig(t, vfs.NewMem()).open()
	l := r.create()
	appendVerbatim(t, l, data)
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	return r, l
}

// searches are the timestamps that have a record of packedLog looked for, and its offset.
var searches = map[int64]int64{packedTs + 2: 2, MaxTimestamp: 4}

// TestSearchByTimeAfterTheBoundWasLowered: what may be produced from now on is bounded;
// what is in the log was admitted once and is still found.
func TestSearchByTimeAfterTheBoundWasLowered(t *testing.T) {
	r, l := packedLog(t, packed(t, batch.CodecGzip, 0, packedTs))
	cfg := r.cfg
	cfg.MaxDecompressedMessageBytes = 1
	l.Reconfigure(cfg)
	for ts, want := range searches {
		if got, err := l.OffsetForTimestamp(ts); err != nil || got.Offset != want {
			t.Errorf("time %d is at %+v, want %d, %v", ts, got, want, err)
		}
	}
	if len(r.offline) != 0 {
		t.Errorf("offline: %v", r.offline)
	}
}

// TestSearchByTimeInDamagedRecords flips every byte behind a batch's header: the search
// says so, the scrubber gets to know, and the directory serves its other partitions.
func TestSearchByTimeInDamagedRecords(t *testing.T) {
	for codec := batch.CodecNone; codec <= batch.CodecZstd; codec++ {
		data := packed(t, codec, 0, packedTs)
		r, l := packedLog(t, data)
		for at := batch.HeaderSize; at < len(data); at++ {
			overwrite(t, r.fs, l.path(0, suffixLog), int64(at), data[at]^0x10)
			for ts := range searches {
				if got, err := l.OffsetForTimestamp(ts); !errors.Is(err, kafka.CorruptMessage) {
					t.Fatalf("%s, byte %d: time %d is at %+v, %v", codec, at, ts, got, err)
				}
				select {
				case s := <-r.m.env.suspects:
					if s != (suspect{l, 0}) {
						t.Fatalf("%s, byte %d: suspected %+v", codec, at, s)
					}
				default:
					t.Fatalf("%s, byte %d: the scrubber does not know", codec, at)
				}
			}
			overwrite(t, r.fs, l.path(0, suffixLog), int64(at), data[at])
		}
		if len(r.offline) != 0 {
			t.Errorf("%s: offline: %v", codec, r.offline)
		}
	}
}

// TestSearchByTimeInRecordsThatAreNone: a checksum that is right says nothing of the
// records that somebody put into a batch, be they no records or of a codec that is none.
func TestSearchByTimeInRecordsThatAreNone(t *testing.T) {
	for codec := batch.CodecNone; codec <= 7; codec++ {
		data := packed(t, batch.CodecNone, 0, packedTs)
		const crc, attributes = 17, 21
		data[attributes+1] = byte(codec)
		for i := batch.HeaderSize; i < len(data); i++ {
			data[i] = 0xff
		}
		binary.BigEndian.PutUint32(data[crc:], crc32.Checksum(data[attributes:], crc32.MakeTable(crc32.Castagnoli)))
		r, l := packedLog(t, data)
		for ts := range searches {
			if got, err := l.OffsetForTimestamp(ts); !errors.Is(err, kafka.CorruptMessage) {
				t.Errorf("codec %d: time %d is at %+v, %v", codec, ts, got, err)
			}
		}
		if len(r.offline) != 0 {
			t.Errorf("codec %d: offline: %v", codec, r.offline)
		}
	}
}

// TestSearchByTimeInABatchThatIsTooLarge: that is told as it is.
func TestSearchByTimeInABatchThatIsTooLarge(t *testing.T) {
	r, l := packedLog(t, packed(t, batch.CodecGzip, 0, packedTs))
	_, err := l.retrySearch(func() (TimestampOffset, error) {
		return TimestampOffset{}, kafka.MessageTooLarge.Errorf("more than the 1 bytes that are allowed")
	})
	if kafka.CodeOf(err) != kafka.MessageTooLarge || len(r.offline) != 0 {
		t.Errorf("offline %v, %v", r.offline, err)
	}
}

// TestOnlyTheDiskTakesADirectoryOffline: an error with a code is about what lies in a
// file or about who asks, an error without is what the disk answered.
func TestOnlyTheDiskTakesADirectoryOffline(t *testing.T) {
	r, l := packedLog(t, packed(t, batch.CodecNone, 0, packedTs))
	for _, code := range kafka.AllCodes() {
		said := code.Errorf("what is in the file")
		if err := l.ioError("reading", said); err != said || len(r.offline) != 0 {
			t.Fatalf("%s: offline %v, %v", code, r.offline, err)
		}
	}
	if err := l.ioError("reading", syscall.EIO); !errors.Is(err, kafka.KafkaStorageError) || len(r.offline) != 1 {
		t.Errorf("offline %v, %v", r.offline, err)
	}
}

// TestContentThatCannotBeReplayedAtStart takes its directory, not the node: the other
// directories serve.
func TestContentThatCannotBeReplayedAtStart(t *testing.T) {
	mem := vfs.NewMem()
	r := newRig(t, mem)
	r.dirs = []string{"/a", "/b"}
	r.open()
	l, err := r.m.Create(testTP, kafka.TopicID{1}, r.m.Dirs()[0].ID, r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := batch.NewBuilder(0)
	b.ProducerID, b.IsControl = 7, true
	b.Append(packedTs, []byte("no"), []byte("marker"), nil)
	data, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	name := l.path(0, suffixLog)
	if err := writeInPlace(mem, name, data); err != nil {
		t.Fatal(err)
	}
	r.m.Abort()
	if err := r.tryOpen(); err != nil {
		t.Fatal(err)
	}
	if len(r.offline) != 1 || r.offline[0] != "/a" {
		t.Errorf("offline %v", r.offline)
	}
	r.m.Abort()
}
