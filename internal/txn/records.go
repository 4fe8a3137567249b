package txn

import (
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kbin"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/invariant"
	"github.com/gregorhq/gregor/internal/kafka"
)

// Versions of the records of __transaction_state.
const (
	keyVersion       int16 = 0
	valueVersionOld  int16 = 0
	valueVersionFlex int16 = 1 // with tagged fields, from transaction.version 1 on (KIP-890)
)

// Producer ids and epochs that stand for none.
const (
	NoProducerID    int64 = -1
	NoProducerEpoch int16 = -1
)

// TopicPartitions is one topic of a Value.
type TopicPartitions struct {
	Topic      string
	Partitions []int32
}

// Value is TransactionLogValue: the state of one transactional id.
type Value struct {
	ProducerID         int64
	PreviousProducerID int64
	NextProducerID     int64
	ProducerEpoch      int16
	NextProducerEpoch  int16
	TimeoutMs          int32
	Status             int8
	// Topics is nil where the record has no list, as in state Empty.
	Topics                   []TopicPartitions
	LastUpdateMs             int64
	StartMs                  int64
	ClientTransactionVersion int16
}

// AppendKey appends TransactionLogKey version 0 with its version. It appends nothing for
// an id that no key has room for: a length that wrapped would be the key of another id.
func AppendKey(dst []byte, transactionalID string) []byte {
	if len(transactionalID) > math.MaxInt16 {
		return dst
	}
	return kbin.AppendString(kbin.AppendInt16(dst, keyVersion), transactionalID)
}

// ParseKey reads a key; ok is false for a kind of record that is not known. The whole key
// must be used up: what begins like the key of an id is not that id's.
func ParseKey(key []byte) (transactionalID string, ok bool, err error) {
	r := kbin.Reader{Src: key}
	if v := r.Int16(); r.Ok() && v != keyVersion {
		return "", false, nil
	}
	id := r.String()
	err = r.Complete()
	if err == nil && len(r.Src) > 0 {
		err = fmt.Errorf("%d bytes of garbage at the end", len(r.Src))
	}
	if err != nil {
		return "", false, fmt.Errorf("key of %d bytes in __transaction_state: %w", len(key), err)
	}
	return id, true, nil
}

// Tags of version 1.
const (
	tagPreviousProducerID uint32 = iota
	tagNextProducerID
	tagClientTransactionVersion
	tagNextProducerEpoch
	numTags
)

// AppendValue appends v in the given version, with the version. Version 0 has no
// room for what is tagged.
func AppendValue(dst []byte, v *Value, version int16) []byte {
	flex := version >= valueVersionFlex
	dst = kbin.AppendInt16(dst, version)
	dst = kbin.AppendInt64(dst, v.ProducerID)
	dst = kbin.AppendInt16(dst, v.ProducerEpoch)
	dst = kbin.AppendInt32(dst, v.TimeoutMs)
	dst = kbin.AppendInt8(dst, v.Status)
	dst = appendTopics(dst, v.Topics, flex)
	dst = kbin.AppendInt64(dst, v.LastUpdateMs)
	dst = kbin.AppendInt64(dst, v.StartMs)
	if flex {
		dst = appendTags(dst, v)
	}
	return dst
}

func appendTopics(dst []byte, topics []TopicPartitions, flex bool) []byte {
	if !flex {
		dst = kbin.AppendNullableArrayLen(dst, len(topics), topics == nil)
		for _, t := range topics {
			invariant.Check(len(t.Topic) <= math.MaxInt16, "a topic name of %d bytes is in a transaction", len(t.Topic))
			dst = kbin.AppendString(dst, t.Topic)
			dst = kbin.AppendArrayLen(dst, len(t.Partitions))
			for _, p := range t.Partitions {
				dst = kbin.AppendInt32(dst, p)
			}
		}
		return dst
	}
	dst = kbin.AppendCompactNullableArrayLen(dst, len(topics), topics == nil)
	for _, t := range topics {
		dst = kbin.AppendCompactString(dst, t.Topic)
		dst = kbin.AppendCompactArrayLen(dst, len(t.Partitions))
		for _, p := range t.Partitions {
			dst = kbin.AppendInt32(dst, p)
		}
		dst = append(dst, 0)
	}
	return dst
}

