package cluster

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestRestartedBrokerKnowsEveryTopic kills brokers and asks them again from the moment
// that they accept connections (R18): they know every topic, whether they have a replica
// of it or not. A producer that is told of an unknown topic gives up after a few times.
func TestRestartedBrokerKnowsEveryTopic(t *testing.T) {
	for _, combined := range []bool{false, true} {
		t.Run(fmt.Sprintf("combined=%v", combined), func(t *testing.T) {
			f := newFleet(t, shape{brokers: 3, combined: combined})
			f.place("here", [][]int32{{1, 2, 3}})
			f.place("elsewhere", [][]int32{{1, 3}})
			f.until(recovery, f.unhealthy)
			ids := map[string][16]byte{}
			for _, topic := range []string{"here", "elsewhere"} {
				ids[topic] = topicID(t, f.hosts[0].addr, topic)
			}
			asked := 0
			for range 5 {
				f.kill(f.hosts[1])
				f.hosts[1].launch()
				f.links.up(f.hosts[1].number)
				ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
				for ctx.Err() == nil {
					asked += askAboutTopics(ctx, t, f.hosts[1].addr, ids)
				}
				cancel()
				f.hosts[1].serving()
				f.until(recovery, f.unhealthy)
			}
			if asked == 0 {
				t.Error("no question was answered")
			}
			t.Logf("%d answers", asked)
		})
	}
}

// askAboutTopics asks on one connection until it breaks, and counts the answers.
func askAboutTopics(ctx context.Context, t *testing.T, addr string, ids map[string][16]byte) (answers int) {
	c, err := dialContext(ctx, addr)
	if err != nil {
		return 0
	}
	defer c.Close()
	for ctx.Err() == nil {
		for topic, id := range ids {
			produce, err := produceRequest(topic, [][]byte{make([]byte, 8)})
			if err != nil {
				t.Fatal(err)
			}
			produce.SetVersion(13)
			produce.Topics[0].TopicID = id
			resp, err := c.do(produce)
			if err != nil {
				return answers
			}
			if _, err := produced(resp); err == kerr.UnknownTopicID || err == kerr.UnknownTopicOrPartition {
				t.Errorf("producing to %q: %v", topic, err)
			}
			metadata := kmsg.NewPtrMetadataRequest()
			metadata.SetVersion(12)
			rt := kmsg.NewMetadataRequestTopic()
			rt.Topic = kmsg.StringPtr(topic)
			metadata.Topics = append(metadata.Topics, rt)
			if resp, err = c.do(metadata); err != nil {
				return answers
			}
			if r := resp.(*kmsg.MetadataResponse).Topics[0]; r.ErrorCode != 0 || r.TopicID != id {
				t.Errorf("metadata of %q: %v, id %x", topic, kerr.ErrorForCode(r.ErrorCode), r.TopicID)
			}
			answers += 2
		}
	}
	return answers
}
