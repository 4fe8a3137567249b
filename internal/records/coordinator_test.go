package records

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

func str(s string) *string { return &s }

// coordinatorGolden are the messages that Apache's own classes serialised into
// testdata/coordinator.txt, by the name of the line.
func coordinatorGolden() map[string]Message {
	id := kafka.UUID{0: 1, 15: 2}
	member := GroupMetadataMember{MemberID: "m-1", GroupInstanceID: str("inst"), ClientID: "client", ClientHost: "/1.2.3.4",
		RebalanceTimeout: 300000, SessionTimeout: 45000, Subscription: []byte{0, 1}, Assignment: []byte{2, 3, 4}}
	group := func(v int16) *GroupMetadataValue {
		return &GroupMetadataValue{Version: v, ProtocolType: "consumer", Generation: 7, Protocol: str("range"), Leader: str("m-1"),
			CurrentStateTimestamp: 1234567, Members: []GroupMetadataMember{member}}
	}
	offset := func(v int16) *OffsetCommitValue {
		return &OffsetCommitValue{Version: v, Offset: 42, LeaderEpoch: 5, Metadata: "meta", CommitTimestamp: 99, ExpireTimestamp: 1000, TopicID: id}
	}
	return map[string]Message{
		"OffsetCommitKey":                      &OffsetCommitKey{Group: "g", Topic: "t", Partition: 3},
		"OffsetCommitValue0":                   offset(0),
		"OffsetCommitValue1":                   offset(1),
		"OffsetCommitValue2":                   offset(2),
		"OffsetCommitValue3":                   offset(3),
		"OffsetCommitValue4":                   offset(4),
		"OffsetCommitValue4none":               &OffsetCommitValue{Version: 4, Offset: 42, LeaderEpoch: -1, CommitTimestamp: 99, ExpireTimestamp: -1},
		"LegacyOffsetCommitKey":                &LegacyOffsetCommitKey{Group: "g", Topic: "t", Partition: 3},
		"LegacyOffsetCommitValue0":             &LegacyOffsetCommitValue{Offset: 42, Metadata: "meta", CommitTimestamp: 99},
		"GroupMetadataKey":                     &GroupMetadataKey{Group: "g"},
		"GroupMetadataValue0":                  group(0),
		"GroupMetadataValue1":                  group(1),
		"GroupMetadataValue2":                  group(2),
		"GroupMetadataValue3":                  group(3),
		"GroupMetadataValue4":                  group(4),
		"ConsumerGroupMetadataKey":             &ConsumerGroupMetadataKey{GroupID: "g"},
		"ConsumerGroupMetadataValue0":          &ConsumerGroupMetadataValue{Epoch: 9, MetadataHash: 1 << 40},
		"ConsumerGroupPartitionMetadataValue0": &ConsumerGroupPartitionMetadataValue{Topics: []ConsumerGroupTopicMetadata{{TopicID: id, TopicName: "t", NumPartitions: 3}}},
		"ConsumerGroupMemberMetadataKey":       &ConsumerGroupMemberMetadataKey{GroupID: "g", MemberID: "m"},
		"ConsumerGroupMemberMetadataValue0":    &ConsumerGroupMemberMetadataValue{InstanceID: str("i"), RackID: str("r"), ClientID: "c", ClientHost: "/h", SubscribedTopicNames: []string{"a", "b"}, SubscribedTopicRegex: str("x.*"), RebalanceTimeoutMs: 5, ServerAssignor: str("uniform")},
		"ConsumerGroupMemberMetadataValue0classic": &ConsumerGroupMemberMetadataValue{ClientID: "c", ClientHost: "/h", RebalanceTimeoutMs: 5,
			ClassicMemberMetadata: &ConsumerGroupClassicMember{SessionTimeoutMs: 6, SupportedProtocols: []ConsumerGroupClassicProtocol{{Name: "range", Metadata: []byte{1, 2}}}}},
		"ConsumerGroupTargetAssignmentMetadataKey":    &ConsumerGroupTargetAssignmentMetadataKey{GroupID: "g"},
		"ConsumerGroupTargetAssignmentMetadataValue0": &ConsumerGroupTargetAssignmentMetadataValue{AssignmentEpoch: 4, AssignmentTimestamp: 77},
		"ConsumerGroupTargetAssignmentMemberKey":      &ConsumerGroupTargetAssignmentMemberKey{GroupID: "g", MemberID: "m"},
		"ConsumerGroupTargetAssignmentMemberValue0":   &ConsumerGroupTargetAssignmentMemberValue{TopicPartitions: []ConsumerGroupTargetPartitions{{TopicID: id, Partitions: []int32{1, 2}}}},
		"ConsumerGroupCurrentMemberAssignmentKey":     &ConsumerGroupCurrentMemberAssignmentKey{GroupID: "g", MemberID: "m"},
		"ConsumerGroupCurrentMemberAssignmentValue0": &ConsumerGroupCurrentMemberAssignmentValue{MemberEpoch: 3, PreviousMemberEpoch: 2, State: 1,
			AssignedPartitions:          []ConsumerGroupCurrentPartitions{{TopicID: id, Partitions: []int32{1, 2}, AssignmentEpochs: []int32{3, 3}}},
			PartitionsPendingRevocation: []ConsumerGroupCurrentPartitions{{TopicID: id, Partitions: []int32{4}}}},
		"ConsumerGroupRegularExpressionKey":    &ConsumerGroupRegularExpressionKey{GroupID: "g", RegularExpression: "x.*"},
		"ConsumerGroupRegularExpressionValue0": &ConsumerGroupRegularExpressionValue{Topics: []string{"xa", "xb"}, MetadataVersion: 11, Timestamp: 12},
	}
}

