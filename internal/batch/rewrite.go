package batch

import (
	"github.com/gregorhq/gregor/internal/kafka"
)

// recompress makes a.Data the batch b with its records, which payload is, in
// another codec. The records stay as they are.
func (v *validation) recompress(a *Appended, b, payload []byte, target Codec) error {
	i := &a.Infos[0]
	room := HeaderSize + len(payload)
	if target != CodecNone {
		room = HeaderSize + len(payload)/2
	}
	out := make([]byte, HeaderSize, room)
	copy(out, b[:HeaderSize])
	out, err := Compress(out, payload, target, v.cfg.Level, MagicV2)
	if err != nil {
		return kafka.UnknownServerError.Errorf("compressing a batch of %d bytes with %s: %w", len(payload), target, err)
	}
	i.Size, i.Codec = len(out), target
	be.PutUint32(out[posLength:], uint32(len(out)-LogOverhead))
	attr := be.Uint16(out[posAttributes:])&^attrCodecMask | uint16(target)
	be.PutUint16(out[posAttributes:], attr)
	i.CRC = setCRC(out)
	a.Data, a.Rewritten = out, true
	return v.recheck(len(out))
}

// rebuild makes a.Data a batch with the records of b at consecutive offsets.
// Some producers do not number the records of a batch, and Kafka never refused
// them.
func (v *validation) rebuild(a *Appended, b []byte, target Codec) error {
	var it Iter
	defer it.Close()
	if err := it.Reset(b, v.cfg.maxDecompressed()); err != nil {
		return err
	}
	nb := v.builder(target)
	i := it.Info()
	nb.ProducerID, nb.ProducerEpoch, nb.BaseSequence = i.ProducerID, i.ProducerEpoch, i.BaseSequence
	nb.IsTransactional, nb.IsControl = i.IsTransactional, i.IsControl
	var r Record
	for it.Next(&r) {
		nb.AppendRecord(nb.NextOffset(), &r)
	}
	if err := it.Err(); err != nil {
		return err
	}
	return v.finish(a, nb)
}

// legacy makes a.Data one v2 batch of all messages in in, which are of an old
// format.
func (v *validation) legacy(a *Appended, in []byte) error {
	nb := v.builder(v.target())
	var it Iter
	defer it.Close()
	for pos := 0; pos < len(in); {
		size, _, err := NextSize(in[pos:])
		if err != nil {
			return err
		}
		if err := it.Reset(in[pos:pos+size:pos+size], v.cfg.maxDecompressed()); err != nil {
			return err
		}
		if err := v.legacyRecords(&it, nb); err != nil {
			return err
		}
		pos += size
	}
	if nb.NumRecords() == 0 {
		return kafka.InvalidRecord.Errorf("Record batch has no batches at all")
	}
	return v.finish(a, nb)
}

// legacyRecords validates the records of one message and appends them to nb.
func (v *validation) legacyRecords(it *Iter, nb *Builder) error {
	var r Record
	outer := &it.info
	logAppend := outer.Magic == MagicV1 && outer.TimestampType == LogAppendTime
	it.sameMagic = true
	for n := int32(0); it.Next(&r); n++ {
		switch diff := v.nowMs - r.Timestamp; {
		case v.cfg.Compact && r.Key == nil:
			v.noKey(n)
		case v.cfg.TimestampType == CreateTime && r.Timestamp != NoTimestamp:
			if diff > v.cfg.BeforeMaxMs || -diff > v.cfg.AfterMaxMs {
				v.outOfRange(n, r.Timestamp, r.Offset)
			}
		case logAppend:
			v.logAppendTime(n)
		}
		if v.problems == 0 {
			nb.AppendRecord(nb.NextOffset(), &r)
		}
	}
	if it.wrongMagic {
		v.wrongMagic(it.index, outer.Magic)
	} else if err := it.Err(); err != nil {
		return err
	}
	return v.recordErrors()
}

func (v *validation) builder(target Codec) *Builder {
	nb := NewBuilder(0)
	nb.Codec, nb.Level = target, v.cfg.Level
	nb.TimestampType = v.cfg.TimestampType
	if v.cfg.TimestampType == LogAppendTime {
		nb.LogAppendTimeMs = v.nowMs
	}
	return nb
}

// finish builds nb into a.
func (v *validation) finish(a *Appended, nb *Builder) error {
	out, err := nb.Build(nil)
	if err != nil {
		return err
	}
	if err := v.recheck(len(out)); err != nil {
		return err
	}
	var i Info
	if err := readInfo(out, &i); err != nil {
		return err
	}
	i.Size = len(out)
	a.Data, a.Infos, a.Rewritten = out, append(a.Infos[:0], i), true
	return nil
}

// recheck compares the size of a batch that was made anew with the limit.
func (v *validation) recheck(size int) error {
	if size > v.cfg.MaxMessageBytes {
		return kafka.MessageTooLarge.Errorf("Message batch size is %d bytes in append which exceeds the maximum configured size of %d.", size, v.cfg.MaxMessageBytes)
	}
	return nil
}
