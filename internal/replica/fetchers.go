package replica

import (
	"time"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/isr"
)

// settings is what replication takes from the broker's configuration.
type settings struct {
	fetchers       int
	backoffMs      int64
	fetchWait      time.Duration
	fetchMinBytes  int32
	fetchMaxBytes  int32
	partitionBytes int32
	rackAware      bool
	moveThreads    int
}

// rackAwareSelector is the one replica selector there is, by the name of Kafka's class.
const rackAwareSelector = "org.apache.kafka.common.replica.RackAwareReplicaSelector"

func deriveSettings(cfg *config.Broker) *settings {
	return &settings{
		fetchers:       max(1, cfg.NumReplicaFetchers),
		backoffMs:      cfg.ReplicaFetchBackoffMs,
		fetchWait:      time.Duration(cfg.ReplicaFetchWaitMaxMs) * time.Millisecond,
		fetchMinBytes:  int32(cfg.ReplicaFetchMinBytes),
		fetchMaxBytes:  int32(cfg.ReplicaFetchResponseMaxBytes),
		partitionBytes: int32(cfg.ReplicaFetchMaxBytes),
		moveThreads:    max(1, cfg.NumReplicaAlterLogDirsThreads),
		rackAware:      cfg.ReplicaSelectorClass == rackAwareSelector,
	}
}

// fetcherID names a fetcher of this broker.
type fetcherID struct {
	leader int32
	index  int
}

// updateFetcher puts p on the fetcher of its leader, or on none, as its view says.
// Caller holds Manager.mu.
func (m *Manager) updateFetcher(p *Partition) {
	v := p.view.Load()
	if m.cluster.Peers == nil || v.log == nil || v.leader || v.leaderID == isr.NoNode || v.leaderID == m.nodeID {
		m.leaveFetcher(p)
		return
	}
	id := fetcherID{v.leaderID, p.fetcherIndex(m.settings.Load().fetchers)}
	if p.fetcher != nil && p.fetcherID == id && p.fetchEpoch == v.leaderEpoch {
		return
	}
	if p.fetcher == nil || p.fetcherID != id {
		m.leaveFetcher(p)
		fs := m.fetchers[id]
		if fs == nil {
			fs = &assignedFetcher{fetcher: newFetcher(m, id.leader, false)}
			if !m.manual && !m.start(fs.fetcher.run) {
				return
			}
			m.fetchers[id] = fs
		}
		fs.partitions++
		p.fetcher, p.fetcherID = fs, id
	}
	p.fetchEpoch = v.leaderEpoch
	p.fetcher.fetcher.tell(inboxEntry{p: p, key: p.key(), epoch: v.leaderEpoch})
}

// assignedFetcher is a fetcher with the number of its partitions. Manager.mu guards it.
type assignedFetcher struct {
	fetcher    *fetcher
	partitions int
}

// leaveFetcher takes p off its fetcher, and ends a fetcher that has no partition left.
// Caller holds Manager.mu.
func (m *Manager) leaveFetcher(p *Partition) {
	fs := p.fetcher
	if fs == nil {
		return
	}
	p.fetcher = nil
	if fs.partitions--; fs.partitions == 0 {
		delete(m.fetchers, p.fetcherID)
		fs.fetcher.stop()
		return
	}
	fs.fetcher.tell(inboxEntry{p: p, key: p.key(), leave: true})
}

func (p *Partition) key() partKey { return partKey{p.topicID, p.tp.Partition} }

// fetcherIndex spreads the partitions of a leader over its fetchers.
func (p *Partition) fetcherIndex(n int) int {
	if n == 1 {
		return 0
	}
	h := uint32(p.tp.Partition)
	for _, b := range p.topicID {
		h = h*31 + uint32(b)
	}
	return int(h % uint32(n))
}