// TestCoordinatorRecordsAreApachesBytes compares with what Apache Kafka writes, both
// ways.
func TestCoordinatorRecordsAreApachesBytes(t *testing.T) {
	f, err := os.Open("testdata/coordinator.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	golden := coordinatorGolden()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		want, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		m := golden[name]
		if m == nil {
			t.Fatalf("%s is not in the table", name)
		}
		delete(golden, name)
		isKey := strings.HasSuffix(name, "Key")
		var got []byte
		var back Message
		if isKey {
			got = EncodeCoordinatorKey(m)
			back, err = DecodeCoordinatorKey(want)
		} else {
			got = EncodeCoordinatorValue(m)
			back, err = DecodeCoordinatorValue(m.APIKey(), want)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: wrote %x, Apache writes %x", name, got, want)
		}
		again := EncodeCoordinatorValue(back)
		if isKey {
			again = EncodeCoordinatorKey(back)
		}
		if !bytes.Equal(again, want) {
			t.Errorf("%s: read and written again is %x, not %x", name, again, want)
		}
	}
	for name := range golden {
		t.Errorf("no golden line for %s", name)
	}
}

func TestCoordinatorUnknownTypesAndVersions(t *testing.T) {
	if _, err := DecodeCoordinatorKey([]byte{0, 99, 0, 1, 'g'}); !errors.Is(err, kafka.UnsupportedVersion) {
		t.Errorf("unknown type: %v", err)
	}
	if _, err := DecodeCoordinatorValue(1, []byte{0, 5}); !errors.Is(err, kafka.UnsupportedVersion) {
		t.Errorf("unknown version: %v", err)
	}
	if _, err := DecodeCoordinatorKey([]byte{0}); err == nil {
		t.Error("a key of one byte was accepted")
	}
}

func FuzzCoordinatorRecords(f *testing.F) {
	for _, m := range coordinatorGolden() {
		f.Add(m.APIKey(), EncodeCoordinatorKey(m), EncodeCoordinatorValue(m))
	}
	f.Fuzz(func(t *testing.T, kind int16, key, value []byte) {
		if m, err := DecodeCoordinatorKey(key); err == nil && !bytes.Equal(EncodeCoordinatorKey(m), key) {
			t.Errorf("%x is written back as %x", key, EncodeCoordinatorKey(m))
		}
		if m, err := DecodeCoordinatorValue(kind, value); err == nil {
			again := EncodeCoordinatorValue(m)
			if _, err := DecodeCoordinatorValue(kind, again); err != nil && len(again) > 0 { // empty: a string is too long
				t.Errorf("%x cannot be read after being written: %v", value, err)
			}
		}
	})
}

// TestStringsThatNoRecordHasRoomFor: a length of 16 bits never wraps. What cannot be
// written is empty, and not nil, which would stand for a tombstone.
func TestStringsThatNoRecordHasRoomFor(t *testing.T) {
	key := func(s string) Message { return &OffsetCommitKey{Group: "g", Topic: s} }
	plain := func(s string) Message { return &OffsetCommitValue{Version: 3, Metadata: s} }
	flexible := func(s string) Message { return &OffsetCommitValue{Version: 4, Metadata: s} }
	nested := func(s string) Message {
		return &GroupMetadataValue{Version: 3, Members: []GroupMetadataMember{{GroupInstanceID: &s}, {MemberID: "m"}}}
	}
	for name, m := range map[string]func(string) Message{"key": key, "plain": plain, "flexible": flexible, "nullable, of a member": nested} {
		for _, n := range []int{0, 32767, 32768, 65536 + 5} {
			encode := EncodeCoordinatorValue
			if name == "key" {
				encode = EncodeCoordinatorKey
			}
			b := encode(m(strings.Repeat("x", n)))
			if fits := n <= 32767; b == nil || fits != (len(b) > n) || !fits && len(b) > 0 {
				t.Errorf("%s, %d bytes: got %d bytes, nil %v", name, n, len(b), b == nil)
			}
		}
	}
	b := EncodeCoordinatorKey(key("t"))
	if m, err := DecodeCoordinatorKey(append(b, 0)); err == nil {
		t.Errorf("a key with a byte of garbage is %+v", m)
	}
}
