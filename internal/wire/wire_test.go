package wire

import (
	"errors"
	"math/rand"
	"reflect"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// eachVersion calls f for every key and version that the codec has.
func eachVersion(f func(key, version int16)) {
	for key := int16(0); key < NumKeys; key++ {
		for v := int16(0); v <= NewRequest(key).MaxVersion(); v++ {
			f(key, v)
		}
	}
}

// TestTableAgreesWithCodec compares every row with kmsg and with its record of the
// versions of Apache Kafka 4.4.
func TestTableAgreesWithCodec(t *testing.T) {
	released := kversion.V4_4_0()
	for i := range APIs() {
		a := &APIs()[i]
		if int(a.Key) != i {
			t.Fatalf("row %d has key %d", i, a.Key)
		}
		if n := kmsg.NameForKey(a.Key); n != a.Name && n != renamed[a.Name] {
			t.Errorf("key %d: name %s, codec says %s", a.Key, a.Name, n)
		}
		req := NewRequest(a.Key)
		if a.NewestMax > req.MaxVersion() {
			t.Errorf("%s: newest version %d, codec has %d", a.Name, a.NewestMax, req.MaxVersion())
		}
		for v := int16(0); v <= req.MaxVersion(); v++ {
			req.SetVersion(v)
			if req.IsFlexible() != a.IsFlexible(v) {
				t.Errorf("%s v%d: flexible %v, codec says %v", a.Name, v, a.IsFlexible(v), req.IsFlexible())
			}
		}
		// The release's record is of broker listeners.
		max, ok := released.LookupMaxKeyVersion(a.Key)
		if ok && max != a.LatestStable() {
			t.Errorf("%s: max %d, the release has %d", a.Name, a.LatestStable(), max)
		}
		if want := a.Broker && a.Max >= a.Min; ok != want {
			t.Errorf("%s: in the release %v, in the table %v", a.Name, ok, want)
		}
	}
}

// renamed maps Kafka's spelling to the codec's where they differ.
var renamed = map[string]string{
	"SaslHandshake": "SASLHandshake", "SaslAuthenticate": "SASLAuthenticate",
	"AlterPartitionReassignments": "AlterPartitionAssignments",
	"LeaderAndIsr":                "LeaderAndISR", "InitProducerId": "InitProducerID", "DescribeAcls": "DescribeACLs",
	"CreateAcls": "CreateACLs", "DeleteAcls": "DeleteACLs", "AllocateProducerIds": "AllocateProducerIDs",
	"DescribeUserScramCredentials": "DescribeUserSCRAMCredentials", "AlterUserScramCredentials": "AlterUserSCRAMCredentials",
}

// fill sets every field of a request to something small and random.
func fill(rng *rand.Rand, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Pointer:
		if rng.Intn(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			if d, ok := v.Interface().(interface{ Default() }); ok {
				d.Default()
			}
			fill(rng, v.Elem(), depth)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[kmsg.Tags]() {
			for i := rng.Intn(3); i > 0; i-- {
				v.Addr().Interface().(*kmsg.Tags).Set(uint32(100+i), make([]byte, rng.Intn(4)))
			}
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Version" {
				fill(rng, v.Field(i), depth+1)
			}
		}
	case reflect.Slice:
		n := rng.Intn(3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(rng, v.Index(i), depth+1)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(rng, v.Index(i), depth+1)
		}
	case reflect.String:
		v.SetString("abcdefgh"[:rng.Intn(9)])
	case reflect.Bool:
		v.SetBool(rng.Intn(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(rng.Intn(100)))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(rng.Intn(100)))
	case reflect.Float64:
		v.SetFloat(rng.Float64())
	}
}

func randomRequest(rng *rand.Rand, key, version int16) kmsg.Request {
	req := NewRequest(key)
	req.SetVersion(version)
	fill(rng, reflect.ValueOf(req).Elem(), 0)
	req.SetVersion(version)
	return req
}

