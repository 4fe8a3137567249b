package brokerapi

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// batch16k is one batch of about 16 KiB of 100-byte records.
func batch16k() []byte {
	vals := make([]string, 145)
	for i := range vals {
		vals[i] = strings.Repeat("x", 100)
	}
	return plain.encode(vals...)
}

// exchange sends an encoded frame and reads the answer into buf.
func (c *client) exchange(b testing.TB, frame, buf []byte) []byte {
	if _, err := c.c.Write(frame); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(c.c, buf[:4]); err != nil {
		b.Fatal(err)
	}
	n := int(binary.BigEndian.Uint32(buf))
	if _, err := io.ReadFull(c.c, buf[4:4+n]); err != nil {
		b.Fatal(err)
	}
	return buf[4 : 4+n]
}

// BenchmarkProduce is one 16 KiB batch a request over the loopback interface, with
// everything from the frame to the answer; the client's side allocates nothing.
func BenchmarkProduce(b *testing.B) {
	for name, acks := range map[string]int16{"acks=1": 1, "acks=all": -1} {
		b.Run(name, func(b *testing.B) {
			k := newKitOn(b, vfs.OS(), map[string]string{"log.dirs": b.TempDir()})
			k.topic1("t")
			c := k.client()
			f := frame(produceReq(12, "t", kafka.TopicID{}, 0, acks, batch16k()), 1, "bench")
			buf := make([]byte, 1<<16)
			c.exchange(b, f, buf)
			b.SetBytes(int64(len(f)))
			b.ReportAllocs()
			for b.Loop() {
				c.exchange(b, f, buf)
			}
		})
	}
}

// BenchmarkFetch reads one 16 KiB batch a request, with and without a session.
func BenchmarkFetch(b *testing.B) {
	for name, session := range map[string]bool{"sessionless": false, "session": true} {
		b.Run(name, func(b *testing.B) {
			k := newKitOn(b, vfs.OS(), map[string]string{"log.dirs": b.TempDir()})
			k.topic1("t")
			c := k.client()
			if p := c.produce("t", 0, -1, batch16k()); p.ErrorCode != 0 {
				b.Fatal(p.ErrorCode)
			}
			req := fetchReq("t", 0, 0)
			var id int32
			if session {
				id = c.do(sessionReq("t", 0, 0, 0, 0)).(*kmsg.FetchResponse).SessionID
				req.SessionID = id
			}
			buf := make([]byte, 1<<16)
			frames := make([][]byte, 0, 1)
			epoch := int32(0)
			next := func() []byte {
				if !session && len(frames) > 0 {
					return frames[0]
				}
				if session {
					epoch++
					req.SessionEpoch = epoch
				}
				frames = append(frames[:0], frame(req, 1, "bench"))
				return frames[0]
			}
			at := 4 + 2 + 2 + 4 + 2 + len("bench") + 1 + 4 + 4 + 4 + 4 + 1 + 4 // the session epoch's place
			f := next()
			b.ReportAllocs()
			b.SetBytes(int64(len(batch16k())))
			for b.Loop() {
				if session {
					binary.BigEndian.PutUint32(f[at:], uint32(epoch))
					epoch++
				}
				if got := c.exchange(b, f, buf); len(got) < 16000 {
					b.Fatalf("answer of %d bytes", len(got))
				}
			}
		})
	}
}
