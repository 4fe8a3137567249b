//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// mark is what a value says of itself: who wrote it, where to, and which one it is.
type mark struct {
	kind      byte
	producer  uint8
	partition uint16
	doomed    bool // its transaction will be aborted
	number    uint64
}

// markBytes are those of a value in front of its padding: check sum, kind, producer,
// partition, doomed, number.
const markBytes = 4 + 1 + 1 + 2 + 1 + 8

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errTorn    = errors.New("the check sum does not fit")
)

// padding is where values take what fills them. Half of its bits are used, so that it
// can be compressed somewhat, as most of what people send.
var padding = func() []byte {
	out := make([]byte, 64<<10)
	x := uint64(88172645463325252)
	for i := range out {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		out[i] = 'a' + byte(x>>32)%16
	}
	return out
}()

// value makes the value of a record with size bytes of padding.
func (m mark) value(size int) []byte {
	out := make([]byte, markBytes, markBytes+size)
	out[4], out[5] = m.kind, m.producer
	binary.BigEndian.PutUint16(out[6:], m.partition)
	if m.doomed {
		out[8] = 1
	}
	binary.BigEndian.PutUint64(out[9:], m.number)
	from := int(m.number*31) % (len(padding) - size)
	out = append(out, padding[from:from+size]...)
	binary.BigEndian.PutUint32(out, crc32.Checksum(out[4:], castagnoli))
	return out
}

// parse reads a value that has to be of a kind and of a partition.
func parse(value []byte, kind byte, partition int32) (mark, error) {
	if len(value) < markBytes {
		return mark{}, fmt.Errorf("a value of %d bytes: %w", len(value), errTorn)
	}
	if crc32.Checksum(value[4:], castagnoli) != binary.BigEndian.Uint32(value) {
		return mark{}, errTorn
	}
	m := mark{kind: value[4], producer: value[5], partition: binary.BigEndian.Uint16(value[6:]), doomed: value[8] == 1, number: binary.BigEndian.Uint64(value[9:])}
	if m.kind != kind || int32(m.partition) != partition {
		return m, fmt.Errorf("a value of kind %c and partition %d", m.kind, m.partition)
	}
	return m, nil
}
