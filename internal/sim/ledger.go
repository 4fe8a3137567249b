package sim

import (
	"fmt"
	"log/slog"
	"path"
	"slices"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/storage"
)

// ledger replays a metadata log and holds every step of the controller against what must
// be true of it: it sees what happened between two looks of any client.
type ledger struct {
	log    *metadata.Log
	logger *slog.Logger
	leads  map[leadership]int32
	ctl    map[kafka.LeaderEpoch]kafka.NodeID // who led the quorum in an epoch
	faults []string
	seen   map[string]bool
}

// leadership is one epoch of one partition.
type leadership struct {
	topic     kafka.TopicID
	partition int32
	epoch     kafka.LeaderEpoch
}

func newLedger(ctl map[kafka.LeaderEpoch]kafka.NodeID, logger *slog.Logger) *ledger {
	return &ledger{logger: logger, log: metadata.NewLog(metadata.Empty()), leads: map[leadership]int32{}, ctl: ctl, seen: map[string]bool{}}
}

func (l *ledger) faultf(kind, format string, args ...any) {
	if !l.seen[kind] { // the first of a kind says enough
		l.seen[kind] = true
		l.faults = append(l.faults, kind+": "+fmt.Sprintf(format, args...))
	}
}

// ledgers replays the metadata logs of all hosts. The image is that of the longest.
func (r *run) ledgers() []string {
	_, faults := r.readLedgers()
	return faults
}

func (r *run) readLedgers() (*metadata.Image, []string) {
	ctl := map[kafka.LeaderEpoch]kafka.NodeID{}
	newest := metadata.Empty()
	var faults []string
	for _, h := range r.c.hosts {
		data, err := batches(h.disk, path.Join(metaDir, storage.MetadataLogDirName))
		if err != nil {
			return newest, append(faults, err.Error())
		}
		l := newLedger(ctl, r.c.log.With("host", h.name))
		if err := l.replay(data); err != nil {
			l.faults = append(l.faults, err.Error())
		}
		for _, f := range l.faults {
			faults = append(faults, fmt.Sprintf("metadata log of %s: %s", h.name, f))
		}
		if img := l.log.Image(); img.Offset > newest.Offset {
			newest = img
		}
	}
	return newest, faults
}

// replay goes through the batches. A log whose beginning a snapshot replaced is left out:
// others have it.
func (l *ledger) replay(data []byte) error {
	data = data[:whole(data)]
	infos, err := batch.Infos(data)
	if err != nil {
		return err
	}
	if len(infos) > 0 && infos[0].BaseOffset > 0 {
		return nil
	}
	for _, info := range infos {
		decoded, err := storage.DecodeBatch(data[info.Pos:info.End()], info)
		if err != nil {
			return err
		}
		for _, m := range decoded.Control {
			if lc, ok := m.(*records.LeaderChangeMessage); ok {
				l.elected(info.LeaderEpoch, kafka.NodeID(lc.LeaderID))
			}
		}
		c, err := l.log.Append(metadata.Batch{BaseOffset: info.BaseOffset, LastOffset: info.LastOffset, Epoch: info.LeaderEpoch,
			TimestampMs: info.MaxTimestamp, Messages: decoded.Records})
		if err != nil {
			return fmt.Errorf("offset %d: %w", info.BaseOffset, err)
		}
		if c != nil {
			l.step(c)
		}
	}
	return nil
}

// whole is how many of the bytes are whole batches: a log is read while it grows.
func whole(data []byte) int {
	n := 0
	for {
		info, err := batch.Peek(data[n:])
		if err != nil || n+info.Size > len(data) {
			return n
		}
		n += info.Size
	}
}

func (l *ledger) elected(epoch kafka.LeaderEpoch, id kafka.NodeID) {
	if old, ok := l.ctl[epoch]; ok && old != id {
		l.faultf("two controllers in an epoch", "epoch %d was led by %d and by %d", epoch, old, id)
	}
	l.ctl[epoch] = id
}

