package main

import (
	"bufio"
	"fmt"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// peer is one connection of a client of the bench that is not about bytes: requests
// and responses go through kmsg, one at a time.
type peer struct {
	c    net.Conn
	r    *bufio.Reader
	fmt  *kmsg.RequestFormatter
	out  []byte
	in   []byte
	corr int32
}

func dialPeer(addr, clientID string) (*peer, error) {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return &peer{c: c, r: bufio.NewReaderSize(c, 8<<10), fmt: kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))}, nil
}

// do sends req at the version that is set in it and reads its response into resp.
func (p *peer) do(req kmsg.Request, limit time.Duration) (kmsg.Response, error) {
	if err := p.c.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	p.corr++
	p.out = p.fmt.AppendRequest(p.out[:0], req, p.corr)
	if _, err := p.c.Write(p.out); err != nil {
		return nil, fmt.Errorf("%s: %w", kmsg.NameForKey(req.Key()), err)
	}
	var err error
	if p.in, err = readFrame(p.r, p.in); err != nil {
		return nil, fmt.Errorf("%s: %w", kmsg.NameForKey(req.Key()), err)
	}
	header := 4
	if req.IsFlexible() {
		header = 5
	}
	if len(p.in) < header {
		return nil, fmt.Errorf("%s: a response of %d bytes", kmsg.NameForKey(req.Key()), len(p.in))
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(p.in[header:]); err != nil {
		return nil, fmt.Errorf("%s: %w", kmsg.NameForKey(req.Key()), err)
	}
	return resp, nil
}

func (p *peer) close() { p.c.Close() }