// appendTags appends what differs from its default, in the order of the tags.
func appendTags(dst []byte, v *Value) []byte {
	set := [numTags]bool{
		tagPreviousProducerID:       v.PreviousProducerID != NoProducerID,
		tagNextProducerID:           v.NextProducerID != NoProducerID,
		tagClientTransactionVersion: v.ClientTransactionVersion != 0,
		tagNextProducerEpoch:        v.NextProducerEpoch != NoProducerEpoch,
	}
	n := uint32(0)
	for _, s := range set {
		if s {
			n++
		}
	}
	dst = kbin.AppendUvarint(dst, n)
	if set[tagPreviousProducerID] {
		dst = kbin.AppendInt64(append(dst, byte(tagPreviousProducerID), 8), v.PreviousProducerID)
	}
	if set[tagNextProducerID] {
		dst = kbin.AppendInt64(append(dst, byte(tagNextProducerID), 8), v.NextProducerID)
	}
	if set[tagClientTransactionVersion] {
		dst = kbin.AppendInt16(append(dst, byte(tagClientTransactionVersion), 2), v.ClientTransactionVersion)
	}
	if set[tagNextProducerEpoch] {
		dst = kbin.AppendInt16(append(dst, byte(tagNextProducerEpoch), 2), v.NextProducerEpoch)
	}
	return dst
}

// ParseValue reads a value; ok is false for a version that is not known. Unknown
// tagged fields are passed over.
func ParseValue(value []byte) (v Value, ok bool, err error) {
	r := kbin.Reader{Src: value}
	version := r.Int16()
	if r.Ok() && version != valueVersionOld && version != valueVersionFlex {
		return Value{}, false, nil
	}
	v = Value{PreviousProducerID: NoProducerID, NextProducerID: NoProducerID, NextProducerEpoch: NoProducerEpoch}
	v.ProducerID = r.Int64()
	v.ProducerEpoch = r.Int16()
	v.TimeoutMs = r.Int32()
	v.Status = r.Int8()
	if err := v.parseTopics(&r, version >= valueVersionFlex); err != nil {
		return Value{}, false, err
	}
	v.LastUpdateMs = r.Int64()
	v.StartMs = r.Int64()
	if version >= valueVersionFlex {
		v.parseTags(&r)
	}
	if err := r.Complete(); err != nil {
		return Value{}, false, fmt.Errorf("value of %d bytes in __transaction_state: %w", len(value), err)
	}
	return v, true, nil
}

// minTopicBytes and partitionBytes are the least that an element of a list takes: a
// count that promises more than is there is refused before memory is taken for it.
const (
	minTopicBytes  = 2
	partitionBytes = 4
)

func (v *Value) parseTopics(r *kbin.Reader, flex bool) error {
	count := func(n int32, least int) (int, error) {
		if n > 0 && int(n) > len(r.Src)/least {
			return 0, fmt.Errorf("value in __transaction_state: list of %d in %d bytes", n, len(r.Src))
		}
		return int(n), nil
	}
	length := func() int32 {
		if flex {
			return r.CompactArrayLen()
		}
		return r.ArrayLen()
	}
	n, err := count(length(), minTopicBytes)
	if err != nil || n < 0 {
		return err
	}
	v.Topics = make([]TopicPartitions, 0, n)
	for range n {
		var t TopicPartitions
		if flex {
			t.Topic = r.CompactString()
		} else {
			t.Topic = r.String()
		}
		m, err := count(length(), partitionBytes)
		if err != nil {
			return err
		}
		if m > 0 {
			t.Partitions = make([]int32, 0, m)
		}
		for range m {
			t.Partitions = append(t.Partitions, r.Int32())
		}
		if flex {
			skipTags(r)
		}
		if !r.Ok() {
			break
		}
		v.Topics = append(v.Topics, t)
	}
	return nil
}

