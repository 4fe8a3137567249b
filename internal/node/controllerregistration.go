package node

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/features"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// registerController makes this controller known to the cluster, with its listeners
// and what it supports (KIP-919). At a metadata.version that has no such records
// there is nothing to do.
func (n *Node) registerController(ctx context.Context) error {
	backoff := minBackoff
	for {
		err := n.registerControllerOnce(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		n.log.Warn("registering this controller", "error", err)
		if err := n.deps.Clock.Sleep(ctx, backoff); err != nil {
			return err
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func (n *Node) registerControllerOnce(ctx context.Context) error {
	if mv, ok := n.loader.Current().MetadataVersion(); ok && int16(mv) < int16(features.V37IV0) {
		return nil
	}
	req := kmsg.NewPtrControllerRegistrationRequest()
	req.SetVersion(req.MaxVersion())
	req.ControllerID, req.IncarnationID = int32(n.static.NodeID), n.incarnation
	endpoints, err := n.endpoints(true)
	if err != nil {
		return err
	}
	for _, e := range endpoints {
		k := kmsg.NewControllerRegistrationRequestListener()
		k.Name, k.Host, k.Port, k.SecurityProtocol = e.Name, e.Host, e.Port, e.SecurityProtocol
		req.Listeners = append(req.Listeners, k)
	}
	for _, f := range metadata.SupportedFeatures() {
		k := kmsg.NewControllerRegistrationRequestFeature()
		k.Name, k.MinSupportedVersion, k.MaxSupportedVersion = f.Name, f.Min, f.Max
		req.Features = append(req.Features, k)
	}
	reply, err := n.channels.heartbeats.Do(ctx, brokerPrincipal, req)
	if err != nil {
		return err
	}
	resp := reply.Response.(*kmsg.ControllerRegistrationResponse)
	if code := kafka.CodeForNum(resp.ErrorCode); code != nil {
		return code.Errorf("registration of controller %d: %s", req.ControllerID, code.Message())
	}
	return n.loader.WaitFor(ctx, reply.EndOffset)
}
