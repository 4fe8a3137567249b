package controllerapi

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/rpc"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/wire"
)

// envelopeOf is req as a broker would send it.
func envelopeOf(req kmsg.Request, principal []byte, addr []byte) *kmsg.EnvelopeRequest {
	client := "cli"
	env := kmsg.NewPtrEnvelopeRequest()
	data := wire.AppendRequestHeader(nil, wire.RequestHeader{Key: req.Key(), Version: req.GetVersion(), ClientID: &client})
	env.RequestData, env.RequestPrincipal, env.ClientHostAddress = req.AppendTo(data), principal, addr
	return env
}

var alice = rpc.AppendPrincipal(nil, rpc.Principal{Type: "User", Name: "alice"})

func TestOpenEnvelope(t *testing.T) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(7)
	in, err := openEnvelope(envelopeOf(req, alice, []byte{10, 0, 0, 1}))
	if err == nil {
		err = in.decode()
	}
	if err != nil || in.principal.String() != "User:alice" || in.client != (rpc.Client{Host: "10.0.0.1", ID: "cli"}) || in.req.GetVersion() != 7 {
		t.Errorf("%+v, %v", in, err)
	}
	for what, tt := range map[string]struct {
		env  *kmsg.EnvelopeRequest
		want *kafka.Code
	}{
		"no principal":         {envelopeOf(req, nil, []byte{10, 0, 0, 1}), kafka.PrincipalDeserializationFailure},
		"an address of 3 byte": {envelopeOf(req, alice, []byte{10, 0, 0}), kafka.InvalidRequest},
		"no request":           {&kmsg.EnvelopeRequest{RequestPrincipal: alice, ClientHostAddress: []byte{10, 0, 0, 1}}, kafka.UnsupportedVersion},
	} {
		if _, err := openEnvelope(tt.env); kafka.CodeOf(err) != tt.want {
			t.Errorf("%s: %v", what, err)
		}
	}
	in.body = in.body[:len(in.body)-1]
	if err := in.decode(); kafka.CodeOf(err) != kafka.UnsupportedVersion {
		t.Errorf("a torn request: %v", err)
	}
}

// Only what clients may ask of a controller comes in an Envelope, in versions that the
// controller serves: not what brokers ask for themselves, nor another Envelope.
func TestForwardable(t *testing.T) {
	a := &API{}
	a.Table()
	for h, want := range map[wire.RequestHeader]*kafka.Code{
		{Key: 19, Version: 7}:  nil,
		{Key: 19, Version: 1}:  kafka.UnsupportedVersion,
		{Key: 19, Version: 99}: kafka.UnsupportedVersion,
		{Key: 55, Version: 0}:  nil,
		{Key: 56, Version: 3}:  kafka.InvalidRequest,
		{Key: 58, Version: 0}:  kafka.InvalidRequest,
		{Key: 63, Version: 1}:  kafka.InvalidRequest,
		{Key: 0, Version: 9}:   kafka.InvalidRequest,
	} {
		if err := a.forwardable(h); kafka.CodeOf(err) != want {
			t.Errorf("%s v%d: %v", wire.Name(h.Key), h.Version, err)
		}
	}
}

// What was not decided is told inside, by the request's own answer; only that another node
// leads is an error of the envelope.
func TestErrorsOfARequestAreInsideTheEnvelope(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	a := &API{NodeID: 1, Stopping: stopped, RequestTimeout: time.Minute, Leader: func() quorum.LeaderAndEpoch { return quorum.LeaderAndEpoch{Leader: 2} },
		Controller: rsm.New(rsm.Config{Clock: clock.Real()})} // it never starts
	ask := func(req kmsg.Request) *kmsg.EnvelopeResponse {
		t.Helper()
		env := envelopeOf(req, alice, []byte{10, 0, 0, 1})
		in, err := openEnvelope(env)
		if err == nil {
			err = in.decode()
		}
		if err != nil {
			t.Fatal(err)
		}
		return a.answerEnvelope(env, in, "CONTROLLER").(*kmsg.EnvelopeResponse)
	}
	if out := ask(kmsg.NewPtrRemoveRaftVoterRequest()); out.ErrorCode != kafka.NotController.Num() || out.ResponseData != nil {
		t.Errorf("another node leads: %+v", out)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(7)
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic = "a"
	req.Topics = append(req.Topics, topic)
	out := ask(req)
	_, body, err := wire.ParseResponseHeader(out.ResponseData, req.Key(), req.GetVersion())
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	if err == nil {
		err = resp.ReadFrom(body)
	}
	if err != nil || out.ErrorCode != 0 || len(resp.Topics) != 1 || resp.Topics[0].Topic != "a" || resp.Topics[0].ErrorCode != kafka.RequestTimedOut.Num() {
		t.Errorf("no time left: %+v, %+v, %v", out, resp, err)
	}
}

func FuzzEnvelope(f *testing.F) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(7)
	f.Add(envelopeOf(req, alice, nil).RequestData, alice, []byte{10, 0, 0, 1})
	f.Add([]byte{0, 58, 0, 0}, []byte{0, 0, 2}, []byte{})
	f.Fuzz(func(_ *testing.T, data, principal, addr []byte) {
		if in, err := openEnvelope(&kmsg.EnvelopeRequest{RequestData: data, RequestPrincipal: principal, ClientHostAddress: addr}); err == nil {
			_ = in.decode()
		}
	})
}
