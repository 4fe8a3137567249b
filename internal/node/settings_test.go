package node

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// served says whether a new connection to the listener gets an answer; it is closed
// without one beyond the limits.
func (m *machine) served(addr string) bool {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := m.net.Dial(ctx, "tcp", addr)
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close()
	// ApiVersions 0, correlation id 1, no client id.
	if _, err := conn.Write([]byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff}); err != nil {
		return false
	}
	_, err = io.ReadFull(conn, make([]byte, 8))
	return err == nil
}

// TestConnectionLimitsTakeEffectAtOnce: limits on connections are those of the dynamic
// configuration, at once and after a restart, and of the listener's own keys.
func TestConnectionLimitsTakeEffectAtOnce(t *testing.T) {
	m := newMachine(t, nil)
	m.format()
	n := m.start()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cl := m.client()
	limit := "1"
	resp, err := kadm.NewClient(cl).AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.connections.per.ip", Value: &limit}})
	if err == nil {
		err = resp[0].Err
	}
	if err != nil {
		t.Fatal(err)
	}
	for m.served("localhost:9092") {
		if ctx.Err() != nil {
			t.Fatal("a second connection is served")
		}
	}
	cl.Close()
	m.stop(n)
	n = m.start()
	defer m.stop(n)
	first, err := m.net.Dial(ctx, "tcp", "localhost:9092")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	for m.served("localhost:9092") {
		if ctx.Err() != nil {
			t.Fatal("a second connection is served after a restart")
		}
	}
}

// TestListenerLimits: a listener's own limit stands beside the broker's.
func TestListenerLimits(t *testing.T) {
	m := newMachine(t, map[string]string{"listener.name.plaintext.max.connections": "1", "max.connections": "50"})
	l := connectionLimits(m.cfg)
	if l.MaxConnections != 50 || l.Listeners["PLAINTEXT"].MaxConnections != 1 || l.Listeners["CONTROLLER"].MaxConnections != 50 {
		t.Errorf("%+v", l)
	}
}

// TestGroupSettingsTakeEffectAtOnce: a group's own configs and the broker's dynamic ones
// are those of the next heartbeat, without a new coordinator.
func TestGroupSettingsTakeEffectAtOnce(t *testing.T) {
	m := newMachine(t, map[string]string{
		"offsets.topic.num.partitions": "1", "offsets.topic.replication.factor": "1",
	})
	m.format()
	n := m.start()
	defer m.stop(n)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cl := m.client()
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(ctx, 2, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	beat := func(member string, epoch int32) *kmsg.ConsumerGroupHeartbeatResponse {
		t.Helper()
		for {
			req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
			req.Group, req.MemberID, req.MemberEpoch = "g", member, epoch
			if epoch == 0 {
				req.RebalanceTimeoutMillis, req.SubscribedTopicNames = 60000, []string{"t"}
				req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
			}
			resp, err := req.RequestWith(ctx, cl)
			if err == nil {
				err = kerr.ErrorForCode(resp.ErrorCode)
			}
			if err == nil {
				return resp
			}
			if !kerr.IsRetriable(err) || ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	first := beat("m1", 0)
	if first.HeartbeatIntervalMillis != 5000 {
		t.Fatalf("heartbeat interval %d", first.HeartbeatIntervalMillis)
	}
	set := func(kind kmsg.ConfigResourceType, name, key, value string) {
		t.Helper()
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kind, name
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Value = key, &value
		r.Configs = append(r.Configs, c)
		req.Resources = append(req.Resources, r)
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			t.Fatal(err)
		}
		if err := kerr.ErrorForCode(resp.Resources[0].ErrorCode); err != nil {
			t.Fatal(err, *resp.Resources[0].ErrorMessage)
		}
	}
	set(kmsg.ConfigResourceTypeGroupConfig, "g", "consumer.heartbeat.interval.ms", "7000")
	if got := beat("m1", first.MemberEpoch); got.HeartbeatIntervalMillis != 7000 {
		t.Errorf("heartbeat interval %d after the group's config was set", got.HeartbeatIntervalMillis)
	}
	// With the longest interval a second member waits for its part of the assignment; with
	// none the next heartbeat of the group computes it.
	set(kmsg.ConfigResourceTypeBroker, "", "group.consumer.assignment.interval.ms", "15000")
	if got := beat("m2", 0); got.MemberEpoch != first.MemberEpoch {
		t.Errorf("the assignment was computed at once: epoch %d", got.MemberEpoch)
	}
	set(kmsg.ConfigResourceTypeBroker, "", "group.consumer.assignment.interval.ms", "0")
	if got := beat("m1", first.MemberEpoch); got.Assignment == nil || len(got.Assignment.Topics[0].Partitions) != 1 {
		t.Errorf("the assignment was not computed: %+v", got.Assignment)
	}
}
