package rpc

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/wire"
)

// controllerAt is a controller that answers heartbeats, or says that it is none, which
// refused hears of.
func controllerAt(active *atomic.Bool, refused chan<- struct{}) func(wire.RequestHeader, []byte) []byte {
	return func(h wire.RequestHeader, b []byte) []byte {
		if active.Load() {
			return heartbeatAnswer(h, b)
		}
		select {
		case refused <- struct{}{}:
		default:
		}
		resp := kmsg.NewPtrBrokerHeartbeatResponse()
		resp.SetVersion(h.Version)
		resp.ErrorCode = kafka.NotController.Num()
		return resp.AppendTo(nil)
	}
}

func leaderIs(l Leader) *atomic.Pointer[Leader] {
	var p atomic.Pointer[Leader]
	p.Store(&l)
	return &p
}

func TestControllersFollowTheLeader(t *testing.T) {
	o, n := options()
	var one, two atomic.Bool
	refused := make(chan struct{}, 1)
	newPeer(t, n, "localhost:1", heartbeatKeys, controllerAt(&one, refused))
	newPeer(t, n, "localhost:2", heartbeatKeys, controllerAt(&two, nil))
	leader := leaderIs(Leader{ID: kafka.NoNode})
	c := NewControllers(o, 9, nil, func() Leader { return *leader.Load() })
	defer c.Close()
	ctx, cancel := context.WithTimeout(testContext(t), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Do(ctx, "User:a", heartbeat(1)); !errors.Is(err, kafka.RequestTimedOut) {
		t.Errorf("without a leader: %v", err)
	}
	one.Store(true)
	leader.Store(&Leader{ID: 1, Addr: "localhost:1"})
	reply, err := c.Do(testContext(t), "User:a", heartbeat(5))
	if err != nil || reply.EndOffset != -1 || reply.Response.(*kmsg.BrokerHeartbeatResponse).ThrottleMillis != 5 {
		t.Fatalf("%+v, %v", reply, err)
	}
	// The first one steps down; the engine hears of the second one only later.
	one.Store(false)
	two.Store(true)
	done := make(chan error, 1)
	go func() {
		_, err := c.Do(testContext(t), "User:a", heartbeat(6))
		done <- err
	}()
	<-refused
	leader.Store(&Leader{ID: 2, Addr: "localhost:2"})
	c.LeaderChanged()
	if err := <-done; err != nil {
		t.Errorf("after the change: %v", err)
	}
}

// A leader that keeps silent is left as soon as there is another.
// TestForwardingEnds: a client that waits for longer than its request is tried again may
// be gone. The broker's own requests wait for as long as they want.
func TestForwardingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _ := options()
		c := NewControllers(o, 9, nil, func() Leader { return Leader{ID: kafka.NoNode} })
		defer c.Close()
		for _, tt := range []struct {
			req  kmsg.Request
			want time.Duration
		}{{kmsg.NewPtrCreateTopicsRequest(), forwardFor}, {heartbeat(1), time.Hour}} {
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			began := time.Now()
			_, err := c.Do(ctx, "User:a", tt.req)
			cancel()
			if took := time.Since(began).Round(time.Second); kafka.CodeOf(err) != kafka.RequestTimedOut || took != tt.want {
				t.Errorf("%s: %v after %v, want the end after %v", wire.Name(tt.req.Key()), err, took, tt.want)
			}
		}
	})
}

