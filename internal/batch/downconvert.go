package batch

import (
	"github.com/gregorhq/gregor/internal/kafka"
)

// DownConvert rewrites batches for consumers that know only message format magic
// (0 or 1). Batches that are in such a format already stay as they are, control
// batches are left out, headers are dropped, transactional and idempotent data
// becomes plain data. Uncompressed records below startOffset are left out, since
// old consumers do not expect them. zstd, which has no meaning in old formats,
// is UNSUPPORTED_COMPRESSION_TYPE. A batch that the end of in cuts off is left
// out. The result is not nil, also when nothing is left.
func DownConvert(in []byte, magic int8, startOffset int64, maxDecompressed int) ([]byte, error) {
	if magic != MagicV0 && magic != MagicV1 {
		return nil, kafka.UnsupportedForMessageFormat.Errorf("there is no conversion down to message format %d", magic)
	}
	out := []byte{}
	var it Iter
	defer it.Close()
	for pos := 0; pos < len(in); {
		b := in[pos:]
		size, ok, err := NextSize(b)
		if err != nil {
			return nil, kafka.CorruptMessage.Errorf("converting the batch at byte %d down: %w", pos, err)
		}
		if !ok || size > len(b) {
			break
		}
		b = b[:size:size]
		pos += size
		if int8(b[posMagic]) <= magic {
			out = append(out, b...)
			continue
		}
		if err := it.Reset(b, maxDecompressed); err != nil {
			return nil, err
		}
		if it.info.IsControl {
			continue
		}
		if it.info.Codec == CodecZstd {
			return nil, kafka.UnsupportedCompressionType.Errorf("Down-conversion of zstandard-compressed batches is not supported")
		}
		if it.info.Codec == CodecNone {
			out, err = downPlain(out, &it, magic, startOffset)
		} else {
			out, err = downCompressed(out, &it, magic)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Unconvertible returns how many bytes at the start of in are whole batches of which
// DownConvert leaves nothing, because they are control batches or have lost their records to
// compaction, and the offset behind them.
func Unconvertible(in []byte) (n int, next int64, err error) {
	for n < len(in) {
		size, ok, err := NextSize(in[n:])
		if err != nil {
			return n, next, kafka.CorruptMessage.Errorf("looking for a batch to convert down at byte %d: %w", n, err)
		}
		if !ok || size > len(in)-n {
			break
		}
		info, err := Peek(in[n : n+size])
		if err != nil {
			return n, next, err
		}
		if info.Magic < MagicV2 || !info.IsControl && info.NumRecords > 0 {
			break
		}
		n, next = n+size, info.LastOffset+1
	}
	return n, next, nil
}

// downPlain appends one message for each record.
func downPlain(out []byte, it *Iter, magic int8, startOffset int64) ([]byte, error) {
	var r Record
	for it.Next(&r) {
		if r.Offset >= startOffset {
			out = appendLegacy(out, magic, r.Offset, r.Timestamp, CodecNone, it.info.TimestampType, r.Key, r.Value)
		}
	}
	return out, it.Err()
}

// downCompressed appends one wrapper for all records.
func downCompressed(out []byte, it *Iter, magic int8) ([]byte, error) {
	set := getBuffer(len(it.payload))
	defer set.release()
	var r Record
	base, last, maxTimestamp := int64(-1), int64(-1), NoTimestamp
	for it.Next(&r) {
		if base < 0 {
			base = r.Offset
		}
		last = r.Offset
		maxTimestamp = max(maxTimestamp, r.Timestamp)
		offset := r.Offset
		if magic == MagicV1 {
			offset -= base
		}
		set.b = appendLegacy(set.b, magic, offset, r.Timestamp, CodecNone, it.info.TimestampType, r.Key, r.Value)
	}
	if err := it.Err(); err != nil {
		return nil, err
	}
	if base < 0 {
		return out, nil
	}
	packed := getBuffer(len(set.b) / 2)
	defer packed.release()
	var err error
	packed.b, err = Compress(packed.b, set.b, it.info.Codec, 0, magic)
	if err != nil {
		return nil, err
	}
	return appendLegacy(out, magic, last, maxTimestamp, it.info.Codec, it.info.TimestampType, nil, packed.b), nil
}
