package records

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gregorhq/gregor/internal/kafka"
)

// StateLog is the kind of records that an internal topic holds: a key with the record
// type, and a value with its version.
type StateLog struct {
	newKey, newValue func(kind int16) Message
}

// The internal topics whose records have a key.
var (
	OffsetsLog     = StateLog{newCoordinatorKey, newCoordinatorValue}
	TransactionLog = StateLog{newTransactionKey, newTransactionValue}
	ShareStateLog  = StateLog{newShareStateKey, newShareStateValue}
)

// UnknownTypeError says that a record type is not in the schema.
type UnknownTypeError struct{ Type int16 }

func (e *UnknownTypeError) Error() string {
	return fmt.Sprintf("Found an unknown record type %d", e.Type)
}

// Unwrap makes it an UnsupportedVersion.
func (e *UnknownTypeError) Unwrap() error { return kafka.UnsupportedVersion }

// Decode parses a record; a nil value is a tombstone, and gives a nil message. The error
// is an *UnknownTypeError for a record type that is not in the schema. Its text is what
// Kafka's tools print.
func (l StateLog) Decode(key, value []byte) (k, v Message, err error) {
	kind, body, err := splitVersion(key)
	if err != nil {
		return nil, nil, kafka.InvalidRecord.Errorf("Could not read version from key's buffer.")
	}
	if k = l.newKey(kind); k == nil {
		return nil, nil, &UnknownTypeError{kind}
	}
	if err := k.ReadFrom(0, body); err != nil {
		return nil, nil, kafka.InvalidRecord.Errorf("Could not read record with version %d from key's buffer due to: %v.", kind, err)
	}
	if value == nil {
		return k, nil, nil
	}
	if v = l.newValue(kind); v == nil {
		return nil, nil, &UnknownTypeError{kind}
	}
	version, body, err := splitVersion(value)
	if err != nil {
		return nil, nil, kafka.InvalidRecord.Errorf("Could not read version from value's buffer.")
	}
	switch err := v.ReadFrom(version, body); {
	case errors.Is(err, kafka.UnsupportedVersion):
		return nil, nil, kafka.UnsupportedVersion.Errorf("Found an unknown record version %d for %d type", version, kind)
	case err != nil:
		return nil, nil, kafka.InvalidRecord.Errorf("Could not read record with version %d from value's buffer due to: %v.", version, err)
	}
	return k, v, nil
}

// DecodeRemoteLog parses the value of a record of __remote_log_metadata.
func DecodeRemoteLog(value []byte) (Message, error) { return decodeFramed(value, newRemoteLog) }

// GroupMetadataJSON is the body of a classic group as Kafka's dump tool prints it: what
// members of a group of consumers subscribe to and are assigned is shown in clear.
func GroupMetadataJSON(m *GroupMetadataValue) []byte {
	if m.ProtocolType != "consumer" {
		return m.AppendJSON(nil)
	}
	bare := *m
	bare.Members = nil
	// The members are the last field.
	dst := bytes.TrimSuffix(bare.AppendJSON(nil), []byte("]}"))
	for i := range m.Members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendConsumerJSON(dst, &m.Members[i], m.Version)
	}
	return append(dst, "]}"...)
}

func appendConsumerJSON(dst []byte, m *GroupMetadataMember, version int16) []byte {
	bare := *m
	bare.Subscription, bare.Assignment = nil, nil
	// They are the last two fields.
	dst = bytes.TrimSuffix(bare.appendJSON(dst, version), []byte(`"subscription":"","assignment":""}`))
	dst = append(dst, `"subscription":`...)
	dst = appendConsumerProtocol(dst, 0, m.Subscription)
	dst = append(dst, `,"assignment":`...)
	dst = appendConsumerProtocol(dst, 1, m.Assignment)
	return append(dst, '}')
}

// lastConsumerProtocol is the newest version of schema/consumer_protocol.txt.
const lastConsumerProtocol = 3

// appendConsumerProtocol shows a message of schema/consumer_protocol.txt, or its bytes
// when it cannot be read. As with Kafka's tool a version that is not in the schema makes
// partitions unreadable and nothing else, and what follows the known fields is passed
// over.
func appendConsumerProtocol(dst []byte, kind int16, b []byte) []byte {
	if len(b) < 2 {
		return jsonBytes(dst, b)
	}
	version := int16(binary.BigEndian.Uint16(b))
	known := version <= lastConsumerProtocol
	r := reader{b: b[2:]}
	switch m := newConsumerProtocol(kind).(type) {
	case *ConsumerProtocolSubscription:
		if m.readBody(&r, version); r.err == nil && (known || len(m.OwnedPartitions) == 0) {
			return m.appendJSON(dst, version)
		}
	case *ConsumerProtocolAssignment:
		if m.readBody(&r, version); r.err == nil && (known || len(m.AssignedPartitions) == 0) {
			return m.appendJSON(dst, version)
		}
	}
	return jsonBytes(dst, b)
}
