package brokerapi

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// featureGroupVersion is the feature that brings consumer groups (KIP-848).
const featureGroupVersion = "group.version"

// consumerProtocol is the name of the consumer protocol in
// group.coordinator.rebalance.protocols.
const consumerProtocol = "consumer"

// servesConsumerGroups says whether the cluster and this broker's configuration have
// the consumer protocol.
func (a *API) servesConsumerGroups() bool {
	return a.Image().Feature(featureGroupVersion) >= 1 && slices.Contains(a.Config().GroupCoordinatorRebalanceProtocols, consumerProtocol)
}

// consumerGroupHeartbeat is API key 68, versions 0 and 1: a member of a consumer group
// joins, says what it has, is told what to have, or leaves (KIP-848).
func (a *API) consumerGroupHeartbeat(r *server.Request) {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	if !decode(r, req) {
		return
	}
	refused := failed(kmsg.NewPtrConsumerGroupHeartbeatResponse(), func(resp *kmsg.ConsumerGroupHeartbeatResponse, code int16) {
		text := kafka.CodeForNum(code).Message()
		resp.ErrorCode, resp.ErrorMessage = code, &text
	})
	if !a.servesConsumerGroups() {
		r.Reply(refused(kafka.UnsupportedVersion))
		return
	}
	toGroup(a, r, req.Group, req, (*group.Machine).ConsumerGroupHeartbeat, refused)
}
