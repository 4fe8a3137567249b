//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
)

// only holds what was found against one text, "" for nothing.
func only(t *testing.T, bad *findings, want string) {
	t.Helper()
	switch {
	case want == "" && len(bad.list) > 0:
		t.Errorf("found %q", bad.list)
	case want != "" && (len(bad.list) == 0 || !strings.Contains(bad.list[0], want)):
		t.Errorf("found %q, want %q", bad.list, want)
	}
}

func TestValuesAreHeldAgainstTheirCheckSum(t *testing.T) {
	m := mark{kind: 'e', producer: 3, partition: 7, doomed: true, number: 1 << 40}
	whole := m.value(100)
	if got, err := parse(whole, 'e', 7); err != nil || got != m {
		t.Fatalf("%+v, %v", got, err)
	}
	for n := range whole {
		if _, err := parse(whole[:n], 'e', 7); !errors.Is(err, errTorn) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
		whole[n]++
		if _, err := parse(whole, 'e', 7); !errors.Is(err, errTorn) {
			t.Fatalf("byte %d changed: %v", n, err)
		}
		whole[n]--
	}
	short := binary.BigEndian.AppendUint32(nil, crc32.Checksum([]byte("e0"), castagnoli))
	if _, err := parse(append(short, "e0"...), 'e', 7); !errors.Is(err, errTorn) {
		t.Errorf("a short value with its check sum: %v", err)
	}
	if _, err := parse(whole, 'e', 6); err == nil {
		t.Error("a value of another partition is taken")
	}
	if _, err := parse(whole, 'o', 7); err == nil {
		t.Error("a value of another kind is taken")
	}
}

// events of two producers on partition 0: offset 2n+k is number n of producer k.
func event(offset int64) []byte {
	return mark{kind: 'e', producer: uint8(offset % 2), number: uint64(offset / 2)}.value(20)
}

// read gives a member the offsets from one to another one.
func (e *eventPartition) readRange(member int, from, to int64) {
	for o := from; o < to; o++ {
		e.take(member, o, event(o))
	}
}

func (e *eventPartition) ackRange(from, to int64) {
	for o := from; o < to; o++ {
		e.ledgers[o%2].ack(uint64(o/2), o)
	}
}

func TestEventsOfAGroup(t *testing.T) {
	tests := map[string]struct {
		do   func(e *eventPartition)
		want string
	}{
		"whole": {func(e *eventPartition) { e.ackRange(0, 6000); e.readRange(0, 0, 6000) }, ""},
		"missing record": {func(e *eventPartition) {
			e.ackRange(0, 10)
			e.readRange(0, 0, 5)
			e.readRange(0, 6, 10)
		}, "is given offset 6, after 4"},
		"missing number": {func(e *eventPartition) {
			e.readRange(0, 0, 4)
			e.take(0, 4, event(6))
		}, "number 3 at offset 4, where 2 should be"},
		"doubled record": {func(e *eventPartition) {
			e.readRange(0, 0, 4)
			e.take(0, 4, event(2))
		}, "number 1 at offset 4, where 2 should be"},
		"reordered records": {func(e *eventPartition) {
			e.take(0, 0, event(2))
			e.take(0, 1, event(0))
		}, "number 1 at offset 0, where 0 should be"},
		"offset going back": {func(e *eventPartition) {
			e.readRange(0, 0, 4)
			e.take(0, 3, event(3))
		}, "is given offset 3, after 3"},
		"torn record": {func(e *eventPartition) { e.take(0, 0, event(0)[:30]) }, "the check sum does not fit"},
		"another offset than acknowledged": {func(e *eventPartition) {
			e.ackRange(0, 4090)
			e.ledgers[0].ack(2045, 4099)
			e.ackRange(4091, 4092)
			e.readRange(0, 0, 4092)
		}, "other offsets than acknowledged"},
		"a whole block at other offsets": {func(e *eventPartition) {
			for o := range int64(4096) {
				e.ledgers[o%2].ack(uint64(o/2), o+1)
			}
			e.readRange(0, 0, 4096)
		}, "from 0 to 1023 some are at other offsets"},
		"lost at the end":          {func(e *eventPartition) { e.ackRange(0, 100); e.readRange(0, 0, 99) }, "50 records were acknowledged, 49 read"},
		"never acknowledged":       {func(e *eventPartition) { e.ackRange(0, 100); e.readRange(0, 0, 101) }, "50 records were acknowledged, 51 read"},
		"acknowledgement left out": {func(e *eventPartition) { e.ledgers[0].ack(1, 0) }, "number 1 was acknowledged after 0 others"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			bad := &findings{quiet: true}
			e := newEventPartition("events", 0, 2, bad)
			e.assigned(0)
			tt.do(e)
			for _, l := range e.ledgers {
				l.settle()
			}
			only(t, bad, tt.want)
		})
	}
}

func TestALedgerForgetsWhatBothSidesHave(t *testing.T) {
	bad := &findings{quiet: true}
	e := newEventPartition("events", 0, 2, bad)
	e.assigned(0)
	for o := int64(0); o < 100_000; o += 100 {
		e.ackRange(o, o+100)
		e.readRange(0, o, o+100)
		if n := len(e.ledgers[0].blocks); n > 1 {
			t.Fatalf("%d blocks at offset %d", n, o)
		}
	}
	only(t, bad, "")
}

