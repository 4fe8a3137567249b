package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// leavePatience bounds what a tool still does for the cluster once it is told to
	// end: a producer's last records, a consumer's last commit.
	leavePatience = 5 * time.Second
	// lineGrace is the moment in which a line that was read when a tool is told to end
	// is still taken over.
	lineGrace = 100 * time.Millisecond
	// deliveryTimeout is delivery.timeout.ms of Kafka's producer.
	deliveryTimeout = 2 * time.Minute
)

// errForced is the error of records that a producer has left when it must end.
var errForced = errors.New("Producer is closed forcefully.")

// lasting returns a context that goes on for d after ctx has ended.
func lasting(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(d, cancel)
		context.AfterFunc(longer, func() { timer.Stop() })
	})
	return longer, func() { stop(); cancel() }
}

// eachLine calls use with each line of in, without the line's end, until the input
// ends, use fails, or ctx ends. before is called before each wait for a line.
//
// A read of standard input cannot be interrupted, so a goroutine of its own reads. It
// ends with the input, or with the first line that nobody wants any more.
func eachLine(ctx context.Context, in io.Reader, before func(), use func(line []byte) error) error {
	type input struct {
		line []byte
		err  error
	}
	reading, cancel := lasting(ctx, lineGrace)
	defer cancel()
	lines := make(chan input)
	go func() {
		buffered := bufio.NewReaderSize(in, 64<<10)
		for {
			line, err := buffered.ReadBytes('\n')
			select {
			case lines <- input{line, err}:
			case <-reading.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for reading.Err() == nil {
		before()
		var got input
		select {
		case got = <-lines:
		case <-reading.Done():
			return nil
		}
		if got.err != nil && got.err != io.EOF {
			return fmt.Errorf("reading standard input: %w", got.err)
		}
		if len(got.line) > 0 {
			if err := use(bytes.TrimSuffix(got.line, []byte("\n"))); err != nil {
				return err
			}
		}
		if got.err == io.EOF {
			return nil
		}
	}
	return nil
}

// sender hands records to the client, all from one goroutine.
type sender struct {
	c *cluster
	// failed is told of each record that is not delivered: of one after the other, on a
	// goroutine of the client.
	failed func(*kgo.Record, error)
	open   sync.WaitGroup // one for each record whose fate is not known
}

// deliveryOptions give each record of a producer an end. A record that was sent and not
// answered may fail at that end too: nobody sends it again, so nothing is doubled.
func deliveryOptions() []kgo.Opt {
	return []kgo.Opt{kgo.RecordDeliveryTimeout(deliveryTimeout), kgo.AllowIdempotentProduceCancellation()}
}

// send gives the client a record, for which it may wait for room. The record fails with
// errForced when ctx ends before it is delivered.
func (s *sender) send(ctx context.Context, r *kgo.Record) {
	s.open.Add(1)
	s.c.Produce(ctx, r, func(r *kgo.Record, err error) {
		defer s.open.Done()
		switch {
		case err != nil && ctx.Err() != nil:
			s.failed(r, errForced)
		case err != nil:
			s.failed(r, err)
		}
	})
}

// finish waits until every record is acknowledged or has failed. When ctx ends it closes
// the client, and with that the records fail that are left.
func (s *sender) finish(ctx context.Context) {
	if s.c.Flush(ctx) != nil {
		s.c.Close()
	}
	s.open.Wait()
}

// firstFailure keeps the first error of a sender's records.
type firstFailure struct {
	mu  sync.Mutex
	err error // guarded by mu
}

func (f *firstFailure) note(_ *kgo.Record, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *firstFailure) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
