package monitor

import (
	"strconv"
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/brokerapi"
	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/replica"
)

// counted emits one of the replica manager's counters.
func (x *exporter) counted(f func(*replica.Stats) *atomic.Int64) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if x.Replicas != nil {
			e.Int(f(&x.Replicas.Stats).Load())
		}
	}
}

// summed emits one of the sums over the partitions.
func (x *exporter) summed(f func(*sums) int64) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if x.Replicas != nil {
			e.Int(f(&x.sums))
		}
	}
}

// sessions emits a count of the fetch sessions.
func (x *exporter) sessions(f func(brokerapi.SessionStats) int64) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if x.Sessions != nil {
			e.Int(f(x.Sessions()))
		}
	}
}

// throttled emits the rate of throttled replication.
func (x *exporter) throttled(leader bool) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if x.Replicas == nil {
			return
		}
		l, f, _ := x.Replicas.ReplicationRates()
		if leader {
			f = l
		}
		e.Float(f)
	}
}

func (x *exporter) replication() {
	x.section = "Replication, waiting requests, sessions"
	const manager, source, image = "ReplicaManager", "replica.Stats", "metadata image"
	type n = atomic.Int64
	x.add(
		fam{metrics.Gauge, "server", manager, "PartitionCount", "", "Replicas on this broker.", source, x.counted(func(s *replica.Stats) *n { return &s.PartitionCount })},
		fam{metrics.Gauge, "server", manager, "LeaderCount", "", "Partitions that this broker leads.", "replica.Partition", x.summed(func(s *sums) int64 { return s.leaders })},
		fam{metrics.Gauge, "server", manager, "OfflineReplicaCount", "", "Replicas here without a log, as their directory is offline.", "replica.Partition", x.summed(func(s *sums) int64 { return s.offline })},
		fam{metrics.Gauge, "server", manager, "UnderReplicatedPartitions", "", "Partitions led here whose ISR is smaller than their replicas, those being added not counted.", image, x.summed(func(s *sums) int64 { return s.underReplicated })},
		fam{metrics.Gauge, "server", manager, "UnderMinIsrPartitionCount", "", "Partitions led here whose ISR is below min.insync.replicas.", image, x.summed(func(s *sums) int64 { return s.underMinISR })},
		fam{metrics.Gauge, "server", manager, "AtMinIsrPartitionCount", "", "Partitions led here whose ISR is just min.insync.replicas.", image, x.summed(func(s *sums) int64 { return s.atMinISR })},
		fam{metrics.Gauge, "server", manager, "ReassigningPartitions", "", "Partitions led here that are being reassigned.", image, x.summed(func(s *sums) int64 { return s.reassigning })},
		fam{metrics.Meter, "server", manager, "IsrShrinksPerSec", "", "Proposals to drop replicas from an ISR.", source, x.counted(func(s *replica.Stats) *n { return &s.ISRShrinks })},
		fam{metrics.Meter, "server", manager, "IsrExpandsPerSec", "", "Proposals to take replicas into an ISR.", source, x.counted(func(s *replica.Stats) *n { return &s.ISRExpands })},
		fam{metrics.Meter, "server", manager, "FailedIsrUpdatesPerSec", "", "Proposals for an ISR that the controller did not take.", source, x.counted(func(s *replica.Stats) *n { return &s.FailedISRUpdates })},
		fam{metrics.Gauge, "server", "ReplicaFetcherManager", "MaxLag", "clientId", "The largest ConsumerLag of the followers here.", "replica.Partition", func(e *metrics.Emitter) {
			if x.Replicas != nil {
				e.Int(x.sums.maxLag, "Replica")
			}
		}},
		fam{metrics.Gauge, "server", "FetcherLagMetrics", "ConsumerLag", "clientId topic partition", "Records that a follower here was behind its leader's high watermark after the last fetch.", "replica.Partition", func(e *metrics.Emitter) {
			for i := range x.parts {
				if p := &x.parts[i]; !p.Leader && p.Log != nil && p.LeaderID >= 0 {
					e.Int(p.Lag, "ReplicaFetcherThread-0-"+strconv.Itoa(int(p.LeaderID)), p.topic, p.number)
				}
			}
		}},
	)
	purgatory := func(name, help string) fam {
		return fam{metrics.Gauge, "server", "DelayedOperationPurgatory", name, "delayedOperation", help, source, func(e *metrics.Emitter) {
			if x.Replicas != nil {
				e.Int(x.Replicas.Stats.DelayedFetchRequests.Load(), "Fetch")
				e.Int(x.Replicas.Stats.DelayedProduceRequests.Load(), "Produce")
			}
		}}
	}
	x.add(
		purgatory("PurgatorySize", "Requests that wait: fetches for data, appends (one a partition) for replicas or a flush."),
		purgatory("NumDelayedOperations", "The same as PurgatorySize: what is done is not kept."),
		fam{metrics.Gauge, "server", "FetchSessionCache", "NumIncrementalFetchSessions", "", "Incremental fetch sessions.", "brokerapi.SessionStats", x.sessions(func(s brokerapi.SessionStats) int64 { return int64(s.Sessions) })},
		fam{metrics.Gauge, "server", "FetchSessionCache", "NumIncrementalFetchPartitionsCached", "", "Partitions in incremental fetch sessions.", "brokerapi.SessionStats", x.sessions(func(s brokerapi.SessionStats) int64 { return int64(s.Partitions) })},
		fam{metrics.Meter, "server", "FetchSessionCache", "IncrementalFetchSessionEvictionsPerSec", "", "Sessions that gave way to others.", "brokerapi.SessionStats", x.sessions(func(s brokerapi.SessionStats) int64 { return s.Evictions })},
	)
	x.attributes(
		fam{metrics.Gauge, "server", "LeaderReplication", "byte-rate", "", "Bytes a second sent to throttled followers; 0 without a throttle.", "replica.Manager", x.throttled(true)},
		fam{metrics.Gauge, "server", "FollowerReplication", "byte-rate", "", "Bytes a second that throttled replicas here got; 0 without a throttle.", "replica.Manager", x.throttled(false)},
	)
	x.plain(
		fam{metrics.Counter, "", "", "gregor_replica_truncations_total", "", "Times that a follower here cut its log to its leader's.", source, x.counted(func(s *replica.Stats) *n { return &s.Truncations })},
		fam{metrics.Counter, "", "", "gregor_replica_fetch_failures_total", "", "Fetches from leaders that failed as a whole.", source, x.counted(func(s *replica.Stats) *n { return &s.FailedReplicaFetches })},
	)
}
