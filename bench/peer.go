package main

import (
	"bufio"
	"fmt"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
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

// metadata returns the partitions of one topic as the broker knows them.
func (p *peer) metadata(topic string) ([]kmsg.MetadataResponseTopicPartition, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(9)
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req.Topics = append(req.Topics, t)
	kresp, err := p.do(req, 20*time.Second)
	if err != nil {
		return nil, err
	}
	r := kresp.(*kmsg.MetadataResponse)
	if len(r.Topics) != 1 {
		return nil, fmt.Errorf("metadata of %d topics", len(r.Topics))
	}
	return r.Topics[0].Partitions, kerr.ErrorForCode(r.Topics[0].ErrorCode)
}

// leads asks the broker for the end offsets of partitions; an error says that it does
// not lead one of them.
func (p *peer) leads(topics map[string][]int32) error {
	req := kmsg.NewPtrListOffsetsRequest()
	req.SetVersion(6)
	for name, parts := range topics {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = name
		for _, i := range parts {
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.CurrentLeaderEpoch, rp.Timestamp = i, -1, -1
			t.Partitions = append(t.Partitions, rp)
		}
		req.Topics = append(req.Topics, t)
	}
	if len(req.Topics) == 0 {
		return nil
	}
	kresp, err := p.do(req, time.Minute)
	if err != nil {
		return err
	}
	for _, t := range kresp.(*kmsg.ListOffsetsResponse).Topics {
		for _, rp := range t.Partitions {
			if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
				return fmt.Errorf("%s-%d: %w", t.Topic, rp.Partition, err)
			}
		}
	}
	return nil
}
