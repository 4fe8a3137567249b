package config

import (
	"slices"
)

// Source says which layer a value comes from, in the numbers of
// DescribeConfigs.
type Source int8

// The sources.
const (
	SourceUnknown       Source = 0
	SourceTopic         Source = 1
	SourceBroker        Source = 2
	SourceDefaultBroker Source = 3
	SourceStatic        Source = 4
	SourceDefault       Source = 5
	SourceBrokerLogger  Source = 6
	SourceClientMetrics Source = 7
	SourceGroup         Source = 8
)

// Row is one key of a resource as DescribeConfigs shows it. Value is nil for a
// null or a sensitive value.
type Row struct {
	Name      string
	Value     *string
	Source    Source
	ReadOnly  bool
	Sensitive bool
	Type      Type
	Doc       string
	Synonyms  []Synonym
}

// Synonym is one layer's value for a row, the winning one first.
type Synonym struct {
	Name   string
	Value  *string
	Source Source
}

// newRow makes the row of a key; k is nil for a key that is not in the table,
// which counts as sensitive because nothing is known about it. So do the keys of
// plugins, which name principals that clients need not know.
func newRow(name string, k *Key, value any) Row {
	if k != nil && k.flags&plugin != 0 {
		k = nil
	}
	r := Row{Name: name, Sensitive: k == nil || k.Sensitive()}
	if k != nil {
		r.Type, r.Doc = k.Type, k.Doc
	}
	if value != nil && !r.Sensitive {
		text := format(value)
		r.Value = &text
	}
	return r
}

// finish takes the source from the strongest synonym.
func (r Row) finish(synonyms []Synonym) Row {
	r.Synonyms, r.Source = synonyms, SourceDefault
	if len(synonyms) > 0 {
		r.Source = synonyms[0].Source
	}
	return r
}

// unitGroups are the keys that say the same in several units, the strongest
// first.
var unitGroups = [][]string{
	{"log.roll.ms", "log.roll.hours"},
	{"log.roll.jitter.ms", "log.roll.jitter.hours"},
	{"log.retention.ms", "log.retention.minutes", "log.retention.hours"},
}

// brokerSynonyms lists the names under which a broker key can be set.
func brokerSynonyms(name string) []string {
	for _, g := range unitGroups {
		if slices.Contains(g, name) {
			return g
		}
	}
	if name == "log.flush.interval.ms" {
		return []string{name, "log.flush.scheduler.interval.ms"}
	}
	if base := baseName(name); base != name {
		return []string{name, base}
	}
	return []string{name}
}

// synonyms lists the values of a broker key by layer. What is stronger than the
// key itself, such as the milliseconds form of a key in hours, is left out.
func (b *Broker) synonyms(name string, sensitive bool) []Synonym {
	var all []Synonym
	keys := brokerSynonyms(name)
	add := func(key, value string, source Source) {
		s := Synonym{Name: key, Source: source}
		if !sensitive {
			s.Value = &value
		}
		all = append(all, s)
	}
	for _, layer := range []struct {
		values map[string]string
		source Source
	}{{b.values.perBroker, SourceBroker}, {b.values.clusterWide, SourceDefaultBroker}, {b.values.static, SourceStatic}} {
		for _, key := range keys {
			if v, ok := layer.values[key]; ok {
				add(key, v, layer.source)
			}
		}
	}
	for _, key := range keys {
		if k := brokerIndex.byName[key]; k != nil && k.flags&(legacy|plugin|dynamicOnly) == 0 {
			if text, ok := k.Default(); ok {
				add(key, text, SourceDefault)
			}
		}
	}
	first := slices.IndexFunc(all, func(s Synonym) bool { return s.Name == name })
	if first < 0 {
		return nil
	}
	return all[first:]
}

