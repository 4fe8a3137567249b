//go:build linux

package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// watch reads all partitions of a topic from the beginning on until ctx ends. Offsets
// of a partition rise.
func (c *cluster) watch(ctx context.Context, topic string, parts int32, take func(*kgo.Record)) {
	from, last := map[int32]kgo.Offset{}, make([]int64, parts)
	for p := range parts {
		from[p], last[p] = kgo.NewOffset().At(0), -1
	}
	cl, err := c.client(&line{}, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		c.bad.add("the reader of %s: %v", topic, err)
		return
	}
	defer cl.Close()
	for ctx.Err() == nil {
		f := cl.PollFetches(ctx)
		f.EachError(func(_ string, p int32, err error) {
			if serious(err) {
				c.bad.add("%s-%d: the reader: %v", topic, p, err)
			}
		})
		f.EachRecord(func(r *kgo.Record) {
			if r.Offset <= last[r.Partition] {
				c.bad.add("%s-%d: offset %d is read after %d", topic, r.Partition, r.Offset, last[r.Partition])
			}
			last[r.Partition] = r.Offset
			take(r)
		})
	}
}

// bounds returns the first offsets and the ends of a topic's partitions.
func (c *cluster) bounds(ctx context.Context, topic string) (starts, ends []int64) {
	adm := kadm.NewClient(c.admin)
	s, err := adm.ListStartOffsets(ctx, topic)
	if err == nil {
		err = s.Error()
	}
	e, err2 := adm.ListEndOffsets(ctx, topic)
	if err == nil {
		if err = err2; err == nil {
			err = e.Error()
		}
	}
	if err != nil {
		c.bad.add("the offsets of %s: %v", topic, err)
		return nil, nil
	}
	for p := range int32(len(s[topic])) {
		starts, ends = append(starts, s[topic][p].Offset), append(ends, e[topic][p].Offset)
	}
	return starts, ends
}
