package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/wire"
)

// script is a connection whose peer sends given pieces, one a read, then ends.
type script struct {
	pieces [][]byte
	out    bytes.Buffer
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

func (s *script) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(1, 2, 3, 4)} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// model is what an echo server answers to a stream: the frames up to the first one
// that is not valid.
func model(stream []byte, cfg *Config) []byte {
	var out []byte
	limit := cfg.FirstRequestMaxBytes
	for len(stream) >= 4 {
		size := int(int32(binary.BigEndian.Uint32(stream)))
		if size <= 0 || size > limit || size > len(stream)-4 {
			break
		}
		h, body, err := wire.ParseRequestHeader(stream[4 : 4+size])
		if err != nil || h.Key != testKey || h.Version != 0 {
			break
		}
		limit = cfg.SocketRequestMaxBytes
		out = binary.BigEndian.AppendUint32(out, uint32(4+len(body)))
		out = binary.BigEndian.AppendUint32(out, uint32(h.CorrelationID))
		out = append(out, body...)
		stream = stream[4+size:]
	}
	return out
}

// FuzzFrames feeds any stream in any pieces to a connection: the answers are those of
// the model, and no memory stays behind.
func FuzzFrames(f *testing.F) {
	three := append(append(request(testKey, 0, 1, []byte("one")), request(testKey, 0, 2, nil)...), request(testKey, 0, 3, make([]byte, 9000))...)
	f.Add(three, byte(0), byte(0))
	f.Add(three, byte(3), byte(200))
	f.Add(append(three, 0x7f, 0xff, 0xff, 0xff), byte(1), byte(1))
	f.Add(append(three, 0, 0, 0, 0), byte(255), byte(7))
	f.Add(request(18, 99, 1, nil), byte(1), byte(1))
	f.Fuzz(func(t *testing.T, stream []byte, a, b byte) {
		s, err := New(Config{
			Net: netx.OS(), Clock: clock.Real(), Log: slog.New(slog.DiscardHandler),
			SocketRequestMaxBytes: 10_000, FirstRequestMaxBytes: 5_000,
			Listeners: []ListenerConfig{{Name: "F", Table: Table{testKey: {Handler: HandlerFunc(echo)}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		want := model(stream, &s.cfg)
		conn := &script{}
		for i := 0; len(stream) > 0; i++ {
			n := int(a) + 1
			if i%2 == 1 {
				n = 40*int(b) + 1
			}
			n = min(n, len(stream))
			conn.pieces = append(conn.pieces, stream[:n])
			stream = stream[n:]
		}
		c := newConn(s, s.listeners[0], netx.NewSocket(conn), 1, "1.2.3.4")
		err = c.serve()
		var invalid invalidRequest
		if !errors.Is(err, io.EOF) && !errors.As(err, &invalid) {
			t.Fatalf("ended with %v", err)
		}
		if !bytes.Equal(conn.out.Bytes(), want) {
			t.Fatalf("answered %d bytes, want %d", conn.out.Len(), len(want))
		}
		if c.cur != nil {
			c.cur.release()
		}
		if n := s.MemoryInUse(); n != 0 {
			t.Fatalf("%d bytes are still charged", n)
		}
	})
}