// TestSchemaAgreesWithCodec encodes random requests of every key and version: the
// schema must step over exactly the bytes that the codec wrote, every shorter body
// must be refused, and what passes must decode to the same bytes again.
func TestSchemaAgreesWithCodec(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	eachVersion(func(key, version int16) {
		for range 20 {
			req := randomRequest(rng, key, version)
			body := req.AppendTo(nil)
			w := walker{b: body, version: version, flexible: req.IsFlexible(), left: 1 << 30}
			if err := w.fields(schemas[key]); err != nil || len(w.b) != 0 {
				t.Fatalf("%s v%d: %v, %d bytes left of %d", Name(key), version, err, len(w.b), len(body))
			}
			if len(body) > 0 {
				w = walker{b: body[:rng.Intn(len(body))], version: version, flexible: req.IsFlexible(), left: 1 << 30}
				if w.fields(schemas[key]) == nil {
					t.Fatalf("%s v%d: a truncated body passed", Name(key), version)
				}
			}
			again, err := DecodeRequest(RequestHeader{Key: key, Version: version}, body)
			if err != nil {
				t.Fatalf("%s v%d: %v", Name(key), version, err)
			}
			if got := again.AppendTo(nil); string(got) != string(body) {
				t.Fatalf("%s v%d: decoded to something else", Name(key), version)
			}
		}
	})
}

// decodeCost returns what decoding allocates.
func decodeCost(key, version int16, body []byte) (uint64, error) {
	req := NewRequest(key)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := DecodeInto(req, version, body)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, err
}

// testSlack is what the runtime and error values may add to a measurement.
const testSlack = 64 << 10

// bombs returns bodies that claim far more than they hold.
func bombs() [][]byte {
	var all [][]byte
	for _, b := range []byte{0x00, 0x01, 0x02, 0x7f, 0x81, 0xfe, 0xff} {
		body := make([]byte, 40<<10)
		for i := range body {
			body[i] = b
		}
		all = append(all, body)
	}
	// An array length that just fits, followed by empty elements.
	for _, n := range []uint32{39 << 10, 10 << 10} {
		body := make([]byte, 40<<10)
		copy(body, []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		all = append(all, body)
		flexible := make([]byte, 40<<10)
		copy(flexible, []byte{byte(n) | 0x80, byte(n>>7) | 0x80, byte(n >> 14)})
		for i := 3; i < len(flexible); i++ {
			flexible[i] = 1
		}
		all = append(all, flexible)
	}
	// Four billion unknown tagged fields that are not there.
	all = append(all, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}, []byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	return all
}

// TestDecodeIsBounded feeds bombs at every place of every request: whatever comes,
// decoding allocates at most DecodeFactor times the body plus DecodeSlack.
func TestDecodeIsBounded(t *testing.T) {
	rng := rand.New(rand.NewSource(2))
	refused := 0
	eachVersion(func(key, version int16) {
		if version != 0 && version != NewRequest(key).MaxVersion() && rng.Intn(3*allocated*allocated) > 0 {
			return // some of the versions between are enough for one run
		}
		prefix := randomRequest(rng, key, version).AppendTo(nil)
		for _, bomb := range bombs() {
			for _, at := range []int{0, rng.Intn(len(prefix) + 1), len(prefix)} {
				body := append(append([]byte{}, prefix[:at]...), bomb...)
				cost, err := decodeCost(key, version, body)
				if limit := allocated*(DecodeFactor*uint64(len(body))+DecodeSlack) + testSlack; cost > limit {
					t.Fatalf("%s v%d: %d bytes allocated for %d, limit %d, error %v", Name(key), version, cost, len(body), limit, err)
				}
				if errors.Is(err, errTooDense) {
					refused++
				}
			}
		}
	})
	if refused == 0 {
		t.Error("no body was refused for its cost: the bombs test nothing")
	}
}
