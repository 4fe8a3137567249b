package brokerapi

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/kafka"
)

// TestAdminClient lets a real client negotiate versions and read what the doors
// say about the cluster. It uses the listener that only broker 1 has, as only that
// one is there.
func TestAdminClient(t *testing.T) {
	k := newAdminKit(t, nil, clusterRecords()...)
	cl, err := kgo.NewClient(kgo.SeedBrokers("public1:19092"), kgo.Dialer(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return k.net.Dial(ctx, "tcp", "localhost:9093")
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	adm := kadm.NewClient(cl)

	m, err := adm.Metadata(ctx, "a", "nope")
	if err != nil {
		t.Fatal(err)
	}
	if m.Cluster != "abc" || m.Controller != 1 || len(m.Brokers) != 1 || len(m.Topics["a"].Partitions) != 2 || m.Topics["nope"].Err == nil ||
		kafka.TopicID(m.Topics["a"].ID) != topicID("a", 1) {
		t.Errorf("%+v", m)
	}
	configs, err := adm.DescribeTopicConfigs(ctx, "a")
	if err != nil || len(configs) != 1 || configs[0].Err != nil || len(configs[0].Configs) < 36 {
		t.Errorf("%v %v", configs, err)
	}
	brokers, err := adm.DescribeBrokerConfigs(ctx)
	if err != nil || len(brokers) != 1 || brokers[0].Err != nil {
		t.Errorf("%v %v", brokers, err)
	}
	versions, err := adm.ApiVersions(ctx)
	if err != nil || len(versions) != 1 {
		t.Fatal(versions, err)
	}
	v := versions[1]
	if min, max, ok := v.KeyVersions(3); !ok || min != 0 || max != 13 {
		t.Errorf("Metadata %d to %d, %t: %v", min, max, ok, v.Err)
	}
}
