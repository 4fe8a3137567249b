package sim

import (
	"path"
	"strconv"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/node"
	"github.com/gregorhq/gregor/internal/vfs"
)

// glance is what a host has at a moment, for those who look at it beside the schedule.
type glance struct {
	node *node.Node // nil while it is down
	disk *vfs.Mem
}

// look tells those beside the schedule what the host has now.
func (h *host) look() {
	g := &glance{disk: h.disk}
	if h.run != nil {
		g.node = h.run.node
	}
	h.now.Store(g)
}

// has says whether the host has the record at an offset: in the log that it serves, or on
// its disk while it starts or is down.
func (g *glance) has(tp kafka.TopicPartition, offset int64) bool {
	if g.node != nil {
		if l := g.node.Log(tp); l != nil && l.LogEndOffset() > offset {
			return true
		}
	}
	data, err := batches(g.disk, path.Join(dataDir, tp.String()))
	return err == nil && logEnd(data) > offset
}

// witness is called when a record is acknowledged that waited for the whole in-sync set:
// min.insync.replicas replicas have it from then on, whatever comes. It does not wait for a
// leader that dies in time to show that one of them did not. The host with the bad disk
// counts: it had the record, and may have lost it since.
func (r *run) witness(topic string, partition int32, offset int64) {
	tp := kafka.TopicPartition{Topic: topic, Partition: partition}
	need, _ := strconv.Atoi(r.plan.Properties["min.insync.replicas"])
	var with []string
	for _, h := range r.c.hosts[:r.c.brokers] {
		if g := h.now.Load(); g != nil && (h == r.storm.lossy || g.has(tp, offset)) {
			with = append(with, h.name)
		}
	}
	if len(with) < need {
		r.h.fault("acknowledged too early: offset %d of %s is on %v only", offset, tp, with)
	}
}