func TestControllersLeaveASilentLeader(t *testing.T) {
	o, n := options()
	asked, release := make(chan struct{}), make(chan struct{})
	newPeer(t, n, "localhost:1", heartbeatKeys, func(wire.RequestHeader, []byte) []byte {
		close(asked)
		<-release
		return nil
	})
	defer close(release)
	newPeer(t, n, "localhost:2", heartbeatKeys, heartbeatAnswer)
	leader := leaderIs(Leader{ID: 1, Addr: "localhost:1"})
	c := NewControllers(o, 9, nil, func() Leader { return *leader.Load() })
	defer c.Close()
	done := make(chan error, 1)
	go func() {
		_, err := c.Do(testContext(t), "User:a", heartbeat(6))
		done <- err
	}()
	<-asked
	leader.Store(&Leader{ID: 2, Addr: "localhost:2"})
	c.LeaderChanged()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// local is a controller in the same process.
type local struct{ got []kmsg.Request }

func (l *local) Do(_ context.Context, _ string, req kmsg.Request) (rsm.Reply, error) {
	l.got = append(l.got, req)
	return rsm.Reply{Response: req.ResponseKind(), EndOffset: 7}, nil
}

func TestControllersAskTheirOwnWhileItLeads(t *testing.T) {
	o, _ := options()
	l := &local{}
	c := NewControllers(o, 9, l, func() Leader { return Leader{ID: 9} })
	defer c.Close()
	reply, err := c.Do(testContext(t), "User:a", heartbeat(1))
	if err != nil || reply.EndOffset != 7 || l.got[0].GetVersion() != l.got[0].MaxVersion() {
		t.Errorf("%+v, %v, version %d", reply, err, l.got[0].GetVersion())
	}
}

// What clients ask for travels with their principal and address; the answer comes back
// in the version that was asked for, with the end offset of the decision.
func TestForwarding(t *testing.T) {
	o, n := options()
	keys := map[int16]versionRange{58: {0, 0}, 19: {2, 7}}
	var refuse int16
	var inner wire.RequestHeader
	newPeer(t, n, "localhost:1", keys, func(h wire.RequestHeader, b []byte) []byte {
		env := kmsg.NewPtrEnvelopeRequest()
		if err := env.ReadFrom(b); err != nil {
			t.Error(err)
			return nil
		}
		resp := env.ResponseKind().(*kmsg.EnvelopeResponse)
		p, err := ParsePrincipal(env.RequestPrincipal)
		if err != nil || p.String() != "User:alice" || string(env.ClientHostAddress) != "\x0a\x00\x00\x01" {
			t.Errorf("principal %v from %v, %v", p, env.ClientHostAddress, err)
		}
		if resp.ErrorCode = refuse; refuse == 0 {
			header, body, err := wire.ParseRequestHeader(env.RequestData)
			if err != nil {
				t.Error(err)
			}
			inner = header
			req, err := wire.DecodeRequest(header, body)
			if err != nil {
				t.Error(err)
			}
			out := req.ResponseKind().(*kmsg.CreateTopicsResponse)
			out.Topics = append(out.Topics, kmsg.CreateTopicsResponseTopic{Topic: req.(*kmsg.CreateTopicsRequest).Topics[0].Topic})
			out.SetVersion(header.Version)
			resp.ResponseData = out.AppendTo(wire.AppendResponseHeader(nil, header.Key, header.Version, 0))
			SetEndOffset(resp, 42)
		}
		return resp.AppendTo(nil)
	})
	c := NewControllers(o, 9, nil, func() Leader { return Leader{ID: 1, Addr: "localhost:1"} })
	defer c.Close()
	ctx := WithClient(testContext(t), Client{Host: "10.0.0.1", ID: "cli"})
	for asked, sent := range map[int16]int16{1: 2, 2: 2, 5: 5, 7: 7} {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.SetVersion(asked)
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic = "t"
		req.Topics = append(req.Topics, topic)
		reply, err := c.Do(ctx, "User:alice", req)
		if err != nil || reply.EndOffset != 42 || reply.Response.(*kmsg.CreateTopicsResponse).Topics[0].Topic != "t" {
			t.Fatalf("version %d: %+v, %v", asked, reply, err)
		}
		if inner.Version != sent || inner.ClientIDString() != "cli" || req.GetVersion() != asked {
			t.Errorf("version %d came as %d from %q and is %d now", asked, inner.Version, inner.ClientIDString(), req.GetVersion())
		}
	}
	// That the broker may not send envelopes is not its client's fault.
	for _, code := range []*kafka.Code{kafka.ClusterAuthorizationFailed, kafka.UnsupportedVersion, kafka.PrincipalDeserializationFailure} {
		refuse = code.Num()
		_, err := c.Do(ctx, "User:alice", kmsg.NewPtrCreateTopicsRequest())
		if kafka.CodeOf(err) != kafka.UnknownServerError || !strings.Contains(err.Error(), code.Name()) {
			t.Errorf("%s: %v", code.Name(), err)
		}
	}
}
