package records

import (
	"encoding/binary"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Control record types of the metadata log. Types 0 and 1 are transaction markers
// and belong to partitions of topics.
const (
	ControlLeaderChange   int16 = 2
	ControlSnapshotHeader int16 = 3
	ControlSnapshotFooter int16 = 4
	ControlKRaftVersion   int16 = 5
	ControlVoters         int16 = 6
)

// controlKeyVersion is the version of the keys that we write. Readers accept
// later ones, which must stay compatible.
const controlKeyVersion = 0

// ControlKey returns the key of a control record of the given type.
func ControlKey(controlType int16) []byte {
	b := binary.BigEndian.AppendUint16(nil, controlKeyVersion)
	return binary.BigEndian.AppendUint16(b, uint16(controlType))
}

// ParseControlKey returns the type of a control record.
func ParseControlKey(key []byte) (int16, error) {
	if len(key) < 4 {
		return 0, kafka.InvalidRecord.Errorf("control record key has %d bytes, need 4", len(key))
	}
	if v := int16(binary.BigEndian.Uint16(key)); v < 0 {
		return 0, kafka.InvalidRecord.Errorf("control record key has version %d", v)
	}
	return int16(binary.BigEndian.Uint16(key[2:])), nil
}

// EncodeControl returns key and value of a control record.
func EncodeControl(m Message) (key, value []byte) {
	return ControlKey(m.APIKey()), mustAppend(nil, m)
}

// DecodeControl parses a control record of the metadata log or of a snapshot. It
// returns nil without an error for a control type that is not of the quorum. The
// version is the one that the value begins with.
func DecodeControl(key, value []byte) (Message, error) {
	t, err := ParseControlKey(key)
	if err != nil {
		return nil, err
	}
	m := newControl(t)
	if m == nil {
		return nil, nil
	}
	if len(value) < 2 {
		return nil, kafka.InvalidRecord.Errorf("%s has %d bytes", m.SchemaName(), len(value))
	}
	version := int16(binary.BigEndian.Uint16(value))
	if err := m.ReadFrom(version, value); err != nil {
		return nil, kafka.InvalidRecord.Errorf("control record: %w", err)
	}
	return m, nil
}
