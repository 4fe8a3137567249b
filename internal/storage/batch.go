package storage

import (
	"fmt"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// MaxBatchBytes bounds one batch of the metadata log or of a checkpoint.
const MaxBatchBytes = 8 << 20

// AppendBatch appends one batch of metadata records to dst, as it stands in the
// metadata log. Every record has the append time as its timestamp.
func AppendBatch(dst []byte, base kafka.Offset, epoch kafka.LeaderEpoch, timeMs int64, recs []records.Message) ([]byte, error) {
	b := batch.NewBuilder(base)
	b.LeaderEpoch = epoch
	var value []byte
	for _, r := range recs {
		value = records.AppendFrame(value[:0], r)
		b.Append(timeMs, nil, value, nil)
	}
	return build(dst, b)
}

// AppendControlBatch appends one batch of control records to dst.
func AppendControlBatch(dst []byte, base kafka.Offset, epoch kafka.LeaderEpoch, timeMs int64, recs ...records.Message) ([]byte, error) {
	b := batch.NewBuilder(base)
	b.LeaderEpoch = epoch
	b.IsControl = true
	for _, r := range recs {
		key, value := records.EncodeControl(r)
		b.Append(timeMs, key, value, nil)
	}
	return build(dst, b)
}

func build(dst []byte, b *batch.Builder) ([]byte, error) {
	before := len(dst)
	dst, err := b.Build(dst)
	if err != nil {
		return nil, fmt.Errorf("building a batch of metadata records: %w", err)
	}
	if n := len(dst) - before; n > MaxBatchBytes {
		return nil, kafka.RecordListTooLarge.Errorf("%d metadata records take %d bytes in one batch, more than %d", b.NumRecords(), n, MaxBatchBytes)
	}
	return dst, nil
}

// Batch is one decoded batch of the metadata log or of a checkpoint. Control
// batches have Control records, the others Records.
type Batch struct {
	batch.Info
	Records []records.Message
	Control []records.Message
}

// DecodeBatch decodes the batch whose header is info and whose bytes begin data.
// The checksum is the caller's business, who has had it checked by batch.Infos.
func DecodeBatch(data []byte, info batch.Info) (Batch, error) {
	out := Batch{Info: info}
	if info.Magic != batch.MagicV2 {
		return out, kafka.CorruptMessage.Errorf("metadata batch at offset %d has format %d, only 2 is known", info.BaseOffset, info.Magic)
	}
	var it batch.Iter
	if err := it.Reset(data, 0); err != nil {
		return out, fmt.Errorf("metadata batch at offset %d: %w", info.BaseOffset, err)
	}
	defer it.Close()
	var r batch.Record
	for it.Next(&r) {
		if info.IsControl {
			m, err := records.DecodeControl(r.Key, r.Value)
			if err != nil {
				return out, fmt.Errorf("control record at offset %d: %w", r.Offset, err)
			}
			if m != nil {
				out.Control = append(out.Control, m)
			}
			continue
		}
		m, err := records.Decode(r.Value)
		if err != nil {
			return out, fmt.Errorf("metadata record at offset %d: %w", r.Offset, err)
		}
		out.Records = append(out.Records, m)
	}
	if err := it.Err(); err != nil {
		return out, fmt.Errorf("metadata batch at offset %d: %w", info.BaseOffset, err)
	}
	return out, nil
}
