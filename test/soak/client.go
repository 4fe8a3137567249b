//go:build linux

package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// line is the network of one client. To cut it is the client's kill -9. mu guards it.
type line struct {
	mu    sync.Mutex
	gone  bool
	conns map[net.Conn]bool
}

func (l *line) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		c.Close()
		return nil, net.ErrClosed
	}
	if l.conns == nil {
		l.conns = map[net.Conn]bool{}
	}
	l.conns[c] = true
	return &lineConn{c, l}, nil
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	for c := range l.conns {
		c.Close()
	}
}

// lineConn is forgotten by its line when it is closed.
type lineConn struct {
	net.Conn
	line *line
}

func (c *lineConn) Close() error {
	c.line.mu.Lock()
	delete(c.line.conns, c.Conn)
	c.line.mu.Unlock()
	return c.Conn.Close()
}

// client makes one with the options that all have: nothing is given up, since nodes are
// killed, and nobody begins anew where an offset is out of range.
func (c *cluster) client(l *line, opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(c.clientOptions(l, opts...)...)
}

func (c *cluster) clientOptions(l *line, opts ...kgo.Opt) []kgo.Opt {
	base := []kgo.Opt{
		kgo.SeedBrokers(c.seeds()...), kgo.Dialer(l.dial), kgo.DisableClientMetrics(), kgo.UnknownTopicRetries(-1), kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.StopProducerOnDataLossDetected(),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(4 << 20), kgo.FetchMaxPartitionBytes(1 << 20),
	}
	return append(base, opts...)
}

// serious tells an error of a fetch that is a failure from one that a killed node causes.
func serious(err error) bool {
	var lost *kgo.ErrDataLoss
	switch {
	case errors.As(err, &lost):
		return true
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, kgo.ErrClientClosed), kgo.IsRetryableBrokerErr(err):
		return false
	}
	var group *kgo.ErrGroupSession
	if errors.As(err, &group) {
		return false // the client joins again
	}
	return !kerr.IsRetriable(err)
}
