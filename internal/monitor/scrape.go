package monitor

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/gregorhq/gregor/internal/group"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/quorum/raft"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/txn"
)

// collectTimeout bounds how long a scrape waits for the coordinators' shards.
const collectTimeout = 2 * time.Second

// scrape is what several families of one scrape are made of. Only the registry's
// scrapes, one at a time, touch it.
type scrape struct {
	now   time.Time
	img   *metadata.Image
	parts []partition // sorted
	sums  sums
	topic []topicCounts // sorted
	ctl   controllerView
	raft  raft.Stats
	proc  process
	idle  idle

	groups   []groupsOf
	rebal    accumulated
	txns     map[txn.State]int
	appended [2]metrics.Rate // records of the metadata log, as leader and as follower
}

// partition is one replica with what labels it.
type partition struct {
	replica.Status
	topic, number string
	// start, hw and end are 0 when the replica is offline.
	start, hw, end int64
}

// sums are the counts over all partitions of the broker.
type sums struct {
	leaders, underReplicated, underMinISR, atMinISR, reassigning, offline int64
	maxLag                                                                int64
}

type topicCounts struct {
	name string
	s    *replica.TopicStats
}

func (x *exporter) init() { x.rebal = accumulated{} }

// read is the begin of a scrape.
func (x *exporter) read(now time.Time) {
	x.now = now
	if x.Image != nil {
		x.img = x.Image()
	}
	if x.Quorum != nil {
		x.scrape.raft = x.Quorum.Stats()
	}
	x.readProcess()
	if x.Replicas != nil {
		x.readPartitions()
		x.readCoordinators()
	}
	if x.Controller != nil {
		x.readController()
	}
}

func (x *exporter) readPartitions() {
	clear(x.parts)
	x.parts, x.sums = x.parts[:0], sums{}
	x.Replicas.All(func(p *replica.Partition) {
		s := p.Status()
		row := partition{Status: s, topic: s.TopicPartition.Topic, number: strconv.Itoa(int(s.TopicPartition.Partition))}
		if s.Log != nil {
			row.start, row.hw, row.end = s.Log.Ends()
		} else {
			x.sums.offline++
		}
		x.parts = append(x.parts, row)
		for _, c := range []struct {
			n  *int64
			is bool
		}{
			{&x.sums.leaders, s.Leader}, {&x.sums.underReplicated, s.UnderReplicated}, {&x.sums.underMinISR, s.UnderMinISR},
			{&x.sums.atMinISR, s.AtMinISR}, {&x.sums.reassigning, s.Leader && s.Reassigning},
		} {
			if c.is {
				*c.n++
			}
		}
		x.sums.maxLag = max(x.sums.maxLag, s.Lag)
	})
	slices.SortFunc(x.parts, func(a, b partition) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.TopicPartition.Partition, b.TopicPartition.Partition))
	})
	clear(x.topic)
	x.topic = x.topic[:0]
	x.Replicas.Topics(func(name string, s *replica.TopicStats) { x.topic = append(x.topic, topicCounts{name, s}) })
	slices.SortFunc(x.topic, func(a, b topicCounts) int { return cmp.Compare(a.name, b.name) })
}

// find returns a partition of this broker, nil when there is no replica here.
func (x *exporter) find(topic string, index int32) *partition {
	i, ok := slices.BinarySearchFunc(x.parts, partition{}, func(p, _ partition) int {
		return cmp.Or(cmp.Compare(p.topic, topic), cmp.Compare(p.TopicPartition.Partition, index))
	})
	if !ok {
		return nil
	}
	return &x.parts[i]
}

// groupsOf is what one partition of the coordinator holds.
type groupsOf struct {
	partition int32
	counts    group.Counts
	groups    []group.Summary
	offsets   []group.Committed
}

// readCoordinators asks the machines, on their own goroutines.
func (x *exporter) readCoordinators() {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	x.scrape.groups = rsm.Collect(ctx, x.Groups, func(p int32, m *group.Machine) groupsOf {
		return groupsOf{p, m.Counts(), m.Summaries(), m.CommittedOffsets()}
	})
	slices.SortFunc(x.scrape.groups, func(a, b groupsOf) int { return cmp.Compare(a.partition, b.partition) })
	for i := range x.scrape.groups {
		g := &x.scrape.groups[i]
		x.rebal.add(g.partition, g.counts)
		slices.SortFunc(g.groups, func(a, b group.Summary) int { return cmp.Compare(a.ID, b.ID) })
		slices.SortFunc(g.offsets, func(a, b group.Committed) int {
			return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
		})
	}
	x.txns = map[txn.State]int{}
	for _, states := range rsm.Collect(ctx, x.Transactions, func(_ int32, m *txn.Machine) map[txn.State]int { return m.States() }) {
		for s, n := range states {
			x.txns[s] += n
		}
	}
}

// accumulated adds up what machines count that come and go with the leadership of
// their partitions. What a machine counted between the last scrape and its end is lost.
type accumulated struct {
	total group.Counts
	last  map[int32]group.Counts
}

func (a *accumulated) add(partition int32, c group.Counts) {
	if a.last == nil {
		a.last = map[int32]group.Counts{}
	}
	old := a.last[partition]
	if c.OffsetCommits < old.OffsetCommits || c.ClassicRebalances < old.ClassicRebalances || c.ConsumerRebalances < old.ConsumerRebalances || c.ExpiredOffsets < old.ExpiredOffsets {
		old = group.Counts{} // another machine
	}
	a.total.ClassicRebalances += c.ClassicRebalances - old.ClassicRebalances
	a.total.ConsumerRebalances += c.ConsumerRebalances - old.ConsumerRebalances
	a.total.OffsetCommits += c.OffsetCommits - old.OffsetCommits
	a.total.ExpiredOffsets += c.ExpiredOffsets - old.ExpiredOffsets
	a.last[partition] = c
}

// idle is the share of the processors that the process did not use lately.
type idle struct {
	at    time.Time
	cpu   time.Duration
	share float64
}

func (i *idle) update(cpu time.Duration, now time.Time) {
	d := now.Sub(i.at)
	switch {
	case i.at.IsZero():
		i.share = 1
	case d < time.Second:
		return
	default:
		i.share = min(max(1-float64(cpu-i.cpu)/float64(d)/float64(runtime.GOMAXPROCS(0)), 0), 1)
	}
	i.at, i.cpu = now, cpu
}
