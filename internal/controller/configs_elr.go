package controller

import (
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
)

// clearELRs ends a change of configs. Another min.insync.replicas changes who has every
// acknowledged record, so that the ELR of the topics that it holds for is forgotten (KIP-966).
//
// Not where nobody leads: nothing is acknowledged there until an eligible replica leads, whatever
// the minimum is, and without ELR and last known leader none ever would. CLEAR_ELR cannot spare
// those partitions, so that what they had is written behind it. Apache Kafka forgets theirs too,
// and also when the value is set to what it was.
func (d *decision) clearELRs() {
	everywhere := false
	var topics []string
	for _, m := range d.records {
		c, ok := m.(*records.ConfigRecord)
		switch {
		case !ok || c.Name != configMinISR || !d.changesMinISR(c):
		case c.ResourceType == metadata.ResourceTopic:
			topics = append(topics, c.ResourceName)
		default:
			everywhere = true
		}
	}
	if everywhere {
		d.add(records.NewClearElrRecord())
		d.partitionsWhere(waitsForELR, d.keepELR)
		return
	}
	for _, name := range topics {
		r := records.NewClearElrRecord()
		r.TopicName = name
		d.add(r)
		t := d.img.Topic(name)
		if t == nil {
			continue
		}
		for i, p := range t.Partitions() {
			if waitsForELR(p) {
				d.keepELR(t, i, p)
			}
		}
	}
}

// changesMinISR says whether a record changes the effective value of min.insync.replicas for
// whom it is about.
func (d *decision) changesMinISR(c *records.ConfigRecord) bool {
	if c.ResourceType != metadata.ResourceTopic {
		old, ok := d.img.Config(clusterDefault)[configMinISR]
		// A node's own value cannot be set while the ELR is kept; who removes one all the
		// same changes what this controller took for every topic's.
		return c.ResourceName != "" || c.Value == nil || d.minISRValue(old, ok) != d.minISRValue(*c.Value, true)
	}
	before := d.minISRValue(d.topicConfig(c.ResourceName, configMinISR))
	if c.Value != nil {
		return before != d.minISRValue(*c.Value, true)
	}
	// The name of no topic leaves the values of node and cluster.
	return before != d.minISRValue(d.topicConfig("", configMinISR))
}

// waitsForELR says whether a partition waits for a replica that its ELR or its last known
// leader names.
func waitsForELR(p *metadata.Partition) bool {
	return !p.HasLeader() && len(p.ELR)+len(p.LastKnownELR) > 0
}

// keepELR writes the ELR and the last known leader of a partition as they are.
func (d *decision) keepELR(t *metadata.Topic, index int32, p *metadata.Partition) {
	d.addELR(t, index, p.ELR, p.LastKnownELR)
}

// forgetOldELRs forgets who was eligible when the feature was turned off, where somebody leads.
// Until it is on again no change of min.insync.replicas clears an ELR, and whoever leads may
// have acknowledged what those in it lack.
func (d *decision) forgetOldELRs() {
	d.partitionsWhere(func(p *metadata.Partition) bool { return p.HasLeader() && len(p.ELR)+len(p.LastKnownELR) > 0 },
		func(t *metadata.Topic, index int32, _ *metadata.Partition) { d.addELR(t, index, nil, nil) })
}

func (d *decision) addELR(t *metadata.Topic, index int32, elr, lastKnown []int32) {
	r := records.NewPartitionChangeRecord()
	r.Version = d.version.PartitionRecordVersion()
	r.TopicID, r.PartitionID = t.ID, index
	r.EligibleLeaderReplicas, r.LastKnownELR = present(elr), present(lastKnown)
	d.add(r)
}
