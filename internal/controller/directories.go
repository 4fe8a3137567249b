package controller

import (
	"slices"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// reportedDirectories takes over what a heartbeat says about log directories:
// which went offline (KIP-858) and which take no new replicas (KIP-1066). A
// heartbeat that also changes the broker's state leaves this to the next one, as
// both may touch the same partitions.
func (d *decision) reportedDirectories(b *metadata.Broker, req *kmsg.BrokerHeartbeatRequest) {
	if d.version.DirectoryAssignmentSupported() {
		d.directoriesOffline(b, req.OfflineLogDirs)
	}
	if d.version.CordonedLogDirsSupported() && req.CordonedLogDirs != nil {
		d.directoriesCordoned(b, req.CordonedLogDirs)
	}
}

func (d *decision) directoriesOffline(b *metadata.Broker, reported [][16]byte) {
	var offline, online []kafka.UUID
	for _, dir := range b.Directories {
		if slices.Contains(reported, [16]byte(dir)) {
			offline = append(offline, dir)
		} else {
			online = append(online, dir)
		}
	}
	if len(offline) == 0 {
		return
	}
	d.changePartitions(brokerChange{remove: b.ID, add: metadata.NoLeader, unclean: metadata.NoLeader},
		func(p *metadata.Partition) bool {
			return p.InISR(b.ID) && slices.Contains(offline, p.Directory(b.ID))
		})
	if len(online) == 0 {
		// A record cannot say "none"; a broker without any directory stops by itself.
		return
	}
	r := brokerChangeRecord(b, 2)
	r.LogDirs = online
	d.add(r)
}

func (d *decision) directoriesCordoned(b *metadata.Broker, reported [][16]byte) {
	cordoned := make([]kafka.UUID, 0, len(reported))
	for _, dir := range reported {
		cordoned = append(cordoned, dir)
	}
	slices.SortFunc(cordoned, func(a, b kafka.UUID) int { return slices.Compare(a[:], b[:]) })
	if b.CordonedDirectories != nil && slices.Equal(cordoned, b.CordonedDirectories) {
		return
	}
	r := brokerChangeRecord(b, 3)
	r.CordonedLogDirs = cordoned
	d.add(r)
}

// assignReplicasToDirs decides AssignReplicasToDirs: a broker says in which
// directories its replicas are (KIP-858).
func (d *decision) assignReplicasToDirs(req *kmsg.AssignReplicasToDirsRequest, resp *kmsg.AssignReplicasToDirsResponse) Result {
	if !d.version.DirectoryAssignmentSupported() {
		return Result{Reply: fail(req, resp, kafka.UnsupportedVersion.Errorf("Directory assignment is not supported yet."))}
	}
	if err := d.checkEpoch(req.BrokerID, req.BrokerEpoch); err != nil {
		return Result{Reply: fail(req, resp, err)}
	}
	b := d.img.Broker(req.BrokerID)
	for i := range req.Directories {
		dir := kmsg.NewAssignReplicasToDirsResponseDirectory()
		dir.ID = req.Directories[i].ID
		for j := range req.Directories[i].Topics {
			in := &req.Directories[i].Topics[j]
			topic := kmsg.NewAssignReplicasToDirsResponseDirectoryTopic()
			topic.TopicID = in.TopicID
			for k := range in.Partitions {
				p := kmsg.NewAssignReplicasToDirsResponseDirectoryTopicPartition()
				p.Partition = in.Partitions[k].Partition
				p.ErrorCode = kafka.NumOf(d.assignReplica(b, dir.ID, in.TopicID, p.Partition))
				topic.Partitions = append(topic.Partitions, p)
			}
			dir.Topics = append(dir.Topics, topic)
		}
		resp.Directories = append(resp.Directories, dir)
	}
	return d.result(resp, false)
}

// assignReplica puts one replica into a directory. In a directory that is offline
// it cannot be in sync. In one that is online, after another one that is, or after nobody
// said where it was, it has its records and may lead as after its broker came back.
//
// A replica whose old directory is gone begins without its records, as its broker makes an
// empty log for it. Of several replicas another one may have them, and would drop them for an
// empty leader: it is neither in sync nor eligible nor the last known leader any more, all of
// which it stays in Apache Kafka. An only replica leads.
func (d *decision) assignReplica(b *metadata.Broker, dir kafka.UUID, topic kafka.TopicID, index int32) error {
	t := d.img.TopicByID(topic)
	if t == nil {
		return kafka.UnknownTopicID
	}
	p := t.Partition(index)
	switch {
	case p == nil:
		return kafka.UnknownTopicOrPartition
	case !p.HasReplica(b.ID):
		return kafka.NotLeaderOrFollower
	}
	c := d.newChange(t, index, p)
	c.moved, c.movedTo = b.ID, dir
	old, here := p.Directory(b.ID), b.HasOnlineDirectory(dir)
	// It is empty in a directory that is offline, too, which comes back some time.
	c.emptied = old != dir && !b.HasOnlineDirectory(old) && len(p.Replicas) > 1
	unclean := d.uncleanElection(t.Name)
	if c.emptied && !unclean && !d.elr && slices.Equal(p.ISR, []int32{b.ID}) {
		// An ISR cannot be empty here, so the replica would lead from there. While its
		// directory is not known it does not, and the broker asks again.
		return kafka.EligibleLeadersNotAvailable
	}
	if c.emptied {
		c.uncleanShutdown = b.ID
	}
	if c.emptied || !here {
		c.isr = without(p.ISR, b.ID)
	}
	if !c.emptied || unclean {
		c.alive = func(id int32) bool {
			if id == b.ID {
				return here && d.active(id) && !(c.emptied && d.othersCanLead(p, id))
			}
			return d.canLead(p, id, d.active(id))
		}
	}
	if unclean {
		c.election = electUnclean
	}
	if r := c.build(); r != nil {
		d.add(r)
	}
	return nil
}

// othersCanLead says whether a replica on another broker than this one could lead, with
// whatever records it has.
func (d *decision) othersCanLead(p *metadata.Partition, broker int32) bool {
	return slices.ContainsFunc(p.Replicas, func(id int32) bool { return id != broker && d.canLead(p, id, d.active(id)) })
}

// losesDirectory says whether the directory of a broker's replica is gone, or may be, once
// the broker is registered as it asks for; existing is its registration until now. An only
// replica is not asked for: there is nobody whose records it could have dropped.
func (d *decision) losesDirectory(p *metadata.Partition, existing *metadata.Broker, req *kmsg.BrokerRegistrationRequest) bool {
	if !d.version.DirectoryAssignmentSupported() || len(p.Replicas) == 1 || !p.HasReplica(req.BrokerID) {
		return false
	}
	gone := func(dir kafka.UUID) bool { return !slices.Contains(req.LogDirs, [16]byte(dir)) }
	if dir := p.Directory(req.BrokerID); !unknownDirectory(dir) {
		return gone(dir)
	}
	return existing != nil && slices.ContainsFunc(existing.Directories, gone)
}

// unknownDirectory says whether the id leaves open where a replica is.
func unknownDirectory(dir kafka.UUID) bool {
	return dir == metadata.DirUnassigned || dir == metadata.DirMigrating
}
