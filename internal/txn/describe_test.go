package txn

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
)

// TestManyFilters: a filter is read once, and asking it takes as long for a million ids as
// for one. Compared one by one they would take minutes here.
func TestManyFilters(t *testing.T) {
	const transactions, ids, names = 50_000, 1_000_000, 100_000
	b := newBench()
	for i := range int64(transactions) {
		id := fmt.Sprintf("t%06d", i)
		b.m.txns[id] = &Transaction{ID: id, ProducerID: i, State: State(i % 2)}
	}
	req := kmsg.NewPtrListTransactionsRequest()
	for i := range int64(ids) {
		req.ProducerIDFilters = append(req.ProducerIDFilters, ids-i)
	}
	for i := range names {
		req.StateFilters = append(req.StateFilters, fmt.Sprintf("State%06d", i), "Ongoing", "State000000")
	}
	list := func() (n int, f *Filter) {
		started := time.Now()
		f, err := ParseFilter(req)
		if err != nil {
			t.Fatal(err)
		}
		out := b.m.List(b.now, coord.NoToken, f)
		if took := time.Since(started); took > 15*time.Second {
			t.Errorf("it took %v", took)
		}
		return len(out.Replies[0].Response.(*kmsg.ListTransactionsResponse).TransactionStates), f
	}
	n, f := list()
	if n != transactions/2 {
		t.Errorf("%d transactions are listed", n)
	}
	if len(f.UnknownStates) != names || !slices.IsSorted(f.UnknownStates) {
		t.Errorf("%d unknown states, each once and in their order: %v", len(f.UnknownStates), slices.IsSorted(f.UnknownStates))
	}
	// Names of which none is a state choose nothing.
	req.StateFilters = []string{"Odd"}
	if n, _ := list(); n != 0 {
		t.Errorf("%d transactions are in an unknown state", n)
	}
}
