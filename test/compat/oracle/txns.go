package main

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
)

// txn is a transactional producer as both servers know it.
type txn struct {
	id       string
	producer func(s *side) (int64, int16)
}

// begin makes a transactional id's producer on both sides.
func begin(o *oracle, v int16, scenario, id string) txn {
	answers := o.ask(scenario, v, func(*side) kmsg.Request { return initProducer(&id, 60000, -1, -1) })
	for i, a := range answers {
		if a.err == nil {
			r := a.resp.(*kmsg.InitProducerIDResponse)
			o.sides[i].kept[id] = [2]int64{r.ProducerID, int64(r.ProducerEpoch)}
			o.sides[i].learn(r.ProducerID, "the producer of "+id)
		}
	}
	return txn{id, func(s *side) (int64, int16) { p, _ := s.kept[id].([2]int64); return p[0], int16(p[1]) }}
}

func initProducer(id *string, timeout int32, pid int64, epoch int16) *kmsg.InitProducerIDRequest {
	r := kmsg.NewPtrInitProducerIDRequest()
	r.TransactionalID, r.TransactionTimeoutMillis, r.ProducerID, r.ProducerEpoch = id, timeout, pid, epoch
	return r
}

// txnRequests are the lives of transactions, and their mistakes.
func txnRequests(o *oracle) {
	o.make("atomic", 2)
	// Until a broker has its first block of producer ids it sends clients away.
	o.until(0, func(*side) kmsg.Request { return initProducer(nil, 60000, -1, -1) }, func(resp kmsg.Response) bool { return resp.(*kmsg.InitProducerIDResponse).ErrorCode == 0 })
	o.each(22, func(v int16) {
		for _, c := range []struct {
			name    string
			id      *string
			timeout int32
			pid     int64
			epoch   int16
		}{{"idempotent only", nil, 60000, -1, -1}, {"an empty id", str(""), 60000, -1, -1}, {"no time", str("t-bad"), 0, -1, -1}, {"too much time", str("t-bad"), 1 << 30, -1, -1}, {"a producer that is unknown", str(fmtName("t-unknown", v)), 60000, 999999, 3},
			{"a producer id without epoch", str("t-bad"), 60000, 7, -1}, {"an epoch without producer id", str("t-bad"), 60000, -1, 7}} {
			o.ask(c.name, v, func(*side) kmsg.Request { return initProducer(c.id, c.timeout, c.pid, c.epoch) })
		}
		begin(o, v, "begins", fmtName("t-init", v))
		begin(o, v, "begins again", fmtName("t-init", v))
	})
	o.each(24, func(v int16) { added(o, v) })
	o.each(25, func(v int16) { offsetsAdded(o, v) })
	o.each(26, func(v int16) { ended(o, v) })
	described(o)
}

