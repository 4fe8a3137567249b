package main

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Fields that differ between any two servers. Of a sign only it is compared whether
// the value is negative, zero or positive.
var (
	skipped = []string{"ThrottleMillis", "Port", "Version", "SessionID", "BrokerEpoch", "IncarnationID"}
	signs   = []string{"LogAppendTime", "StartTimestamp", "LastTimestamp", "LastFetchTimestamp", "LastCaughtUpTimestamp", "TotalBytes",
		"UsableBytes", "IssueTimestamp", "FinalizedFeaturesEpoch", "TransactionTimeoutMillis", "LastFetchOffset"}
	// positions are those of logs that servers write themselves, each as it likes.
	positions = []string{"LogEndOffset", "HighWatermark", "Size"}
	// identities are the fields by which the elements of a list are told apart. Where an
	// element has one the list is compared without regard to its order.
	identities = []string{"Topic", "TopicID", "Name", "ApiKey", "Key", "ResourceType", "ResourceName", "Group", "GroupID", "TransactionalID", "Partition",
		"PartitionIndex", "NodeID", "BrokerID", "ReplicaID", "MemberID", "InstanceID", "ConfigName", "Feature", "LogDir", "Dir", "ProducerID", "Cluster", "Protocol", "ConfigType", "Source"}
)

var (
	internal = regexp.MustCompile(`\[__(cluster_metadata|consumer_offsets|transaction_state)\]`)
	uuidText = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	id64     = regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`)
)

// flatten makes a map from paths to values of an answer, and the order of the paths.
func (s *side) flatten(a answer) (map[string]string, []string) {
	f := &flattener{s: s, out: map[string]string{}}
	switch {
	case a.closed:
		f.put("connection", "closed")
	case a.err != nil:
		f.put("answer", a.err.Error())
	case a.resp == nil:
		f.put("answer", "none is due")
	default:
		f.put("bytes left over", fmt.Sprint(a.rest))
		f.value("", "", reflect.ValueOf(a.resp).Elem())
	}
	return f.out, f.order
}

type flattener struct {
	s     *side
	out   map[string]string
	order []string
}

func (f *flattener) put(path, v string) {
	if _, ok := f.out[path]; !ok {
		f.order = append(f.order, path)
	}
	f.out[path] = v
}

func (f *flattener) value(path, name string, v reflect.Value) {
	switch {
	case slices.Contains(skipped, name):
		return
	case v.CanInt() && (slices.Contains(signs, name) || internal.MatchString(path) && slices.Contains(positions, name)):
		f.put(path, fmt.Sprintf("sign %d", sign(v.Int())))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			f.put(path, "nil")
			return
		}
		f.value(path, name, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			n := v.Type().Field(i).Name
			if n == "UnknownTags" || n == "Version" || !v.Type().Field(i).IsExported() {
				continue
			}
			f.value(strings.TrimPrefix(path+"."+n, "."), n, v.Field(i))
		}
	case reflect.Array:
		f.put(path, f.s.id(v.Interface()))
	case reflect.Slice:
		f.list(path, name, v)
	case reflect.String:
		t := f.s.text(v.String())
		if name == "MemberID" && id64.MatchString(t) {
			t = "<id>" // a server gave it
		}
		f.put(path, fmt.Sprintf("%q", t))
	default:
		f.put(path, fmt.Sprint(f.s.number(name, v.Interface())))
	}
}

func (f *flattener) list(path, name string, v reflect.Value) {
	if v.IsNil() {
		f.put(path, "nil")
		return
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		f.put(path, hex.EncodeToString(v.Bytes()))
		return
	}
	if v.Len() == 0 {
		f.put(path, "empty")
	}
	seen := map[string]int{}
	for i := range v.Len() {
		e := v.Index(i)
		key := f.identity(e)
		if key == "" {
			key = fmt.Sprint(i)
		}
		if seen[key]++; seen[key] > 1 {
			key = fmt.Sprintf("%s#%d", key, seen[key])
		}
		at := fmt.Sprintf("%s[%s]", path, key)
		if e.Kind() == reflect.Struct {
			f.put(at, "an element")
		}
		f.value(at, "", e)
	}
}

// identity tells an element of a list from the others, whatever its place.
func (f *flattener) identity(e reflect.Value) string {
	if e.Kind() != reflect.Struct {
		return ""
	}
	var parts []string
	for _, n := range identities {
		v := e.FieldByName(n)
		if !v.IsValid() {
			continue
		}
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				continue
			}
			v = v.Elem()
		}
		switch v.Kind() {
		case reflect.String:
			parts = append(parts, f.s.text(v.String()))
		case reflect.Array:
			parts = append(parts, f.s.id(v.Interface()))
		case reflect.Slice, reflect.Struct:
		default:
			parts = append(parts, fmt.Sprint(f.s.number(n, v.Interface())))
		}
	}
	return strings.Join(parts, "/")
}

// id names a UUID: by what was learnt of it, else only that there is one.
func (s *side) id(v any) string {
	b, ok := v.([16]byte)
	if !ok {
		return fmt.Sprint(v)
	}
	if b == ([16]byte{}) {
		return "no id"
	}
	if n, ok := s.names[string(b[:])]; ok {
		return n
	}
	return "an id"
}

func (s *side) text(t string) string {
	if n, ok := s.names[t]; ok {
		return n
	}
	if s.data != "" {
		t = strings.ReplaceAll(t, s.data, "<data>")
	}
	t = strings.ReplaceAll(t, s.addr, "<addr>")
	t = strings.ReplaceAll(t, s.controller, "<controller>")
	return uuidText.ReplaceAllString(t, "<uuid>")
}

// number names producer ids, which servers give as they like.
func (s *side) number(name string, v any) any {
	if n, ok := v.(int64); ok && name == "ProducerID" && n >= 0 {
		if called, ok := s.names[fmt.Sprintf("producer %d", n)]; ok {
			return called
		}
		return "a producer id"
	}
	return v
}

// learn gives an id of this side a name that both sides have.
func (s *side) learn(id any, name string) {
	switch v := id.(type) {
	case [16]byte:
		s.names[string(v[:])] = name
	case string:
		s.names[v] = name
	case int64:
		s.names[fmt.Sprintf("producer %d", v)] = name
	}
}

func sign(n int64) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
