package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const keyBytes = 8

// keyedBatch is a produce frame of n records whose keys can be set in place.
type keyedBatch struct {
	frame []byte
	body  []byte // the batch in frame
	keys  []int  // where in body each key begins
}

// newKeyedBatch makes records of size bytes, the key among them.
func newKeyedBatch(topic string, n, size int) keyedBatch {
	value := make([]byte, max(1, size-keyBytes))
	rng := newRNG()
	var recs []byte
	k := keyedBatch{}
	for i := range n {
		fillText(rng, value)
		body := 1 + 1 + kbin.VarintLen(int32(i)) + kbin.VarintLen(keyBytes) + keyBytes + kbin.VarintLen(int32(len(value))) + len(value) + 1
		recs = kbin.AppendVarint(recs, int32(body))
		recs = append(recs, 0) // attributes
		recs = kbin.AppendVarlong(recs, 0)
		recs = kbin.AppendVarint(recs, int32(i))
		recs = kbin.AppendVarint(recs, keyBytes)
		k.keys = append(k.keys, batchHeader+len(recs))
		recs = append(recs, make([]byte, keyBytes)...)
		recs = kbin.AppendVarint(recs, int32(len(value)))
		recs = append(recs, value...)
		recs = kbin.AppendVarint(recs, 0) // no headers
	}
	now := time.Now().UnixMilli()
	rb := kmsg.RecordBatch{
		Magic: 2, LastOffsetDelta: int32(n - 1), PartitionLeaderEpoch: -1, FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(n), Records: recs,
	}
	batch := rb.AppendTo(nil)
	binary.BigEndian.PutUint32(batch[8:], uint32(len(batch)-12))
	k.frame = produceFrame(topic, 0, 1, batch)
	at := findBatch(k.frame, batch)
	k.body = k.frame[at : at+len(batch)]
	return k
}

const batchHeader = 61

// set gives every record a key out of so many, at random.
func (k keyedBatch) set(rng *rand.Rand, distinct int64) {
	for _, at := range k.keys {
		binary.BigEndian.PutUint64(k.body[at:], uint64(rng.Int64N(distinct)))
	}
	binary.BigEndian.PutUint32(k.body[17:], crc32.Checksum(k.body[21:], castagnoli))
}

// fillKeyed writes about bytes of records to one partition; each key comes ten times
// on average, so that about a tenth of the records lives.
func fillKeyed(ctx context.Context, addr, topic string, bytes int64, size int) error {
	k := newKeyedBatch(topic, recordsFor(64<<10, size), size)
	requests := max(1, bytes/int64(len(k.body)))
	distinct := max(1, requests*int64(len(k.keys))/10)
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Minute))
	r := bufio.NewReaderSize(c, 16<<10)
	rng := newRNG()
	var buf []byte
	var out, in int64
	for in < requests {
		for out < requests && out-in < 8 {
			k.set(rng, distinct)
			if _, err := c.Write(k.frame); err != nil {
				return err
			}
			out++
		}
		if buf, err = readFrame(r, buf); err != nil {
			return err
		}
		if _, err := checkProduce(buf); err != nil {
			return fmt.Errorf("request %d: %w", in, err)
		}
		in++
	}
	return ctx.Err()
}
