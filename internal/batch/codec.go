package batch

// Codec is how the records of a batch are compressed, by the number in the
// batch's attributes.
type Codec int8

// The codecs; CodecProducer stands only in configurations.
const (
	CodecProducer Codec = -1
	CodecNone     Codec = 0
	CodecGzip     Codec = 1
	CodecSnappy   Codec = 2
	CodecLZ4      Codec = 3
	CodecZstd     Codec = 4
)

// String is the codec's name in batches and in tools.
func (c Codec) String() string {
	switch c {
	case CodecProducer:
		return "producer"
	case CodecNone:
		return "none"
	case CodecGzip:
		return "gzip"
	case CodecSnappy:
		return "snappy"
	case CodecLZ4:
		return "lz4"
	case CodecZstd:
		return "zstd"
	}
	return "unknown"
}

// ParseCompressionType reads a value of the topic key compression.type.
func ParseCompressionType(s string) (Codec, bool) {
	switch s {
	case "uncompressed":
		return CodecNone, true
	case "producer":
		return CodecProducer, true
	case "gzip":
		return CodecGzip, true
	case "snappy":
		return CodecSnappy, true
	case "lz4":
		return CodecLZ4, true
	case "zstd":
		return CodecZstd, true
	}
	return CodecNone, false
}
