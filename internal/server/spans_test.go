package server

import (
	"bytes"
	"math/rand"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/vfs"

	"github.com/gregorhq/gregor/internal/clock"
)

// spanFile writes random data to a file of the file system.
func spanFile(t *testing.T, fsys vfs.FS, dir string, size int) (vfs.File, []byte) {
	t.Helper()
	data := make([]byte, size)
	rand.New(rand.NewSource(int64(size))).Read(data)
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.OpenFile(filepath.Join(dir, "data"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	return f, data
}

// TestSpansArrive mixes memory and file ranges over every way of sending: sendfile,
// copying, a file without descriptor, a network without descriptors.
func TestSpansArrive(t *testing.T) {
	for name, c := range map[string]struct {
		fs     func() vfs.FS
		change func(*Config)
	}{
		"sendfile": {fs: vfs.OS},
		"copy":     {fs: vfs.OS, change: func(c *Config) { c.NoSendfile = true }},
		"no fd":    {fs: func() vfs.FS { return vfs.NewMem() }},
		"mem net": {fs: vfs.OS, change: func(c *Config) {
			c.Net = netx.NewMem(clock.Real()).Host("127.0.0.1")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f, data := spanFile(t, c.fs(), t.TempDir(), 3<<20)
			var released atomic.Int32
			k := newKit(t, func(r *Request) {
				id := int(r.Header.CorrelationID)
				if id >= 1000 {
					echo(r)
					return
				}
				r.ReplySpans([]byte("head"), []vfs.Span{
					{B: data[:10], Len: 10},
					{File: f, Off: int64(id) * 1000, Len: 2<<20 + id},
					{B: data[10:20], Len: 10},
					{File: f, Off: 5, Len: 1},
				}, func() { released.Add(1) })
			}, c.change)
			conn := k.dial()
			const n = 6
			for id := range int32(n) {
				conn.send(id, nil)
			}
			for id := range n {
				want := append([]byte("head"), data[:10]...)
				want = append(want, data[id*1000:id*1000+2<<20+id]...)
				want = append(append(want, data[10:20]...), data[5])
				got, body := conn.receive()
				if int(got) != id || !bytes.Equal(body, want) {
					t.Fatalf("response %d differs", id)
				}
			}
			eventually(t, "all are released", func() bool { return released.Load() == n })
			for id := int32(1000); id < 1000+2*n; id++ { // recycled requests release nothing again
				conn.send(id, []byte("plain"))
				conn.expect(id, "plain")
			}
			if got := released.Load(); got != n {
				t.Errorf("released %d times, want %d", got, n)
			}
		})
	}
}

// TestShortFileClosesConnection: a range that the file does not have must end the
// connection, because its size was promised already.
func TestShortFileClosesConnection(t *testing.T) {
	for _, noSendfile := range []bool{false, true} {
		f, _ := spanFile(t, vfs.OS(), t.TempDir(), 1000)
		var released atomic.Int32
		k := newKit(t, func(r *Request) {
			r.ReplySpans(nil, []vfs.Span{{File: f, Off: 500, Len: 600}}, func() { released.Add(1) })
		}, func(c *Config) { c.NoSendfile = noSendfile })
		c := k.dial()
		c.send(1, nil)
		if _, _, err := c.tryReceive(); err == nil {
			t.Fatal("a whole response came")
		}
		eventually(t, "released", func() bool { return released.Load() == 1 })
	}
}

// TestReleasedOnceWhenConnectionDies completes spans before, during and after the
// death of the connection.
func TestReleasedOnceWhenConnectionDies(t *testing.T) {
	const n = 50
	var released [n]atomic.Int32
	var p parked
	big := make([]byte, 1<<20)
	k := newKit(t, p.handle, nil)
	c := k.dial()
	for id := range int32(n) {
		c.send(id, nil)
	}
	eventually(t, "all are parked", func() bool { return p.len() == n })
	reqs := p.take()
	reply := func(i int) {
		reqs[i].ReplySpans(big, []vfs.Span{{B: big, Len: len(big)}}, func() { released[i].Add(1) })
	}
	for i := range n / 2 { // the peer does not read: most of these stay queued
		reply(n/2 + i)
		reply(i)
	}
	if n := k.s.metrics.ResponseBytesQueued.Load(); n < 20<<20 {
		t.Fatalf("only %d bytes are queued", n)
	}
	_ = c.Close()
	eventually(t, "all are released", func() bool {
		for i := range released {
			if released[i].Load() != 1 {
				return false
			}
		}
		return true
	})
	eventually(t, "nothing is in flight", func() bool {
		return k.s.metrics.RequestsInFlight.Load() == 0 && k.s.metrics.ResponseBytesQueued.Load() == 0
	})
}

// TestReplyAfterConnectionDied parks requests, kills the connection and completes
// them then.
func TestReplyAfterConnectionDied(t *testing.T) {
	var p parked
	k := newKit(t, p.handle, nil)
	c := k.dial()
	c.send(1, []byte("a"))
	c.send(2, []byte("b"))
	eventually(t, "both are parked", func() bool { return p.len() == 2 })
	_ = c.Close()
	eventually(t, "the connection is gone", func() bool { return k.s.metrics.ConnectionsActive.Load() == 0 })
	released := 0
	reqs := p.take()
	if reqs[0].Alive() {
		t.Error("the request says that its connection is alive")
	}
	reqs[0].ReplySpans(nil, nil, func() { released++ })
	reqs[1].ReplyRaw([]byte("late"))
	if released != 1 || k.s.metrics.RequestsInFlight.Load() != 0 || k.s.MemoryInUse() != 0 {
		t.Errorf("released %d times, %d in flight, %d bytes", released, k.s.metrics.RequestsInFlight.Load(), k.s.MemoryInUse())
	}
}

// TestCompletedBehindPendingAreReleased: responses that wait for one before them are
// released when the connection dies, not when that one is completed.
func TestCompletedBehindPendingAreReleased(t *testing.T) {
	var p parked
	var released atomic.Int32
	k := newKit(t, p.handle, nil)
	c := k.dial()
	for id := range int32(3) {
		c.send(id, nil)
	}
	eventually(t, "all are parked", func() bool { return p.len() == 3 })
	reqs := p.take()
	reply := func(i int) { reqs[i].ReplySpans([]byte("x"), nil, func() { released.Add(1) }) }
	reply(1)
	reply(2)
	_ = c.Close()
	eventually(t, "both are released", func() bool { return released.Load() == 2 })
	reply(0)
	if n := released.Load(); n != 3 || k.s.metrics.ResponseBytesQueued.Load() != 0 {
		t.Errorf("released %d times, %d bytes queued", n, k.s.metrics.ResponseBytesQueued.Load())
	}
}
