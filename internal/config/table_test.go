package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// fact is one line of testdata/facts.tsv: what Apache Kafka 4.4 says of a key.
type fact struct {
	resource, key, typ, def, valid, importance, internal, scope string
}

func facts(t *testing.T) []fact {
	t.Helper()
	data, err := os.ReadFile("testdata/facts.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var all []fact
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if len(f) != 8 {
			t.Fatalf("facts.tsv: %d fields in %q", len(f), line)
		}
		all = append(all, fact{f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7]})
	}
	if len(all) < 440 {
		t.Fatalf("facts.tsv has only %d keys", len(all))
	}
	return all
}

func indexOf(resource string) *index {
	switch resource {
	case "topic":
		return topicIndex
	case "group":
		return groupIndex
	case "client-metrics":
		return clientMetricsIndex
	}
	return brokerIndex
}

func TestTableCoversApacheKafka(t *testing.T) {
	for _, f := range facts(t) {
		k := indexOf(f.resource).byName[f.key]
		if k == nil {
			t.Errorf("%s key %s is missing", f.resource, f.key)
			continue
		}
		def := map[string]string{null: `\N`, required: `\R`}[k.def]
		if def == "" {
			def = k.def
		}
		internal := "-"
		if k.Internal() {
			internal = "internal"
		}
		got := []string{k.Type.String(), def, k.Importance.String(), internal}
		want := []string{f.typ, f.def, f.importance, f.internal}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: type, default, importance, internal = %q, want %q", f.key, got, want)
		}
		if f.resource == "broker" {
			scope := f.scope
			if scope == "-" {
				scope = "read-only"
			}
			if k.Scope.String() != scope {
				t.Errorf("%s: scope %s, want %s", f.key, k.Scope, scope)
			}
		}
		valid := f.valid
		if i := strings.IndexByte(valid, ')'); strings.HasPrefix(valid, "list(") {
			valid = valid[i+1:]
		}
		if valid == `\N` {
			valid = ""
		}
		if k.Valid() != valid {
			t.Errorf("%s: valid %q, want %q", f.key, k.Valid(), valid)
		}
	}
}

func TestTopicSynonymsAreApacheKafkas(t *testing.T) {
	units := map[int64]string{1: "", minuteMs: ":m", hourMs: ":h"}
	for _, f := range facts(t) {
		if f.resource != "topic" {
			continue
		}
		var list []string
		for _, s := range topicSynonyms[f.key] {
			if brokerIndex.byName[s.key] == nil {
				t.Errorf("%s: synonym %s is not a broker key", f.key, s.key)
			}
			list = append(list, s.key+units[s.scale])
		}
		got := strings.Join(list, ",")
		if got == "" {
			got = "-"
		}
		if got != f.scope {
			t.Errorf("%s: synonyms %s, want %s", f.key, got, f.scope)
		}
	}
}

func TestEveryRowIsSound(t *testing.T) {
	for _, x := range []*index{brokerIndex, topicIndex, groupIndex, clientMetricsIndex} {
		for _, k := range x.sorted {
			if len(k.Doc) < 20 || !strings.HasSuffix(k.Doc, ".") {
				t.Errorf("%s: text %q", k.Name, k.Doc)
			}
			if text, ok := k.Default(); ok {
				v, err := k.value(&text)
				if err != nil {
					t.Errorf("%s: default: %v", k.Name, err)
				} else if format(v) != text {
					t.Errorf("%s: default %q prints as %q", k.Name, text, format(v))
				}
			}
		}
	}
	for k, b := range groupSynonyms {
		if groupIndex.byName[k] == nil || brokerIndex.byName[b] == nil {
			t.Errorf("group synonym %s: %s", k, b)
		}
	}
}

// TestFieldsMatchTable holds the tagged fields to keys of a fitting type.
func TestFieldsMatchTable(t *testing.T) {
	kinds := map[Type][]reflect.Kind{
		TypeBoolean: {reflect.Bool}, TypeString: {reflect.String}, TypeClass: {reflect.String},
		TypeInt: {reflect.Int, reflect.Int64}, TypeShort: {reflect.Int16}, TypeLong: {reflect.Int64},
		TypeDouble: {reflect.Float64}, TypeList: {reflect.Slice}, TypePassword: {reflect.String},
	}
	check := func(s any, x *index) {
		typ := reflect.TypeOf(s)
		for i := range typ.NumField() {
			f := typ.Field(i)
			key := f.Tag.Get("kafka")
			if key == "" {
				continue
			}
			k := x.byName[key]
			if k == nil {
				t.Errorf("field %s: no key %s", f.Name, key)
				continue
			}
			fits := false
			for _, kind := range kinds[k.Type] {
				fits = fits || f.Type.Kind() == kind
			}
			if !fits || (k.Type == TypePassword) != (f.Type == reflect.TypeOf(Password(""))) {
				t.Errorf("field %s %s does not fit %s %s", f.Name, f.Type, k.Type, key)
			}
		}
	}
	check(Broker{}, brokerIndex)
	check(Topic{}, topicIndex)
}