func added(o *oracle, v int16) {
	t := begin(o, 5, "begins", fmtName("t-add", v))
	for _, c := range []struct {
		name, id   string
		pidOff     int64
		epochOff   int16
		topic      string
		parts      []int32
		verifyOnly bool
	}{{"verifies before it is added", t.id, 0, 0, "atomic", []int32{0}, true}, {"adds", t.id, 0, 0, "atomic", []int32{0}, false}, {"adds again", t.id, 0, 0, "atomic", []int32{0}, false}, {"verifies", t.id, 0, 0, "atomic", []int32{0}, true},
		{"an unknown topic", t.id, 0, 0, "never-made", []int32{0}, false}, {"an unknown partition", t.id, 0, 0, "atomic", []int32{7}, false},
		{"an internal topic", t.id, 0, 0, "__transaction_state", []int32{0}, false}, {"another producer", t.id, 5, 0, "atomic", []int32{0}, false}, {"a newer epoch", t.id, 0, 3, "atomic", []int32{0}, false},
		{"an unknown id", "t-nobody", 0, 0, "atomic", []int32{0}, false}, {"an empty id", "", 0, 0, "atomic", []int32{0}, false}, {"nothing", t.id, 0, 0, "", nil, false}} {
		if c.verifyOnly && v < 4 || c.topic == "__transaction_state" && v >= 4 { // brokers may add it
			continue
		}
		o.ask(c.name, v, func(s *side) kmsg.Request {
			pid, epoch := t.producer(s)
			r := kmsg.NewPtrAddPartitionsToTxnRequest()
			r.TransactionalID, r.ProducerID, r.ProducerEpoch = c.id, pid+c.pidOff, epoch+c.epochOff
			x := kmsg.NewAddPartitionsToTxnRequestTransaction()
			x.TransactionalID, x.ProducerID, x.ProducerEpoch, x.VerifyOnly = c.id, pid+c.pidOff, epoch+c.epochOff, c.verifyOnly
			if c.topic != "" {
				a := kmsg.NewAddPartitionsToTxnRequestTopic()
				a.Topic, a.Partitions = c.topic, c.parts
				r.Topics = append(r.Topics, a)
				b := kmsg.NewAddPartitionsToTxnRequestTransactionTopic()
				b.Topic, b.Partitions = c.topic, c.parts
				x.Topics = append(x.Topics, b)
			}
			r.Transactions = append(r.Transactions, x)
			return r
		})
	}
	o.ask("ends", min(v, o.ranges[26].max), func(s *side) kmsg.Request { return end(s, t, 0, 0, true) })
}

func end(s *side, t txn, pidOff int64, epochOff int16, commit bool) *kmsg.EndTxnRequest {
	r := kmsg.NewPtrEndTxnRequest()
	r.TransactionalID, r.Commit = t.id, commit
	r.ProducerID, r.ProducerEpoch = t.producer(s)
	r.ProducerID += pidOff
	r.ProducerEpoch += epochOff
	return r
}

func offsetsAdded(o *oracle, v int16) {
	t := begin(o, 5, "begins", fmtName("t-offsets", v))
	group := fmtName("g-txn", v)
	for _, c := range []struct {
		name, id, group string
		pidOff          int64
		epochOff        int16
	}{{"another producer", t.id, group, 5, 0}, {"a newer epoch", t.id, group, 0, 2}, {"an unknown id", "t-nobody", group, 0, 0}, {"no group", t.id, "", 0, 0}, {"adds", t.id, group, 0, 0}, {"adds again", t.id, group, 0, 0}} {
		o.ask(c.name, v, func(s *side) kmsg.Request {
			r := kmsg.NewPtrAddOffsetsToTxnRequest()
			r.TransactionalID, r.Group = c.id, c.group
			r.ProducerID, r.ProducerEpoch = t.producer(s)
			r.ProducerID += c.pidOff
			r.ProducerEpoch += c.epochOff
			return r
		})
	}
	o.each(28, func(cv int16) {
		for _, c := range []struct {
			name, topic, member string
			partition           int32
			generation          int32
			epochOff            int16
		}{{"commits", "seen", "", 0, -1, 0}, {"an unknown topic", "never-made", "", 0, -1, 0}, {"a member that is unknown", "seen", "m", 0, 3, 0}, {"a member without generation", "seen", "m", 0, -1, 0}, {"a fenced producer", "seen", "", 0, -1, -1}} {
			o.ask(c.name, cv, func(s *side) kmsg.Request {
				r := kmsg.NewPtrTxnOffsetCommitRequest()
				r.TransactionalID, r.Group, r.MemberID, r.Generation = t.id, group, c.member, c.generation
				r.ProducerID, r.ProducerEpoch = t.producer(s)
				r.ProducerEpoch += c.epochOff
				x := kmsg.NewTxnOffsetCommitRequestTopic()
				x.Topic, x.TopicID = c.topic, s.topicID(c.topic)
				p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
				p.Partition, p.Offset, p.LeaderEpoch = c.partition, 9, -1
				x.Partitions = append(x.Partitions, p)
				r.Topics = append(r.Topics, x)
				return r
			})
		}
	})
	o.each(9, func(fv int16) {
		for _, stable := range []bool{false, true} {
			o.ask("reads while it is open", fv, func(s *side) kmsg.Request {
				r := fetchOffsets(s, fv, group, "seen")
				r.RequireStable = stable
				return r
			})
		}
	})
	o.ask("ends", min(v, o.ranges[26].max), func(s *side) kmsg.Request { return end(s, t, 0, 0, true) })
}

