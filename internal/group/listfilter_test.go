package group

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
)

// TestManyFilters: each group is looked up in the filters of a ListGroups request, however
// many words they have.
func TestManyFilters(t *testing.T) {
	w := newWorld(t)
	w.silent = true
	for i := range 1000 {
		id := "g" + strings.Repeat("x", i)
		w.m.groups[id] = newClassicGroup(id)
	}
	req := kmsg.NewPtrListGroupsRequest()
	for range 100_000 {
		req.StatesFilter = append(req.StatesFilter, "Stable")
	}
	f := NewListFilter(req)
	if len(f.states) != 1 || f.types != nil {
		t.Errorf("%d states, types %v", len(f.states), f.types)
	}
	out := w.m.ListGroups(coord.NoToken, f)
	if n := len(out.Replies[0].Response.(*kmsg.ListGroupsResponse).Groups); n != 0 {
		t.Errorf("%d groups are stable", n)
	}
	req.StatesFilter = append(req.StatesFilter, " EMPTY ")
	out = w.m.ListGroups(coord.NoToken, NewListFilter(req))
	if n := len(out.Replies[0].Response.(*kmsg.ListGroupsResponse).Groups); n != 1000 {
		t.Errorf("%d groups are empty", n)
	}
}
