package batch

import (
	"encoding/binary"
	"errors"
	"sync"

	"github.com/pierrec/lz4/v4"
)

// Kafka uses a part of the lz4 frame format: version 1, independent blocks, one
// frame, whose content checksum nobody compares. Frames of message format v0
// carry a checksum of the header that was computed over the magic too; those are
// written so and not compared (KIP-31, KAFKA-3160).
const (
	lz4Magic        = 0x184D2204
	lz4Incompressed = 1 << 31
	lz4BlockSize    = 64 << 10

	lz4FlagVersion         = 0xc0
	lz4Version             = 0x40
	lz4FlagIndependent     = 0x20
	lz4FlagBlockChecksum   = 0x10
	lz4FlagContentSize     = 0x08
	lz4FlagContentChecksum = 0x04
	lz4FlagReserved        = 0x03
	lz4BlockSizeID64K      = 4
	lz4DefaultLevel        = 9
)

var lz4Fast, lz4High sync.Pool

func compressLZ4(dst, src []byte, level int, magic int8) ([]byte, error) {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, lz4Magic)
	dst = append(dst, lz4Version|lz4FlagIndependent, lz4BlockSizeID64K<<4)
	summed := dst[start+4:]
	if magic == MagicV0 {
		summed = dst[start:]
	}
	dst = append(dst, byte(xxh32(summed)>>8))
	compress, done := lz4Compressor(level)
	defer done()
	for len(src) > 0 {
		n := min(len(src), lz4BlockSize)
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		need := lz4.CompressBlockBound(n)
		if cap(dst)-len(dst) < need {
			grown := make([]byte, len(dst), 2*cap(dst)+need)
			copy(grown, dst)
			dst = grown
		}
		size, err := compress(src[:n], dst[len(dst):cap(dst)])
		if err != nil {
			return dst, err
		}
		if size == 0 || size >= n {
			dst = append(dst, src[:n]...)
			binary.LittleEndian.PutUint32(dst[at:], uint32(n)|lz4Incompressed)
		} else {
			dst = dst[:len(dst)+size]
			binary.LittleEndian.PutUint32(dst[at:], uint32(size))
		}
		src = src[n:]
	}
	return append(dst, 0, 0, 0, 0), nil
}

// lz4Compressor returns a pooled compressor. Kafka's default level is the fast
// compressor, every other one the thorough.
func lz4Compressor(level int) (compress func(src, dst []byte) (int, error), done func()) {
	if level == 0 || level == lz4DefaultLevel {
		c, ok := lz4Fast.Get().(*lz4.Compressor)
		if !ok {
			c = new(lz4.Compressor)
		}
		return c.CompressBlock, func() { lz4Fast.Put(c) }
	}
	c, ok := lz4High.Get().(*lz4.CompressorHC)
	if !ok {
		c = new(lz4.CompressorHC)
	}
	c.Level = lz4.CompressionLevel(1 << (8 + min(max(level, 1), 9)))
	return c.CompressBlock, func() { lz4High.Put(c) }
}

// lz4Frame is what the frame's header says.
type lz4Frame struct {
	maxBlock      int
	blockChecksum bool
}

func parseLZ4Header(src []byte, magic int8) (f lz4Frame, rest []byte, err error) {
	if len(src) < 7 {
		return f, nil, errors.New("lz4 frame header is cut off")
	}
	if binary.LittleEndian.Uint32(src) != lz4Magic {
		return f, nil, errors.New("lz4 frame has another magic")
	}
	flags, bd := src[4], src[5]
	switch {
	case flags&lz4FlagVersion != lz4Version:
		return f, nil, errors.New("lz4 frame has another version")
	case flags&lz4FlagReserved != 0 || bd&0x8f != 0:
		return f, nil, errors.New("lz4 frame sets reserved bits")
	case flags&lz4FlagIndependent == 0:
		return f, nil, errors.New("lz4 frame has dependent blocks")
	case bd>>4 < lz4BlockSizeID64K:
		return f, nil, errors.New("lz4 frame has an unknown block size")
	}
	f.maxBlock = 1 << (2*(bd>>4) + 8)
	f.blockChecksum = flags&lz4FlagBlockChecksum != 0
	n := 6
	if flags&lz4FlagContentSize != 0 {
		n += 8
	}
	if len(src) <= n {
		return f, nil, errors.New("lz4 frame header is cut off")
	}
	if magic != MagicV0 && src[n] != byte(xxh32(src[4:n])>>8) {
		return f, nil, errors.New("lz4 frame header does not match its checksum")
	}
	return f, src[n+1:], nil
}

func decompressLZ4(dst, src []byte, magic int8) ([]byte, error) {
	f, src, err := parseLZ4Header(src, magic)
	if err != nil {
		return dst, err
	}
	for {
		if len(src) < 4 {
			return dst, errors.New("lz4 frame is cut off")
		}
		size := binary.LittleEndian.Uint32(src)
		stored := size&lz4Incompressed != 0
		n := int(size &^ lz4Incompressed)
		src = src[4:]
		if n == 0 {
			// What follows the end mark is not looked at, like the checksum
			// of the content.
			return dst, nil
		}
		if n > f.maxBlock || n > len(src) {
			return dst, errors.New("lz4 block is longer than it may be")
		}
		if dst, err = lz4Block(dst, src[:n], stored, f.maxBlock); err != nil {
			return dst, err
		}
		if f.blockChecksum {
			if len(src) < n+4 {
				return dst, errors.New("lz4 frame is cut off")
			}
			if binary.LittleEndian.Uint32(src[n:]) != xxh32(src[:n]) {
				return dst, errors.New("lz4 block does not match its checksum")
			}
			n += 4
		}
		src = src[n:]
	}
}

// lz4Block appends one block to dst.
func lz4Block(dst, block []byte, stored bool, maxBlock int) ([]byte, error) {
	room := cap(dst) - len(dst)
	if stored {
		if len(block) > room {
			return dst, errShort
		}
		return append(dst, block...), nil
	}
	limit := min(room, maxBlock)
	n, err := lz4.UncompressBlock(block, dst[len(dst):len(dst)+limit])
	if err != nil {
		// The library does not tell too little room from damage, so the
		// verdict waits until a whole block has room; no block yields more
		// than 255 times its size.
		if limit < min(maxBlock, 255*len(block)+16) {
			return dst, errShort
		}
		return dst, err
	}
	return dst[:len(dst)+n], nil
}
