package controllerapi

import (
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/wire"
)

// Table lists every handler with the versions that it serves; nothing else is
// announced. What an Envelope may carry is looked up in it.
func (a *API) Table() server.Table {
	b := builder{table: server.Table{}}
	b.add(1, 12, 18, a.fetch)
	b.add(18, 0, 5, a.apiVersions)
	b.add(19, 2, 7, a.createTopics)
	b.add(20, 1, 6, a.deleteTopics)
	b.add(32, 0, 4, a.describeConfigs)
	b.add(33, 0, 2, a.alterConfigs)
	b.add(37, 0, 3, a.createPartitions)
	b.add(43, 0, 2, a.electLeaders)
	b.add(44, 0, 1, a.incrementalAlterConfigs)
	b.add(45, 0, 1, a.alterPartitionReassignments)
	b.add(46, 0, 0, a.listPartitionReassignments)
	b.add(55, 0, 2, a.describeQuorum)
	b.add(56, 2, 3, a.alterPartition)
	b.add(57, 0, 2, a.updateFeatures)
	b.add(58, 0, 0, a.envelope)
	b.add(59, 0, 1, a.fetchSnapshot)
	b.add(60, 0, 2, a.describeCluster)
	b.add(62, 0, 4, a.brokerRegistration)
	b.add(63, 0, 2, a.brokerHeartbeat)
	b.add(64, 0, 0, a.unregisterBroker)
	b.add(67, 0, 0, a.allocateProducerIDs)
	b.add(70, 0, 0, a.controllerRegistration)
	b.add(73, 0, 0, a.assignReplicasToDirs)
	b.add(80, 0, 1, a.addRaftVoter)
	b.add(81, 0, 0, a.removeRaftVoter)
	b.add(82, 0, 0, a.updateRaftVoter)
	b.add(wire.RaftMessage, 0, 0, a.raftMessage)
	a.table = b.table
	return b.table
}
