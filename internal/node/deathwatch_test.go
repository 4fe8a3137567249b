package node

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/netx"
)

// otherAddr is where the broker of these tests listens, or does not.
const otherAddr = "localhost:9192"

// dialCounter counts the connections to otherAddr that were refused.
type dialCounter struct {
	netx.Net
	refused atomic.Int64
}

func (d *dialCounter) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := d.Net.Dial(ctx, network, addr)
	if err != nil && addr == otherAddr {
		d.refused.Add(1)
	}
	return c, err
}

// joinBroker registers broker 2 at otherAddr and has it unfenced.
func joinBroker(t *testing.T, ctx context.Context, n *Node) {
	t.Helper()
	reg := kmsg.NewPtrBrokerRegistrationRequest()
	reg.SetVersion(reg.MaxVersion())
	reg.BrokerID, reg.ClusterID, reg.IncarnationID, reg.PreviousBrokerEpoch = 2, n.ClusterID(), kafka.NewUUID(), -1
	l := kmsg.NewBrokerRegistrationRequestListener()
	l.Name, l.Host, l.Port = "PLAINTEXT", "localhost", 9192
	reg.Listeners = append(reg.Listeners, l)
	reg.LogDirs = append(reg.LogDirs, kafka.NewUUID())
	for _, f := range metadata.SupportedFeatures() {
		k := kmsg.NewBrokerRegistrationRequestFeature()
		k.Name, k.MinSupportedVersion, k.MaxSupportedVersion = f.Name, f.Min, f.Max
		reg.Features = append(reg.Features, k)
	}
	reply, err := n.controller.Do(ctx, brokerPrincipal, reg)
	if err != nil {
		t.Fatal(err)
	}
	resp := reply.Response.(*kmsg.BrokerRegistrationResponse)
	if resp.ErrorCode != 0 {
		t.Fatal(kafka.CodeForNum(resp.ErrorCode))
	}
	beat := kmsg.NewPtrBrokerHeartbeatRequest()
	beat.SetVersion(beat.MaxVersion())
	beat.BrokerID, beat.BrokerEpoch, beat.CurrentMetadataOffset = 2, resp.BrokerEpoch, reply.EndOffset
	reply, err = n.controller.Do(ctx, brokerPrincipal, beat)
	if err != nil {
		t.Fatal(err)
	}
	if r := reply.Response.(*kmsg.BrokerHeartbeatResponse); r.ErrorCode != 0 || r.IsFenced {
		t.Fatalf("heartbeat: %+v", r)
	}
	if err := n.loader.WaitFor(ctx, reply.EndOffset); err != nil {
		t.Fatal(err)
	}
}

// A broker that opens its listener late is not taken for a dead one, and one whose
// listener goes away is.
func TestOnlyAnAddressThatHadAcceptedProvesADeath(t *testing.T) {
	m := newMachine(t, map[string]string{"broker.session.timeout.ms": "600000", "broker.heartbeat.interval.ms": "1000"})
	dials := &dialCounter{Net: m.net}
	m.net = dials
	m.format()
	n := m.start()
	defer m.stop(n)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	joinBroker(t, ctx, n)
	for dials.refused.Load() < 3 {
		if ctx.Err() != nil {
			t.Fatal("nobody tries the broker's address")
		}
		time.Sleep(time.Millisecond)
	}
	ln, err := m.net.Listen(ctx, "tcp", otherAddr)
	if err != nil {
		t.Fatal(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	held, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if b := n.loader.Current().Broker(2); b == nil || b.Fenced {
		t.Fatalf("the broker was fenced before it listened\n%s", m.log)
	}
	// The end of its process.
	_ = ln.Close()
	_ = held.Close()
	for {
		img := n.loader.Current()
		if img.Broker(2).Fenced {
			break
		}
		if err := n.loader.WaitFor(ctx, img.EndOffset()+1); err != nil {
			t.Fatalf("the dead broker is not fenced: %v\n%s", err, m.log)
		}
	}
	if !strings.Contains(m.log.String(), "its process has ended") {
		t.Errorf("log\n%s", m.log)
	}
}
