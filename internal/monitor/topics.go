package monitor

import (
	"sync/atomic"

	"github.com/gregorhq/gregor/internal/metrics"
	"github.com/gregorhq/gregor/internal/replica"
)

// traffic makes the family of a rate that is counted for the broker and for each topic.
func (x *exporter) traffic(name, help string, all func(*replica.Stats) *atomic.Int64, one func(*replica.TopicStats) *atomic.Int64) fam {
	return fam{metrics.Meter, "server", "BrokerTopicMetrics", name, "topic", help, "replica.Stats, replica.TopicStats", func(e *metrics.Emitter) {
		if x.Replicas == nil {
			return
		}
		e.Int(all(&x.Replicas.Stats).Load())
		if one == nil {
			return
		}
		for i := range x.topic {
			e.Int(one(x.topic[i].s).Load(), x.topic[i].name)
		}
	}}
}

func (x *exporter) topics() {
	x.section = "Traffic, of the broker (without the label topic) and of topics"
	type (
		all = replica.Stats
		one = replica.TopicStats
		n   = atomic.Int64
	)
	x.add(
		x.traffic("MessagesInPerSec", "Records appended by producers and coordinators.", func(s *all) *n { return &s.MessagesIn }, func(s *one) *n { return &s.MessagesIn }),
		x.traffic("BytesInPerSec", "Bytes appended by producers and coordinators.", func(s *all) *n { return &s.BytesIn }, func(s *one) *n { return &s.BytesIn }),
		x.traffic("BytesOutPerSec", "Bytes sent to consumers.", func(s *all) *n { return &s.BytesOut }, func(s *one) *n { return &s.BytesOut }),
		x.traffic("BytesRejectedPerSec", "Bytes of batches over max.message.bytes.", func(s *all) *n { return &s.BytesRejected }, func(s *one) *n { return &s.BytesRejected }),
		x.traffic("TotalProduceRequestsPerSec", "Produce requests, counted once a partition.", func(s *all) *n { return &s.TotalProduceRequests }, func(s *one) *n { return &s.TotalProduceRequests }),
		x.traffic("FailedProduceRequestsPerSec", "Produce requests that failed, counted once a partition, without everyday refusals.", func(s *all) *n { return &s.FailedProduceRequests }, func(s *one) *n { return &s.FailedProduceRequests }),
		x.traffic("TotalFetchRequestsPerSec", "Fetch requests, followers' too, counted once a partition and reading.", func(s *all) *n { return &s.TotalFetchRequests }, func(s *one) *n { return &s.TotalFetchRequests }),
		x.traffic("FailedFetchRequestsPerSec", "Fetch requests that failed, counted once a partition, without everyday refusals.", func(s *all) *n { return &s.FailedFetchRequests }, func(s *one) *n { return &s.FailedFetchRequests }),
		x.traffic("ReplicationBytesInPerSec", "Bytes replicated from leaders.", func(s *all) *n { return &s.ReplicationBytesIn }, nil),
		x.traffic("ReplicationBytesOutPerSec", "Bytes sent to followers.", func(s *all) *n { return &s.ReplicationBytesOut }, nil),
		x.traffic("ProduceMessageConversionsPerSec", "Batches that had to be written anew.", func(s *all) *n { return &s.ProduceConversions }, nil),
		x.traffic("FetchMessageConversionsPerSec", "Partitions converted to an old message format for old consumers.", func(s *all) *n { return &s.FetchConversions }, nil),
		x.traffic("InvalidMessageCrcRecordsPerSec", "Batches refused for their checksum or form.", func(s *all) *n { return &s.InvalidMessageCRC }, nil),
		x.traffic("InvalidOffsetOrSequenceRecordsPerSec", "Batches refused for their sequence number.", func(s *all) *n { return &s.InvalidOffsets }, nil),
	)
}
