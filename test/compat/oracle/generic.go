package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// scenario is a group of exchanges that belong together.
type scenario struct {
	name string
	run  func(o *oracle)
}

// scenarios run in this order. What one leaves behind, the later ones see.
var scenarios = []scenario{
	{"untouched", untouched},
	{"cluster", clusterRequests},
	{"controllers", controllers},
	{"topics", topicRequests},
	{"partitions", partitionRequests},
	{"configs", configRequests},
	{"produce", produceRequests},
	{"fetch", fetchRequests},
	{"offsets of logs", listOffsetRequests},
	{"offsets of groups", offsetRequests},
	{"classic groups", classicRequests},
	{"consumer groups", consumerRequests},
	{"transactions", txnRequests},
	{"operations", operationRequests},
	{"defaults", defaults},
	{"filled", filled},
	{"unknown versions", unknownVersions},
	{"cut off", cutOff},
	{"too long", tooLong},
}

// harmless leaves out what would stop the servers from serving the rest.
func harmless(key int16) bool {
	switch key {
	case 0, 18: // Produce without acks has no answer; ApiVersions has exchanges of its own
		return key == 18
	}
	return true
}

// defaults sends every request with the values that its schema gives.
func defaults(o *oracle) {
	for key := int16(0); key < 100; key++ {
		if !harmless(key) {
			continue
		}
		o.each(key, func(v int16) {
			o.ask("defaults", v, func(*side) kmsg.Request {
				req := kmsg.RequestForKey(key)
				setDefault(req)
				return req
			})
		})
	}
}

func setDefault(req any) {
	if d, ok := req.(interface{ Default() }); ok {
		d.Default()
	}
}

// filled sends every request with a value in every field, lists of one element.
func filled(o *oracle) {
	o.make("filled", 3) // else the first Metadata has it made, and when it is there depends
	for key := int16(0); key < 100; key++ {
		if !harmless(key) {
			continue
		}
		o.each(key, func(v int16) {
			o.ask("filled", v, func(*side) kmsg.Request {
				req := kmsg.RequestForKey(key)
				setDefault(req)
				fill(reflect.ValueOf(req).Elem(), "")
				if f, ok := req.(*kmsg.FetchRequest); ok {
					withoutNewerTags(f, v)
				}
				return req
			})
		})
	}
	o.each(1, func(v int16) {
		if v < 12 || v > 16 {
			return
		}
		o.ask("tags of newer versions", v, func(*side) kmsg.Request {
			req := kmsg.NewPtrFetchRequest()
			fill(reflect.ValueOf(req).Elem(), "")
			return req
		})
	})
}

// withoutNewerTags takes fields out of a Fetch that its version does not have. They have
// tags, which Apache Kafka refuses in versions that are older than the tag.
func withoutNewerTags(f *kmsg.FetchRequest, v int16) {
	p := &f.Topics[0].Partitions[0]
	none := kmsg.NewFetchRequestTopicPartition()
	if v < 18 {
		p.HighWatermark = none.HighWatermark
	}
	if v < 17 {
		p.ReplicaDirectoryID = none.ReplicaDirectoryID
	}
	if v < 15 {
		f.ReplicaState = kmsg.NewFetchRequestReplicaState()
	}
}

// fill sets every field; those that name times to ones that keep nobody waiting.
func fill(v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name)
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Name == "Version" || f.Name == "UnknownTags" || !f.IsExported() {
				continue
			}
			fill(v.Field(i), f.Name)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte("bytes"))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		if e := v.Index(0); e.Kind() == reflect.Struct {
			setDefault(e.Addr().Interface())
		}
		fill(v.Index(0), name)
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(i) + 1)
		}
	case reflect.String:
		v.SetString("filled")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int8:
		v.SetInt(1)
	case reflect.Int16, reflect.Int32, reflect.Int64:
		switch {
		case strings.Contains(name, "Wait"):
			v.SetInt(50)
		case strings.Contains(name, "Timeout"):
			v.SetInt(10000)
		default:
			v.SetInt(77)
		}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(7)
	}
}

// frame encodes a request as it goes over the wire.
func (s *side) frame(req kmsg.Request) []byte {
	s.correlation++
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("oracle")).AppendRequest(nil, req, s.correlation)
}

// raw sends the frames that build makes of requests and compares what comes back.
func (o *oracle) raw(scenario string, key, v int16, build func(s *side, req kmsg.Request) []byte) {
	var answers [2]answer
	for i, s := range o.sides {
		req := kmsg.RequestForKey(key)
		setDefault(req)
		req.SetVersion(v)
		answers[i] = s.send(build(s, req), req)
		s.hangUp()
	}
	o.compare(kmsg.NameForKey(key), key, v, scenario, answers)
}

// unknownVersions sends versions that neither server has.
func unknownVersions(o *oracle) {
	for key, r := range o.ranges {
		for _, v := range []int16{r.max + 20, -1} {
			o.raw(fmt.Sprintf("version %+d", v-r.max), key, v, func(s *side, req kmsg.Request) []byte {
				b := s.frame(req)
				b[6], b[7] = byte(uint16(v)>>8), byte(v)
				return b
			})
		}
	}
}

// cutOff sends requests without their last byte, and without any of their body.
func cutOff(o *oracle) {
	for key := int16(0); key < 100; key++ {
		o.each(key, func(v int16) {
			o.raw("without the last byte", key, v, func(s *side, req kmsg.Request) []byte {
				fill(reflect.ValueOf(req).Elem(), "")
				b := s.frame(req)
				return resize(b[:len(b)-1])
			})
		})
	}
}

// tooLong sends requests with more bytes than they have fields.
func tooLong(o *oracle) {
	for key := int16(1); key < 100; key++ {
		o.each(key, func(v int16) {
			o.raw("with a byte more", key, v, func(s *side, req kmsg.Request) []byte {
				return resize(append(s.frame(req), 0))
			})
		})
	}
}

// resize writes the size of a frame anew.
func resize(b []byte) []byte {
	n := len(b) - 4
	b[0], b[1], b[2], b[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return b
}

func fmtName(name string, v int16) string { return fmt.Sprintf("%s-v%d", name, v) }