func ended(o *oracle, v int16) {
	t := begin(o, 5, "begins", fmtName("t-end", v))
	o.ask("ends what did not begin", v, func(s *side) kmsg.Request { return end(s, t, 0, 0, true) })
	for _, commit := range []bool{true, false} {
		t := begin(o, 5, "begins", fmtName(map[bool]string{true: "t-commit", false: "t-abort"}[commit], v))
		o.ask("adds", 3, func(s *side) kmsg.Request {
			r := kmsg.NewPtrAddPartitionsToTxnRequest()
			r.TransactionalID = t.id
			r.ProducerID, r.ProducerEpoch = t.producer(s)
			a := kmsg.NewAddPartitionsToTxnRequestTopic()
			a.Topic, a.Partitions = "atomic", []int32{1}
			r.Topics = append(r.Topics, a)
			return r
		})
		o.ask("writes", 11, func(s *side) kmsg.Request {
			pid, epoch := t.producer(s)
			r := produce(s, 11, "atomic", 1, records(2, func(b *batch.Builder) {
				b.IsTransactional = true
				// The bytes of both servers are compared, so the id is not that of the producer
				// where only the answer matters.
				b.ProducerID, b.ProducerEpoch, b.BaseSequence = pid, epoch, 0
			}))
			r.TransactionID = str(t.id)
			return r
		})
		o.ask("a newer epoch", v, func(s *side) kmsg.Request { return end(s, t, 0, 4, commit) })
		o.ask("another producer", v, func(s *side) kmsg.Request { return end(s, t, 3, 0, commit) })
		o.ask("an unknown id", v, func(s *side) kmsg.Request {
			r := end(s, t, 0, 0, commit)
			r.TransactionalID = "t-nobody"
			return r
		})
		o.ask("ends", v, func(s *side) kmsg.Request { return end(s, t, 0, 0, commit) })
		o.complete(0, t.id) // the marker has an offset that the next record must not have
	}
}

// complete waits until the markers of transactions are written: EndTxn is answered before.
func (o *oracle) complete(v int16, ids ...string) {
	o.until(v, func(*side) kmsg.Request {
		r := kmsg.NewPtrDescribeTransactionsRequest()
		r.TransactionalIDs = ids
		return r
	}, func(resp kmsg.Response) bool {
		for _, s := range resp.(*kmsg.DescribeTransactionsResponse).TransactionStates {
			if s.State == "PrepareCommit" || s.State == "PrepareAbort" {
				return false
			}
		}
		return true
	})
}

func described(o *oracle) {
	o.each(65, func(v int16) {
		for _, ids := range [][]string{{"t-commit-v3"}, {"t-abort-v4"}, {"t-nobody"}, {""}, {}} {
			build := func(*side) kmsg.Request {
				r := kmsg.NewPtrDescribeTransactionsRequest()
				r.TransactionalIDs = ids
				return r
			}
			o.complete(v, ids...)
			o.ask("describes", v, build)
		}
	})
	for _, c := range []struct {
		name    string
		states  []string
		pids    []int64
		longer  int64
		pattern *string
	}{{"complete", []string{"CompleteCommit"}, nil, -1, nil}, {"an unknown state", []string{"Nonsense"}, nil, -1, nil}, {"an unknown producer", nil, []int64{987654321}, -1, nil}, {"long ones", nil, nil, 1 << 40, nil},
		{"by pattern", nil, nil, -1, str("t-comm.*")}, {"by a bad pattern", nil, nil, -1, str("(")}} {
		o.each(66, func(v int16) {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrListTransactionsRequest()
				r.StateFilters, r.ProducerIDFilters, r.DurationFilterMillis, r.TransactionalIDPattern = c.states, c.pids, c.longer, c.pattern
				return r
			})
		})
	}
}
