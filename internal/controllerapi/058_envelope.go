package controllerapi

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/rpc"
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
	if err == nil && !a.forwardable(in.header) {
		err = kafka.InvalidRequest.Errorf("%s v%d cannot be forwarded", wire.Name(in.header.Key), in.header.Version)
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
	req       kmsg.Request
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
		return in, kafka.InvalidRequest.Errorf("the request in an envelope: %w", err)
	}
	in.header = h
	in.client = rpc.Client{Host: addr.String(), ID: h.ClientIDString()}
	if in.req, err = wire.DecodeRequest(h, body); err != nil {
		return in, kafka.InvalidRequest.Errorf("the request in an envelope: %s v%d: %w", wire.Name(h.Key), h.Version, err)
	}
	return in, nil
}

// forwardable says whether a request may come in an Envelope.
func (a *API) forwardable(h wire.RequestHeader) bool {
	switch kmsg.Key(h.Key) {
	case kmsg.CreateTopics, kmsg.DeleteTopics, kmsg.CreatePartitions, kmsg.AlterConfigs, kmsg.IncrementalAlterConfigs,
		kmsg.UpdateFeatures, kmsg.ElectLeaders, kmsg.AlterPartitionAssignments, kmsg.ListPartitionReassignments,
		kmsg.UnregisterBroker, kmsg.DescribeQuorum, kmsg.CreateACLs, kmsg.DeleteACLs, kmsg.AlterClientQuotas,
		kmsg.AlterUserSCRAMCredentials, kmsg.CreateDelegationToken, kmsg.RenewDelegationToken, kmsg.ExpireDelegationToken,
		kmsg.AddRaftVoter, kmsg.RemoveRaftVoter:
		e, ok := a.table[h.Key]
		return ok && h.Version >= e.Min && h.Version <= e.Max
	}
	return false
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
	if err != nil {
		return envelopeFailed(env, err)
	}
	out := env.ResponseKind().(*kmsg.EnvelopeResponse)
	data := wire.AppendResponseHeader(nil, in.header.Key, in.header.Version, in.header.CorrelationID)
	reply.Response.SetVersion(in.header.Version)
	out.ResponseData = reply.Response.AppendTo(data)
	rpc.SetEndOffset(out, reply.EndOffset)
	return out
}

// envelopeFailed answers with an error of the request as a whole: NOT_CONTROLLER makes
// the broker ask another node, all others reach its client.
func envelopeFailed(env *kmsg.EnvelopeRequest, err error) kmsg.Response {
	out := env.ResponseKind().(*kmsg.EnvelopeResponse)
	out.ErrorCode = kafka.NumOf(err)
	if errors.Is(err, kafka.NotController) {
		out.ErrorCode = kafka.NotController.Num()
	}
	return out
}
