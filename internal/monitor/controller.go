package monitor

import (
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/publish"
	"github.com/gregorhq/gregor/internal/rsm"
)

// Elections is the publisher that counts what the active controller decided, from the
// changes that it made.
type Elections struct {
	node kafka.NodeID

	// elections are changes of leaders; unclean and eligible are those to a replica
	// outside of the ISR: one that may lack records, or an eligible one (KIP-966).
	elections, unclean, eligible atomic.Int64
	// timedOut are brokers that were fenced without having asked for it.
	timedOut atomic.Int64
	// newActive are the times that a controller was elected.
	newActive atomic.Int64
	epoch     kafka.LeaderEpoch // the loader's goroutine's own
}

// NewElections returns the publisher of a node.
func NewElections(node kafka.NodeID) *Elections { return &Elections{node: node} }

// Name is the publisher's name.
func (*Elections) Name() string { return "ControllerMetrics" }

// Publish counts. What stand-by controllers see happened elsewhere; they count it too,
// as Kafka's do, so that a new active controller does not begin at 0.
func (c *Elections) Publish(u publish.Update) {
	if l := u.Leader; l.Leader != kafka.NoNode && l.Epoch > c.epoch {
		c.epoch = l.Epoch
		c.newActive.Add(1)
	}
	if u.Delta == nil {
		return
	}
	for t := range u.Delta.ChangedTopics() {
		if t.Created() {
			continue
		}
		for index, p := range t.Partitions() {
			if old := t.Old.Partition(index); old != nil {
				c.count(old, p)
			}
		}
	}
	for _, id := range u.Delta.ChangedBrokers() {
		old, now := u.Old.Broker(id), u.New.Broker(id)
		if old != nil && now != nil && old.Epoch == now.Epoch && !old.Fenced && now.Fenced && !old.InControlledShutdown {
			c.timedOut.Add(1)
		}
	}
}

func (c *Elections) count(old, now *metadata.Partition) {
	if now.Leader == old.Leader || !now.HasLeader() {
		return
	}
	c.elections.Add(1)
	switch {
	case now.LeaderRecoveryState == metadata.LeaderRecovering && old.LeaderRecoveryState != metadata.LeaderRecovering:
		c.unclean.Add(1)
	case old.InELR(now.Leader):
		c.eligible.Add(1)
	}
}

// controllerView is what a controller's image says.
type controllerView struct {
	active                          bool
	activeBrokers, fenced, draining int64
	topics, partitions              int64
	offline, imbalanced             int64
}

func (x *exporter) readController() {
	v := controllerView{active: x.Controller.Active()}
	for _, b := range x.img.Brokers() {
		if b.Fenced {
			v.fenced++
		} else {
			v.activeBrokers++
		}
		v.draining += number(b.InControlledShutdown)
	}
	for t := range x.img.Topics() {
		v.topics++
		for _, p := range t.Partitions() {
			v.partitions++
			v.offline += number(!p.HasLeader())
			v.imbalanced += number(!p.HasPreferredLeader())
		}
	}
	x.ctl = v
}

// controlled emits a value of a controller.
func (x *exporter) controlled(f func() int64) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if x.Controller != nil && x.Elections != nil {
			e.Int(f())
		}
	}
}

func (x *exporter) controller() {
	x.section = "Controller, on nodes with that role"
	const typ, image = "KafkaController", "metadata image"
	g := func(name, help string, f func() int64) fam {
		return fam{metrics.Gauge, "controller", typ, name, "", help, image, x.controlled(f)}
	}
	x.add(
		g("ActiveControllerCount", "1 on the active controller, 0 on others.", func() int64 { return number(x.ctl.active) }),
		g("ActiveBrokerCount", "Brokers that are registered and not fenced.", func() int64 { return x.ctl.activeBrokers }),
		g("FencedBrokerCount", "Brokers that are registered and fenced.", func() int64 { return x.ctl.fenced }),
		g("ControlledShutdownBrokerCount", "Brokers in a controlled shutdown.", func() int64 { return x.ctl.draining }),
		g("GlobalTopicCount", "Topics of the cluster.", func() int64 { return x.ctl.topics }),
		g("GlobalPartitionCount", "Partitions of the cluster.", func() int64 { return x.ctl.partitions }),
		g("OfflinePartitionsCount", "Partitions of the cluster without a leader.", func() int64 { return x.ctl.offline }),
		g("PreferredReplicaImbalanceCount", "Partitions that their preferred replica does not lead.", func() int64 { return x.ctl.imbalanced }),
		g("MetadataErrorCount", "Records that could not be applied. A node stops at the first, so it is 0 on all that run.", func() int64 { return 0 }),
		g("TimedOutBrokerHeartbeatCount", "Brokers that were fenced though they had not asked for it, since the node's start.", func() int64 { return x.Elections.timedOut.Load() }),
		g("NewActiveControllersCount", "Elections of an active controller, since the node's start.", func() int64 { return x.Elections.newActive.Load() }),
		g("LastAppliedRecordOffset", "Offset of the last metadata record that was applied.", func() int64 { return int64(x.img.Offset) }),
		g("LastAppliedRecordTimestamp", "Its time, in milliseconds.", func() int64 { return x.img.TimestampMs }),
		g("LastAppliedRecordLagMs", "Milliseconds since that time on stand-by controllers, 0 on the active one.", func() int64 {
			if x.ctl.active {
				return 0
			}
			return max(x.now.UnixMilli()-x.img.TimestampMs, 0)
		}),
		g("LastCommittedRecordOffset", "Offset of the last metadata record that is committed.", func() int64 { return int64(x.scrape.raft.HighWatermark) - 1 }),
	)
	meter := func(name, help string, f func() int64) fam {
		return fam{metrics.Meter, "controller", "ControllerStats", name, "", help, "monitor.Elections", x.controlled(f)}
	}
	times := func(name, help string, f func(rsm.ControllerMetrics) *metrics.Histogram) fam {
		return fam{metrics.Summary, "controller", "ControllerEventManager", name, "", help, "rsm.ControllerMetrics", func(e *metrics.Emitter) {
			if x.Controller != nil {
				e.Distribution(f(x.Controller.Metrics()).Read(e.Now), millisecond)
			}
		}}
	}
	x.add(
		meter("LeaderElectionsPerSec", "Partitions that got another leader. Kafka has no bean of that name in its KRaft mode.", func() int64 { return x.Elections.elections.Load() }),
		meter("UncleanLeaderElectionsPerSec", "Partitions whose new leader may lack records.", func() int64 { return x.Elections.unclean.Load() }),
		meter("ElectionFromEligibleLeaderReplicasPerSec", "Partitions whose new leader came from the eligible replicas outside of the ISR (KIP-966).", func() int64 { return x.Elections.eligible.Load() }),
		times("EventQueueTimeMs", "Milliseconds that requests waited for the controller's loop.", func(m rsm.ControllerMetrics) *metrics.Histogram { return m.QueueTimes }),
		times("EventQueueProcessingTimeMs", "Milliseconds of deciding a request.", func(m rsm.ControllerMetrics) *metrics.Histogram { return m.ProcessingTimes }),
	)
	x.plain(fam{metrics.Gauge, "", "", "gregor_controller_queue_size", "", "Requests and committed batches that wait for the controller's loop.", "rsm.Controller", x.controlled(func() int64 { return int64(x.Controller.Queued()) })})
}
