//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	tableKeys = 10_000
	tableRate = 400
	// tombstoneEvery is which share of versions deletes its key.
	tombstoneEvery = 20
	versionHeader  = "v"
)

// table is the load on the topic table.
type table struct {
	c     *cluster
	check *tableCheck
}

func newTable(c *cluster) *table { return &table{c: c, check: newTableCheck(tableKeys, c.bad)} }

// write writes versions of keys at random until ctx ends.
func (t *table) write(ctx context.Context) {
	cl, err := t.c.client(&line{})
	if err != nil {
		t.c.bad.add("table: %v", err)
		return
	}
	defer cl.Close()
	sending, cancel := lasting(ctx, flushLimit)
	defer cancel()
	for pace := newPacer(tableRate); pace.wait(ctx, 1); {
		key := rand.IntN(tableKeys)
		version := t.check.next(key)
		tombstone := rand.IntN(tombstoneEvery) == 0
		r := &kgo.Record{Topic: "table", Partition: int32(key % tableParts), Key: strconv.AppendInt(nil, int64(key), 10),
			Headers: []kgo.RecordHeader{{Key: versionHeader, Value: binary.BigEndian.AppendUint64(nil, version)}}}
		if !tombstone {
			r.Value = mark{kind: 't', partition: uint16(r.Partition), number: version}.value(sizeOf(version) / 2)
		}
		cl.Produce(sending, r, func(r *kgo.Record, err error) {
			if err != nil {
				t.c.bad.add("table: version %d of key %d failed: %v", version, key, err)
				return
			}
			t.check.ack(key, version, r.Offset, tombstone)
		})
	}
	flush(cl, t.c.bad, "table")
}

// parse reads a record; false if it is damaged, which it tells.
func (t *table) parse(r *kgo.Record) (key int, version uint64, ok bool) {
	key, err := strconv.Atoi(string(r.Key))
	if err != nil || key < 0 || key >= tableKeys || int32(key%tableParts) != r.Partition || len(r.Headers) != 1 || len(r.Headers[0].Value) != 8 {
		t.c.bad.add("table-%d: offset %d: the key %q with %d headers", r.Partition, r.Offset, r.Key, len(r.Headers))
		return 0, 0, false
	}
	version = binary.BigEndian.Uint64(r.Headers[0].Value)
	if r.Value != nil {
		if m, err := parse(r.Value, 't', r.Partition); err != nil || m.number != version {
			t.c.bad.add("table-%d: offset %d: version %d of key %d: %v, the value has version %d", r.Partition, r.Offset, version, key, err, m.number)
			return 0, 0, false
		}
	}
	return key, version, true
}

// follow reads what is written.
func (t *table) follow(ctx context.Context) {
	t.c.watch(ctx, "table", tableParts, func(r *kgo.Record) {
		if key, version, ok := t.parse(r); ok {
			t.check.follow(key, version, r.Offset)
		}
	})
}

const (
	finalLimit = 2 * time.Minute
	// finalSilence ends the last reading where a record of the end is compacted away.
	finalSilence = 10 * time.Second
)

// settle reads all of the topic once nobody writes, and judges it.
func (t *table) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, finalLimit)
	defer cancel()
	_, ends := t.c.bounds(ctx, "table")
	if ends == nil {
		return
	}
	silence := time.AfterFunc(finalSilence, cancel)
	left := len(ends)
	for _, end := range ends {
		if end == 0 {
			left--
		}
	}
	t.c.watch(ctx, "table", tableParts, func(r *kgo.Record) {
		silence.Reset(finalSilence)
		if key, version, ok := t.parse(r); ok {
			t.check.last(key, version, r.Offset, r.Value == nil)
		}
		if r.Offset == ends[r.Partition]-1 {
			if left--; left == 0 {
				cancel()
			}
		}
	})
	silence.Stop()
	t.check.settle()
	if t.check.written > 10*tableKeys && t.check.found > int(t.check.written/2) {
		t.c.bad.add("table: %d records of %d are there in the end: compaction does not keep up", t.check.found, t.check.written)
	}
}
