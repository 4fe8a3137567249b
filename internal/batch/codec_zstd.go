package batch

import (
	"errors"
	"math"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// zstdMaxWindow is what decoders of other clients accept, and what the highest
// levels of compression declare. Decoding into one slice allocates no window.
const zstdMaxWindow = 128 << 20

// zstdMaxBlock is what one block yields at most. zstdSlack is the room past the
// end that the library needs to take its fast path.
const (
	zstdMaxBlock = 128 << 10
	zstdSlack    = 16
)

// zstdWriters has one pool for each of the four levels that the library knows.
var zstdWriters [zstd.SpeedBestCompression + 1]sync.Pool

var zstdReaders sync.Pool

func compressZstd(dst, src []byte, level int) ([]byte, error) {
	speed := zstd.SpeedDefault
	if level != 0 {
		speed = zstd.EncoderLevelFromZstd(level)
	}
	pool := &zstdWriters[speed]
	z, ok := pool.Get().(*zstd.Encoder)
	if !ok {
		var err error
		z, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(1),
			zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20), zstd.WithZeroFrames(true))
		if err != nil {
			return dst, err
		}
	}
	dst = z.EncodeAll(src, dst)
	pool.Put(z)
	return dst, nil
}

func decompressZstd(dst, src []byte) ([]byte, error) {
	if len(src) == 0 {
		return dst, errors.New("no frame")
	}
	z, ok := zstdReaders.Get().(*zstd.Decoder)
	if !ok {
		var err error
		z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdMaxWindow), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return dst, err
		}
	}
	defer zstdReaders.Put(z)
	out, err := z.DecodeAll(src, dst)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || err == nil && len(out) > cap(dst) {
		return dst, errShort
	}
	if err != nil {
		// Near the end of its room the library cannot always tell a block that
		// is too large for its format from one that is too large for the room.
		if cap(dst)-len(out) < zstdMaxBlock+zstdSlack {
			return dst, errShort
		}
		return dst, err
	}
	return out, nil
}

// zstdDeclared is the size that the first frame declares, if it does. It is a
// hint: the decoder compares it with what comes out.
func zstdDeclared(src []byte) (int, bool) {
	var h zstd.Header
	if err := h.Decode(src); err != nil || !h.HasFCS || h.FrameContentSize > math.MaxInt32 {
		return 0, false
	}
	// A frame cannot yield more than 128 KiB for each block header of 3 bytes
	// and a byte to repeat, so that a larger claim is a lie.
	if h.FrameContentSize > uint64(len(src)/4+1)*zstdMaxBlock {
		return 0, false
	}
	return int(h.FrameContentSize) + zstdSlack, true
}
