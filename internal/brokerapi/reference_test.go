package brokerapi

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/wire"
)

var update = flag.Bool("update", false, "write docs/compat/apis.md from the table")

const referencePage = "../../docs/compat/apis.md"

// TestReferencePage keeps the page of request versions equal to the table that is
// announced to clients.
func TestReferencePage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Requests and their versions\n\nWhat a broker listener announces and serves, beside what Apache Kafka 4.4 serves. Older versions than Kafka's are those that\nKafka 4.0 removed (KIP-896). The page is generated from the table of handlers: `go test ./internal/brokerapi -run ReferencePage -update`.\n\n| key | request | gregor | Kafka 4.4 |\n|---|---|---|---|\n")
	served := newTxnKit(t, 2, nil).api.Table()
	for _, api := range wire.APIs() {
		ours := "-"
		if e, ok := served[api.Key]; ok {
			ours = fmt.Sprintf("%d-%d", e.Min, e.Max)
		}
		kafkas := fmt.Sprintf("%d-%d", api.Min, api.Max)
		if api.Max < api.Min {
			kafkas = "removed in 4.0"
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", api.Key, api.Name, ours, kafkas)
	}
	for key := range served {
		if !slices.ContainsFunc(wire.APIs(), func(a wire.API) bool { return a.Key == key }) {
			t.Errorf("key %d is served but not in the protocol's table", key)
		}
	}
	if *update {
		if err := os.WriteFile(referencePage, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != b.String() {
		t.Error("docs/compat/apis.md is not what the table says; run this test with -update")
	}
}
