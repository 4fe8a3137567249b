package house

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// logDecoders are the options that name what a log holds. The first one given counts.
var logDecoders = []struct {
	option string
	parser parser
}{
	{"offsets-decoder", stateParser(records.OffsetsLog)},
	{"transaction-log-decoder", stateParser(records.TransactionLog)},
	{"cluster-metadata-decoder", metadataParser},
	{"remote-log-metadata-decoder", remoteLogParser},
	{"share-group-state-decoder", stateParser(records.ShareStateLog)},
}

// stateParser shows the records of a coordinator's log as JSON.
func stateParser(l records.StateLog) parser {
	return func(r *batch.Record) (key, value *string, err error) {
		if r.Key == nil {
			return nil, nil, fmt.Errorf("Failed to decode message at offset %d using the specified decoder (message had a missing key)", r.Offset)
		}
		k, v, err := l.Decode(r.Key, r.Value)
		var unknown *records.UnknownTypeError
		var text string
		switch {
		case errors.As(err, &unknown):
			text = fmt.Sprintf("Unknown record type %d at offset %d, skipping.", unknown.Type, r.Offset)
			return &text, nil, nil
		case err != nil:
			text = fmt.Sprintf("Error at offset %d, skipping. %v", r.Offset, err)
			return &text, nil, nil
		}
		text = fmt.Sprintf(`{"type":"%d","data":%s}`, k.APIKey(), k.AppendJSON(nil))
		body := "<DELETE>"
		if v != nil {
			body = fmt.Sprintf(`{"version":"%d","data":%s}`, v.RecordVersion(), valueJSON(v))
		}
		return &text, &body, nil
	}
}

func valueJSON(m records.Message) []byte {
	if g, ok := m.(*records.GroupMetadataValue); ok {
		return records.GroupMetadataJSON(g)
	}
	return m.AppendJSON(nil)
}

// remoteLogParser shows the records of __remote_log_metadata, which are not JSON.
func remoteLogParser(r *batch.Record) (_, value *string, _ error) {
	m, err := records.DecodeRemoteLog(r.Value)
	var text string
	if err == nil {
		text, err = remoteLogText(m)
	}
	if err != nil {
		text = fmt.Sprintf("Error at offset %d, skipping. %v", r.Offset, err)
	}
	return nil, &text, nil
}

// States by their number.
var (
	segmentStates  = []string{"COPY_SEGMENT_STARTED", "COPY_SEGMENT_FINISHED", "DELETE_SEGMENT_STARTED", "DELETE_SEGMENT_FINISHED"}
	deletionStates = []string{"DELETE_PARTITION_MARKED", "DELETE_PARTITION_STARTED", "DELETE_PARTITION_FINISHED"}
)

func stateName(names []string, n int8) (string, error) {
	if n < 0 || int(n) >= len(names) {
		return "", fmt.Errorf("there is no state %d", n)
	}
	return names[n], nil
}

