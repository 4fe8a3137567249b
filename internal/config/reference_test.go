package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/compat/configs.md from the table")

// TestReferencePage holds docs/compat/configs.md to the table. Run it with
// -update to write the page.
func TestReferencePage(t *testing.T) {
	page := referencePage()
	path := filepath.Join("..", "..", "docs", "compat", "configs.md")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: run go test -run ReferencePage -update", err)
	}
	if string(got) != page {
		t.Fatal("docs/compat/configs.md is not what the table says: run go test -run ReferencePage -update")
	}
}

func referencePage() string {
	var b strings.Builder
	b.WriteString(`# Configuration keys

Every key with its type, default, allowed values and meaning. This page is written from the table in internal/config.

Where a key may be changed at run time: *read-only* keys need a restart, *per-broker* keys can be changed for one broker,
*cluster-wide* keys for one broker or for all.
`)
	section := func(title, intro string, keys []*Key, want func(*Key) bool) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| Key | Type | Default | Valid | Change | Meaning |\n|--|--|--|--|--|--|\n", title, intro)
		for _, k := range keys {
			if want(k) {
				b.WriteString(referenceRow(k))
			}
		}
	}
	current := func(k *Key) bool { return !k.Legacy() && !k.Internal() }
	section("Broker", "Keys of a node's properties file.", BrokerKeys(), current)
	section("ZooKeeper mode and older releases", "Accepted on every node; a key without effect is named in a warning.",
		BrokerKeys(), (*Key).Legacy)
	section("Topics", "Keys that a topic may set; without them the broker's keys of the same meaning count.", TopicKeys(), current)
	section("Groups", "Keys that a group may set.", GroupKeys(), current)
	section("Client metrics", "Keys of a client metrics subscription.", ClientMetricsKeys(), current)
	section("For tests", "Internal keys, not described to clients.", append(BrokerKeys(), append(TopicKeys(), GroupKeys()...)...), (*Key).Internal)
	return b.String()
}

func referenceRow(k *Key) string {
	def, ok := k.Default()
	switch {
	case k.Required():
		def = "required"
	case !ok:
		def = "none"
	case def == "":
		def = "empty"
	default:
		def = "`" + def + "`"
	}
	scope := k.Scope.String()
	if topicIndex.byName[k.Name] == k || groupIndex.byName[k.Name] == k || clientMetricsIndex.byName[k.Name] == k {
		scope = "dynamic"
	}
	if k.DynamicOnly() {
		scope += ", dynamic only"
	}
	cell := func(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s | %s |\n",
		k.Name, strings.ToLower(k.Type.String()), cell(def), cell(k.Valid()), scope, cell(k.Doc))
}
