package wire

import (
	"math/rand"
	"testing"
)

// FuzzDecodeRequest gives any bytes to any key and version: decoding neither panics
// nor allocates more than its bound, and what the schema accepts the codec accepts.
func FuzzDecodeRequest(f *testing.F) {
	rng := rand.New(rand.NewSource(3))
	for key := int16(0); key < NumKeys; key += 3 {
		v := NewRequest(key).MaxVersion()
		f.Add(key, v, randomRequest(rng, key, v).AppendTo(nil))
	}
	for _, bomb := range bombs()[len(bombs())-2:] {
		f.Add(int16(3), int16(9), bomb)
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		if key < 0 || key >= NumKeys || version < 0 || version > NewRequest(key).MaxVersion() {
			if _, err := DecodeRequest(RequestHeader{Key: key, Version: version}, body); err == nil {
				t.Fatal("decoded a request that does not exist")
			}
			return
		}
		cost, err := decodeCost(key, version, body)
		if limit := allocated*(DecodeFactor*uint64(len(body))+DecodeSlack) + testSlack; cost > limit {
			t.Fatalf("%s v%d: %d bytes allocated for %d", Name(key), version, cost, len(body))
		}
		req := NewRequest(key)
		req.SetVersion(version)
		if checkBody(key, version, req.IsFlexible(), body) == nil && err != nil {
			t.Fatalf("%s v%d: the schema accepts what the codec refuses: %v", Name(key), version, err)
		}
	})
}

// FuzzRequestHeader checks that any frame is parsed or refused, and that what was
// parsed encodes to a header that parses the same.
func FuzzRequestHeader(f *testing.F) {
	id := "client"
	for _, h := range []RequestHeader{
		{Key: 0, Version: 9, CorrelationID: 7, ClientID: &id},
		{Key: 7, Version: 0, CorrelationID: 8},
		{Key: 18, Version: 99, CorrelationID: -1},
	} {
		f.Add(AppendRequestHeader(nil, h))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, body, err := ParseRequestHeader(frame)
		if err != nil {
			return
		}
		if len(body) > len(frame) {
			t.Fatal("the body is longer than the frame")
		}
		h2, rest, err := ParseRequestHeader(AppendRequestHeader(nil, h))
		if err != nil || len(rest) != 0 || h2.Key != h.Key || h2.Version != h.Version ||
			h2.CorrelationID != h.CorrelationID || h2.ClientIDString() != h.ClientIDString() {
			t.Fatalf("%+v became %+v, %v", h, h2, err)
		}
	})
}