func TestMembersBeginAtTheCommittedOffset(t *testing.T) {
	tests := map[string]struct {
		do   func(e *eventPartition)
		want string
	}{
		"at it": {func(e *eventPartition) { e.readRange(1, 60, 120) }, ""},
		"between it and one whose outcome is unknown": {func(e *eventPartition) {
			e.committing(80)
			e.readRange(1, 80, 120)
		}, ""},
		"before it":       {func(e *eventPartition) { e.readRange(1, 59, 120) }, "begins at offset 59, committed is 60"},
		"behind it":       {func(e *eventPartition) { e.readRange(1, 61, 120) }, "begins at offset 61, committed is 60"},
		"behind all read": {func(e *eventPartition) { e.committing(110); e.readRange(1, 110, 120) }, "nobody was given those from 100 on"},
		"stale record": {func(e *eventPartition) {
			e.readRange(1, 60, 70)
			e.take(1, 70, event(72))
		}, "offset 70 holds number 36"},
		"without being asked": {func(e *eventPartition) { e.revoked(1); e.readRange(1, 60, 61) }, "does not own"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			bad := &findings{quiet: true}
			e := newEventPartition("events", 0, 2, bad)
			e.assigned(0)
			e.readRange(0, 0, 100)
			e.committing(60)
			e.committed(60)
			e.revoked(0)
			e.assigned(1)
			tt.do(e)
			only(t, bad, tt.want)
		})
	}
}

func TestTableVersions(t *testing.T) {
	write := func(c *tableCheck, key int, offset int64, tombstone bool) uint64 {
		v := c.next(key)
		c.ack(key, v, offset, tombstone)
		c.follow(key, v, offset)
		return v
	}
	tests := map[string]struct {
		do   func(c *tableCheck)
		want string
	}{
		"last versions": {func(c *tableCheck) {
			write(c, 0, 0, false)
			v := write(c, 0, 1, false)
			w := write(c, 1, 2, true)
			c.last(0, v, 1, false)
			c.last(1, w, 2, true)
		}, ""},
		"old versions are still there": {func(c *tableCheck) {
			v := write(c, 0, 0, false)
			w := write(c, 0, 1, false)
			c.last(0, v, 0, false)
			c.last(0, w, 1, false)
		}, ""},
		"tombstone that is gone": {func(c *tableCheck) { write(c, 0, 0, false); write(c, 0, 1, true) }, ""},
		"stale while it streams": {func(c *tableCheck) { write(c, 0, 0, false); v := write(c, 0, 1, false); c.follow(0, v-1, 2) }, "version 1 at offset 2 is read after version 2"},
		"twice":                  {func(c *tableCheck) { v := write(c, 0, 0, false); c.follow(0, v, 1) }, "is read after version 1"},
		"never sent":             {func(c *tableCheck) { c.follow(0, 1, 0) }, "0 were sent"},
		"stale in the end":       {func(c *tableCheck) { v := write(c, 0, 0, false); write(c, 0, 1, false); c.last(0, v, 0, false) }, "in the end key 0 has version 1"},
		"lost in the end":        {func(c *tableCheck) { write(c, 0, 0, false) }, "in the end key 0 has version 0"},
		"moved":                  {func(c *tableCheck) { v := write(c, 0, 4, false); c.last(0, v, 5, false) }, "at offset 5"},
		"deleted, and back":      {func(c *tableCheck) { v := write(c, 0, 0, false); write(c, 0, 1, true); c.last(0, v, 0, false) }, "in the end key 0 has version 1"},
		"not deleted, and gone":  {func(c *tableCheck) { v := write(c, 0, 0, false); c.last(0, v, 0, true) }, "tombstone true"},
		"reordered in the end": {func(c *tableCheck) {
			v := write(c, 0, 0, false)
			w := write(c, 0, 1, false)
			c.last(0, w, 0, false)
			c.last(0, v, 1, false)
		}, "behind version 2"},
		"acknowledged backwards": {func(c *tableCheck) { c.next(0); w := c.next(0); c.ack(0, w, 0, false) }, "version 2 is acknowledged"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			bad := &findings{quiet: true}
			c := newTableCheck(2, bad)
			tt.do(c)
			c.settle()
			only(t, bad, tt.want)
		})
	}
}

