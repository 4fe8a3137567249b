package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// codec numbers are those of a batch's attributes.
const (
	codecNone = 0
	codecLZ4  = 3
	codecZstd = 4
)

// buildBatch makes one v2 batch of n records with values of size bytes. Values are
// text-like, so that codecs compress them about as they do logs.
func buildBatch(rng *rand.Rand, n, size, codec int) ([]byte, error) {
	var recs []byte
	value := make([]byte, size)
	for i := 0; i < n; i++ {
		fillText(rng, value)
		recs = appendRecord(recs, int32(i), value)
	}
	switch codec {
	case codecLZ4:
		var err error
		if recs, err = lz4Compress(recs); err != nil {
			return nil, err
		}
	case codecZstd:
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		recs = enc.EncodeAll(recs, nil)
	}
	rb := kmsg.RecordBatch{
		Magic: 2, Attributes: int16(codec), LastOffsetDelta: int32(n - 1), PartitionLeaderEpoch: -1,
		FirstTimestamp: 1_700_000_000_000, MaxTimestamp: 1_700_000_000_000,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(n), Records: recs,
	}
	b := rb.AppendTo(nil)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b, nil
}

func appendRecord(dst []byte, delta int32, value []byte) []byte {
	body := 1 + 1 + kbin.VarintLen(delta) + 1 + kbin.VarintLen(int32(len(value))) + len(value) + 1
	dst = kbin.AppendVarint(dst, int32(body))
	dst = append(dst, 0) // attributes
	dst = kbin.AppendVarlong(dst, 0)
	dst = kbin.AppendVarint(dst, delta)
	dst = kbin.AppendVarint(dst, -1) // no key
	dst = kbin.AppendVarint(dst, int32(len(value)))
	dst = append(dst, value...)
	return kbin.AppendVarint(dst, 0) // no headers
}

const words = "GET /index.html HTTP/1.1 200 user=alice session=9f2c latency_ms=12 region=eu-west-1 status=ok order=4711 item=book "

func fillText(rng *rand.Rand, b []byte) {
	for i := 0; i < len(b); {
		at := rng.IntN(len(words))
		i += copy(b[i:], words[at:min(at+4+rng.IntN(20), len(words))])
	}
}

func lz4Compress(src []byte) ([]byte, error) {
	var out sliceWriter
	w := lz4.NewWriter(&out)
	if err := w.Apply(lz4.BlockChecksumOption(false), lz4.ChecksumOption(false), lz4.BlockSizeOption(lz4.Block64Kb)); err != nil {
		return nil, err
	}
	if _, err := w.Write(src); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out, nil
}

type sliceWriter []byte

func (s *sliceWriter) Write(p []byte) (int, error) { *s = append(*s, p...); return len(p), nil }

// recordsFor says how many records of size bytes fill a batch of about batchBytes.
func recordsFor(batchBytes, size int) int { return max(1, (batchBytes-61)/(size+8)) }

// produceFrame is a whole Produce v9 request for one partition.
func produceFrame(topic string, partition int32, acks int16, batch []byte) []byte {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(9)
	req.Acks, req.TimeoutMillis = acks, 30000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, batch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 1)
}

// checkProduce returns the base offset of a Produce v9 response frame without its
// length. It reads the answer by hand: the client must cost less than the server.
func checkProduce(frame []byte) (int64, error) {
	b := kbin.Reader{Src: frame}
	b.Int32() // correlation id
	b.Uvarint()
	if n := b.CompactArrayLen(); n != 1 {
		return 0, fmt.Errorf("a produce response for %d topics", n)
	}
	b.Span(int(b.Uvarint()) - 1)
	if n := b.CompactArrayLen(); n != 1 {
		return 0, fmt.Errorf("a produce response for %d partitions", n)
	}
	partition, code, base := b.Int32(), b.Int16(), b.Int64()
	if !b.Ok() {
		return 0, fmt.Errorf("a cut produce response of %d bytes", len(frame))
	}
	if code != 0 {
		return 0, fmt.Errorf("the broker answered error %d for partition %d", code, partition)
	}
	return base, nil
}

// fetchFrame is a Fetch v12 request without a session for one partition.
func fetchFrame(topic string, partition int32, offset int64, maxBytes, minBytes, waitMs int32) []byte {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(12)
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = -1, waitMs, minBytes, maxBytes
	req.SessionID, req.SessionEpoch = 0, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.CurrentLeaderEpoch, p.PartitionMaxBytes = partition, offset, -1, maxBytes
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 1)
}

// fetched returns the record bytes of a Fetch v12 response and the high watermark.
func fetched(frame []byte) ([]byte, int64, error) {
	if len(frame) < 5 {
		return nil, 0, fmt.Errorf("a fetch response of %d bytes", len(frame))
	}
	var resp kmsg.FetchResponse
	resp.SetVersion(12)
	if err := resp.UnsafeReadFrom(frame[5:]); err != nil {
		return nil, 0, fmt.Errorf("reading the fetch response: %w", err)
	}
	if resp.ErrorCode != 0 {
		return nil, 0, fmt.Errorf("the broker answered error %d", resp.ErrorCode)
	}
	if len(resp.Topics) == 0 || len(resp.Topics[0].Partitions) == 0 {
		return nil, 0, nil
	}
	t, p := &resp.Topics[0], &resp.Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		return nil, 0, fmt.Errorf("the broker answered error %d for %s-%d", p.ErrorCode, t.Topic, p.Partition)
	}
	return p.RecordBatches, p.HighWatermark, nil
}

// nextOffset walks the whole batches of b and returns the offset after the last
// one, the bytes walked and the records in them.
func nextOffset(b []byte, from int64) (next int64, bytes, records int) {
	next = from
	for len(b) >= 61 {
		size := 12 + int(binary.BigEndian.Uint32(b[8:]))
		if size > len(b) {
			break
		}
		next = int64(binary.BigEndian.Uint64(b)) + int64(binary.BigEndian.Uint32(b[23:])) + 1
		records += int(binary.BigEndian.Uint32(b[57:]))
		bytes += size
		b = b[size:]
	}
	return next, bytes, records
}

// newRNG is the source of all contents: every run measures the same bytes.
func newRNG() *rand.Rand { return rand.New(rand.NewPCG(42, 1)) }
