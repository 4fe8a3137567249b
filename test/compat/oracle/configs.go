package main

import "github.com/twmb/franz-go/pkg/kmsg"

// configRequests describe and change configurations.
func configRequests(o *oracle) {
	o.make("configured", 1, "retention.ms", "86400000", "segment.bytes", "2000000")
	describe := func(kind kmsg.ConfigResourceType, name string, keys []string, synonyms, docs bool) *kmsg.DescribeConfigsRequest {
		r := kmsg.NewPtrDescribeConfigsRequest()
		r.IncludeSynonyms, r.IncludeDocumentation = synonyms, docs
		q := kmsg.NewDescribeConfigsRequestResource()
		q.ResourceType, q.ResourceName, q.ConfigNames = kind, name, keys
		r.Resources = append(r.Resources, q)
		return r
	}
	for _, c := range []struct {
		name  string
		kind  kmsg.ConfigResourceType
		of    string
		keys  []string
		extra bool
	}{
		{"a topic", 2, "configured", nil, false}, {"a topic with synonyms and texts", 2, "configured", nil, true}, {"two keys of a topic", 2, "configured", []string{"retention.ms", "segment.ms"}, true},
		{"an unknown key", 2, "configured", []string{"no.such.key"}, false}, {"no keys", 2, "configured", []string{}, false}, {"an unknown topic", 2, "never-made", nil, false},
		{"a bad topic", 2, "a/b", nil, false}, {"the broker", 4, "1", nil, false}, {"the broker with synonyms", 4, "1", nil, true}, {"all brokers", 4, "", nil, false},
		{"another broker", 4, "9", nil, false}, {"a broker that is no number", 4, "x", nil, false}, {"loggers", 8, "1", []string{"root"}, false}, {"loggers of another broker", 8, "9", []string{"root"}, false},
		{"a group", 32, "some-group", nil, false}, {"a group with synonyms", 32, "some-group", nil, true}, {"an empty group", 32, "", nil, false}, {"client metrics", 16, "some", nil, false}, {"an unknown kind", 77, "x", nil, false},
	} {
		o.each(32, func(v int16) {
			o.ask(c.name, v, func(*side) kmsg.Request { return describe(c.kind, c.of, c.keys, c.extra, c.extra) })
		})
	}
	increments(o)
	replacements(o)
	o.each(74, func(v int16) {
		for _, kinds := range [][]int8{nil, {2}, {4}, {16}, {32}, {99}} {
			o.ask("lists", v, func(*side) kmsg.Request {
				r := kmsg.NewPtrListConfigResourcesRequest()
				if v > 0 {
					r.ResourceTypes = kinds
				}
				return r
			})
		}
	})
	// What the changes left is the same on both.
	for _, c := range []struct {
		kind kmsg.ConfigResourceType
		name string
	}{{2, "configured"}, {4, "1"}, {4, ""}, {32, "g-configured"}, {16, "m-configured"}} {
		o.ask("after the changes", 4, func(*side) kmsg.Request { return describe(c.kind, c.name, nil, true, false) })
	}
}

type change struct {
	name string
	kind kmsg.ConfigResourceType
	of   string
	key  string
	op   kmsg.IncrementalAlterConfigOp
	val  *string
}

