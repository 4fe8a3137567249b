package batch

import (
	"errors"

	"github.com/gregorhq/gregor/internal/kafka"
)

// errShort says that a decoder needs more room than it was given. It never
// leaves the package.
var errShort = errors.New("decompressed data needs more room")

// Compress appends src, compressed with c, to dst. level 0 is the codec's
// default; magic is the message format that the bytes are for, since format v0
// has its own idea of lz4.
func Compress(dst, src []byte, c Codec, level int, magic int8) ([]byte, error) {
	switch c {
	case CodecNone:
		return append(dst, src...), nil
	case CodecGzip:
		return compressGzip(dst, src, level)
	case CodecSnappy:
		return compressSnappy(dst, src), nil
	case CodecLZ4:
		return compressLZ4(dst, src, level, magic)
	case CodecZstd:
		return compressZstd(dst, src, level)
	}
	return dst, unknownCodec(c)
}

// Decompress appends what src decompresses to to dst. More than max bytes are
// RECORD_TOO_LARGE, data that does not decompress is INVALID_RECORD.
func Decompress(dst, src []byte, c Codec, magic int8, max int) ([]byte, error) {
	if c == CodecNone {
		if len(src) > max {
			return dst, tooLargeDecompressed(max)
		}
		return append(dst, src...), nil
	}
	buf, err := decompressPooled(src, c, magic, max)
	if err != nil {
		return dst, err
	}
	defer buf.release()
	return append(dst, buf.b...), nil
}

// decompressPooled decompresses src into a pooled buffer that the caller has to
// release. The buffer grows with what really comes out: a size that the data
// declares is at most a hint, and is believed only up to the bound.
func decompressPooled(src []byte, c Codec, magic int8, max int) (*buffer, error) {
	size := min(decompressedHint(src, c), max)
	for {
		buf := getBuffer(size)
		// The class of a pooled buffer may be larger than the bound.
		room := buf.b[:0:min(cap(buf.b), max)]
		out, err := decompressInto(room, src, c, magic)
		if err == nil {
			buf.b = out
			return buf, nil
		}
		held := cap(room)
		buf.release()
		if !errors.Is(err, errShort) {
			return nil, kafka.InvalidRecord.Errorf("Failed to decompress record stream (%s): %w", c, err)
		}
		if held >= max {
			return nil, tooLargeDecompressed(max)
		}
		size = max
		if held <= max/4 {
			size = held * 4
		}
	}
}

// decompressedHint guesses how much room src needs.
func decompressedHint(src []byte, c Codec) int {
	guess := 4 * len(src)
	switch c {
	case CodecZstd:
		if n, ok := zstdDeclared(src); ok {
			return n
		}
	case CodecSnappy:
		if n, ok := snappyDeclared(src); ok {
			return n
		}
	}
	return guess
}

// decompressInto appends to dst without ever growing it; errShort says that
// there is not enough room.
func decompressInto(dst, src []byte, c Codec, magic int8) ([]byte, error) {
	switch c {
	case CodecGzip:
		return decompressGzip(dst, src)
	case CodecSnappy:
		return decompressSnappy(dst, src)
	case CodecLZ4:
		return decompressLZ4(dst, src, magic)
	case CodecZstd:
		return decompressZstd(dst, src)
	}
	return dst, unknownCodec(c)
}

func unknownCodec(c Codec) error {
	return kafka.UnsupportedCompressionType.Errorf("Unknown compression type id: %d", int8(c))
}

func tooLargeDecompressed(max int) error {
	return kafka.MessageTooLarge.Errorf("The records of the batch decompress to more than the %d bytes that are allowed", max)
}
