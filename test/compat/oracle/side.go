package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// side is one of the two servers.
type side struct {
	name, addr, data string
	controller       string // the address of its controller, a port above
	conn             net.Conn
	correlation      int32
	// names are what ids that differ from server to server are called in comparisons.
	names map[string]string
	// kept is what a scenario keeps of a side's answers, by names of its own.
	kept map[string]any
}

func newSide(name, addr, data string) *side {
	host, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	return &side{name: name, addr: addr, data: data, controller: net.JoinHostPort(host, strconv.Itoa(n+1)), names: map[string]string{}, kept: map[string]any{}}
}

// answer is what came back: a response, or the reason that none came.
type answer struct {
	resp kmsg.Response
	// closed says that the server ended the connection instead.
	closed bool
	err    error
	// rest counts the bytes that were left behind the response.
	rest int
}

// patience bounds how long an answer is waited for.
const patience = 20 * time.Second

func (s *side) dial() error {
	if s.conn != nil {
		return nil
	}
	c, err := net.DialTimeout("tcp", s.addr, 10*time.Second)
	s.conn = c
	return err
}

func (s *side) hangUp() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// ask sends a request, its version set before, and reads the answer.
func (s *side) ask(req kmsg.Request) answer {
	s.correlation++
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("oracle")).AppendRequest(nil, req, s.correlation)
	return s.send(frame, req)
}

// send sends a frame and reads the answer to it, decoded as the response to req.
func (s *side) send(frame []byte, req kmsg.Request) answer {
	if err := s.dial(); err != nil {
		return answer{err: err}
	}
	_ = s.conn.SetDeadline(time.Now().Add(patience))
	if _, err := s.conn.Write(frame); err != nil {
		s.hangUp()
		return answer{closed: true, err: err}
	}
	if p, ok := req.(*kmsg.ProduceRequest); ok && p.Acks == 0 {
		return answer{}
	}
	body, err := s.receive()
	if err != nil {
		s.hangUp()
		var timeout net.Error
		return answer{closed: !errors.As(err, &timeout) || !timeout.Timeout(), err: err}
	}
	return decode(body, req)
}

func (s *side) receive() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(s.conn, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > 256<<20 {
		return nil, fmt.Errorf("an answer of %d bytes", n)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(s.conn, body)
	return body, err
}

func decode(body []byte, req kmsg.Request) answer {
	if len(body) < 4 {
		return answer{err: fmt.Errorf("an answer of %d bytes", len(body))}
	}
	body = body[4:]
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	// The answer to ApiVersions never has tags in its header.
	if resp.IsFlexible() && resp.Key() != 18 {
		if len(body) == 0 || body[0] != 0 {
			return answer{err: fmt.Errorf("the header has tags")}
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return answer{err: fmt.Errorf("the answer does not decode: %w", err)}
	}
	return answer{resp: resp, rest: len(body) - len(resp.AppendTo(nil))}
}
