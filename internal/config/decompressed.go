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
	return min(max(defaultBatchBound, 16*t.MaxMessageBytes), boundless)
}
