package records

import (
	"fmt"

	"github.com/gregorhq/gregor/internal/invariant"
	"github.com/gregorhq/gregor/internal/kafka"
)

// Message is one metadata record or the value of one control record.
type Message interface {
	// APIKey is the record's number: the api key of a metadata record, the
	// control record type of a control record.
	APIKey() int16
	// SchemaName is Kafka's name of the schema, for example PartitionRecord.
	SchemaName() string
	// RecordVersion is the schema version that AppendTo writes.
	RecordVersion() int16
	// AppendTo appends the body at RecordVersion, without framing. Fields that
	// the version does not have are left out. The error says that a string is
	// longer than a record has room for.
	AppendTo(dst []byte) ([]byte, error)
	// ReadFrom replaces the content with what body holds at the given version,
	// and takes the version over. The whole body must be used up.
	ReadFrom(version int16, body []byte) error
	// AppendJSON appends the body as Kafka's tools print it.
	AppendJSON(dst []byte) []byte
}

// Tag is one tagged field that the schema does not know.
type Tag struct {
	ID   uint32
	Data []byte
}

// Tags are unknown tagged fields in ascending order of ID, as they stood in the
// input.
type Tags []Tag

// frameVersion is the only framing of metadata records that was ever released.
const frameVersion = 1

// Encode returns m as the value of a record of the metadata log.
func Encode(m Message) []byte { return AppendFrame(nil, m) }

// AppendFrame appends m as the value of a record of the metadata log. No string of m may
// be too long for a record: who proposes m asks AppendTo first.
func AppendFrame(dst []byte, m Message) []byte {
	w := writer{b: dst}
	w.uvarint(frameVersion)
	w.uvarint(uint32(uint16(m.APIKey())))
	w.uvarint(uint32(uint16(m.RecordVersion())))
	return mustAppend(w.b, m)
}

// mustAppend appends the body of a message of the metadata log. Those are of flexible
// versions, which say the length of any string.
func mustAppend(dst []byte, m Message) []byte {
	dst, err := m.AppendTo(dst)
	invariant.Check(err == nil, "%s: %v", m.SchemaName(), err)
	return dst
}

// Decode parses the value of a record of the metadata log.
func Decode(value []byte) (Message, error) { return decodeFramed(value, newMetadata) }

func decodeFramed(value []byte, message func(key int16) Message) (Message, error) {
	r := reader{b: value}
	frame := r.short("frame version")
	if r.err == nil && frame != frameVersion {
		return nil, kafka.InvalidRecord.Errorf("metadata record has frame version %d, only %d is known", frame, frameVersion)
	}
	key := r.short("api key")
	version := r.short("version")
	if r.err != nil {
		return nil, kafka.InvalidRecord.Errorf("metadata record: %w", r.err)
	}
	m := message(key)
	if m == nil {
		return nil, kafka.InvalidRecord.Errorf("unknown metadata record type %d", key)
	}
	if err := m.ReadFrom(version, r.b); err != nil {
		return nil, kafka.InvalidRecord.Errorf("metadata record: %w", err)
	}
	return m, nil
}

// New returns an empty metadata record of the given api key with its schema
// defaults, or nil for an unknown key.
func New(apiKey int16) Message { return newMetadata(apiKey) }

// errVersion is the error for a version outside the schema.
func errVersion(name string, version, last int16) error {
	return kafka.UnsupportedVersion.Errorf("%s has versions 0 to %d, not %d", name, last, version)
}

// finish ends the parse of one body.
func finish(name string, version int16, r *reader) error {
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes of garbage at the end", len(r.b))
	}
	if r.err != nil {
		return fmt.Errorf("%s version %d: %w", name, version, r.err)
	}
	return nil
}
