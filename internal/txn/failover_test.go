package txn

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// relay runs a producer's requests against a coordinator that is replaced once, at step
// at: after the request, of which the record is then lost or kept, or after markers were
// written, of which nobody is told.
type relay struct {
	t        *testing.T
	b        *bench
	at, step int
	lost     bool
	reply    *coord.Reply
	seen     int // effects of b.markers that were run
	written  map[kafka.TopicPartition][]bool
}

func (r *relay) changes() bool {
	r.step++
	return r.step == r.at
}

func (r *relay) reload() {
	if err := r.b.reload(); err != nil {
		r.t.Fatal(err)
	}
	r.reply = nil
}

// do repeats a request until its answer is not that it has to come back.
func (r *relay) do(op func(to coord.Token) coord.Outcome) coord.Reply {
	if r.changes() {
		r.b.stalled = r.lost
		r.b.apply(op(r.b.to()))
		r.reload()
	}
	for range 10 {
		r.reply = nil
		r.b.apply(op(r.b.to()))
		if r.reply == nil {
			r.t.Fatalf("step %d: no answer", r.step)
		}
		if kafka.CodeOf(r.reply.Err) != kafka.ConcurrentTransactions {
			return *r.reply
		}
		r.mark()
	}
	r.t.Fatalf("step %d: the transaction does not end", r.step)
	return coord.Reply{}
}

// mark writes the markers that were asked for and reports them.
func (r *relay) mark() {
	for r.seen < len(r.b.markers) {
		m := r.b.markers[r.seen]
		r.seen++
		var results []MarkerResult
		for _, tp := range m.Partitions {
			r.written[tp] = append(r.written[tp], m.Commit)
			results = append(results, MarkerResult{Partition: tp})
		}
		if r.changes() {
			r.reload() // the next coordinator asks again
			continue
		}
		r.b.apply(r.b.m.MarkersWritten(r.b.now, &m, results))
	}
}

func (r *relay) init(id string) (pid int64, epoch int16) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionalID, req.TransactionTimeoutMillis = 5, &id, 60000
	reply := r.do(func(to coord.Token) coord.Outcome { return r.b.m.InitProducerID(r.b.now, to, req) })
	if reply.Err != nil {
		r.t.Fatalf("step %d: InitProducerId: %v", r.step, reply.Err)
	}
	resp := reply.Response.(*kmsg.InitProducerIDResponse)
	return resp.ProducerID, resp.ProducerEpoch
}

func (r *relay) add(id string, pid int64, epoch int16, partition int32) {
	a := &AddPartitions{TransactionalID: id, ProducerID: pid, ProducerEpoch: epoch, Version: 5, ClientTransactionVersion: r.b.version,
		Partitions: []kafka.TopicPartition{{Topic: "t", Partition: partition}}}
	if reply := r.do(func(to coord.Token) coord.Outcome { return r.b.m.AddPartitions(r.b.now, to, a) }); reply.Err != nil {
		r.t.Fatalf("step %d: AddPartitionsToTxn: %v", r.step, reply.Err)
	}
}

func (r *relay) end(id string, pid int64, epoch int16, commit bool) (int64, int16) {
	req := kmsg.NewPtrEndTxnRequest()
	if req.Version = 5; r.b.version < 2 {
		req.Version = 4
	}
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = id, pid, epoch, commit
	reply := r.do(func(to coord.Token) coord.Outcome { return r.b.m.EndTxn(r.b.now, to, req) })
	if reply.Err != nil {
		r.t.Fatalf("step %d: EndTxn: %v", r.step, reply.Err)
	}
	resp := reply.Response.(*kmsg.EndTxnResponse)
	if r.b.version < 2 {
		return pid, epoch
	}
	return resp.ProducerID, resp.ProducerEpoch
}

// TestCoordinatorIsReplacedBetweenEveryTwoSteps (traps.md T11): a transaction commits and
// the next aborts, whenever the coordinator is replaced; a producer that repeats what was
// not answered notices nothing, and no partition ever gets the marker of another outcome.
func TestCoordinatorIsReplacedBetweenEveryTwoSteps(t *testing.T) {
	steps := 0
	for _, version := range []int16{0, 1, 2} {
		for _, lost := range []bool{false, true} {
			for at, last := 1, 1; at <= last; at++ {
				r := &relay{t: t, b: newBench(), at: at, lost: lost, written: map[kafka.TopicPartition][]bool{}}
				r.b.version = version
				r.b.replied = func(reply coord.Reply) { r.reply = &reply }
				pid, epoch := r.init("a")
				for _, commit := range []bool{true, false} {
					r.add("a", pid, epoch, 0)
					r.add("a", pid, epoch, 1)
					pid, epoch = r.end("a", pid, epoch, commit)
					r.mark()
				}
				last = r.step
				where := fmt.Sprintf("transaction.version %d, replaced at step %d, lost %v", version, at, lost)
				if s := r.b.m.Get("a"); s == nil || s.State != CompleteAbort {
					t.Fatalf("%s: %+v", where, s)
				}
				for p := range int32(2) {
					tp := kafka.TopicPartition{Topic: "t", Partition: p}
					if got := slices.Compact(slices.Clone(r.written[tp])); !slices.Equal(got, []bool{true, false}) {
						t.Errorf("%s: markers of %s: %v", where, tp, r.written[tp])
					}
				}
				steps++
			}
		}
	}
	if steps < 50 {
		t.Errorf("only %d runs", steps)
	}
}
