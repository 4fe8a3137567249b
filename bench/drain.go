package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// drainProbes is how many partitions of the leader are watched while it shuts down.
const drainProbes = 4

// drainLeader is row 10c: the longest gap between two acknowledgements of a partition
// while its leader shuts down in an orderly way, the worst of a few partitions.
func drainLeader(ctx context.Context, c *cluster) (*server, map[string]float64, error) {
	victim, led, others, err := c.pick(false)
	if err != nil {
		return nil, nil, err
	}
	closePeers(others)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	probes := make([]probe, min(drainProbes, len(led)))
	errs := make([]error, len(probes))
	var wg sync.WaitGroup
	for i := range probes {
		probes[i] = probe{c: c, partition: led[i*len(led)/len(probes)], leader: victim.id}
		wg.Add(1)
		go func() { defer wg.Done(); errs[i] = probes[i].run(ctx) }()
	}
	time.Sleep(300 * time.Millisecond) // the load is there before the signal
	for i := range probes {
		probes[i].mark()
	}
	began := time.Now()
	victim.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-victim.done:
	case <-time.After(failoverLimit):
		return nil, nil, errors.New("the node did not end")
	}
	took := time.Since(began)
	time.Sleep(500 * time.Millisecond) // a gap that began last is seen to its end
	cancel()
	wg.Wait()
	var worst time.Duration
	failed := 0
	for i := range probes {
		if errs[i] != nil {
			return nil, nil, errs[i]
		}
		worst = max(worst, probes[i].gap())
		failed += probes[i].refused
	}
	return victim, map[string]float64{"longest gap ms": ms(worst), "shutdown ms": ms(took), "answers that were errors": float64(failed)}, nil
}

// probe produces to one partition, one record at a time, and follows its leader.
type probe struct {
	c         *cluster
	partition int32
	leader    int32
	refused   int

	mu      sync.Mutex
	lastAck time.Time
	longest time.Duration
}

func (p *probe) ack() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.lastAck.IsZero() {
		p.longest = max(p.longest, now.Sub(p.lastAck))
	}
	p.lastAck = now
}

// mark forgets the gaps so far.
func (p *probe) mark() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.longest = 0
}

// gap is the longest one since mark, be it the one that still lasts.
func (p *probe) gap() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.longest
}

func (p *probe) run(ctx context.Context) error {
	batch, err := buildBatch(newRNG(), 1, 100, codecNone)
	if err != nil {
		return err
	}
	// Connections to all nodes are open beforehand, as a client's are.
	peers := map[int32]*peer{}
	defer func() { closePeers(peers) }()
	for _, s := range p.c.nodes {
		if peers[s.id], err = dialPeer(s.addr, "probe"); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		to := peers[p.leader]
		if to != nil {
			if err = to.produceOne(p.partition, batch); err == nil {
				p.ack()
				time.Sleep(time.Millisecond)
				continue
			}
			p.refused++
			var ke *kerr.Error
			if !errors.As(err, &ke) {
				to.close()
				delete(peers, p.leader)
			} else if !ke.Retriable {
				return err
			}
		}
		p.follow(peers)
	}
	if err != nil {
		return fmt.Errorf("partition %d ended without an acknowledgement: %w", p.partition, err)
	}
	return nil
}

// follow asks the nodes that are left for the partition's leader.
func (p *probe) follow(peers map[int32]*peer) {
	time.Sleep(pollPause)
	for id, peer := range peers {
		parts, err := peer.metadata(failoverTopic)
		if err != nil {
			peer.close()
			delete(peers, id)
			continue
		}
		for _, part := range parts {
			if part.Partition == p.partition && part.Leader >= 0 && peers[part.Leader] != nil {
				p.leader = part.Leader
				return
			}
		}
	}
}