// step looks at what one batch changed.
func (l *ledger) step(c *metadata.Change) {
	at := c.New.Offset
	for td := range c.Delta.ChangedTopics() {
		for i, q := range td.Partitions() {
			var p *metadata.Partition
			if td.Old != nil {
				p = td.Old.Partition(i)
			}
			l.logger.Info("ledger", "offset", at, "time", c.New.TimestampMs, "partition", fmt.Sprintf("%s-%d", td.Name, i), "leader", q.Leader, "epoch", q.LeaderEpoch,
				"partitionEpoch", q.PartitionEpoch, "replicas", q.Replicas, "isr", q.ISR, "elr", q.ELR, "adding", q.AddingReplicas, "removing", q.RemovingReplicas)
			l.partition(fmt.Sprintf("%s-%d at offset %d", td.Name, i, at), c, p, q)
			if q.HasLeader() {
				key := leadership{td.ID, i, q.LeaderEpoch}
				if old, ok := l.leads[key]; ok && old != q.Leader {
					l.faultf("two leaders in an epoch", "%s-%d epoch %d: %d and %d", td.Name, i, q.LeaderEpoch, old, q.Leader)
				}
				l.leads[key] = q.Leader
			}
		}
	}
	if len(c.Delta.ChangedBrokers()) == 0 {
		return
	}
	for _, id := range c.Delta.ChangedBrokers() {
		if b := c.New.Broker(id); b != nil {
			l.logger.Info("ledger", "offset", at, "time", c.New.TimestampMs, "broker", id, "epoch", b.Epoch, "fenced", b.Fenced, "inControlledShutdown", b.InControlledShutdown)
		}
	}
	for t := range c.New.Topics() {
		for i, q := range t.Partitions() {
			l.fenced(fmt.Sprintf("%s-%d at offset %d", t.Name, i, at), c.New, q)
		}
	}
}

// fenced: a fenced broker is in no ISR with others, and leads nothing.
func (l *ledger) fenced(what string, img *metadata.Image, q *metadata.Partition) {
	for _, id := range q.ISR {
		if b := img.Broker(id); (b == nil || b.Fenced) && len(q.ISR) > 1 {
			l.faultf("fenced in the ISR", "%s: %d of %v", what, id, q.ISR)
		}
	}
	if b := img.Broker(q.Leader); q.HasLeader() && (b == nil || b.Fenced) {
		l.faultf("fenced leader", "%s: %d", what, q.Leader)
	}
}

// partition looks at one change of a partition; p is nil for a new one.
func (l *ledger) partition(what string, c *metadata.Change, p, q *metadata.Partition) {
	for _, id := range q.ISR {
		if !q.HasReplica(id) {
			l.faultf("ISR beyond the replicas", "%s: %d in %v of %v", what, id, q.ISR, q.Replicas)
		}
	}
	for _, id := range q.ELR {
		if !q.HasReplica(id) {
			l.faultf("eligible beyond the replicas", "%s: %d in %v of %v", what, id, q.ELR, q.Replicas)
		}
	}
	if q.HasLeader() && !q.InISR(q.Leader) {
		l.faultf("leader not in the ISR", "%s: %d, %v", what, q.Leader, q.ISR)
	}
	l.fenced(what, c.New, q)
	if p == nil {
		return
	}
	if q.PartitionEpoch <= p.PartitionEpoch {
		l.faultf("partition epoch does not rise", "%s: from %d to %d", what, p.PartitionEpoch, q.PartitionEpoch)
	}
	if q.LeaderEpoch < p.LeaderEpoch || q.Leader != p.Leader && q.LeaderEpoch == p.LeaderEpoch {
		l.faultf("leader epoch does not rise", "%s: from %d led by %d to %d led by %d", what, p.LeaderEpoch, p.Leader, q.LeaderEpoch, q.Leader)
	}
	// The last known leader may lead again when the last of the others has been struck from
	// the eligible ones (KIP-966), and a reassignment may end with a leader that the same
	// request of the old one put into the ISR, whether it was added or had fallen behind.
	last := len(p.ISR) == 0 && slices.Equal(p.LastKnownELR, []int32{q.Leader})
	moved := p.Reassigning() && !q.Reassigning() && p.HasLeader()
	if q.HasLeader() && q.Leader != p.Leader && !p.InISR(q.Leader) && !p.InELR(q.Leader) && !last && !moved {
		l.faultf("unclean election", "%s: %d, which was neither in sync %v nor eligible %v", what, q.Leader, p.ISR, p.ELR)
	}
	for _, id := range q.ISR {
		if b := c.New.Broker(id); !p.InISR(id) && (b == nil || !b.Active()) {
			l.faultf("joined the ISR while not active", "%s: %d joined %v", what, id, p.ISR)
		}
	}
	// A replica that is taken away leaves the rest of the goal in sync (KIP-455).
	for _, id := range p.Replicas {
		if q.HasReplica(id) || len(p.AddingReplicas) == 0 || len(q.AddingReplicas) > 0 {
			continue
		}
		for _, a := range p.AddingReplicas {
			if q.HasReplica(a) && !q.InISR(a) && !p.InISR(a) {
				l.faultf("reassignment ended early", "%s: %d left before %d was in sync %v", what, id, a, q.ISR)
			}
		}
	}
	if slices.Contains(q.ISR, -1) {
		l.faultf("nobody in the ISR", "%s: %v", what, q.ISR)
	}
}
