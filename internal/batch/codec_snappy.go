package batch

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy"
)

// Java clients and brokers frame snappy as the library xerial/snappy-java does:
// a header of 16 bytes (magic, version, compatible version), then blocks of at
// most 32 KiB, each with its compressed length before it. Other clients send one
// bare snappy block.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const (
	xerialHeader = 16
	xerialBlock  = 32 << 10
)

func compressSnappy(dst, src []byte) []byte {
	dst = append(dst, xerialMagic...)
	dst = be.AppendUint32(dst, 1)
	dst = be.AppendUint32(dst, 1)
	for len(src) > 0 {
		n := min(len(src), xerialBlock)
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		need := s2.MaxEncodedLen(n)
		if cap(dst)-len(dst) < need {
			grown := make([]byte, len(dst), 2*cap(dst)+need)
			copy(grown, dst)
			dst = grown
		}
		block := s2.EncodeSnappy(dst[len(dst):cap(dst)], src[:n])
		dst = dst[:len(dst)+len(block)]
		be.PutUint32(dst[at:], uint32(len(block)))
		src = src[n:]
	}
	return dst
}

func decompressSnappy(dst, src []byte) ([]byte, error) {
	if !bytes.HasPrefix(src, xerialMagic) || len(src) < xerialHeader {
		return snappyBlock(dst, src)
	}
	src = src[xerialHeader:]
	for len(src) > 0 {
		// Streams that were concatenated have a header in the middle.
		if bytes.HasPrefix(src, xerialMagic) && len(src) >= xerialHeader {
			src = src[xerialHeader:]
			continue
		}
		if len(src) < 4 {
			return dst, errors.New("snappy block length is cut off")
		}
		n := int64(be.Uint32(src))
		src = src[4:]
		if n > int64(len(src)) {
			return dst, errors.New("snappy block is longer than what remains")
		}
		var err error
		if dst, err = snappyBlock(dst, src[:n]); err != nil {
			return dst, err
		}
		src = src[n:]
	}
	return dst, nil
}

// snappyMaxRatio is above what any element of a snappy block expands to: three
// bytes copy at most 64.
const snappyMaxRatio = 22

// snappyBlock appends one block. The strict decoder refuses the extensions of s2,
// which other consumers cannot read.
func snappyBlock(dst, src []byte) ([]byte, error) {
	n, err := snappyLen(src)
	if err != nil {
		return dst, err
	}
	if n > cap(dst)-len(dst) {
		return dst, errShort
	}
	out, err := snappy.DecodeStrict(dst[len(dst):cap(dst):cap(dst)], src)
	if err != nil {
		return dst, err
	}
	return dst[:len(dst)+len(out)], nil
}

// snappyLen is the size that a block declares, refused when its bytes cannot
// yield as much.
func snappyLen(src []byte) (int, error) {
	v, w := binary.Uvarint(src)
	if w <= 0 || w > 5 || v > 1<<32-1 {
		return 0, errors.New("snappy block length is malformed")
	}
	if v > uint64(len(src))*snappyMaxRatio {
		return 0, errors.New("snappy block declares more than it can hold")
	}
	return int(v), nil
}

// snappyDeclared sums what the blocks declare, to size the buffer.
func snappyDeclared(src []byte) (int, bool) {
	if !bytes.HasPrefix(src, xerialMagic) || len(src) < xerialHeader {
		n, err := snappyLen(src)
		return n, err == nil
	}
	src = src[xerialHeader:]
	total := 0
	for len(src) >= 4 {
		if bytes.HasPrefix(src, xerialMagic) && len(src) >= xerialHeader {
			src = src[xerialHeader:]
			continue
		}
		n := int64(be.Uint32(src))
		src = src[4:]
		if n > int64(len(src)) {
			return 0, false
		}
		declared, err := snappyLen(src[:n])
		if err != nil {
			return 0, false
		}
		total += declared
		src = src[n:]
	}
	return total, true
}
