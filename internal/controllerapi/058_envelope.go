package controllerapi

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/controller"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/rpc"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/wire"
)

// envelope is API key 58: a broker passes on a request of one of its clients (KIP-590).
// Each is decided on a goroutine of its own, so that a slow one does not hold back the
// others of the same broker; their answers leave in order.
func (a *API) envelope(r *server.Request) {
	env := kmsg.NewPtrEnvelopeRequest()
	if !decode(r, env) {
		return
	}
	in, err := openEnvelope(env)
	if err == nil {
		err = a.forwardable(in.header)
	}
	if err == nil {
		err = in.decode()
	}
	if err != nil {
		a.Log.Warn("an Envelope is refused", "from", r.ClientHost, "error", err)
		r.Reply(envelopeFailed(env, err))
		return
	}
	listener := r.Listener.Name
	go func() { r.Reply(a.answerEnvelope(env, in, listener)) }()
}

// enveloped is what an Envelope carries.
type enveloped struct {
	header    wire.RequestHeader
	body      []byte
	req       kmsg.Request // once decode has been called
	principal rpc.Principal
	client    rpc.Client
}

func openEnvelope(env *kmsg.EnvelopeRequest) (in enveloped, err error) {
	if in.principal, err = rpc.ParsePrincipal(env.RequestPrincipal); err != nil {
		return in, err
	}
	addr, ok := netip.AddrFromSlice(env.ClientHostAddress)
	if !ok {
		return in, kafka.InvalidRequest.Errorf("a client address of %d bytes", len(env.ClientHostAddress))
	}
	// A copy: an operation that timed out may outlive the frame.
	h, body, err := wire.ParseRequestHeader(bytes.Clone(env.RequestData))
	if err != nil {
		return in, kafka.UnsupportedVersion.Errorf("the request in an envelope: %v", err)
	}
	in.header, in.body = h, body
	in.client = rpc.Client{Host: addr.String(), ID: h.ClientIDString()}
	return in, nil
}

// decode reads the request itself. What does not parse is UNSUPPORTED_VERSION, as in
// Apache Kafka: INVALID_REQUEST is left to what is wrong with the envelope.
func (in *enveloped) decode() (err error) {
	if in.req, err = wire.DecodeRequest(in.header, in.body); err != nil {
		return kafka.UnsupportedVersion.Errorf("the request in an envelope: %s v%d: %v", wire.Name(in.header.Key), in.header.Version, err)
	}
	return nil
}

// forwardable says why a request may not come in an Envelope.
func (a *API) forwardable(h wire.RequestHeader) error {
	switch kmsg.Key(h.Key) {
	case kmsg.CreateTopics, kmsg.DeleteTopics, kmsg.CreatePartitions, kmsg.AlterConfigs, kmsg.IncrementalAlterConfigs,
		kmsg.UpdateFeatures, kmsg.ElectLeaders, kmsg.AlterPartitionAssignments, kmsg.ListPartitionReassignments,
		kmsg.UnregisterBroker, kmsg.DescribeQuorum, kmsg.CreateACLs, kmsg.DeleteACLs, kmsg.AlterClientQuotas,
		kmsg.AlterUserSCRAMCredentials, kmsg.CreateDelegationToken, kmsg.RenewDelegationToken, kmsg.ExpireDelegationToken,
		kmsg.AddRaftVoter, kmsg.RemoveRaftVoter:
		if e, ok := a.table[h.Key]; !ok || h.Version < e.Min || h.Version > e.Max {
			return kafka.UnsupportedVersion.Errorf("%s v%d is not served", wire.Name(h.Key), h.Version)
		}
		return nil
	}
	return kafka.InvalidRequest.Errorf("%s cannot be forwarded", wire.Name(h.Key))
}

// timeout is how long the request may take.
func (a *API) timeout(req kmsg.Request) time.Duration {
	if t, ok := req.(kmsg.TimeoutRequest); ok {
		return millis(t.Timeout())
	}
	return a.RequestTimeout
}

func (a *API) answerEnvelope(env *kmsg.EnvelopeRequest, in enveloped, listener string) kmsg.Response {
	ctx, cancel := context.WithTimeout(a.Stopping, a.timeout(in.req))
	defer cancel()
	reply, err := a.Do(rpc.WithClient(ctx, in.client), in.principal.String(), in.req, listener)
	if errors.Is(err, kafka.NotController) {
		return envelopeFailed(env, kafka.NotController)
	}
	if err != nil {
		reply = rsm.Reply{Response: controller.FailAll(in.req, err)}
	}
	out := env.ResponseKind().(*kmsg.EnvelopeResponse)
	data := wire.AppendResponseHeader(nil, in.header.Key, in.header.Version, in.header.CorrelationID)
	reply.Response.SetVersion(in.header.Version)
	out.ResponseData = reply.Response.AppendTo(data)
	rpc.SetEndOffset(out, reply.EndOffset)
	return out
}

// envelopeFailed answers with an error of the envelope: NOT_CONTROLLER makes the broker ask
// another node, any other is the broker's fault. What is wrong with the request itself is
// told by its own answer.
func envelopeFailed(env *kmsg.EnvelopeRequest, err error) kmsg.Response {
	out := env.ResponseKind().(*kmsg.EnvelopeResponse)
	out.ErrorCode = kafka.NumOf(err)
	return out
}
