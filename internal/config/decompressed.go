package config

// boundless is the default of max.decompressed.message.bytes: no bound in practice.
const boundless = 2147483639

// defaultBatchBound bounds a decompressed batch where max.decompressed.message.bytes
// is left at its default. It is far above what batches of the default
// max.message.bytes decompress to, and far below what a bomb could take.
const defaultBatchBound = 256 << 20

// MaxDecompressedBatchBytes bounds what one batch may decompress to, wherever it is
// decompressed. Kafka bounds single records only, by
// max.decompressed.message.bytes, and not at all by default; here a value that was
// set bounds the whole batch, and the default is 256 MiB or 16 times
// max.message.bytes, whichever is more.
func (t *Topic) MaxDecompressedBatchBytes() int {
	if t.MaxDecompressedMessageBytes != boundless {
		return t.MaxDecompressedMessageBytes
	}
	return t.defaultDecompressedBytes()
}

func (t *Topic) defaultDecompressedBytes() int {
	return min(max(defaultBatchBound, 16*t.MaxMessageBytes), boundless)
}

// MaxStoredBatchBytes bounds what a batch that is in the log may decompress to, for those
// who look into it there: a search by time, compaction, the conversion for old clients. It
// was bounded when it was produced, by what max.decompressed.message.bytes was then, so that
// a value that is now below the default is no reason to leave it unread: a partition could
// not be compacted any more. The header does not tell how much will come out, thus there
// still is a bound, and for batches from before a value above the default was lowered it may
// be too low.
func (t *Topic) MaxStoredBatchBytes() int {
	return max(t.MaxDecompressedBatchBytes(), t.defaultDecompressedBytes())
}
