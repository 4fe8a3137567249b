package timeline

import (
	"math/bits"
	"reflect"
	"unsafe"

	"github.com/gregorhq/gregor/internal/invariant"
)

// The constants of the hash. They are fixed, because the order of iteration must be the same in every process.
const (
	hashStart = 0x9e3779b97f4a7c15
	hashMul   = 0xd6e8feb86659fd93
	hashEnd   = 0xa0761d6478bd642f
)

// mix folds x into h.
func mix(h, x uint64) uint64 {
	hi, lo := bits.Mul64(h^x, hashMul)
	return hi ^ lo
}

func hashWord(x uint64) uint64 { return mix(mix(hashStart, x), hashEnd) }

// mixString folds a string and its length into h.
func mixString(h uint64, s string) uint64 {
	h = mix(h, uint64(len(s)))
	for len(s) >= 8 {
		h = mix(h, uint64(s[0])|uint64(s[1])<<8|uint64(s[2])<<16|uint64(s[3])<<24|
			uint64(s[4])<<32|uint64(s[5])<<40|uint64(s[6])<<48|uint64(s[7])<<56)
		s = s[8:]
	}
	if len(s) == 0 {
		return h
	}
	var tail uint64
	for i := len(s) - 1; i >= 0; i-- {
		tail = tail<<8 | uint64(s[i])
	}
	return mix(h, tail)
}

// hasherOf returns the hash function of a key type.
func hasherOf[K comparable]() func(K) uint64 {
	var candidate any
	switch any(*new(K)).(type) {
	case string:
		candidate = func(k string) uint64 { return mix(mixString(hashStart, k), hashEnd) }
	case int32:
		candidate = func(k int32) uint64 { return hashWord(uint64(k)) }
	case int64:
		candidate = func(k int64) uint64 { return hashWord(uint64(k)) }
	case int:
		candidate = func(k int) uint64 { return hashWord(uint64(k)) }
	}
	if f, ok := candidate.(func(K) uint64); ok {
		return f
	}
	plan := appendPlan(nil, reflect.TypeFor[K](), 0)
	return func(k K) uint64 { return hashPlan(plan, unsafe.Pointer(&k)) }
}

// step is one piece of a key: a string, or an integer of size bytes, at an offset.
type step struct {
	offset uintptr
	size   uint8 // 0 for a string
}

// appendPlan lists the pieces of a type. Padding is no piece, so equal keys have equal hashes.
func appendPlan(plan []step, t reflect.Type, offset uintptr) []step {
	switch t.Kind() {
	case reflect.String:
		return append(plan, step{offset, 0})
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		return append(plan, step{offset, 1})
	case reflect.Int16, reflect.Uint16:
		return append(plan, step{offset, 2})
	case reflect.Int32, reflect.Uint32:
		return append(plan, step{offset, 4})
	case reflect.Int64, reflect.Uint64:
		return append(plan, step{offset, 8})
	case reflect.Int, reflect.Uint:
		return append(plan, step{offset, uint8(t.Size())})
	case reflect.Array:
		for i := range t.Len() {
			plan = appendPlan(plan, t.Elem(), offset+uintptr(i)*t.Elem().Size())
		}
		return plan
	case reflect.Struct:
		for i := range t.NumField() {
			plan = appendPlan(plan, t.Field(i).Type, offset+t.Field(i).Offset)
		}
		return plan
	}
	invariant.Unreachable("timeline: a key of type %v has no fixed hash", t)
	return nil
}

// hashPlan hashes the key at p. Bytes that follow each other, as in an identifier of 16 bytes, are gathered into words.
func hashPlan(plan []step, p unsafe.Pointer) uint64 {
	h, word, filled := uint64(hashStart), uint64(0), uint(0)
	for _, s := range plan {
		at := unsafe.Add(p, s.offset)
		switch s.size {
		case 0:
			h = mixString(h, *(*string)(at))
		case 1:
			word |= uint64(*(*uint8)(at)) << (8 * filled)
			if filled++; filled == 8 {
				h, word, filled = mix(h, word), 0, 0
			}
		case 2:
			h = mix(h, uint64(*(*uint16)(at)))
		case 4:
			h = mix(h, uint64(*(*uint32)(at)))
		case 8:
			h = mix(h, *(*uint64)(at))
		}
	}
	return mix(mix(h, word), hashEnd)
}
