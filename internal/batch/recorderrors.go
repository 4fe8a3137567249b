package batch

import (
	"fmt"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
)

// maxRecordErrors bounds the list of record errors: a small batch of many bad
// records must not make a large response. The records that are not listed fail
// with their batch.
const maxRecordErrors = 1000

func (v *validation) add(index int32, message string) {
	if v.errors == nil {
		v.errors = new(RecordErrors)
	}
	v.errors.Errors = append(v.errors.Errors, RecordError{BatchIndex: index, Message: message})
}

// full counts a record error and says whether the list has no room for it.
func (v *validation) full() bool {
	v.problems++
	return v.problems > maxRecordErrors
}

func (v *validation) noKey(index int32) {
	if !v.full() {
		v.add(index, "Compacted topic cannot accept message without key")
	}
}

func (v *validation) outOfRange(index int32, timestamp, offset int64) {
	v.invalidTimestamp = true
	if !v.full() {
		v.add(index, fmt.Sprintf("Timestamp %d of message with offset %d is out of range. The timestamp should be within [%d, %d]",
			timestamp, offset, v.nowMs-v.cfg.BeforeMaxMs, v.nowMs+v.cfg.AfterMaxMs))
	}
}

func (v *validation) logAppendTime(index int32) {
	v.invalidTimestamp = true
	if !v.full() {
		v.add(index, "Invalid timestamp type in message. Producer should not set timestamp type to LogAppendTime.")
	}
}

func (v *validation) wrongMagic(index int32, outer int8) {
	if !v.full() {
		v.add(index, fmt.Sprintf("Record's magic does not match outer magic %d", outer))
	}
}

// recordErrors is the error for the batch when records were refused, else nil.
func (v *validation) recordErrors() error {
	if v.problems == 0 {
		return nil
	}
	if v.invalidTimestamp {
		return kafka.InvalidTimestamp.Errorf("One or more records have been rejected due to invalid timestamp")
	}
	shown := v.errors.Errors[:min(3, len(v.errors.Errors))]
	texts := make([]string, len(shown))
	for k, e := range shown {
		texts[k] = fmt.Sprintf("RecordError(batchIndex=%d, message='%s')", e.BatchIndex, e.Message)
	}
	return kafka.InvalidRecord.Errorf("One or more records have been rejected due to %d record errors in total, and only showing the first three errors at most: [%s]",
		v.problems, strings.Join(texts, ", "))
}