// DescribeTopic returns the rows of a topic with the given overrides, by name.
func (b *Broker) DescribeTopic(overrides map[string]string) []Row {
	var rows []Row
	for _, k := range topicIndex.sorted {
		if k.Internal() {
			continue
		}
		value := b.topicParsed[k.Name]
		text, overridden := overrides[k.Name]
		if overridden {
			if v, err := k.value(&text); err == nil {
				value = v
			} else {
				overridden = false
			}
		}
		r := newRow(k.Name, k, value)
		var synonyms []Synonym
		if overridden {
			synonyms = append(synonyms, Synonym{k.Name, r.Value, SourceTopic})
		}
		if s := topicSynonyms[k.Name]; len(s) > 0 {
			synonyms = append(synonyms, b.synonyms(s[0].key, r.Sensitive)...)
		}
		rows = append(rows, r.finish(synonyms))
	}
	return rows
}

// DescribeBroker returns the rows of this node, by name.
func (b *Broker) DescribeBroker() []Row {
	var rows []Row
	shown := map[string]bool{}
	for _, k := range brokerIndex.sorted {
		if k.flags&(internal|legacy|plugin|dynamicOnly) == 0 {
			shown[k.Name] = true
			rows = append(rows, b.brokerRow(k.Name, k, b.values.parsed[k.Name]))
		}
	}
	for _, name := range sortedKeys(b.values.given) {
		if shown[name] {
			continue
		}
		rows = append(rows, b.givenRow(name, b.values.given[name]))
	}
	slices.SortFunc(rows, func(x, y Row) int {
		if x.Name < y.Name {
			return -1
		}
		return 1
	})
	return rows
}

// givenRow is the row of a key that only shows because it was set.
func (b *Broker) givenRow(name, text string) Row {
	return b.brokerRow(name, brokerRow(name), text)
}

func (b *Broker) brokerRow(name string, k *Key, value any) Row {
	r := newRow(name, k, value)
	exact := brokerIndex.byName[name]
	r.ReadOnly = exact == nil || exact.Scope == ReadOnly
	return r.finish(b.synonyms(name, r.Sensitive))
}

// DescribeClusterDefault returns the rows of the cluster-wide broker defaults
// that are set, by name.
func (b *Broker) DescribeClusterDefault() []Row {
	var rows []Row
	for _, name := range sortedKeys(b.values.clusterWide) {
		r := b.givenRow(name, b.values.clusterWide[name])
		synonyms := slices.DeleteFunc(r.Synonyms, func(s Synonym) bool { return s.Source != SourceDefaultBroker })
		rows = append(rows, r.finish(synonyms))
	}
	return rows
}

// DescribeGroup returns the rows of a group with the given overrides, by name.
func (b *Broker) DescribeGroup(overrides map[string]string) []Row {
	base := b.groupValues()
	var rows []Row
	for _, k := range groupIndex.sorted {
		if k.Internal() {
			continue
		}
		value := base[k.Name]
		text, overridden := overrides[k.Name]
		if overridden {
			if v, err := k.value(&text); err == nil {
				value = v
			} else {
				overridden = false
			}
		}
		r := newRow(k.Name, k, value)
		var synonyms []Synonym
		if overridden {
			synonyms = append(synonyms, Synonym{k.Name, r.Value, SourceGroup})
		}
		if s := groupSynonyms[k.Name]; s != "" {
			synonyms = append(synonyms, b.synonyms(s, r.Sensitive)...)
		} else if text, ok := k.Default(); ok {
			synonyms = append(synonyms, Synonym{k.Name, &text, SourceDefault})
		}
		rows = append(rows, r.finish(synonyms))
	}
	return rows
}

// DescribeClientMetrics returns the rows of a client metrics subscription.
func DescribeClientMetrics(overrides map[string]string) []Row {
	var rows []Row
	for _, k := range clientMetricsIndex.sorted {
		text, overridden := overrides[k.Name]
		if !overridden {
			text, _ = k.Default()
		}
		v, err := k.parse(text)
		if err != nil {
			continue
		}
		r := newRow(k.Name, k, v)
		var synonyms []Synonym
		if overridden {
			synonyms = []Synonym{{k.Name, r.Value, SourceClientMetrics}}
		}
		rows = append(rows, r.finish(synonyms))
	}
	return rows
}