func remoteLogText(m records.Message) (string, error) {
	switch m := m.(type) {
	case *records.RemoteLogSegmentMetadataRecord:
		state, err := stateName(segmentStates, m.RemoteLogSegmentState)
		if err == nil {
			err = checkSegment(m.StartOffset, m.EndOffset, len(m.SegmentLeaderEpochs))
		}
		id := m.RemoteLogSegmentID
		return fmt.Sprintf("RemoteLogSegmentMetadata{remoteLogSegmentId=%s, startOffset=%d, endOffset=%d, brokerId=%d, maxTimestampMs=%d, eventTimestampMs=%d, segmentLeaderEpochs=%s, segmentSizeInBytes=%d, customMetadata=%s, state=%s, txnIdxEmpty=%t}",
			segmentID(id.TopicIDPartition.ID, id.TopicIDPartition.Name, id.TopicIDPartition.Partition, id.ID),
			m.StartOffset, m.EndOffset, m.BrokerID, m.MaxTimestampMs, m.EventTimestampMs,
			epochsText(m.SegmentLeaderEpochs, func(e records.RemoteLogSegmentEpoch) (int32, int64) { return e.LeaderEpoch, e.Offset }),
			m.SegmentSizeInBytes, customText(m.CustomMetadata), state, m.TxnIndexEmpty), err
	case *records.RemoteLogSegmentMetadataUpdateRecord:
		state, err := stateName(segmentStates, m.RemoteLogSegmentState)
		id := m.RemoteLogSegmentID
		return fmt.Sprintf("RemoteLogSegmentMetadataUpdate{remoteLogSegmentId=%s, customMetadata=%s, state=%s, eventTimestampMs=%d, brokerId=%d}",
			segmentID(id.TopicIDPartition.ID, id.TopicIDPartition.Name, id.TopicIDPartition.Partition, id.ID),
			customText(m.CustomMetadata), state, m.EventTimestampMs, m.BrokerID), err
	case *records.RemotePartitionDeleteMetadataRecord:
		state, err := stateName(deletionStates, m.RemotePartitionDeleteState)
		p := m.TopicIDPartition
		return fmt.Sprintf("RemotePartitionDeleteMetadata{topicPartition=%s:%s-%d, state=%s, eventTimestampMs=%d, brokerId=%d}",
			p.ID, p.Name, p.Partition, state, m.EventTimestampMs, m.BrokerID), err
	case *records.RemoteLogSegmentMetadataSnapshotRecord:
		state, err := stateName(segmentStates, m.RemoteLogSegmentState)
		if err == nil && len(m.SegmentLeaderEpochs) == 0 {
			err = errNoEpochs
		}
		return fmt.Sprintf("RemoteLogSegmentMetadataSnapshot{segmentId=%s, startOffset=%d, endOffset=%d, maxTimestampMs=%d, segmentLeaderEpochs=%s, segmentSizeInBytes=%d, customMetadata=%s, state=%s, txnIdxEmpty=%t}",
			m.SegmentID, m.StartOffset, m.EndOffset, m.MaxTimestampMs,
			epochsText(m.SegmentLeaderEpochs, func(e records.RemoteLogSnapshotEpoch) (int32, int64) { return e.LeaderEpoch, e.Offset }),
			m.SegmentSizeInBytes, customText(m.CustomMetadata), state, m.TxnIndexEmpty), err
	}
	return "", fmt.Errorf("there are no records of type %d", m.APIKey())
}

var errNoEpochs = errors.New("segmentLeaderEpochs can not be null or empty")

// checkSegment refuses what cannot be a segment, with the text of Kafka's tool.
func checkSegment(start, end int64, epochs int) error {
	switch {
	case start < 0:
		return fmt.Errorf("Unexpected start offset = %d. StartOffset for a remote segment cannot be negative", start)
	case end < start:
		return fmt.Errorf("Unexpected end offset = %d. EndOffset for a remote segment cannot be less than startOffset = %d", end, start)
	case epochs == 0:
		return errNoEpochs
	}
	return nil
}

func segmentID(topicID kafka.UUID, topic string, partition int32, id kafka.UUID) string {
	return fmt.Sprintf("RemoteLogSegmentId{topicIdPartition=%s:%s-%d, id=%s}", topicID, topic, partition, id)
}

// epochsText shows the offsets at which epochs began, the last one of each, by epoch.
func epochsText[E any](list []E, fields func(E) (epoch int32, offset int64)) string {
	offsets := map[int32]int64{}
	var epochs []int32
	for _, e := range list {
		epoch, offset := fields(e)
		if _, seen := offsets[epoch]; !seen {
			epochs = append(epochs, epoch)
		}
		offsets[epoch] = offset
	}
	slices.Sort(epochs)
	parts := make([]string, len(epochs))
	for i, e := range epochs {
		parts[i] = strconv.Itoa(int(e)) + "=" + strconv.FormatInt(offsets[e], 10)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func customText(b []byte) string {
	if b == nil {
		return "Optional.empty"
	}
	return fmt.Sprintf("Optional[CustomMetadata{%d bytes}]", len(b))
}
