package controllerapi

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/rpc"
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
	if err != nil || in.principal.String() != "User:alice" || in.client != (rpc.Client{Host: "10.0.0.1", ID: "cli"}) || in.req.GetVersion() != 7 {
		t.Errorf("%+v, %v", in, err)
	}
	for what, env := range map[string]*kmsg.EnvelopeRequest{
		"no principal":         envelopeOf(req, nil, []byte{10, 0, 0, 1}),
		"an address of 3 byte": envelopeOf(req, alice, []byte{10, 0, 0}),
		"no request":           {RequestPrincipal: alice, ClientHostAddress: []byte{10, 0, 0, 1}},
	} {
		if _, err := openEnvelope(env); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// Only what clients may ask of a controller comes in an Envelope, in versions that the
// controller serves: not what brokers ask for themselves, nor another Envelope.
func TestForwardable(t *testing.T) {
	a := &API{}
	a.Table()
	for h, want := range map[wire.RequestHeader]bool{
		{Key: 19, Version: 7}:  true,
		{Key: 19, Version: 1}:  false,
		{Key: 19, Version: 99}: false,
		{Key: 55, Version: 0}:  true,
		{Key: 56, Version: 3}:  false,
		{Key: 58, Version: 0}:  false,
		{Key: 63, Version: 1}:  false,
		{Key: 0, Version: 9}:   false,
	} {
		if got := a.forwardable(h); got != want {
			t.Errorf("%s v%d: %v", wire.Name(h.Key), h.Version, got)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(7)
	f.Add(envelopeOf(req, alice, nil).RequestData, alice, []byte{10, 0, 0, 1})
	f.Add([]byte{0, 58, 0, 0}, []byte{0, 0, 2}, []byte{})
	f.Fuzz(func(_ *testing.T, data, principal, addr []byte) {
		_, _ = openEnvelope(&kmsg.EnvelopeRequest{RequestData: data, RequestPrincipal: principal, ClientHostAddress: addr})
	})
}
