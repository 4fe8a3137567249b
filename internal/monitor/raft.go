package monitor

import (
	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/rpc"
)

// ofRaft emits a value of the quorum as this node knows it.
func (x *exporter) ofRaft(f func() float64) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if x.Quorum != nil {
			e.Float(f())
		}
	}
}

// channel emits a value of the connections between controllers.
func (x *exporter) channel(f func(*rpc.Traffic) int64) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if x.Raft != nil {
			e.Int(f(x.Raft))
		}
	}
}

// committed emits a figure of the time from a decision of the controller to its commit.
func (x *exporter) committed(f func(*metrics.Distribution) float64) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if x.Controller != nil {
			e.Float(f(x.Controller.Metrics().CommitTimes.Read(e.Now)) / millisecond)
		}
	}
}

func (x *exporter) raft() {
	x.section = "Metadata quorum"
	const typ, source = "raft-metrics", "raft.Engine, raft.Observer"
	g := func(name, help string, f func() float64) fam {
		return fam{metrics.Gauge, "server", typ, name, "", help, source, x.ofRaft(f)}
	}
	// rate is the rate of the log end, in one role.
	rate := func(i int, leads bool) func() float64 {
		return func() float64 {
			if (x.scrape.raft.State == "leader") != leads {
				x.appended[i] = metrics.Rate{}
				return 0
			}
			return x.appended[i].Of(float64(x.scrape.raft.LogEndOffset), x.now)
		}
	}
	x.attributes(
		g("current-leader", "Id of the quorum's leader, -1 for none.", func() float64 { return float64(x.scrape.raft.Leader) }),
		g("current-epoch", "Epoch of the quorum.", func() float64 { return float64(x.scrape.raft.Epoch) }),
		g("current-vote", "Id of the voter that this node voted for in the epoch, -1 for none.", func() float64 { return float64(x.scrape.raft.Voted) }),
		g("high-watermark", "End of the committed metadata log.", func() float64 { return float64(x.scrape.raft.HighWatermark) }),
		g("log-end-offset", "End of this node's metadata log.", func() float64 { return float64(x.scrape.raft.LogEndOffset) }),
		g("log-end-epoch", "Epoch of its last batch.", func() float64 { return float64(x.scrape.raft.LogEndEpoch) }),
		g("number-of-voters", "Voters.", func() float64 { return float64(x.scrape.raft.Voters) }),
		g("number-of-observers", "Nodes without a vote that fetch from this one; 0 unless it leads.", func() float64 { return float64(x.scrape.raft.Observers) }),
		g("append-records-rate", "Records a second that this node appended as leader, since the scrape before.", rate(0, true)),
		g("fetch-records-rate", "Records a second that this node got from the leader, since the scrape before.", rate(1, false)),
		fam{metrics.Gauge, "server", typ, "commit-latency-avg", "", "Milliseconds from a decision of the controller to its commit, the mean of the last minutes.", "rsm.ControllerMetrics", x.committed((*metrics.Distribution).Mean)},
		fam{metrics.Gauge, "server", typ, "commit-latency-max", "", "The longest of them.", "rsm.ControllerMetrics", x.committed((*metrics.Distribution).Max)},
	)
	x.plain(
		fam{metrics.Info, "", "", "kafka_server_raftmetrics_current_state", "current_state", "What this node is: leader, follower, candidate, prospective, unattached or observer.", source, func(e *metrics.Emitter) {
			if x.Quorum != nil {
				e.Int(1, x.scrape.raft.State)
			}
		}},
		fam{metrics.Info, "", "", "kafka_server_raft_metrics_current_state_info", "state", "The same, as newer rules of the JMX exporter spell it.", source, func(e *metrics.Emitter) {
			if x.Quorum != nil {
				e.Int(1, x.scrape.raft.State)
			}
		}},
	)
	c := func(name, help string, f func(*rpc.Traffic) int64) fam {
		return fam{metrics.Counter, "server", "raft-channel-metrics", name, "", help, "rpc.Traffic", x.channel(f)}
	}
	x.attributes(
		c("incoming-byte-total", "Bytes of answers from other controllers.", func(t *rpc.Traffic) int64 { return t.BytesIn.Load() }),
		c("outgoing-byte-total", "Bytes of requests to other controllers.", func(t *rpc.Traffic) int64 { return t.BytesOut.Load() }),
		c("request-total", "Requests to other controllers.", func(t *rpc.Traffic) int64 { return t.Requests.Load() }),
		c("response-total", "Answers from other controllers.", func(t *rpc.Traffic) int64 { return t.Responses.Load() }),
	)
	x.metadata()
}

// metadata adds what a node tells of the metadata that it has applied.
func (x *exporter) metadata() {
	x.section = "Metadata and state of the node"
	b := func(name, help string, f func() int64) fam {
		return fam{metrics.Gauge, "server", "broker-metadata-metrics", name, "", help, "metadata image", func(e *metrics.Emitter) {
			if x.img != nil {
				e.Int(f())
			}
		}}
	}
	x.attributes(
		b("last-applied-record-offset", "Offset of the last metadata record that was applied.", func() int64 { return int64(x.img.Offset) }),
		b("last-applied-record-timestamp", "Its time, in milliseconds.", func() int64 { return x.img.TimestampMs }),
		b("last-applied-record-lag-ms", "Milliseconds since that time; metadata.max.idle.interval.ms is usual.", func() int64 { return max(x.now.UnixMilli()-x.img.TimestampMs, 0) }),
		b("metadata-load-error-count", "Errors of loading metadata. A node stops at the first, so it is 0 on all that run.", func() int64 { return 0 }),
		b("metadata-apply-error-count", "Errors of applying metadata; 0 likewise.", func() int64 { return 0 }),
	)
	x.add(
		fam{metrics.Gauge, "server", "MetadataLoader", "CurrentMetadataVersion", "", "The metadata.version in force.", "metadata image", func(e *metrics.Emitter) {
			if x.img != nil {
				if v, ok := x.img.MetadataVersion(); ok {
					e.Int(int64(v))
				}
			}
		}},
		fam{metrics.Gauge, "server", "SnapshotEmitter", "LatestSnapshotGeneratedAgeMs", "", "Milliseconds since the last snapshot of the metadata was written here, or since the start.", "publish.Snapshots", func(e *metrics.Emitter) {
			if x.Snapshot != nil {
				e.Int(x.Snapshot().Age.Milliseconds())
			}
		}},
		fam{metrics.Gauge, "server", "SnapshotEmitter", "LatestSnapshotGeneratedBytes", "", "Its size.", "publish.Snapshots", func(e *metrics.Emitter) {
			if x.Snapshot != nil {
				e.Int(x.Snapshot().Bytes)
			}
		}},
		fam{metrics.Gauge, "server", "KafkaServer", "BrokerState", "", "0 not running, 1 starting, 2 recovery, 3 running, 6 pending controlled shutdown, 7 shutting down.", "node", func(e *metrics.Emitter) {
			if x.BrokerState != nil {
				e.Int(x.BrokerState())
			}
		}},
	)
	x.plain(fam{metrics.Info, "", "", "gregor_node_info", "node_id cluster_id version kafka_version", "Which node this is.", "node", func(e *metrics.Emitter) { x.nodeInfo(e) }})
}
