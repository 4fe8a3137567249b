package controller

import (
	"fmt"
	"strconv"

	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
)

// Activate is the first decision of a term: it begins the grace period of every
// unfenced broker, aborts the metadata transaction that the controller before left
// open, and writes the bootstrap records into an empty log. The bootstrap stands
// in a metadata transaction, so that half of it is never visible.
func (m *Machine) Activate(in Input, openTransaction bool) (Result, error) {
	d := m.decide(in)
	for _, b := range in.Image.Brokers() {
		if !b.Fenced {
			d.sessions.of(b).contactMs = in.NowMs
		}
	}
	m.nextBalanceMs = in.NowMs + m.cfg.Static.LeaderImbalanceCheckIntervalSeconds*1000
	m.nextUncleanMs = in.NowMs + m.cfg.Static.UncleanLeaderElectionIntervalMs
	if openTransaction {
		r := records.NewAbortTransactionRecord()
		reason := "Controller failover"
		r.Reason = &reason
		d.add(r)
	}
	if d.version != 0 {
		return d.result(nil, true), nil
	}
	bootstrap, version, err := m.bootstrap()
	if err != nil {
		return Result{}, err
	}
	if openTransaction && !version.TransactionsSupported() {
		return Result{}, fmt.Errorf("the log ends within a metadata transaction, but metadata.version %s does not have them", version)
	}
	if !version.TransactionsSupported() {
		d.add(bootstrap...)
		return d.result(nil, true), nil
	}
	begin := records.NewBeginTransactionRecord()
	name := "Bootstrap records"
	begin.Name = &name
	d.add(begin)
	d.add(bootstrap...)
	d.add(records.NewEndTransactionRecord())
	return d.result(nil, false), nil
}

// bootstrap returns the records of a new cluster and their metadata.version.
func (m *Machine) bootstrap() ([]records.Message, metadata.Version, error) {
	all := m.cfg.Bootstrap
	if all == nil {
		var err error
		if all, err = metadata.BootstrapRecords(metadata.DefaultVersion, nil); err != nil {
			return nil, 0, err
		}
	}
	var version metadata.Version
	elr := false
	for _, r := range all {
		f, ok := r.(*records.FeatureLevelRecord)
		switch {
		case ok && f.Name == metadata.FeatureMetadataVersion:
			version = metadata.Version(f.FeatureLevel)
		case ok && f.Name == metadata.FeatureELR:
			elr = f.FeatureLevel > 0
		}
	}
	if !version.Known() {
		return nil, 0, fmt.Errorf("the bootstrap records give no metadata.version that is known")
	}
	if elr {
		// With eligible leader replicas min.insync.replicas must be the same on every
		// node, so it becomes a value of the cluster.
		minISR := strconv.Itoa(m.cfg.Static.MinInsyncReplicas)
		all = append(all[:len(all):len(all)], configRecord(clusterDefault, configMinISR, &minISR))
	}
	return all, version, nil
}

// Tick does what time asks for: it fences one broker that was not heard of for a
// session, or rebalances leaders, or looks for leaders of leaderless partitions.
// Brokers are fenced one a call, so that each decision sees the effect of the one
// before. Call it at or after NextTickMs; calling it early is harmless.
func (m *Machine) Tick(in Input) Result {
	d := m.decide(in)
	if d.version == 0 {
		return Result{}
	}
	for _, b := range in.Image.Brokers() {
		if b.Fenced {
			continue
		}
		s := d.sessions.of(b)
		if s.contactMs < 0 {
			s.contactMs = in.NowMs
		}
		switch expired := d.sessions.expired(s, in.NowMs); {
		case expired && b.ID == m.cfg.NodeID && b.IncarnationID == m.cfg.LocalIncarnation:
			// The broker of this very process lives as the controller does: its heartbeats
			// are late because the machine stood still, not because it died.
			s.contactMs = in.NowMs
		case expired && in.NowMs >= s.fenceAtMs:
			// The session stays until the image shows the broker fenced, and others get
			// their turn before it does.
			s.fenceAtMs = in.NowMs + fenceAgainMs
			d.fence(b)
			return d.result(nil, false)
		}
	}
	if m.cfg.Static.AutoLeaderRebalanceEnable && in.NowMs >= m.nextBalanceMs {
		d.balanceLeaders()
		if len(d.records) < maxElectionsPerTick {
			m.nextBalanceMs = in.NowMs + m.cfg.Static.LeaderImbalanceCheckIntervalSeconds*1000
		}
		if len(d.records) > 0 {
			return d.result(nil, false)
		}
	}
	if in.NowMs >= m.nextUncleanMs {
		d.electUncleanLeaders()
		if len(d.records) < maxElectionsPerTick {
			m.nextUncleanMs = in.NowMs + m.cfg.Static.UncleanLeaderElectionIntervalMs
		}
	}
	return d.result(nil, false)
}

// NextTickMs is when Tick has something to do next.
func (m *Machine) NextTickMs(img *metadata.Image) int64 {
	next := m.nextUncleanMs
	if m.cfg.Static.AutoLeaderRebalanceEnable {
		next = min(next, m.nextBalanceMs)
	}
	for _, b := range img.Brokers() {
		if b.Fenced {
			continue
		}
		s := m.sessions.of(b)
		if s.contactMs < 0 {
			return 0 // the grace period must begin
		}
		next = min(next, max(s.contactMs+m.sessions.timeoutMs+1, s.fenceAtMs))
	}
	return next
}
