package batch

// Assign gives validated batches their offsets, from baseOffset without gaps,
// and their leader epoch, in place. The checksum does not cover those. With
// logAppendTimeMs not -1 the batches also get LogAppendTime and that time, and a
// new checksum where that changes anything. Infos follow.
func Assign(a *Appended, baseOffset int64, leaderEpoch int32, logAppendTimeMs int64) {
	next := baseOffset
	for k := range a.Infos {
		i := &a.Infos[k]
		b := a.Data[i.Pos:i.End():i.End()]
		i.BaseOffset = next
		i.LastOffset = next + int64(i.LastOffsetDelta)
		i.LeaderEpoch = leaderEpoch
		be.PutUint64(b[posBaseOffset:], uint64(next))
		be.PutUint32(b[posLeaderEpoch:], uint32(leaderEpoch))
		if logAppendTimeMs != NoTimestamp {
			setTimestamps(b, i, LogAppendTime, logAppendTimeMs)
		}
		next = i.LastOffset + 1
	}
}

// setTimestamps stores timestamp type and largest timestamp in the header of the
// whole batch b and in i, and a new checksum if either changes.
func setTimestamps(b []byte, i *Info, tt TimestampType, maxTimestamp int64) {
	if i.TimestampType == tt && i.MaxTimestamp == maxTimestamp {
		return
	}
	i.TimestampType, i.MaxTimestamp = tt, maxTimestamp
	attr := be.Uint16(b[posAttributes:]) &^ attrLogAppendTime
	if tt == LogAppendTime {
		attr |= attrLogAppendTime
	}
	be.PutUint16(b[posAttributes:], attr)
	be.PutUint64(b[posMaxTimestamp:], uint64(maxTimestamp))
	i.CRC = setCRC(b)
}
