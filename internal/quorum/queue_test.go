package quorum

import (
	"sync"
	"testing"
)

// Whoever waits for Ready before each Next misses nothing and sees what each putter put in
// its order, also when items come while others are taken.
func TestQueueKeepsTheOrderAndLosesNothing(t *testing.T) {
	const putters, each = 4, 1000
	q := NewQueue[[2]int]()
	var wg sync.WaitGroup
	for p := range putters {
		wg.Go(func() {
			for i := range each {
				if !q.Put([2]int{p, i}) {
					t.Error("an open queue refused")
				}
			}
		})
	}
	var next [putters]int
	for taken := 0; taken < putters*each; {
		<-q.Ready()
		v, ok := q.Next()
		if !ok {
			continue
		}
		if v[1] != next[v[0]] {
			t.Fatalf("item %d of putter %d, want %d", v[1], v[0], next[v[0]])
		}
		next[v[0]]++
		taken++
	}
	wg.Wait()
	if v, ok := q.Next(); ok || q.Len() != 0 {
		t.Errorf("%v and %d more are left", v, q.Len())
	}
}

func TestClosedQueueRefusesAndDrops(t *testing.T) {
	q := NewQueue[int]()
	q.Put(1)
	q.Put(2)
	if v, ok := q.Next(); !ok || v != 1 || q.Len() != 1 {
		t.Fatalf("%d, %v, %d left", v, ok, q.Len())
	}
	q.Close()
	if q.Put(3) {
		t.Error("a closed queue took an item")
	}
	if v, ok := q.Next(); ok {
		t.Errorf("a closed queue gave %d", v)
	}
}
