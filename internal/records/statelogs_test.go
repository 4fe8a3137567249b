package records

import (
	"bytes"
	"errors"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

// stateValues are full values of the logs beside __consumer_offsets, and of the newer
// kinds of groups.
func stateValues() map[logName][]Message {
	id := kafka.UUID{1, 15: 2}
	tasks := []StreamsGroupCurrentTasks{{SubtopologyID: "0", Partitions: []int32{1}, AssignmentEpochs: []int32{4}}, {SubtopologyID: "1", AssignmentEpochs: []int32{}}}
	return map[logName][]Message{
		offsetsLog: {
			&ShareGroupStatePartitionMetadataValue{InitializedTopics: []ShareGroupStatePartitions{{TopicID: id, TopicName: "t", Partitions: []int32{1, 2}}}},
			&StreamsGroupMetadataValue{Epoch: 3, ValidatedTopologyEpoch: 2, LastAssignmentConfigs: []StreamsGroupAssignmentConfig{{Key: "k", Value: "v"}}, StoredDescriptionTopologyEpoch: -2, FailedDescriptionTopologyEpoch: -1},
			&StreamsGroupMemberMetadataValue{InstanceID: str("i"), UserEndpoint: &StreamsGroupEndpoint{Host: "h", Port: 65535}},
			&StreamsGroupMemberMetadataValue{RackID: str("r")},
			&StreamsGroupCurrentMemberAssignmentValue{ActiveTasks: tasks},
			&StreamsGroupTopologyValue{Subtopologies: []StreamsGroupSubtopology{{CopartitionGroups: []StreamsGroupCopartitionGroup{{SourceTopics: []int16{3, -1}}}}}},
		},
		transactionLog: {
			&TransactionLogValue{Version: 0, ProducerID: 1, TransactionPartitions: []TransactionLogPartitions{{Topic: "t", PartitionIDs: []int32{1}}}, PreviousProducerID: -1, NextProducerID: -1, NextProducerEpoch: -1},
			&TransactionLogValue{Version: 1, ProducerID: 1, PreviousProducerID: 2, NextProducerID: 3, NextProducerEpoch: 4, ClientTransactionVersion: 2},
		},
		shareLog: {
			&ShareSnapshotValue{StateEpoch: 2, DeliveryCompleteCount: 5, StateBatches: []ShareSnapshotBatch{{FirstOffset: 1, LastOffset: 2, DeliveryState: 1, DeliveryCount: 3}}},
			&ShareUpdateValue{LeaderEpoch: 2, DeliveryCompleteCount: -1},
		},
	}
}

// logName stands for a log in the tables of tests: a StateLog holds functions and cannot be
// a key.
type logName string

const (
	offsetsLog     logName = "offsets"
	transactionLog logName = "transactions"
	shareLog       logName = "share"
)

var stateLogs = map[logName]StateLog{offsetsLog: OffsetsLog, transactionLog: TransactionLog, shareLog: ShareStateLog}

func TestStateValuesComeBackAsWritten(t *testing.T) {
	for name, values := range stateValues() {
		for _, m := range values {
			key := EncodeCoordinatorKey(stateLogs[name].newKey(m.APIKey()))
			value := EncodeCoordinatorValue(m)
			k, v, err := stateLogs[name].Decode(key, value)
			if err != nil {
				t.Errorf("%s: %v", m.SchemaName(), err)
				continue
			}
			if got := v.AppendJSON(nil); k.APIKey() != m.APIKey() || !bytes.Equal(got, m.AppendJSON(nil)) || !bytes.Equal(EncodeCoordinatorValue(v), value) {
				t.Errorf("%s: %s, want %s", m.SchemaName(), got, m.AppendJSON(nil))
			}
		}
	}
}

func TestStateRecordsThatAreNotKnown(t *testing.T) {
	key := EncodeCoordinatorKey(NewTransactionLogKey())
	var unknown *UnknownTypeError
	if _, _, err := TransactionLog.Decode([]byte{0, 7}, nil); !errors.As(err, &unknown) || unknown.Type != 7 || !errors.Is(err, kafka.UnsupportedVersion) {
		t.Errorf("type 7: %v", err)
	}
	if _, _, err := TransactionLog.Decode(key, []byte{0, 2}); err == nil || err.Error() != "Found an unknown record version 2 for 0 type" {
		t.Errorf("version 2: %v", err)
	}
	if k, v, err := TransactionLog.Decode(key, nil); k == nil || v != nil || err != nil {
		t.Errorf("tombstone: %v %v %v", k, v, err)
	}
}

func FuzzStateLogs(f *testing.F) {
	for name, values := range stateValues() {
		for _, m := range values {
			f.Add(string(name), EncodeCoordinatorKey(stateLogs[name].newKey(m.APIKey())), EncodeCoordinatorValue(m))
		}
	}
	group := NewGroupMetadataValue()
	group.Version, group.ProtocolType = 4, "consumer"
	subscription := append([]byte{0, 1}, bodyOf(f, &ConsumerProtocolSubscription{Version: 1, Topics: []string{"t"}, OwnedPartitions: []ConsumerProtocolOwned{{Topic: "t"}}})...)
	group.Members = []GroupMetadataMember{{Subscription: subscription, Assignment: []byte{0, 9, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}}}
	f.Add(string(offsetsLog), EncodeCoordinatorKey(NewGroupMetadataKey()), EncodeCoordinatorValue(group))
	remote := NewRemoteLogSegmentMetadataRecord()
	remote.CustomMetadata, remote.SegmentLeaderEpochs = []byte{}, []RemoteLogSegmentEpoch{{}}
	f.Add("remote", []byte(nil), Encode(remote))
	f.Fuzz(func(t *testing.T, name string, key, value []byte) {
		if m, err := DecodeRemoteLog(value); err == nil {
			if _, err := DecodeRemoteLog(Encode(m)); err != nil {
				t.Errorf("%x cannot be read after being written: %v", value, err)
			}
		}
		l, ok := stateLogs[logName(name)]
		if !ok {
			return
		}
		k, v, err := l.Decode(key, value)
		if err != nil || v == nil {
			return
		}
		if g, ok := v.(*GroupMetadataValue); ok && !bytes.HasSuffix(GroupMetadataJSON(g), []byte("]}")) {
			t.Errorf("%s", GroupMetadataJSON(g))
		}
		again := EncodeCoordinatorValue(v)
		if _, _, err := l.Decode(EncodeCoordinatorKey(k), again); err != nil && len(again) > 0 { // empty: a string is too long
			t.Errorf("%x cannot be read after being written: %v", value, err)
		}
	})
}
