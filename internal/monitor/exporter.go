package monitor

import (
	"net"
	"strconv"

	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/metrics"
)

// The names of kafka_exporter, which has one series a cluster where every node of
// gregor is asked. So each series comes from one node only, and sums over the nodes are
// what the exporter would show: of the cluster from the active controller, of a
// partition from its leader, of a group from its coordinator.

// led makes a family with a value for each partition that is led here.
func (x *exporter) led(name, help string, f func(*partition) int64) fam {
	return fam{metrics.Gauge, "", "", name, "topic partition", help, "log.Log, metadata image", func(e *metrics.Emitter) {
		for i := range x.parts {
			if p := &x.parts[i]; p.Leader && p.Log != nil && p.Reg != nil {
				e.Int(f(p), p.topic, p.number)
			}
		}
	}}
}

func (x *exporter) exporterNames() {
	x.section = "The names of kafka_exporter"
	x.plain(
		fam{metrics.Gauge, "", "", "kafka_brokers", "", "Brokers of the cluster that are not fenced; from the active controller.", "metadata image", func(e *metrics.Emitter) {
			if x.Controller != nil && x.ctl.active {
				e.Int(x.ctl.activeBrokers)
			}
		}},
		fam{metrics.Info, "", "", "kafka_broker_info", "id address", "A broker and its address; from the active controller.", "metadata image", func(e *metrics.Emitter) {
			if x.Controller == nil || !x.ctl.active {
				return
			}
			for _, b := range x.img.Brokers() {
				e.Int(1, strconv.Itoa(int(b.ID)), address(b))
			}
		}},
		fam{metrics.Gauge, "", "", "kafka_topic_partitions", "topic", "Partitions of a topic; from the leader of its first.", "metadata image", func(e *metrics.Emitter) {
			for i := range x.parts {
				if p := &x.parts[i]; p.Leader && p.TopicPartition.Partition == 0 {
					if t := x.img.Topic(p.topic); t != nil {
						e.Int(int64(t.NumPartitions()), p.topic)
					}
				}
			}
		}},
		x.led("kafka_topic_partition_current_offset", "High watermark, the offset after the last one that consumers can read.", func(p *partition) int64 { return p.hw }),
		x.led("kafka_topic_partition_oldest_offset", "First offset that can be read.", func(p *partition) int64 { return p.start }),
		x.led("kafka_topic_partition_in_sync_replica", "Replicas in sync.", func(p *partition) int64 { return int64(p.ISR) }),
		x.led("kafka_topic_partition_leader", "Id of the leader.", func(p *partition) int64 { return int64(p.LeaderID) }),
		x.led("kafka_topic_partition_leader_is_preferred", "1 if the preferred replica leads.", func(p *partition) int64 { return number(p.Reg.HasPreferredLeader()) }),
		x.led("kafka_topic_partition_replicas", "Replicas.", func(p *partition) int64 { return int64(p.Replicas) }),
		x.led("kafka_topic_partition_under_replicated_partition", "1 if fewer replicas are in sync than there are.", func(p *partition) int64 { return number(p.ISR < p.Replicas) }),
	)
	x.lag()
}

func (x *exporter) lag() {
	const source = "group.Machine"
	each := func(f func(e *metrics.Emitter, o *group.Committed)) func(*metrics.Emitter) {
		return func(e *metrics.Emitter) {
			for i := range x.scrape.groups {
				for j := range x.scrape.groups[i].offsets {
					f(e, &x.scrape.groups[i].offsets[j])
				}
			}
		}
	}
	part := func(o *group.Committed) string { return strconv.Itoa(int(o.Partition)) }
	x.plain(
		fam{metrics.Gauge, "", "", "kafka_consumergroup_members", "consumergroup", "Members of a group.", source, func(e *metrics.Emitter) {
			for i := range x.scrape.groups {
				for _, g := range x.scrape.groups[i].groups {
					e.Int(int64(g.Members), g.ID)
				}
			}
		}},
		fam{metrics.Gauge, "", "", "kafka_consumergroup_current_offset", "consumergroup topic partition", "Offset that a group has committed.", source, each(func(e *metrics.Emitter, o *group.Committed) { e.Int(o.Offset, o.Group, o.Topic, part(o)) })},
		fam{metrics.Gauge, "", "", "kafka_consumergroup_current_offset_sum", "consumergroup topic", "Their sum over the partitions of a topic.", source, x.eachGroupTopic(func(e *metrics.Emitter, offsets []group.Committed) {
			sum := int64(0)
			for i := range offsets {
				sum += offsets[i].Offset
			}
			e.Int(sum, offsets[0].Group, offsets[0].Topic)
		})},
		fam{metrics.Gauge, "", "", "kafka_consumergroup_lag", "consumergroup topic partition", "Records from a group's committed offset to the high watermark. Left out where the group's coordinator has no replica of the partition: there the two offsets are to be subtracted.", "group.Machine, log.Log", each(func(e *metrics.Emitter, o *group.Committed) {
			if lag, ok := x.lagOf(o); ok {
				e.Int(lag, o.Group, o.Topic, part(o))
			}
		})},
		fam{metrics.Gauge, "", "", "kafka_consumergroup_lag_sum", "consumergroup topic", "Their sum over the partitions of a topic, if all are known.", "group.Machine, log.Log", x.eachGroupTopic(func(e *metrics.Emitter, offsets []group.Committed) {
			sum := int64(0)
			for i := range offsets {
				lag, ok := x.lagOf(&offsets[i])
				if !ok {
					return
				}
				sum += lag
			}
			e.Int(sum, offsets[0].Group, offsets[0].Topic)
		})},
		fam{metrics.Gauge, "", "", "gregor_consumergroup_commit_timestamp_seconds", "consumergroup topic partition", "Unix time of a group's last commit for a partition.", source, each(func(e *metrics.Emitter, o *group.Committed) {
			e.Float(float64(o.CommitMs)/1000, o.Group, o.Topic, part(o))
		})},
	)
}

// lagOf is the lag of a committed offset. A replica here may be a moment behind its
// leader, never ahead.
func (x *exporter) lagOf(o *group.Committed) (int64, bool) {
	p := x.find(o.Topic, o.Partition)
	if p == nil || p.Log == nil {
		return 0, false
	}
	return max(p.hw-o.Offset, 0), true
}

// eachGroupTopic calls f with the offsets of each group and topic.
func (x *exporter) eachGroupTopic(f func(*metrics.Emitter, []group.Committed)) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		for i := range x.scrape.groups {
			rest := x.scrape.groups[i].offsets
			for len(rest) > 0 {
				n := 1
				for n < len(rest) && rest[n].Group == rest[0].Group && rest[n].Topic == rest[0].Topic {
					n++
				}
				f(e, rest[:n])
				rest = rest[n:]
			}
		}
	}
}

// address is where a broker is reached: at the first of its listeners.
func address(b *metadata.Broker) string {
	if len(b.Endpoints) == 0 {
		return ""
	}
	return net.JoinHostPort(b.Endpoints[0].Host, strconv.Itoa(int(b.Endpoints[0].Port)))
}