func (v *Value) parseTags(r *kbin.Reader) {
	for n := r.Uvarint(); n > 0 && r.Ok(); n-- {
		tag := r.Uvarint()
		field := kbin.Reader{Src: r.Span(int(r.Uvarint()))}
		switch tag {
		case tagPreviousProducerID:
			v.PreviousProducerID = field.Int64()
		case tagNextProducerID:
			v.NextProducerID = field.Int64()
		case tagClientTransactionVersion:
			v.ClientTransactionVersion = field.Int16()
		case tagNextProducerEpoch:
			v.NextProducerEpoch = field.Int16()
		default:
			continue
		}
		if field.Complete() != nil {
			r.Span(len(r.Src) + 1) // a tag of the wrong size: the record is damaged
		}
	}
}

func skipTags(r *kbin.Reader) {
	for n := r.Uvarint(); n > 0 && r.Ok(); n-- {
		r.Uvarint()
		r.Span(int(r.Uvarint()))
	}
}

// record is the record that gives t its state.
func (t *Transaction) record(transactionVersion int16) coord.Record {
	version := valueVersionOld
	if transactionVersion >= 1 {
		version = valueVersionFlex
	}
	v := Value{
		ProducerID:               t.ProducerID,
		PreviousProducerID:       t.PreviousProducerID,
		NextProducerID:           t.NextProducerID,
		ProducerEpoch:            t.ProducerEpoch,
		NextProducerEpoch:        NoProducerEpoch,
		TimeoutMs:                t.TimeoutMs,
		Status:                   int8(t.State),
		LastUpdateMs:             t.LastUpdateMs,
		StartMs:                  t.StartMs,
		ClientTransactionVersion: t.ClientTransactionVersion,
	}
	if t.State != Empty {
		v.Topics = topicsOf(t.Partitions)
	}
	return coord.Record{Key: AppendKey(nil, t.ID), Value: AppendValue(nil, &v, version)}
}

// topicsOf groups sorted partitions by topic; it is never nil.
func topicsOf(partitions []kafka.TopicPartition) []TopicPartitions {
	topics := []TopicPartitions{}
	for _, tp := range partitions {
		if n := len(topics); n == 0 || topics[n-1].Topic != tp.Topic {
			topics = append(topics, TopicPartitions{Topic: tp.Topic})
		}
		last := &topics[len(topics)-1]
		last.Partitions = append(last.Partitions, tp.Partition)
	}
	return topics
}

// fromValue is the transaction that a record describes.
func fromValue(id string, v *Value) (*Transaction, error) {
	state := State(v.Status)
	if !state.valid() {
		return nil, fmt.Errorf("transactional id %q: unknown state %d", id, v.Status)
	}
	t := &Transaction{
		ID:                       id,
		ProducerID:               v.ProducerID,
		PreviousProducerID:       v.PreviousProducerID,
		NextProducerID:           v.NextProducerID,
		ProducerEpoch:            v.ProducerEpoch,
		LastProducerEpoch:        NoProducerEpoch,
		TimeoutMs:                v.TimeoutMs,
		State:                    state,
		StartMs:                  v.StartMs,
		LastUpdateMs:             v.LastUpdateMs,
		ClientTransactionVersion: v.ClientTransactionVersion,
	}
	if state == Empty {
		return t, nil
	}
	for _, topic := range v.Topics {
		for _, p := range topic.Partitions {
			t.Partitions = append(t.Partitions, kafka.TopicPartition{Topic: topic.Topic, Partition: p})
		}
	}
	t.Partitions = sorted(t.Partitions)
	return t, nil
}
