package node

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/publish"
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
	if v, ok := n.loader.Current().MetadataVersion(); ok && !v.ControllerRegistrationSupported() {
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

// lateRegistration registers this controller when the metadata.version rises to one that
// has such records: at its start there was nothing to do.
type lateRegistration struct{ n *Node }

func (lateRegistration) Name() string { return "ControllerRegistrationManager" }

func (l lateRegistration) Publish(u publish.Update) {
	if u.Delta == nil || !slices.Contains(u.Delta.ChangedFeatures(), metadata.FeatureMetadataVersion) {
		return
	}
	me := u.New.Controller(int32(l.n.static.NodeID))
	v, _ := u.New.MetadataVersion()
	if !v.ControllerRegistrationSupported() || me != nil && me.IncarnationID == l.n.incarnation {
		return
	}
	// It waits for this image and for what it writes itself to come by here. It ends with
	// the node at the latest.
	go func() {
		err := l.n.loader.WaitFor(l.n.stopping, u.New.EndOffset())
		if err == nil {
			err = l.n.registerController(l.n.stopping)
		}
		if err != nil {
			l.n.log.Info("this controller is not registered", "error", err)
		}
	}()
}
