package batch

// Magic numbers of the message formats.
const (
	MagicV0 int8 = 0
	MagicV1 int8 = 1
	MagicV2 int8 = 2
)

// Values that stand for "none" in a batch.
const (
	NoProducerID    int64 = -1
	NoProducerEpoch int16 = -1
	NoSequence      int32 = -1
	NoTimestamp     int64 = -1
	NoLeaderEpoch   int32 = -1
)

// Sizes of the fixed parts.
const (
	// LogOverhead is the offset and the length that every batch or message of
	// any format begins with.
	LogOverhead = 12
	// HeaderSize is the header of a v2 batch, up to its first record.
	HeaderSize = 61
	// PeekSize is how many bytes Peek needs at most; a file that ends earlier
	// may still hold a whole message of an old format.
	PeekSize = HeaderSize
)

// TimestampType says what the timestamps of a batch mean.
type TimestampType int8

// The two meanings, by the bit that stands for them.
const (
	CreateTime    TimestampType = 0
	LogAppendTime TimestampType = 1
)

// Origin says who made the bytes that are to be appended; it decides how much of
// them is believed.
type Origin int8

const (
	// OriginClient is a Produce request: nothing is believed.
	OriginClient Origin = iota
	// OriginCoordinator is a coordinator on this broker, which may write control
	// batches and batches without sequence numbers.
	OriginCoordinator
	// OriginReplication is a leader's log, which has been validated there.
	OriginReplication
	// OriginRaftLeader is the leader of the metadata quorum writing its own log.
	OriginRaftLeader
)

// Info is what the header of one batch says, with its place in the slice that it
// was read from. For the old formats one top-level message is one batch.
type Info struct {
	// Pos and Size are where the batch lies, in bytes.
	Pos, Size int
	// BaseOffset and LastOffset are as in the bytes: relative to 0 in what a
	// producer sent, absolute after Assign and in every log. For a compressed
	// message of an old format BaseOffset is exact only from Infos.
	BaseOffset, LastOffset int64
	// LastOffsetDelta is LastOffset - BaseOffset. Compaction may leave fewer
	// records than it says.
	LastOffsetDelta int32
	// NumRecords counts records, control records too.
	NumRecords  int32
	LeaderEpoch int32
	// BaseTimestamp is the first record's; with HasDeleteHorizon it is the time
	// from which the batch's tombstones may be removed.
	BaseTimestamp int64
	MaxTimestamp  int64
	ProducerID    int64
	BaseSequence  int32
	ProducerEpoch int16
	// CRC is the checksum that is stored.
	CRC              uint32
	Magic            int8
	Codec            Codec
	TimestampType    TimestampType
	IsTransactional  bool
	IsControl        bool
	HasDeleteHorizon bool
	// Control is what a control batch of format v2 says, as far as Infos or
	// Validate read it; Peek leaves it empty.
	Control Control
}

// HasProducerID says whether the batch belongs to an idempotent producer.
func (i *Info) HasProducerID() bool { return i.ProducerID > NoProducerID }

// LastSequence is the sequence number of the last record, or NoSequence.
func (i *Info) LastSequence() int32 {
	if i.BaseSequence == NoSequence {
		return NoSequence
	}
	return IncrementSequence(i.BaseSequence, i.LastOffsetDelta)
}

// End is one past the batch's last byte.
func (i *Info) End() int { return i.Pos + i.Size }

// IncrementSequence adds to a sequence number; the number after the largest is 0.
func IncrementSequence(seq, n int32) int32 {
	if seq > maxInt32-n {
		return n - (maxInt32 - seq) - 1
	}
	return seq + n
}

// DecrementSequence is the inverse of IncrementSequence.
func DecrementSequence(seq, n int32) int32 {
	if seq < n {
		return maxInt32 - (n - seq) + 1
	}
	return seq - n
}

const maxInt32 = 1<<31 - 1

// Config is what a topic says about the records that may be appended to it. The
// caller keeps one a topic and changes none in use.
type Config struct {
	// MaxMessageBytes bounds one batch with its header (max.message.bytes),
	// before and after it is compressed anew.
	MaxMessageBytes int
	// TimestampType is message.timestamp.type.
	TimestampType TimestampType
	// BeforeMaxMs and AfterMaxMs are message.timestamp.before.max.ms and
	// message.timestamp.after.max.ms.
	BeforeMaxMs, AfterMaxMs int64
	// Compact says that cleanup.policy has compact: records need keys.
	Compact bool
	// Codec is compression.type; CodecProducer keeps what the producer chose.
	Codec Codec
	// Level is the level to compress with; 0 is the codec's default.
	Level int
	// MaxDecompressedBytes bounds what one batch may decompress to. 0 or less
	// means DefaultMaxDecompressedBytes.
	MaxDecompressedBytes int
}

// DefaultMaxDecompressedBytes bounds the decompressed size of one batch where
// nothing else is configured.
const DefaultMaxDecompressedBytes = 256 << 20

func (c *Config) maxDecompressed() int {
	if c.MaxDecompressedBytes <= 0 {
		return DefaultMaxDecompressedBytes
	}
	return c.MaxDecompressedBytes
}

// Appended is what Validate leaves to append: batches of format v2 without gaps
// between them. Its owner may use it again for the next Validate, which keeps
// the memory of Infos.
type Appended struct {
	// Data is the input where that could be kept, else a new slice.
	Data []byte
	// Infos has one element a batch, in order.
	Infos []Info
	// Rewritten says that Data is a new slice.
	Rewritten bool
}

// NumRecords is the number of offsets that the batches take.
func (a *Appended) NumRecords() int64 {
	var n int64
	for i := range a.Infos {
		n += int64(a.Infos[i].LastOffsetDelta) + 1
	}
	return n
}

// RecordError says what is wrong with one record of a batch.
type RecordError struct {
	// BatchIndex counts records from 0.
	BatchIndex int32
	Message    string
}

// RecordErrors are the records for which a batch is refused, for the response of
// a Produce request.
type RecordErrors struct {
	Errors []RecordError
}
