package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// txnSpec is many transactional producers, each with a connection of its own, that
// commit one transaction after the other.
type txnSpec struct {
	addr       string
	topicID    [16]byte
	partitions int
	producers  int
	records    int     // a transaction
	rate       float64 // transactions a second of all producers together; 0 for as many as there can be
	run        time.Duration
}

type txnResult struct {
	committed int
	elapsed   time.Duration
	commit    hist // from EndTxn sent to its answer, retries included
	whole     hist // from when the transaction was meant to begin to the same
}

func runTransactions(ctx context.Context, s txnSpec) (*txnResult, error) {
	ctx, cancel := context.WithTimeout(ctx, s.run+2*time.Minute)
	defer cancel()
	out := &txnResult{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := make([]error, s.producers)
	begin := make(chan struct{})
	var ready sync.WaitGroup
	ready.Add(s.producers)
	for i := range s.producers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			p := &txnProducer{spec: s, index: i}
			err := p.open()
			ready.Done()
			if err == nil {
				<-begin
				err = p.run(ctx, time.Now().Add(s.run))
				p.conn.close()
			}
			errs[i] = err
			mu.Lock()
			defer mu.Unlock()
			out.committed += p.committed
			out.commit.merge(&p.commit)
			out.whole.merge(&p.whole)
		}()
	}
	ready.Wait()
	began := time.Now()
	close(begin)
	wg.Wait()
	out.elapsed = time.Since(began)
	return out, errors.Join(errs...)
}

// txnProducer is one producer under transactions v2 (KIP-890).
type txnProducer struct {
	spec      txnSpec
	index     int
	conn      *peer
	name      string
	id        int64
	epoch     int16
	batch     []byte
	committed int

	commit, whole hist // as in txnResult
}

func (p *txnProducer) open() error {
	var err error
	p.name = fmt.Sprintf("bench-%d-%d", p.index, time.Now().UnixNano())
	if p.conn, err = dialPeer(p.spec.addr, p.name); err != nil {
		return err
	}
	if p.batch, err = buildBatch(newRNG(), p.spec.records, 100, codecNone); err != nil {
		return err
	}
	return p.retry(func() (int16, error) {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.SetVersion(4)
		req.TransactionalID, req.TransactionTimeoutMillis = &p.name, 60_000
		resp, err := p.conn.do(req, time.Minute)
		if err != nil {
			return 0, err
		}
		r := resp.(*kmsg.InitProducerIDResponse)
		p.id, p.epoch = r.ProducerID, r.ProducerEpoch
		return r.ErrorCode, nil
	})
}

// retry repeats what the broker puts off. 2 ms is less than any client waits.
func (p *txnProducer) retry(f func() (int16, error)) error {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		code, err := f()
		if err != nil || code == 0 {
			return err
		}
		// The last transaction's markers are on their way: every client comes back.
		if code == kerr.ConcurrentTransactions.Code {
			continue
		}
		if ke, ok := kerr.ErrorForCode(code).(*kerr.Error); !ok || !ke.Retriable {
			return kerr.ErrorForCode(code)
		}
	}
	return errors.New("put off for a minute")
}

func (p *txnProducer) run(ctx context.Context, until time.Time) error {
	if p.spec.rate == 0 {
		for n := 0; time.Now().Before(until) && ctx.Err() == nil; n++ {
			if err := p.transaction(n, time.Now()); err != nil {
				return err
			}
		}
		return nil
	}
	// Producers take turns, so that their beginnings are spread evenly.
	gap := time.Duration(float64(p.spec.producers) / p.spec.rate * 1e9)
	due := time.Now().Add(gap * time.Duration(p.index) / time.Duration(p.spec.producers))
	for n := 0; due.Before(until) && ctx.Err() == nil; n++ {
		time.Sleep(time.Until(due))
		if err := p.transaction(n, due); err != nil {
			return err
		}
		due = due.Add(gap)
	}
	return nil
}

// transaction is the producer's n-th, meant to begin at due.
func (p *txnProducer) transaction(n int, due time.Time) error {
	if err := p.produce(int32((p.index + n) % p.spec.partitions)); err != nil {
		return fmt.Errorf("producing: %w", err)
	}
	began := time.Now()
	if err := p.end(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	p.commit.add(time.Since(began).Microseconds())
	p.whole.add(time.Since(due).Microseconds())
	p.committed++
	return nil
}

// produce sends the batch as the first of its producer epoch, so with sequence 0.
func (p *txnProducer) produce(partition int32) error {
	binary.BigEndian.PutUint16(p.batch[21:], 1<<4) // transactional
	binary.BigEndian.PutUint64(p.batch[43:], uint64(p.id))
	binary.BigEndian.PutUint16(p.batch[51:], uint16(p.epoch))
	binary.BigEndian.PutUint32(p.batch[53:], 0)
	binary.BigEndian.PutUint32(p.batch[17:], crc32.Checksum(p.batch[21:], castagnoli))
	return p.retry(func() (int16, error) {
		req := kmsg.NewPtrProduceRequest()
		req.SetVersion(13)
		req.TransactionID, req.Acks, req.TimeoutMillis = &p.name, -1, 30_000
		t := kmsg.NewProduceRequestTopic()
		t.TopicID = p.spec.topicID
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition, rp.Records = partition, p.batch
		t.Partitions = append(t.Partitions, rp)
		req.Topics = append(req.Topics, t)
		resp, err := p.conn.do(req, time.Minute)
		if err != nil {
			return 0, err
		}
		return resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode, nil
	})
}

func (p *txnProducer) end() error {
	return p.retry(func() (int16, error) {
		req := kmsg.NewPtrEndTxnRequest()
		req.SetVersion(5)
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = p.name, p.id, p.epoch, true
		resp, err := p.conn.do(req, time.Minute)
		if err != nil {
			return 0, err
		}
		r := resp.(*kmsg.EndTxnResponse)
		if r.ErrorCode == 0 {
			p.id, p.epoch = r.ProducerID, r.ProducerEpoch
		}
		return r.ErrorCode, nil
	})
}