func TestPairsAreReadWhollyOrNotAtAll(t *testing.T) {
	parts := [2]int32{0, 1}
	see := func(c *pairCheck, number uint64, on ...int32) {
		for _, p := range on {
			c.take(p, int64(number), mark{number: number})
		}
	}
	txn := func(c *pairCheck, number uint64, o outcome) { c.began(number, parts); c.ended(number, o) }
	tests := map[string]struct {
		do   func(c *pairCheck)
		want string
	}{
		"committed": {func(c *pairCheck) { txn(c, 1, committed); see(c, 1, 0, 1); txn(c, 2, committed); see(c, 2, 1, 0) }, ""},
		"partitions apart": {func(c *pairCheck) {
			txn(c, 1, committed)
			txn(c, 2, committed)
			see(c, 1, 0)
			see(c, 2, 0)
			see(c, 1, 1)
			see(c, 2, 1)
		}, ""},
		"read before the producer is told": {func(c *pairCheck) { c.began(1, parts); see(c, 1, 0, 1); c.ended(1, committed) }, ""},
		"aborted":                          {func(c *pairCheck) { txn(c, 1, aborted) }, ""},
		"unknown, there":                   {func(c *pairCheck) { txn(c, 1, unknown); see(c, 1, 0, 1) }, ""},
		"unknown, not there":               {func(c *pairCheck) { txn(c, 1, unknown); txn(c, 2, committed); see(c, 2, 0, 1) }, ""},
		"unknown, not there in the end":    {func(c *pairCheck) { txn(c, 1, unknown) }, ""},
		"unknown, half there":              {func(c *pairCheck) { txn(c, 1, unknown); txn(c, 2, committed); see(c, 1, 0); see(c, 2, 1, 0) }, "is torn"},
		"unknown, half there in the end":   {func(c *pairCheck) { txn(c, 1, unknown); see(c, 1, 0) }, "in the end"},
		"half passed":                      {func(c *pairCheck) { txn(c, 1, committed); txn(c, 2, committed); see(c, 1, 0); see(c, 2, 1) }, "is torn"},
		"passed":                           {func(c *pairCheck) { txn(c, 1, committed); txn(c, 2, committed); see(c, 2, 0, 1) }, "is torn"},
		"half in the end":                  {func(c *pairCheck) { txn(c, 1, committed); see(c, 1, 0) }, "in the end"},
		"lost in the end":                  {func(c *pairCheck) { txn(c, 1, committed) }, "in the end"},
		"aborted, and read":                {func(c *pairCheck) { txn(c, 1, aborted); see(c, 1, 0) }, "was aborted"},
		"read, then aborted":               {func(c *pairCheck) { c.began(1, parts); see(c, 1, 0); c.ended(1, aborted) }, "is aborted"},
		"twice":                            {func(c *pairCheck) { txn(c, 1, committed); see(c, 1, 0, 1, 1) }, "is there twice"},
		"half twice":                       {func(c *pairCheck) { txn(c, 1, committed); see(c, 1, 0, 0) }, "is there twice"},
		"reordered":                        {func(c *pairCheck) { txn(c, 1, committed); txn(c, 2, committed); see(c, 2, 0); see(c, 1, 0) }, "is torn"},
		"never sent":                       {func(c *pairCheck) { see(c, 1, 0) }, "is there twice"},
		"doomed": {func(c *pairCheck) {
			c.began(1, parts)
			c.take(0, 0, mark{number: 1, doomed: true})
		}, "of an aborted transaction"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			bad := &findings{quiet: true}
			c := &pairCheck{bad: bad}
			tt.do(c)
			c.settle()
			only(t, bad, tt.want)
		})
	}
}

func TestTheWindowOfPairsIsBounded(t *testing.T) {
	bad := &findings{quiet: true}
	c := &pairCheck{bad: bad}
	for n := range uint64(maxWindow + 3) {
		c.began(n, [2]int32{0, 1})
	}
	if len(c.window) != maxWindow {
		t.Errorf("%d transactions wait", len(c.window))
	}
	only(t, bad, "transactions behind")
}

func TestCopiesAreThereOnceInOrder(t *testing.T) {
	tests := map[string]struct {
		copies []uint64
		want   string
	}{
		"all":       {[]uint64{0, 1, 2, 3}, ""},
		"missing":   {[]uint64{0, 1, 3}, "the copy of number 3, where that of 2 should be"},
		"doubled":   {[]uint64{0, 1, 1, 2, 3}, "the copy of number 1, where that of 2 should be"},
		"reordered": {[]uint64{0, 2, 1, 3}, "the copy of number 2, where that of 1 should be"},
		"too few":   {[]uint64{0, 1, 2}, "4 originals were acknowledged, 3 copies read"},
		"too many":  {[]uint64{0, 1, 2, 3, 4}, "4 originals were acknowledged, 5 copies read"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			bad := &findings{quiet: true}
			c := &copyCheck{bad: bad}
			for range 4 {
				c.ack()
			}
			for o, n := range tt.copies {
				c.take(int64(o), mark{kind: 'c', number: n}.value(10))
			}
			c.settle()
			only(t, bad, tt.want)
		})
	}
	bad := &findings{quiet: true}
	(&copyCheck{bad: bad}).take(0, mark{kind: 'o'}.value(10))
	only(t, bad, "a value of kind o")
}

func TestFindingsEndARun(t *testing.T) {
	ended := 0
	bad := &findings{quiet: true, full: func() { ended++ }}
	for range maxFindings + 5 {
		bad.add("x")
	}
	if ended != 1 || bad.count() != maxFindings+5 || len(bad.list) != maxFindings {
		t.Errorf("ended %d times, %d findings, %d of them kept", ended, bad.count(), len(bad.list))
	}
}
