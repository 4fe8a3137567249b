package rpc

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/wire"
)

// write is the writer goroutine: everything that gathered goes out in one write.
func (c *Conn) write() {
	defer c.ended.Done()
	// spare is the buffer of the write before; it is not c.out's.
	var spare []byte
	for {
		select {
		case <-c.closed:
			return
		case <-c.wake:
		}
		c.mu.Lock()
		if len(c.out) == 0 {
			c.mu.Unlock()
			continue
		}
		out := c.out
		c.out, spare = spare[:0], nil
		c.mu.Unlock()
		if _, err := c.nc.Write(out); err != nil {
			c.fail(fmt.Errorf("sending requests: %w", err))
			return
		}
		c.o.Traffic.BytesOut.Add(int64(len(out)))
		if spare = out; cap(spare) > maxSpare {
			spare = nil
		}
	}
}

const (
	// maxSpare is the largest buffer that a connection keeps for its next requests.
	maxSpare = 256 << 10
	// readChunk is by how much memory for an answer grows before its bytes are there.
	readChunk = 1 << 20
)

// read is the reader goroutine: it completes requests, and in the end those that will
// have no answer.
func (c *Conn) read() {
	defer c.ended.Done()
	in := bufio.NewReaderSize(c.nc, 16<<10)
	for {
		if err := c.readOne(in); err != nil {
			c.fail(err)
			break
		}
	}
	c.mu.Lock()
	left, err, greeted := c.pending, c.err, c.versions != nil
	c.pending, c.out = nil, nil
	c.mu.Unlock()
	for _, p := range left {
		p.done(nil, fmt.Errorf("%s: %w", wire.Name(p.key), err))
	}
	if !errors.Is(err, ErrClosed) && c.o.Disconnected != nil && greeted {
		c.o.Disconnected(err)
	}
}

// readOne reads one answer and completes its request.
func (c *Conn) readOne(in *bufio.Reader) error {
	frame, err := readFrame(in, c.o.MaxResponse)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if len(c.pending) == 0 {
		c.mu.Unlock()
		return errors.New("an answer that nobody asked for")
	}
	c.o.Traffic.Responses.Add(1)
	c.o.Traffic.BytesIn.Add(int64(len(frame)) + 4)
	p := c.pending[0]
	c.pending = c.pending[1:]
	c.mu.Unlock()
	err = p.decode(frame)
	if err != nil {
		// What follows cannot be trusted to be in step.
		err = fmt.Errorf("the answer to %s v%d: %w", wire.Name(p.key), p.version, err)
		p.done(nil, err)
		return err
	}
	p.done(p.resp, nil)
	return nil
}

// decode reads the answer's header and body into resp, whose byte fields alias frame.
func (p *pending) decode(frame []byte) error {
	id, body, err := wire.ParseResponseHeader(frame, p.key, p.version)
	if err != nil {
		return err
	}
	if id != p.id {
		return fmt.Errorf("%w: correlation id %d, not %d", wire.ErrMalformed, id, p.id)
	}
	if p.key == apiVersions && len(body) >= 2 && int16(binary.BigEndian.Uint16(body)) == kafka.UnsupportedVersion.Num() {
		// A peer that does not know the version answers in version 0 (KIP-511).
		p.resp.SetVersion(0)
	}
	if err := p.resp.ReadFrom(body); err != nil {
		return fmt.Errorf("%w: %w", wire.ErrMalformed, err)
	}
	return nil
}

// readFrame reads a size and as many bytes.
func readFrame(in io.Reader, limit int) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return nil, fmt.Errorf("reading the size of an answer: %w", err)
	}
	n := int(int32(binary.BigEndian.Uint32(size[:])))
	if n < 4 || n > limit {
		return nil, fmt.Errorf("%w: an answer of %d bytes; at most %d are taken", wire.ErrMalformed, n, limit)
	}
	frame := make([]byte, min(n, readChunk))
	for have := 0; ; {
		if _, err := io.ReadFull(in, frame[have:]); err != nil {
			return nil, fmt.Errorf("reading an answer of %d bytes: %w", n, err)
		}
		if have = len(frame); have == n {
			return frame, nil
		}
		grown := make([]byte, min(n, 2*have))
		copy(grown, frame)
		frame = grown
	}
}

// apiVersions is the key of the question for versions.
const apiVersions = 18

// askVersions learns what the peer serves.
func (c *Conn) askVersions(ctx context.Context) error {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "gregor", "1"
	for _, v := range []int16{3, 0} {
		req.SetVersion(v)
		answer, err := c.Do(ctx, Pinned{req})
		if err != nil {
			return err
		}
		resp := answer.(*kmsg.ApiVersionsResponse)
		if resp.ErrorCode == kafka.UnsupportedVersion.Num() && v > 0 {
			continue
		}
		if code := kafka.CodeForNum(resp.ErrorCode); code != nil {
			return code.Errorf("asking for versions: %s", code.Message())
		}
		versions := map[int16]versionRange{}
		for _, k := range resp.ApiKeys {
			versions[k.ApiKey] = versionRange{k.MinVersion, k.MaxVersion}
		}
		c.mu.Lock()
		c.versions = versions
		c.mu.Unlock()
		return nil
	}
	return errors.New("the peer does not answer the question for its versions")
}