var changes = []change{
	{"set", 2, "configured", "retention.ms", 0, str("3600000")}, {"set to what it is", 2, "configured", "retention.ms", 0, str("3600000")},
	{"delete", 2, "configured", "segment.bytes", 1, nil}, {"delete what is not set", 2, "configured", "flush.ms", 1, nil},
	{"append to a list", 2, "configured", "cleanup.policy", 2, str("compact")}, {"append again", 2, "configured", "cleanup.policy", 2, str("compact")},
	{"subtract from a list", 2, "configured", "cleanup.policy", 3, str("delete")}, {"append to no list", 2, "configured", "retention.ms", 2, str("1")},
	{"an unknown operation", 2, "configured", "retention.ms", 9, str("1")}, {"a bad value", 2, "configured", "retention.ms", 0, str("soon")},
	{"out of range", 2, "configured", "min.cleanable.dirty.ratio", 0, str("1.5")}, {"no value", 2, "configured", "retention.ms", 0, nil},
	{"an unknown key", 2, "configured", "no.such.key", 0, str("1")}, {"an unknown topic", 2, "never-made", "retention.ms", 0, str("1")}, {"no topic", 2, "", "retention.ms", 0, str("1")},
	{"a broker", 4, "1", "log.cleaner.threads", 0, str("2")}, {"a broker's key of all brokers", 4, "", "log.cleaner.threads", 0, str("2")}, {"all brokers", 4, "", "log.retention.ms", 0, str("7200000")},
	{"a read-only key", 4, "1", "num.partitions", 0, str("9")}, {"a broker's bad value", 4, "1", "log.cleaner.threads", 0, str("none")}, {"a broker's value out of range", 4, "1", "log.cleaner.threads", 0, str("-1")},
	{"another broker", 4, "9", "log.cleaner.threads", 0, str("2")}, {"a broker that is no number", 4, "x", "log.cleaner.threads", 0, str("2")}, {"an unknown key of a broker", 4, "1", "no.such.key", 0, str("1")},
	{"a listener's key", 4, "1", "listener.name.plaintext.ssl.keystore.type", 0, str("PEM")},
	{"a listener's key that is fixed", 4, "1", "listener.name.plaintext.sasl.enabled.mechanisms", 0, str("PLAIN")}, {"a listener's key that is fixed, back", 4, "1", "listener.name.plaintext.sasl.enabled.mechanisms", 1, nil}, {"another listener's key", 4, "1", "listener.name.other.sasl.enabled.mechanisms", 0, str("PLAIN")},
	{"a listener's protocol", 4, "1", "listener.security.protocol.map", 0, str("PLAINTEXT:SSL,CONTROLLER:PLAINTEXT")}, {"another listener's protocol", 4, "1", "listener.security.protocol.map", 0, str("PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,OTHER:SSL")},
	{"other advertised listeners", 4, "1", "advertised.listeners", 0, str("PLAINTEXT://elsewhere:9092")},
	{"a logger", 8, "1", "kafka.log.LogCleaner", 0, str("DEBUG")}, {"a logger's bad level", 8, "1", "kafka.log.LogCleaner", 0, str("LOUD")}, {"a logger back", 8, "1", "kafka.log.LogCleaner", 1, nil},
	{"a group", 32, "g-configured", "consumer.session.timeout.ms", 0, str("50000")}, {"a group's value out of range", 32, "g-configured", "consumer.session.timeout.ms", 0, str("5")},
	{"an unknown key of a group", 32, "g-configured", "no.such.key", 0, str("1")}, {"no group", 32, "", "consumer.session.timeout.ms", 0, str("50000")},
	{"client metrics", 16, "m-configured", "interval.ms", 0, str("10000")}, {"client metrics' bad interval", 16, "m-configured", "interval.ms", 0, str("1")}, {"no client metrics", 16, "", "interval.ms", 0, str("10000")},
	{"an unknown kind", 77, "x", "retention.ms", 0, str("1")},
}

func increments(o *oracle) {
	build := func(cs []change, only bool) func(*side) kmsg.Request {
		return func(*side) kmsg.Request {
			r := kmsg.NewPtrIncrementalAlterConfigsRequest()
			r.ValidateOnly = only
			q := kmsg.NewIncrementalAlterConfigsRequestResource()
			q.ResourceType, q.ResourceName = cs[0].kind, cs[0].of
			for _, c := range cs {
				k := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
				k.Name, k.Op, k.Value = c.key, c.op, c.val
				q.Configs = append(q.Configs, k)
			}
			r.Resources = append(r.Resources, q)
			return r
		}
	}
	o.each(44, func(v int16) {
		for _, c := range changes {
			o.ask(c.name+", only validated", v, build([]change{c}, true))
			o.ask(c.name, v, build([]change{c}, false))
		}
		o.ask("a key twice", v, build([]change{changes[0], changes[0]}, false))
		o.ask("good and bad", v, build([]change{changes[0], changes[9]}, false))
		o.ask("a resource twice", v, func(s *side) kmsg.Request {
			r := build([]change{changes[0]}, false)(s).(*kmsg.IncrementalAlterConfigsRequest)
			r.Resources = append(r.Resources, r.Resources[0])
			return r
		})
		o.ask("nothing of a topic", v, func(s *side) kmsg.Request {
			r := build([]change{changes[0]}, false)(s).(*kmsg.IncrementalAlterConfigsRequest)
			r.Resources[0].Configs = nil
			return r
		})
	})
}

func replacements(o *oracle) {
	o.each(33, func(v int16) {
		for _, c := range changes {
			if c.op != 0 || c.kind == 8 {
				continue
			}
			for _, only := range []bool{true, false} {
				o.ask(map[bool]string{true: c.name + ", only validated", false: c.name}[only], v, func(*side) kmsg.Request {
					r := kmsg.NewPtrAlterConfigsRequest()
					r.ValidateOnly = only
					q := kmsg.NewAlterConfigsRequestResource()
					q.ResourceType, q.ResourceName = c.kind, c.of
					k := kmsg.NewAlterConfigsRequestResourceConfig()
					k.Name, k.Value = c.key, c.val
					q.Configs = append(q.Configs, k)
					r.Resources = append(r.Resources, q)
					return r
				})
			}
		}
	})
}
