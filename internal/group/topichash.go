package group

import (
	"encoding/binary"
	"encoding/hex"
	"maps"
	"math/bits"
	"slices"
	"unicode/utf16"

	"github.com/gregorhq/gregor/internal/metadata"
)

// The hash of a group's topics stands in its epoch record (KIP-1101): XXH3 with 64 bits
// over what follows. It is Kafka's to the bit, so that a group that another broker takes
// over need not rebalance.

// hashOf is the hash of the topics that exist: of their ids and partitions and of the
// racks of these. Another hash than the group's means that its assignment is out of date.
func (m *Machine) hashOf(names map[string]int) int64 {
	img := m.image()
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if t := img.Topic(name); t != nil {
			b = binary.LittleEndian.AppendUint64(b, topicHash(t, img))
		}
	}
	if len(b) == 0 {
		return 0
	}
	return int64(xxh3(b))
}

// topicHash begins with a byte that stands for the layout of what is hashed.
func topicHash(t *metadata.Topic, img *metadata.Image) uint64 {
	b := append(make([]byte, 0, 256), 0)
	for _, half := range [][]byte{t.ID[:8], t.ID[8:]} {
		b = binary.LittleEndian.AppendUint64(b, binary.BigEndian.Uint64(half))
	}
	b = appendJavaString(b, t.Name)
	b = binary.LittleEndian.AppendUint32(b, uint32(t.NumPartitions()))
	for i, p := range t.Partitions() {
		b = binary.LittleEndian.AppendUint32(b, uint32(i))
		var racks []string
		for _, r := range p.Replicas {
			if broker := img.Broker(r); broker != nil && broker.Rack != nil {
				racks = append(racks, *broker.Rack)
			}
		}
		slices.Sort(racks)
		for _, rack := range racks {
			b = binary.LittleEndian.AppendUint32(b, uint32(len(utf16.Encode([]rune(rack)))))
			b = appendJavaString(b, rack)
		}
	}
	return xxh3(b)
}

// appendJavaString appends the UTF-16 units of a string and their number.
func appendJavaString(b []byte, s string) []byte {
	units := utf16.Encode([]rune(s))
	for _, u := range units {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return binary.LittleEndian.AppendUint32(b, uint32(len(units)))
}

const (
	prime32a = 0x9E3779B1
	prime32b = 0x85EBCA77
	prime32c = 0xC2B2AE3D
	prime64a = 0x9E3779B185EBCA87
	prime64b = 0xC2B2AE3D27D4EB4F
	prime64c = 0x165667B19E3779F9
	prime64d = 0x85EBCA77C2B2AE63
	prime64e = 0x27D4EB2F165667C5
)

// xxhSecret is the default secret of XXH3.
var xxhSecret = mustHex("b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f" +
	"cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c" +
	"3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8" +
	"a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364" +
	"eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e" +
	"2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err) // a constant of this file
	}
	return b
}

func le64(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
func le32(b []byte, at int) uint64 { return uint64(binary.LittleEndian.Uint32(b[at:])) }

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// mix16 mixes 16 bytes of input with 16 of the secret.
func mix16(b []byte, at, secret int) uint64 {
	return fold(le64(b, at)^le64(xxhSecret, secret), le64(b, at+8)^le64(xxhSecret, secret+8))
}

func avalanche(h uint64) uint64 {
	h = (h ^ h>>37) * 0x165667919E3779F9
	return h ^ h>>32
}

func avalanche64(h uint64) uint64 {
	h = (h ^ h>>33) * prime64b
	h = (h ^ h>>29) * prime64c
	return h ^ h>>32
}

// xxh3 is XXH3_64bits with seed 0.
func xxh3(b []byte) uint64 {
	switch n := len(b); {
	case n <= 16:
		return xxh3Short(b)
	case n <= 128:
		h := uint64(n) * prime64a
		for i := (n - 1) / 32; i >= 0; i-- {
			h += mix16(b, 16*i, 32*i) + mix16(b, n-16*(i+1), 32*i+16)
		}
		return avalanche(h)
	case n <= 240:
		h := uint64(n) * prime64a
		for i := range 8 {
			h += mix16(b, 16*i, 16*i)
		}
		h = avalanche(h)
		for i := 8; i < n/16; i++ {
			h += mix16(b, 16*i, 16*(i-8)+3)
		}
		return avalanche(h + mix16(b, n-16, 136-17))
	}
	return xxh3Long(b)
}

func xxh3Short(b []byte) uint64 {
	n := len(b)
	switch {
	case n == 0:
		return avalanche64(le64(xxhSecret, 56) ^ le64(xxhSecret, 64))
	case n <= 3:
		word := uint64(b[0])<<16 | uint64(b[n>>1])<<24 | uint64(b[n-1]) | uint64(n)<<8
		return avalanche64(word ^ le32(xxhSecret, 0) ^ le32(xxhSecret, 4))
	case n <= 8:
		h := le32(b, n-4) + le32(b, 0)<<32
		h ^= le64(xxhSecret, 8) ^ le64(xxhSecret, 16)
		h ^= bits.RotateLeft64(h, 49) ^ bits.RotateLeft64(h, 24)
		h *= 0x9FB21C651E98DF25
		h ^= h>>35 + uint64(n)
		h *= 0x9FB21C651E98DF25
		return h ^ h>>28
	}
	lo := le64(b, 0) ^ le64(xxhSecret, 24) ^ le64(xxhSecret, 32)
	hi := le64(b, n-8) ^ le64(xxhSecret, 40) ^ le64(xxhSecret, 48)
	return avalanche(uint64(n) + bits.ReverseBytes64(lo) + hi + fold(lo, hi))
}

// xxh3Long works in blocks of 16 stripes of 64 bytes.
func xxh3Long(b []byte) uint64 {
	acc := [8]uint64{prime32c, prime64a, prime64b, prime64c, prime64d, prime32b, prime64e, prime32a}
	stripe := func(at, secret int) {
		for i := range acc {
			v := le64(b, at+8*i)
			k := v ^ le64(xxhSecret, secret+8*i)
			acc[i^1] += v
			acc[i] += (k & 0xffffffff) * (k >> 32)
		}
	}
	stripes := (len(b) - 1) / 64
	for s := range stripes {
		stripe(64*s, 8*(s%16))
		if s%16 == 15 {
			for i := range acc {
				acc[i] = (acc[i] ^ acc[i]>>47 ^ le64(xxhSecret, len(xxhSecret)-64+8*i)) * prime32a
			}
		}
	}
	stripe(len(b)-64, len(xxhSecret)-64-7)
	h := uint64(len(b)) * prime64a
	for i := range 4 {
		h += fold(acc[2*i]^le64(xxhSecret, 11+16*i), acc[2*i+1]^le64(xxhSecret, 19+16*i))
	}
	return avalanche(h)
}
