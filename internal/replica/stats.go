package replica

import "sync/atomic"

// Stats counts what the partitions of a broker did, over all topics. The names are
// those of Kafka's BrokerTopicMetrics and ReplicaManager beans; whoever exports them
// turns the counters into rates.
type Stats struct {
	MessagesIn             atomic.Int64
	BytesIn                atomic.Int64
	BytesOut               atomic.Int64
	ReplicationBytesOut    atomic.Int64
	ReplicationBytesIn     atomic.Int64
	BytesRejected          atomic.Int64
	InvalidMessageCRC      atomic.Int64
	InvalidOffsets         atomic.Int64 // batches out of sequence
	TotalProduceRequests   atomic.Int64 // one a partition of a request
	FailedProduceRequests  atomic.Int64
	TotalFetchRequests     atomic.Int64
	FailedFetchRequests    atomic.Int64
	ProduceConversions     atomic.Int64
	FetchConversions       atomic.Int64
	LeaderCount            atomic.Int64
	PartitionCount         atomic.Int64
	OfflineReplicaCount    atomic.Int64
	ISRExpands             atomic.Int64
	ISRShrinks             atomic.Int64
	FailedISRUpdates       atomic.Int64
	FailedReplicaFetches   atomic.Int64
	Truncations            atomic.Int64 // of followers, to their leader's log
	DelayedProduceRequests atomic.Int64 // waiting now
	DelayedFetchRequests   atomic.Int64 // waiting now
}
