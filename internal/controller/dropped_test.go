package controller

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/records"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// drop decides one command whose records are not taken, as while leadership is handed over.
func (w *world) drop(line string) Result {
	words := strings.Fields(line)
	res, err := w.m.Handle(w.input(), w.request(words[0], parseArgs(words[1:])))
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// partitionChanges counts the changes of partitions among the records.
func partitionChanges(res Result) (n int) {
	for _, r := range res.Records {
		if _, ok := r.(*records.PartitionChangeRecord); ok {
			n++
		}
	}
	return n
}

// TestShutdownIsDecidedAgain: a broker that asks to shut down keeps its leaders when the records
// that move them are not taken; with its next heartbeat they are made again.
func TestShutdownIsDecidedAgain(t *testing.T) {
	for _, marked := range []bool{false, true} {
		w := newWorld(t)
		for _, line := range []string{"boot mv=3.9", "register 1", "register 2", "heartbeat 1", "heartbeat 2", "create t assign=1,2"} {
			w.run(line)
		}
		if marked { // by the controller before, of whose batches only the first was committed
			r := brokerChangeRecord(w.log.Image().Broker(1), 1)
			r.InControlledShutdown = 1
			w.commit(Result{Records: []records.Message{r}})
		}
		for i := range 3 {
			if res := w.drop("heartbeat 1 shutdown"); partitionChanges(res) != 1 || res.Reply.(*kmsg.BrokerHeartbeatResponse).ShouldShutdown {
				t.Fatalf("marked %v, heartbeat %d: %d changes of partitions, reply %s", marked, i, partitionChanges(res), w.commit(Result{Reply: res.Reply}))
			}
		}
		w.nowMs += 1000
		w.run("create u assign=2")
		w.run("heartbeat 1 shutdown")
		if p := w.log.Image().Partition("t", 0); p.Leader != 2 {
			t.Fatalf("marked %v: %+v", marked, p)
		}
		// Broker 2 must have seen the change that was taken, not one before it.
		if got := w.run(fmt.Sprintf("heartbeat 2 offset=%d", w.log.Image().Offset-1)) + w.run("heartbeat 1 shutdown"); strings.Contains(got, "ShouldShutdown") {
			t.Errorf("marked %v: it stops before broker 2 knows of it: %s", marked, got)
		}
		if got := w.run("heartbeat 2") + w.run("heartbeat 1 shutdown"); !strings.Contains(got, "ShouldShutdown:true") {
			t.Errorf("marked %v: it does not stop: %s", marked, got)
		}
	}
}

// TestFencingIsDecidedAgain: a broker whose session has run out is fenced soon after the records
// that fenced it were not taken, not a session later, and not at once, which would be again and
// again.
func TestFencingIsDecidedAgain(t *testing.T) {
	w := newWorld(t)
	for _, line := range []string{"boot mv=3.9", "register 2", "heartbeat 2"} {
		w.run(line)
	}
	w.nowMs += 9001
	if res := w.m.Tick(w.input()); len(res.Records) != 1 {
		t.Fatalf("%d records", len(res.Records))
	}
	if due := w.m.NextTickMs(w.log.Image()) - w.nowMs; due != fenceAgainMs {
		t.Fatalf("due in %d ms", due)
	}
	if res := w.m.Tick(w.input()); len(res.Records) != 0 {
		t.Fatalf("at once: %d records", len(res.Records))
	}
	w.nowMs += fenceAgainMs
	w.run("tick")
	if !w.log.Image().Broker(2).Fenced {
		t.Fatal("not fenced")
	}
	if got := w.run("register 2 incarnation=next") + w.run("heartbeat 2"); strings.Contains(got, "DUPLICATE") || w.log.Image().Broker(2).Fenced {
		t.Errorf("the next incarnation: %s", got)
	}
}
