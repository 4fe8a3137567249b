package brokerapi

import (
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

// A producer that adds a partition of an internal topic would have markers written into a
// coordinator's log; brokers, which only verify, may name it.
func TestProducersDoNotAddInternalTopics(t *testing.T) {
	k := newAdminKit(t, nil, clusterRecords()...)
	known := kafka.TopicPartition{Topic: "a"}
	offsets := kafka.TopicPartition{Topic: kafka.OffsetsTopic}
	unknown := kafka.TopicPartition{Topic: "a", Partition: 99}
	for _, version := range []int16{0, 3} {
		code := refusedPartitions(k.img, version, []kafka.TopicPartition{known, offsets, unknown})
		if code == nil {
			t.Fatalf("v%d: an internal topic is added", version)
		}
		for tp, want := range map[kafka.TopicPartition]*kafka.Code{known: kafka.OperationNotAttempted, offsets: kafka.TopicAuthorizationFailed, unknown: kafka.UnknownTopicOrPartition} {
			if got := code(tp); got != want.Num() {
				t.Errorf("v%d: %s: %d, want %s", version, tp, got, want.Name())
			}
		}
	}
	if code := refusedPartitions(k.img, 4, []kafka.TopicPartition{known, offsets}); code != nil {
		t.Errorf("v4: %d", code(offsets))
	}
	if refusedPartitions(k.img, 3, []kafka.TopicPartition{known}) != nil {
		t.Error("v3: a partition that exists is refused")
	}
}
