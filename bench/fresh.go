package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"
)

// fresh runs measure on servers started for this row alone.
func (b *bench) fresh(ctx context.Context, r row, workload string, times int, m metric, measure func(s *server) (float64, error)) error {
	got := map[string]map[string][]float64{m.name: {}}
	for i := 0; i < times; i++ {
		for _, kind := range b.has(gregor, kafka) {
			s, err := b.prepare(ctx, kind, nil)
			if err != nil {
				return err
			}
			v, err := measure(s)
			if serr := s.stop(); err == nil {
				err = serr
			}
			if err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
			got[m.name][kind] = append(got[m.name][kind], v)
			fmt.Fprintf(os.Stderr, "  %d/%d %-6s %s %v\n", i+1, times, kind, m.name, v)
		}
	}
	b.report(r, workload, got, m)
	return nil
}

func row8(ctx context.Context, b *bench, r row) error {
	rss := func(s *server) (float64, error) {
		u, err := usageOf(s.pid())
		return float64(u.rss) / 1e6, err
	}
	if err := b.fresh(ctx, r, "idle", 3, metric{"RSS MB", true, 1.0 / 20}, func(s *server) (float64, error) {
		if err := b.start(ctx, s); err != nil {
			return 0, err
		}
		time.Sleep(5 * time.Second) // what is measured is the idle state itself
		return rss(s)
	}); err != nil {
		return err
	}
	if err := b.fresh(ctx, r, "10,000 connections", 1, metric{"RSS MB", true, 1.0 / 8}, func(s *server) (float64, error) {
		if err := b.start(ctx, s); err != nil {
			return 0, err
		}
		for i := 0; i < 10000; i++ {
			c, err := net.Dial("tcp", s.addr)
			if err != nil {
				return 0, fmt.Errorf("connection %d: %w", i, err)
			}
			defer c.Close()
			if (i+1)%1000 != 0 {
				continue
			}
			time.Sleep(200 * time.Millisecond) // what is measured is the idle state itself
			v, err := rss(s)
			if err != nil {
				return 0, err
			}
			b.noteGrowth(r, "connections", "RSS MB", s.kind, float64(i+1), v)
		}
		time.Sleep(2 * time.Second)
		return rss(s)
	}); err != nil {
		return err
	}
	return b.fresh(ctx, r, "10,000 partitions", 1, metric{"RSS MB", true, 1.0 / 8}, func(s *server) (float64, error) {
		if err := b.start(ctx, s); err != nil {
			return 0, err
		}
		for i := 0; i < 10; i++ {
			if err := s.newTopic(ctx, fmt.Sprintf("many-%d", i), 1000, nil); err != nil {
				return 0, err
			}
			time.Sleep(time.Second)
			v, err := rss(s)
			if err != nil {
				return 0, err
			}
			b.noteGrowth(r, "partitions", "RSS MB", s.kind, float64(1000*(i+1)), v)
		}
		time.Sleep(5 * time.Second)
		return rss(s)
	})
}

// firstAck starts the process and produces until the first acknowledgement.
func (b *bench) firstAck(ctx context.Context, s *server, create bool) (float64, error) {
	const topic = "first"
	if !create {
		if err := b.start(ctx, s); err != nil {
			return 0, err
		}
		if err := s.newTopic(ctx, topic, 1, nil); err != nil {
			return 0, err
		}
		s.cmd.Process.Signal(os.Interrupt)
		<-s.done
	}
	began := time.Now()
	if err := b.start(ctx, s); err != nil {
		return 0, err
	}
	if create {
		if err := s.newTopic(ctx, topic, 1, nil); err != nil {
			return 0, err
		}
	}
	batch, err := buildBatch(newRNG(), 1, 100, codecNone)
	if err != nil {
		return 0, err
	}
	frame := produceFrame(topic, 0, 1, batch)
	for time.Since(began) < time.Minute {
		if err = oneAck(s.addr, frame); err == nil {
			return float64(time.Since(began).Microseconds()) / 1000, nil
		}
		time.Sleep(time.Millisecond)
	}
	return 0, fmt.Errorf("no acknowledgement within a minute: %w", err)
}

func oneAck(addr string, frame []byte) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(frame); err != nil {
		return err
	}
	buf, err := readFrame(c, nil)
	if err != nil {
		return err
	}
	_, err = checkProduce(buf)
	return err
}

func row9(ctx context.Context, b *bench, r row) error {
	if err := b.fresh(ctx, r, "formatted node: exec to first acknowledged record", b.pairs, metric{"ms", true, 1.0 / 30}, func(s *server) (float64, error) {
		return b.firstAck(ctx, s, false)
	}); err != nil {
		return err
	}
	got := map[string]map[string][]float64{"ms": {}}
	for i := 0; i < b.pairs; i++ {
		for _, kind := range b.has(gregor, kafka) {
			began := time.Now()
			s, err := b.prepare(ctx, kind, nil)
			if err != nil {
				return err
			}
			format := float64(time.Since(began).Microseconds()) / 1000
			v, err := b.firstAck(ctx, s, true)
			if serr := s.stop(); err == nil {
				err = serr
			}
			if err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
			got["ms"][kind] = append(got["ms"][kind], v+format)
			fmt.Fprintf(os.Stderr, "  %d/%d %-6s ms %v\n", i+1, b.pairs, kind, v+format)
		}
	}
	b.report(r, "format, start, create a topic, produce", got, metric{"ms", true, 1.0 / 30})
	return nil
}
