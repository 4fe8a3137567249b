package batch

import (
	"github.com/gregorhq/gregor/internal/kafka"
)

// zstdProduceVersion is the first version of Produce that may carry zstd
// (KIP-110).
const zstdProduceVersion = 7

// Validate checks what a producer or a coordinator wants to append, by the rules
// of Kafka's leader, and leaves batches that only lack their offsets in a. The
// input is kept where its codec, its format and the offsets inside allow it; its
// header may be changed, never its records. Otherwise a.Data is new. Messages of
// the old formats become one batch of format v2.
//
// produceVersion is the version of the Produce request; it counts only for
// OriginClient. nowMs is what timestamps are compared with.
//
// The error carries the code for the response. When single records are the
// reason they are listed too. For OriginReplication and OriginRaftLeader, whose
// offsets are given, Validate does what Infos does, and additionally refuses a
// batch that is cut off.
//
// An uncompressed batch with CreateTime that is in order costs no allocation if
// a was used before.
func Validate(a *Appended, in []byte, cfg *Config, origin Origin, produceVersion int16, nowMs int64) (*RecordErrors, error) {
	a.Data, a.Rewritten, a.Infos = nil, false, a.Infos[:0]
	if origin == OriginReplication || origin == OriginRaftLeader {
		return nil, a.given(in)
	}
	v := validation{cfg: cfg, origin: origin, version: produceVersion, nowMs: nowMs}
	size, legacy, err := v.analyze(in)
	if err != nil {
		return nil, err
	}
	if legacy {
		err = v.legacy(a, in[:size])
	} else {
		err = v.v2(a, in[:size:size])
	}
	if err != nil {
		a.Data, a.Infos = nil, a.Infos[:0]
		return v.errors, err
	}
	return nil, nil
}

// given fills a with batches that have their offsets.
func (a *Appended) given(in []byte) error {
	infos, err := AppendInfos(a.Infos, in)
	if err != nil {
		return err
	}
	end := 0
	if n := len(infos); n > 0 {
		end = infos[n-1].End()
	}
	if end != len(in) {
		return kafka.CorruptMessage.Errorf("batch at byte %d is cut off", end)
	}
	a.Data, a.Infos = in, infos
	return nil
}

// validation is one call of Validate.
type validation struct {
	cfg     *Config
	origin  Origin
	version int16
	nowMs   int64
	errors  *RecordErrors
	// invalidTimestamp says that a record error is about a timestamp, which
	// decides the code of all.
	invalidTimestamp bool
	// problems counts record errors, of which errors keeps the first.
	problems int
	// codec is that of the input; v2 inputs have one batch.
	codec Codec
}

// analyze looks at every batch from outside: that there is one, its size, its
// checksum, its codec. It returns how many bytes are whole batches; what is cut
// off at the end is ignored.
func (v *validation) analyze(in []byte) (size int, legacy bool, err error) {
	count := 0
	var first int8
	for size < len(in) {
		b := in[size:]
		n, ok, err := NextSize(b)
		if err != nil {
			return 0, false, err
		}
		if !ok || n > len(b) {
			break
		}
		info, err := Peek(b[:n:n])
		if err != nil {
			return 0, false, err
		}
		if count == 0 {
			first = info.Magic
		}
		count++
		size += n
		if err := v.analyzeBatch(b[:n:n], &info); err != nil {
			return 0, false, err
		}
		if info.Magic != first {
			return 0, false, kafka.InvalidRecord.Errorf("Batch magic %d is not the same as the first batch's magic byte %d", info.Magic, first)
		}
		if info.Codec != CodecNone {
			v.codec = info.Codec
		}
	}
	if count == 0 {
		return 0, false, kafka.InvalidRecord.Errorf("Record batch has no batches at all")
	}
	if count > 1 && (first >= MagicV2 || v.codec != CodecNone) {
		return 0, false, kafka.InvalidRecord.Errorf("Compressed outer record has more than one batch")
	}
	return size, first < MagicV2, nil
}

// analyzeBatch checks size, checksum and codec of one whole batch.
func (v *validation) analyzeBatch(b []byte, i *Info) error {
	if i.Magic >= MagicV2 && v.origin == OriginClient && i.BaseOffset != 0 {
		return kafka.InvalidRecord.Errorf("The baseOffset of the record batch in the append should be 0, but it is %d", i.BaseOffset)
	}
	if i.Size > v.cfg.MaxMessageBytes {
		return kafka.MessageTooLarge.Errorf("The record batch size in the append is %d bytes which exceeds the maximum configured value of %d.", i.Size, v.cfg.MaxMessageBytes)
	}
	if i.Magic >= MagicV2 {
		if crcOf(b) != i.CRC {
			return kafka.CorruptMessage.Errorf("Record is corrupt (stored crc = %d)", i.CRC)
		}
	} else {
		var m legacyMessage
		if reason := parseLegacy(b, &m); reason != "" {
			return kafka.CorruptMessage.Errorf("%s", reason)
		}
		if !m.crcOK() {
			return kafka.CorruptMessage.Errorf("Record is corrupt (stored crc = %d)", i.CRC)
		}
	}
	switch {
	case i.Codec > CodecZstd:
		return unknownCodec(i.Codec)
	case i.Codec == CodecZstd && v.origin == OriginClient && v.version < zstdProduceVersion:
		return kafka.UnsupportedCompressionType.Errorf("Produce requests with version %d are not allowed to use ZStandard compression", v.version)
	}
	return nil
}

