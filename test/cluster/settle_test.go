package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// settle lets the copiers finish, and open transactions reach their timeout. Both must
// be over soon, for nothing is killed any more.
func (cr *crash) settle() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	cr.startCopiers(ctx, &wg)
	defer cr.await(&wg, "last copiers")
	defer cancel()
	c, done, err := cr.asker()
	if err != nil {
		cr.violation("the broker is not there in the end: %v", err)
		return
	}
	defer done()
	var missing string
	for end := cr.now() + 20*time.Second; cr.now() < end; pause(ctx, 20*time.Millisecond) {
		if missing, err = cr.unsettled(c); missing == "" || err != nil {
			break
		}
	}
	if missing != "" || err != nil {
		cr.violation("not settled: %s %v", missing, err)
	}
}

// asker asks the one broker, or whichever of several has the answer; done ends it.
func (cr *crash) asker() (c asker, done func(), err error) {
	if cr.moving {
		r := cr.routed()
		return r, r.cl.Close, nil
	}
	conn, err := dial(cr.seeds[0])
	if err != nil {
		return nil, nil, err
	}
	return conn, func() { conn.Close() }, nil
}

// unsettled says what still has to happen.
func (cr *crash) unsettled(c asker) (string, error) {
	ends, err := listOffsets(c, 0)
	if err != nil {
		return "", err
	}
	stable, err := listOffsets(c, 1)
	if err != nil {
		return "", err
	}
	missing := ""
	for _, tp := range sortedKeys(ends) {
		if ends[tp] != stable[tp] {
			missing = fmt.Sprintf("%s ends at %d and is stable up to %d", tp, ends[tp], stable[tp])
		}
	}
	for _, topic := range []string{outTopic, out848} {
		err := cr.readOffsets(c, "copiers-"+topic, inTopic, txnParts, func(r readOp) {
			if end := ends[tpName(inTopic, r.partition())]; r.offset != end {
				missing = fmt.Sprintf("%s is committed up to %d of %d", r.key, r.offset, end)
			}
		})
		if err != nil {
			return "", err
		}
	}
	states, err := openStates(c)
	if err == nil && len(states) > 0 {
		missing = fmt.Sprintf("%s is %s", states[0].TransactionalID, states[0].State)
	}
	return missing, err
}

// finalReading reads everything once more, with a client that knows nothing.
func (cr *crash) finalReading() reading {
	out := reading{}
	c, done, err := cr.asker()
	if err != nil {
		cr.violation("the broker is not there in the end: %v", err)
		return out
	}
	defer done()
	ends, err := listOffsets(c, 1)
	if err != nil {
		cr.violation("no ends to read to: %v", err)
		return out
	}
	for tp, end := range ends {
		if end == 0 {
			delete(ends, tp)
		}
	}
	cl := cr.reader(nil)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for len(ends) > 0 {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			cr.violation("not read to the end within a minute: %v", ends)
			return out
		}
		f.EachRecord(func(r *kgo.Record) {
			tp := tpName(r.Topic, r.Partition)
			if !r.Attrs.IsControl() {
				out.add(r)
			}
			if r.Offset+1 >= ends[tp] {
				delete(ends, tp)
			}
		})
	}
	return out
}
