package cluster

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
)

// raw is one connection that sends what it is told and reads what comes back.
type raw struct {
	net.Conn
	r *bufio.Reader
}

func dial(addr string) (*raw, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return dialContext(ctx, addr)
}

func dialContext(ctx context.Context, addr string) (*raw, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	abortive(c)
	c.SetDeadline(time.Now().Add(60 * time.Second))
	return &raw{c, bufio.NewReaderSize(c, 64<<10)}, nil
}

func (c *raw) send(req kmsg.Request) error {
	_, err := c.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("raw")).AppendRequest(nil, req, 1))
	return err
}

func (c *raw) receive(req kmsg.Request) (kmsg.Response, error) {
	var head [4]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(c.r, body); err != nil {
		return nil, err
	}
	skip := 4
	if req.IsFlexible() && req.Key() != 18 {
		skip++ // no tags
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	return resp, resp.ReadFrom(body[skip:])
}

func (c *raw) do(req kmsg.Request) (kmsg.Response, error) {
	if err := c.send(req); err != nil {
		return nil, err
	}
	return c.receive(req)
}

// createTopic makes a topic with settings and one partition.
func createTopic(t *testing.T, addr, topic string, configs map[string]string) {
	t.Helper()
	createParts(t, addr, topic, 1, configs)
}

// createParts makes a topic with settings and so many partitions.
func createParts(t *testing.T, addr, topic string, partitions int32, configs map[string]string) {
	t.Helper()
	c, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(7)
	req.TimeoutMillis = 30000
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, partitions, 1
	for k, v := range configs {
		cfg := kmsg.NewCreateTopicsRequestTopicConfig()
		cfg.Name, cfg.Value = k, &v
		rt.Configs = append(rt.Configs, cfg)
	}
	req.Topics = append(req.Topics, rt)
	resp, err := c.do(req)
	if err != nil {
		t.Fatal(err)
	}
	if r := resp.(*kmsg.CreateTopicsResponse).Topics[0]; r.ErrorCode != 0 {
		t.Fatalf("creating %s: %v: %s", topic, kerr.ErrorForCode(r.ErrorCode), *r.ErrorMessage)
	}
}

// topicID asks for the id of a topic.
func topicID(t *testing.T, addr, topic string) [16]byte {
	t.Helper()
	c, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(12)
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &topic
	req.Topics = append(req.Topics, rt)
	resp, err := c.do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.(*kmsg.MetadataResponse).Topics[0].TopicID
}

// produceRequest carries the values as one batch, with acks=1.
func produceRequest(topic string, values [][]byte) (*kmsg.ProduceRequest, error) {
	b := batch.NewBuilder(0)
	for i, v := range values {
		b.Append(1_700_000_000_000+int64(i), v[:8], v, nil)
	}
	data, err := b.Build(nil)
	if err != nil {
		return nil, err
	}
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(9)
	req.Acks, req.TimeoutMillis = 1, 30000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Records = data
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req, nil
}

func produced(resp kmsg.Response) (int64, error) {
	p := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	return p.BaseOffset, kerr.ErrorForCode(p.ErrorCode)
}

// fetch returns the batches from offset on and the high watermark.
func (c *raw) fetch(topic string, offset int64) ([]byte, int64, error) {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(12)
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = -1, 0, 0, 16<<20, -1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.FetchOffset, rp.CurrentLeaderEpoch, rp.PartitionMaxBytes = offset, -1, 1<<20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := c.do(req)
	if err != nil {
		return nil, 0, err
	}
	fr := resp.(*kmsg.FetchResponse)
	if fr.ErrorCode != 0 || len(fr.Topics) != 1 {
		return nil, 0, fmt.Errorf("fetching: %v", kerr.ErrorForCode(fr.ErrorCode))
	}
	p := fr.Topics[0].Partitions[0]
	return p.RecordBatches, p.HighWatermark, kerr.ErrorForCode(p.ErrorCode)
}
