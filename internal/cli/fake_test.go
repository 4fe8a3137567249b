package cli_test

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/wire"
)

// fakeNode answers requests on a loopback socket by functions, for what the shared
// broker does not show: quotas, credentials, controllers, a quorum of several.
type fakeNode struct {
	addr    string
	host    string
	port    int32
	mu      sync.Mutex
	answers map[int16]func(kmsg.Request, kmsg.Response) // guarded by mu
}

// startFake serves until the test ends. ApiVersions announces what has an answer.
func startFake(t *testing.T) *fakeNode {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp := l.Addr().(*net.TCPAddr)
	f := &fakeNode{addr: l.Addr().String(), host: "127.0.0.1", port: int32(tcp.Port), answers: map[int16]func(kmsg.Request, kmsg.Response){}}
	var conns sync.WaitGroup
	t.Cleanup(func() { l.Close(); conns.Wait() })
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { f.serve(c) })
		}
	})
	f.on(18, func(_ kmsg.Request, r kmsg.Response) {
		resp := r.(*kmsg.ApiVersionsResponse)
		for key := range f.answers {
			k := kmsg.NewApiVersionsResponseApiKey()
			k.ApiKey, k.MaxVersion = key, wire.Lookup(key).LatestStable()
			resp.ApiKeys = append(resp.ApiKeys, k)
		}
	})
	return f
}

// broker makes the node answer Metadata as the only broker.
func (f *fakeNode) broker() {
	f.on(3, func(_ kmsg.Request, r kmsg.Response) {
		resp := r.(*kmsg.MetadataResponse)
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = 1, f.host, f.port
		resp.Brokers, resp.ControllerID = append(resp.Brokers, b), 1
	})
}

// on sets the answer to a request; it fills a response of the right version.
func (f *fakeNode) on(key int16, answer func(kmsg.Request, kmsg.Response)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[key] = answer
}

func (f *fakeNode) serve(c net.Conn) {
	defer c.Close()
	for {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, frame); err != nil {
			return
		}
		header, body, err := wire.ParseRequestHeader(frame)
		if err != nil {
			return
		}
		req, err := wire.DecodeRequest(header, body)
		if err != nil {
			return
		}
		f.mu.Lock()
		answer := f.answers[header.Key]
		if answer == nil {
			f.mu.Unlock()
			return
		}
		resp := req.ResponseKind()
		answer(req, resp)
		f.mu.Unlock()
		out := wire.AppendResponseHeader(make([]byte, 4), header.Key, header.Version, header.CorrelationID)
		out = resp.AppendTo(out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}
