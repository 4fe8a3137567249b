package netx

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/clock"
)

// osPair returns both ends of a connection of the machine's network.
func osPair(t testing.TB, network, addr string) (net.Conn, net.Conn) {
	return pair(t, OS(), network, addr)
}

func pair(t testing.TB, n Net, network, addr string) (net.Conn, net.Conn) {
	t.Helper()
	ctx := context.Background()
	l, err := n.Listen(ctx, network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := n.Dial(ctx, network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// eachPair runs a test on every kind of connection.
func eachPair(t *testing.T, test func(t *testing.T, a, b net.Conn)) {
	t.Run("tcp", func(t *testing.T) {
		a, b := osPair(t, "tcp", "127.0.0.1:0")
		test(t, a, b)
	})
	t.Run("unix", func(t *testing.T) {
		a, b := osPair(t, "unix", filepath.Join(t.TempDir(), "s"))
		test(t, a, b)
	})
	t.Run("wrapped", func(t *testing.T) {
		a, b := osPair(t, "tcp", "127.0.0.1:0")
		test(t, struct{ net.Conn }{a}, struct{ net.Conn }{b})
	})
	t.Run("memory", func(t *testing.T) {
		a, b := pair(t, NewMem(clock.Real()), "tcp", ":0")
		test(t, a, b)
	})
}

// testFile is a file that is a Source.
type testFile struct{ *os.File }

func (f testFile) Fd() (uintptr, bool) { return f.File.Fd(), true }

func newTestFile(t testing.TB, size int) (testFile, []byte) {
	t.Helper()
	data := make([]byte, size)
	rand.Read(data)
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return testFile{f}, data
}

// eachWay runs a test for each way of sending a file.
func eachWay(t *testing.T, test func(t *testing.T, a, b net.Conn, send func(f Source, off int64, n int) (int, error))) {
	mapped := func(s *Socket, f Source, off int64, n int) (int, error) { return s.SendMapped(nil, f, off, n) }
	for name, way := range map[string]func(*Socket, Source, int64, int) (int, error){"sendfile": (*Socket).Sendfile, "mapped": mapped} {
		t.Run(name, func(t *testing.T) {
			eachPair(t, func(t *testing.T, a, b net.Conn) {
				s := NewSocket(a)
				test(t, a, b, func(f Source, off int64, n int) (int, error) { return way(s, f, off, n) })
			})
		})
	}
}

func TestSendfileRange(t *testing.T) {
	f, data := newTestFile(t, 3<<20)
	eachWay(t, func(t *testing.T, a, b net.Conn, send func(Source, int64, int) (int, error)) {
		const off, n = 12345, 2<<20 + 77
		received := make(chan []byte, 1)
		go func() {
			all, _ := io.ReadAll(b)
			received <- all
		}()
		for _, r := range [][2]int{{off, n}, {0, 10}, {len(data) - 5, 5}} {
			if sent, err := send(f, int64(r[0]), r[1]); sent != r[1] || err != nil {
				t.Fatalf("sent %d of %d, %v", sent, r[1], err)
			}
		}
		a.Close()
		want := bytes.Join([][]byte{data[off : off+n], data[:10], data[len(data)-5:]}, nil)
		if got := <-received; !bytes.Equal(got, want) {
			t.Fatalf("received %d bytes that differ from the %d sent", len(got), len(want))
		}
		if at, _ := f.Seek(0, io.SeekCurrent); at != 0 {
			t.Fatalf("the file's own offset moved to %d", at)
		}
	})
}

// TestSendMappedAfterHead: what is to come before the range comes before it, once, also
// where the range cannot be mapped, and the list is left as it was.
func TestSendMappedAfterHead(t *testing.T) {
	f, data := newTestFile(t, 3<<20)
	head := [][]byte{data[:3], data[100:70_000], data[5:6]}
	sizes := []int{len(head[0]), len(head[1]), len(head[2])}
	for _, c := range []struct {
		name   string
		head   [][]byte
		off, n int
		short  int // how much of the range the file has not
	}{{"range", head, 4097, 2 << 20, 0}, {"no head", nil, 4097, 1 << 20, 0}, {"no range", head, 10, 0, 0}, {"beyond the end", head, len(data) - 10, 50, 40}} {
		t.Run(c.name, func(t *testing.T) {
			eachPair(t, func(t *testing.T, a, b net.Conn) {
				received := make(chan []byte, 1)
				go func() {
					all, _ := io.ReadAll(b)
					received <- all
				}()
				sent, err := NewSocket(a).SendMapped(c.head, f, int64(c.off), c.n)
				if sent != c.n-c.short || (err == nil) != (c.short == 0) {
					t.Fatalf("sent %d of %d, %v", sent, c.n, err)
				}
				a.Close()
				want := append(bytes.Join(c.head, nil), data[c.off:c.off+sent]...)
				if got := <-received; !bytes.Equal(got, want) {
					t.Fatalf("received %d bytes that differ from the %d sent", len(got), len(want))
				}
				for i := range c.head {
					if len(c.head[i]) != sizes[i] {
						t.Fatalf("slice %d of the head has %d bytes now", i, len(c.head[i]))
					}
				}
			})
		})
	}
}

// TestSendfileBeyondEnd asks for more than the file has: in its last page, and pages
// behind it. Nothing arrives that is not the file's.
func TestSendfileBeyondEnd(t *testing.T) {
	for _, n := range []int{200, 1 << 20} {
		f, data := newTestFile(t, 1000)
		eachWay(t, func(t *testing.T, a, b net.Conn, send func(Source, int64, int) (int, error)) {
			sent, err := send(f, 900, n)
			if sent != 100 || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("sent %d, %v", sent, err)
			}
			a.Close()
			if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, data[900:]) {
				t.Fatalf("received %x, %v", got, err)
			}
		})
	}
}

// TestFileIsCutWhileItIsSent cuts the file off when the receiver has seen the beginning:
// the send ends with an error, whatever the part that is gone looks like in a mapping
// (zeros in the last page of the file, nothing behind it).
func TestFileIsCutWhileItIsSent(t *testing.T) {
	const size = 64 << 20 // more than the sockets take without a reader
	for _, left := range []int64{2<<20 + 100, size - 100} {
		eachWay(t, func(t *testing.T, a, b net.Conn, send func(Source, int64, int) (int, error)) {
			f, data := newTestFile(t, 1<<20)
			if err := os.Truncate(f.Name(), size); err != nil {
				t.Fatal(err)
			}
			received := make(chan []byte, 1)
			go func() {
				head := make([]byte, len(data))
				_, _ = io.ReadFull(b, head)
				_ = os.Truncate(f.Name(), left)
				rest, _ := io.ReadAll(b)
				received <- append(head, rest...)
			}()
			if sent, err := send(f, 0, size); err == nil {
				t.Fatalf("sent %d of %d without an error", sent, size)
			}
			a.Close()
			if got := <-received; !bytes.Equal(got[:len(data)], data) {
				t.Fatal("the beginning differs")
			}
		})
	}
}

func TestSendfileDeadline(t *testing.T) {
	f, _ := newTestFile(t, 1<<20)
	eachWay(t, func(t *testing.T, a, b net.Conn, send func(Source, int64, int) (int, error)) {
		a.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		sent, total := 0, 0
		var err error
		for err == nil && total < 1<<30 {
			sent, err = send(f, 0, 1<<20)
			total += sent
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("after %d bytes: %v", total, err)
		}
		a.Close()
		if n, _ := io.Copy(io.Discard, b); int(n) != total {
			t.Fatalf("reported %d bytes sent, %d arrived", total, n)
		}
	})
}

func TestSendfileToClosedPeer(t *testing.T) {
	f, _ := newTestFile(t, 1<<20)
	eachWay(t, func(t *testing.T, a, b net.Conn, send func(Source, int64, int) (int, error)) {
		b.Close()
		var err error
		for range 1000 {
			if _, err = send(f, 0, 1<<20); err != nil {
				break
			}
		}
		if err == nil {
			t.Fatal("a gigabyte was sent to a closed peer")
		}
	})
}

func TestReadReady(t *testing.T) {
	for name, withPut := range map[string]bool{"ask first": false, "give back": true} {
		t.Run(name, func(t *testing.T) {
			eachPair(t, func(t *testing.T, a, b net.Conn) { testReadReady(t, a, b, withPut) })
		})
	}
}

func testReadReady(t *testing.T, a, b net.Conn, withPut bool) {
	s := NewSocket(b)
	held := 0
	buf := make([]byte, 4096)
	get := func() []byte { held++; return buf }
	var put func()
	if withPut {
		put = func() { held-- }
	}
	var got []byte
	read := func() error {
		n, err := s.ReadReady(get, put)
		if err == nil && (held != 1 || n == 0) {
			t.Fatalf("read %d bytes, %d buffers taken", n, held)
		}
		held = 0
		got = append(got, buf[:n]...)
		return err
	}
	b.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("with nothing to read: %v", err)
	}
	b.SetReadDeadline(time.Time{})
	message := bytes.Repeat([]byte("0123456789"), 1000)
	go func() {
		a.Write(message)
		a.Close()
	}()
	var err error
	for err == nil {
		err = read()
	}
	if err != io.EOF || !bytes.Equal(got, message) {
		t.Fatalf("read %d bytes, then %v", len(got), err)
	}
}

