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
// it cannot be in sync. Found in one that is online, after nobody knew where it is, it may
// lead as after its broker came back. A replica whose old directory is gone begins without
// its records: of several replicas another one may have them, so that it is not the last
// known leader any more, as it is in Apache Kafka; an only one leads.
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
	old := p.Directory(b.ID)
	found := old == metadata.DirLost || b.HasOnlineDirectory(old) || len(p.Replicas) == 1
	here := b.HasOnlineDirectory(dir)
	c.emptied = here && !found
	if !here {
		c.isr = slices.DeleteFunc(slices.Clone(p.ISR), func(id int32) bool { return id == b.ID })
	}
	if !here || found {
		c.alive = func(id int32) bool {
			if id == b.ID {
				return here && d.active(id)
			}
			return d.canLead(p, id, d.active(id))
		}
		if d.uncleanElection(t.Name) {
			c.election = electUnclean
		}
	}
	if r := c.build(); r != nil {
		d.add(r)
	}
	return nil
}