// target is the codec that the batch has to have in the log.
func (v *validation) target() Codec {
	if v.cfg.Codec == CodecProducer {
		return v.codec
	}
	return v.cfg.Codec
}

// header checks what the header of a v2 batch says.
func (v *validation) header(i *Info) error {
	switch {
	case i.LastOffsetDelta < 0:
		return kafka.InvalidRecord.Errorf("Batch has an invalid offset range: [%d, %d]", i.BaseOffset, i.LastOffset)
	case i.NumRecords <= 0:
		return kafka.InvalidRecord.Errorf("Invalid reported count for record batch: %d", i.NumRecords)
	case i.LastOffsetDelta != i.NumRecords-1:
		return kafka.InvalidRecord.Errorf("Inconsistent batch offset range [%d, %d] and count of records %d", i.BaseOffset, i.LastOffset, i.NumRecords)
	}
	if v.origin == OriginClient {
		if i.IsControl {
			return kafka.InvalidRecord.Errorf("Clients are not allowed to write control records")
		}
		if i.HasProducerID() && i.BaseSequence < 0 {
			return kafka.InvalidRecord.Errorf("Invalid sequence number %d in record batch with producerId %d", i.BaseSequence, i.ProducerID)
		}
	}
	return nil
}

// v2 validates the one batch b.
func (v *validation) v2(a *Appended, b []byte) error {
	a.Infos = append(a.Infos, Info{})
	i := &a.Infos[0]
	parseV2(b, len(b), i)
	if err := v.header(i); err != nil {
		return err
	}
	payload := b[HeaderSize:]
	if i.Codec != CodecNone {
		buf, err := decompressPooled(payload, i.Codec, MagicV2, v.cfg.maxDecompressed())
		if err != nil {
			return err
		}
		defer buf.release()
		payload = buf.b
	}
	maxTimestamp, inOrder, err := v.records(i, payload)
	if err != nil {
		return err
	}
	target := v.target()
	if i.IsControl {
		i.Control = readControl(b)
		if i.Codec == CodecNone {
			target = CodecNone // markers are tiny, and stay as they are
		}
	}
	if !inOrder {
		return v.rebuild(a, b, target)
	}
	if target != i.Codec {
		if err := v.recompress(a, b, payload, target); err != nil {
			return err
		}
		b, i = a.Data, &a.Infos[0]
	}
	a.Data = b
	if v.cfg.TimestampType == LogAppendTime {
		maxTimestamp = v.nowMs
	}
	setTimestamps(b, i, v.cfg.TimestampType, maxTimestamp)
	return nil
}

// records walks the decompressed records of a v2 batch. inOrder says that their
// offsets are 0, 1, 2 and so on after the base offset.
func (v *validation) records(i *Info, payload []byte) (maxTimestamp int64, inOrder bool, err error) {
	// What the rules say is read once, for the loop that follows is the hottest
	// of a broker.
	var (
		raw       rawRecord
		now       = v.nowMs
		before    = v.cfg.BeforeMaxMs
		after     = v.cfg.AfterMaxMs
		compact   = v.cfg.Compact
		create    = v.cfg.TimestampType == CreateTime
		logAppend = i.TimestampType == LogAppendTime
		pos       = 0
	)
	maxTimestamp, inOrder = NoTimestamp, true
	for n := int32(0); n < i.NumRecords; n++ {
		size, reason := parseRecord(payload[pos:], &raw)
		if reason != "" {
			return 0, false, malformed(n, reason)
		}
		pos += size
		timestamp := i.BaseTimestamp + raw.tsDelta
		if logAppend {
			timestamp = i.MaxTimestamp
		}
		if raw.offsetDelta != n {
			inOrder = false
		}
		switch diff := now - timestamp; {
		case compact && raw.keyLen < 0:
			v.noKey(n)
		case create && timestamp != NoTimestamp:
			if diff > before || -diff > after {
				v.outOfRange(n, timestamp, i.BaseOffset+int64(raw.offsetDelta))
			}
		case logAppend:
			v.logAppendTime(n)
		}
		if timestamp > maxTimestamp {
			maxTimestamp = timestamp
		}
	}
	if pos != len(payload) {
		return 0, false, kafka.InvalidRecord.Errorf("Incorrect declared batch size, records still remaining in file")
	}
	return maxTimestamp, inOrder, v.recordErrors()
}
