package records

import (
	"encoding/binary"
	"fmt"

	"github.com/gregorhq/gregor/internal/kafka"
)

// EncodeCoordinatorKey returns m, a key of schema/coordinator_keys.txt, as it stands
// in __consumer_offsets: the record type, then the body. It is empty when a string of m is
// longer than a record has room for, and such a record is not appended (package rsm).
func EncodeCoordinatorKey(m Message) []byte { return versioned(m.APIKey(), m) }

// EncodeCoordinatorValue returns m, a value of schema/coordinator_values.txt, as it
// stands in __consumer_offsets: the version, then the body. It is empty like a key.
func EncodeCoordinatorValue(m Message) []byte { return versioned(m.RecordVersion(), m) }

// versioned returns two bytes and a body, or nothing but not nil, which would be the value
// of a tombstone.
func versioned(v int16, m Message) []byte {
	b, err := m.AppendTo(binary.BigEndian.AppendUint16(nil, uint16(v)))
	if err != nil {
		return []byte{}
	}
	return b
}

// DecodeCoordinatorKey parses the key of a record of __consumer_offsets. The error is
// UnsupportedVersion for a record type that is not in the schema.
func DecodeCoordinatorKey(key []byte) (Message, error) {
	kind, body, err := splitVersion(key)
	if err != nil {
		return nil, kafka.InvalidRecord.Errorf("coordinator key: %w", err)
	}
	m := newCoordinatorKey(kind)
	if m == nil {
		return nil, kafka.UnsupportedVersion.Errorf("coordinator record type %d is unknown", kind)
	}
	if err := m.ReadFrom(0, body); err != nil {
		return nil, kafka.InvalidRecord.Errorf("coordinator key: %w", err)
	}
	return m, nil
}

// DecodeCoordinatorValue parses the value that belongs to a key of the given record
// type. The error is UnsupportedVersion for a type or version that is not in the
// schema.
func DecodeCoordinatorValue(kind int16, value []byte) (Message, error) {
	version, body, err := splitVersion(value)
	if err != nil {
		return nil, kafka.InvalidRecord.Errorf("coordinator value of type %d: %w", kind, err)
	}
	m := newCoordinatorValue(kind)
	if m == nil {
		return nil, kafka.UnsupportedVersion.Errorf("values of coordinator record type %d are unknown", kind)
	}
	if err := m.ReadFrom(version, body); err != nil {
		return nil, fmt.Errorf("coordinator value: %w", err)
	}
	return m, nil
}

// CoordinatorRecordType is the record type of a key of __consumer_offsets; ok is
// false when the key is too short to hold one.
func CoordinatorRecordType(key []byte) (kind int16, ok bool) {
	if len(key) < 2 {
		return 0, false
	}
	return int16(binary.BigEndian.Uint16(key)), true
}

func splitVersion(b []byte) (int16, []byte, error) {
	v, ok := CoordinatorRecordType(b)
	if !ok {
		return 0, nil, errShort
	}
	return v, b[2:], nil
}