// TestReadReadyHoldsNothing closes the connection while a read waits: until then no buffer may be taken.
func TestReadReadyHoldsNothing(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b net.Conn) {
		done := make(chan error, 1)
		taken := 0
		go func() {
			_, err := ReadReady(b, func() []byte { taken++; return make([]byte, MinBuffer) })
			done <- err
		}()
		b.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) || taken != 0 {
			t.Fatalf("%v, %d buffers taken", err, taken)
		}
		b.Close()
		if _, err := ReadReady(b, func() []byte { return make([]byte, MinBuffer) }); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("on a closed connection: %v", err)
		}
	})
}

func TestReadReadyAllocatesNothing(t *testing.T) {
	a, b := osPair(t, "tcp", "127.0.0.1:0")
	s := NewSocket(b)
	buf, one := make([]byte, MinBuffer), []byte{1}
	get, put := func() []byte { return buf }, func() {}
	for _, put := range []func(){nil, put} {
		n := testing.AllocsPerRun(100, func() {
			a.Write(one)
			if _, err := s.ReadReady(get, put); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%v allocations a read", n)
		}
	}
}

func TestWriteBuffers(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b net.Conn) {
		var bufs [][]byte
		for i := range 3000 {
			bufs = append(bufs, bytes.Repeat([]byte{byte(i)}, i%50))
		}
		bufs = append(bufs, make([]byte, 100_000), []byte("end"))
		copies := make([][]byte, len(bufs))
		copy(copies, bufs)
		want := bytes.Join(bufs, nil)
		received := make(chan []byte, 1)
		go func() {
			all, _ := io.ReadAll(b)
			received <- all
		}()
		s := NewSocket(a)
		for _, part := range [][][]byte{bufs, nil, bufs[:1], bufs[3000:]} {
			n, err := s.WriteBuffers(part)
			if err != nil || n != int64(len(bytes.Join(part, nil))) {
				t.Fatalf("wrote %d, %v", n, err)
			}
		}
		a.Close()
		want = append(want, want[len(want)-100_003:]...)
		if got := <-received; !bytes.Equal(got, want) {
			t.Fatalf("received %d bytes, want %d", len(got), len(want))
		}
		for i := range bufs {
			if len(bufs[i]) != len(copies[i]) || len(bufs[i]) > 0 && &bufs[i][0] != &copies[i][0] {
				t.Fatalf("slice %d was changed", i)
			}
		}
	})
}

func BenchmarkReadReady(b *testing.B) {
	x, y := osPair(b, "tcp", "127.0.0.1:0")
	s := NewSocket(y)
	buf, one := make([]byte, 4096), make([]byte, 100)
	get, put := func() []byte { return buf }, func() {}
	for _, way := range []struct {
		name string
		put  func()
	}{{"ask", nil}, {"giveback", put}} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.Write(one)
				s.ReadReady(get, way.put)
			}
		})
	}
}

func BenchmarkSendfile64K(b *testing.B) {
	f, _ := newTestFile(b, 1<<20)
	x, y := osPair(b, "tcp", "127.0.0.1:0")
	go io.Copy(io.Discard, struct{ io.Reader }{y})
	s := NewSocket(x)
	b.SetBytes(64 << 10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sendfile(f, 4096, 64<<10); err != nil {
			b.Fatal(err)
		}
	}
}
