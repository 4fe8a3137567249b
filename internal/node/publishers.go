package node

import (
	"slices"
	"strconv"

	"github.com/gregorhq/gregor/internal/cleaner"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/publish"
	"github.com/gregorhq/gregor/internal/replica"
)

// replicas hands images to the replica manager.
type replicas struct{ m *replica.Manager }

func (replicas) Name() string { return "ReplicaManager" }

func (p replicas) Publish(u publish.Update) { p.m.Apply(u.Delta, u.New) }

// dynamicConfig keeps the node's configuration up to date with the brokers'
// dynamic configs.
type dynamicConfig struct{ n *Node }

func (dynamicConfig) Name() string { return "DynamicConfigPublisher" }

func (p dynamicConfig) Publish(u publish.Update) {
	own := metadata.ConfigResource{Type: metadata.ResourceBroker, Name: strconv.Itoa(int(p.n.static.NodeID))}
	all := metadata.ConfigResource{Type: metadata.ResourceBroker}
	if u.Delta != nil && !slices.ContainsFunc(u.Delta.ChangedConfigs(), func(r metadata.ConfigResource) bool { return r == own || r == all }) {
		return
	}
	perBroker, clusterWide := u.New.Config(own), u.New.Config(all)
	if u.Delta == nil && len(perBroker) == 0 && len(clusterWide) == 0 {
		return
	}
	next, warnings := p.n.static.WithDynamic(perBroker, clusterWide)
	p.n.warn(warnings)
	p.n.config.Store(next)
	p.n.server.SetLimits(connectionLimits(next))
	p.n.logs.ReconfigureProducers(next.ProducerIDExpirationMs, next.TransactionPartitionVerificationEnable)
	if p.n.replicas != nil {
		p.n.replicas.Reconfigure(next)
		p.n.cleaner.Reconfigure(cleaner.FromBroker(next))
	}
	p.n.log.Info("the dynamic configuration of this broker changed", "brokerConfigs", len(perBroker), "clusterConfigs", len(clusterWide))
}

// warn prints what is wrong with a configuration that is used nevertheless.
func (n *Node) warn(warnings []config.Warning) {
	for _, w := range warnings {
		n.log.Warn("configuration", "warning", w)
	}
}
