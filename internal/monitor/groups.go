package monitor

import (
	"strings"

	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/txn"
)

// States in which groups are counted, also when there is none.
var (
	classicStates  = []string{"PreparingRebalance", "CompletingRebalance", "Stable", "Dead", "Empty"}
	consumerStates = []string{"Empty", "Assigning", "Reconciling", "Stable", "Dead"}
)

// countGroups counts the groups of a kind in a state, "" for any.
func (x *exporter) countGroups(kind, state string) (n int64) {
	for i := range x.scrape.groups {
		for _, g := range x.scrape.groups[i].groups {
			if (kind == "" || strings.EqualFold(g.Kind, kind)) && (state == "" || g.State == state) {
				n++
			}
		}
	}
	return n
}

// coordinated emits a value of the group coordinator.
func (x *exporter) coordinated(f func() int64) func(*metrics.Emitter) {
	return func(e *metrics.Emitter) {
		if x.Groups != nil {
			e.Int(f())
		}
	}
}

func (x *exporter) groups() {
	x.section = "Group coordinator, for the groups that this broker coordinates"
	const source = "group.Machine"
	gauge := func(name, help string, f func() int64) fam {
		return fam{metrics.Gauge, "coordinator.group", "GroupMetadataManager", name, "", help, source, x.coordinated(f)}
	}
	x.add(
		gauge("NumOffsets", "Committed offsets.", func() (n int64) {
			for i := range x.scrape.groups {
				n += int64(len(x.scrape.groups[i].offsets))
			}
			return n
		}),
		gauge("NumGroups", "Groups of all types.", func() int64 { return x.countGroups("", "") }),
	)
	for _, state := range classicStates {
		x.add(gauge("NumGroups"+state, "Classic groups in state "+state+".", func() int64 { return x.countGroups("classic", state) }))
	}
	const typ = "group-coordinator-metrics"
	byLabel := func(kind metrics.Kind, name, labels, help string, emit func(*metrics.Emitter)) fam {
		return fam{kind, "server", typ, name, labels, help, source, func(e *metrics.Emitter) {
			if x.Groups != nil {
				emit(e)
			}
		}}
	}
	count := func(name, help string, f func(group.Counts) int64) fam {
		return byLabel(metrics.Counter, name, "", help, func(e *metrics.Emitter) { e.Int(f(x.rebal.total)) })
	}
	x.attributes(
		byLabel(metrics.Gauge, "group-count", "protocol", "Groups by type.", func(e *metrics.Emitter) {
			for _, kind := range []string{"classic", "consumer"} {
				e.Int(x.countGroups(kind, ""), kind)
			}
		}),
		byLabel(metrics.Gauge, "consumer-group-count", "state", "Groups of the consumer protocol (KIP-848) by state.", func(e *metrics.Emitter) {
			for _, s := range consumerStates {
				e.Int(x.countGroups("consumer", s), strings.ToLower(s))
			}
		}),
		count("group-completed-rebalance-count", "Generations of classic groups that began.", func(c group.Counts) int64 { return c.ClassicRebalances }),
		count("consumer-group-rebalance-count", "Epochs of consumer groups that began.", func(c group.Counts) int64 { return c.ConsumerRebalances }),
		count("offset-commit-count", "Offsets committed, counted once a partition.", func(c group.Counts) int64 { return c.OffsetCommits }),
		count("offset-expiration-count", "Offsets that expired.", func(c group.Counts) int64 { return c.ExpiredOffsets }),
	)
	x.loads(typ, func() (rsm.CoordinatorStats, *metrics.Histogram, bool) {
		if x.Groups == nil {
			return rsm.CoordinatorStats{}, nil, false
		}
		return x.Groups.Stats(), x.Groups.LoadTimes(), true
	})
	x.section = "Transaction coordinator, for the ids that this broker coordinates"
	x.loads("transaction-coordinator-metrics", func() (rsm.CoordinatorStats, *metrics.Histogram, bool) {
		if x.Transactions == nil {
			return rsm.CoordinatorStats{}, nil, false
		}
		return x.Transactions.Stats(), x.Transactions.LoadTimes(), true
	})
	x.plain(fam{metrics.Gauge, "", "", "gregor_transactional_ids", "state", "Transactional ids by the state of their last transaction.", "txn.Machine", func(e *metrics.Emitter) {
		if x.Transactions == nil {
			return
		}
		for s := txn.Empty; s <= txn.CompleteAbort; s++ {
			e.Int(int64(x.txns[s]), s.String())
		}
	}})
}

// loads adds what every coordinator tells of the partitions whose state it reads.
func (x *exporter) loads(typ string, of func() (rsm.CoordinatorStats, *metrics.Histogram, bool)) {
	row := func(kind metrics.Kind, name, labels, help string, emit func(*metrics.Emitter, rsm.CoordinatorStats, *metrics.Histogram)) fam {
		return fam{kind, "server", typ, name, labels, help, "rsm.Coordinator", func(e *metrics.Emitter) {
			if s, h, ok := of(); ok {
				emit(e, s, h)
			}
		}}
	}
	x.attributes(
		row(metrics.Gauge, "num-partitions", "state", "Partitions of the coordinator's topic led here, by whether their state is loaded.", func(e *metrics.Emitter, s rsm.CoordinatorStats, _ *metrics.Histogram) {
			e.Int(int64(s.Active), "active")
			e.Int(int64(s.Loading), "loading")
		}),
		row(metrics.Gauge, "event-queue-size", "", "Operations that wait for the coordinator's shards.", func(e *metrics.Emitter, s rsm.CoordinatorStats, _ *metrics.Histogram) { e.Int(int64(s.Queued)) }),
		row(metrics.Gauge, "partition-load-time-max", "", "Milliseconds of the longest of the last loads of a partition's state.", func(e *metrics.Emitter, _ rsm.CoordinatorStats, h *metrics.Histogram) {
			e.Float(h.Read(e.Now).Max() / millisecond)
		}),
		row(metrics.Gauge, "partition-load-time-avg", "", "Their mean.", func(e *metrics.Emitter, _ rsm.CoordinatorStats, h *metrics.Histogram) {
			e.Float(h.Read(e.Now).Mean() / millisecond)
		}),
	)
}
