package server

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestForeignClient lets a real client negotiate versions and ask for metadata over
// the flexible and plain headers that it chooses itself.
func TestForeignClient(t *testing.T) {
	k := newKit(t, echo, func(c *Config) {
		c.Listeners[0].Table = Table{
			18: {0, 3, HandlerFunc(func(r *Request) {
				var req kmsg.ApiVersionsRequest
				if err := r.Decode(&req); err != nil {
					r.CloseConn(err)
					return
				}
				resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
				resp.ApiKeys = r.Listener.APIVersions()
				r.Reply(resp)
			})},
			3: {0, 12, HandlerFunc(func(r *Request) {
				var req kmsg.MetadataRequest
				if err := r.DecodeAlias(&req); err != nil {
					r.CloseConn(err)
					return
				}
				resp := req.ResponseKind().(*kmsg.MetadataResponse)
				b := kmsg.NewMetadataResponseBroker()
				b.NodeID, b.Host, b.Port = 1, "127.0.0.1", r.Listener.AdvertisedPort
				resp.Brokers = append(resp.Brokers, b)
				resp.ControllerID = 1
				for _, t := range req.Topics {
					rt := kmsg.NewMetadataResponseTopic()
					rt.Topic, rt.ErrorCode = t.Topic, 3
					resp.Topics = append(resp.Topics, rt)
				}
				go r.Reply(resp)
			})},
		}
	})
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.s.listeners[0].BoundAddr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := cl.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr("some-topic")
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, cl.Broker(1))
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Brokers) != 1 || len(resp.Topics) != 1 || *resp.Topics[0].Topic != "some-topic" {
		t.Errorf("%+v", resp)
	}
}
