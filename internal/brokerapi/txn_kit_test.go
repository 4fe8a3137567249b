package brokerapi

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/rsm"
	"github.com/gregorhq/gregor/internal/txn"
	"github.com/gregorhq/gregor/internal/vfs"
)

// txnKit is a kit with a transaction coordinator, and a group coordinator that knows
// nothing but offsets in transactions.
type txnKit struct {
	*kit
	c      *client
	groups *rsm.Coordinator[*offsetsMachine]
	// offsets are what the group coordinator has committed and dropped.
	offsets *offsetsMachine
}

// offsetsMachine commits one record for each TxnOffsetCommit and notes how the
// transactions end.
type offsetsMachine struct {
	coord.Machine
	pending map[int64]int
	ended   []string
}

func (m *offsetsMachine) Replay(_ coord.Record, from coord.Origin) error {
	m.pending[from.ProducerID]++
	return nil
}

func (m *offsetsMachine) ReplayTxnEnd(id int64, _ int16, commit bool) error {
	end := "abort"
	if commit {
		end = "commit"
	}
	m.ended = append(m.ended, end)
	delete(m.pending, id)
	return nil
}

func (m *offsetsMachine) Loaded(int64) coord.Outcome { return coord.Outcome{} }
func (m *offsetsMachine) Resigned()                  {}
func (m *offsetsMachine) AppendFailed(o coord.Outcome, err error, _ int64) coord.Outcome {
	var out coord.Outcome
	for _, r := range o.Replies {
		out.Replies = append(out.Replies, coord.Reply{To: r.To, Err: err})
	}
	return out
}

func (m *offsetsMachine) TxnOffsetCommit(_ int64, to coord.Token, _ coord.Client, req *kmsg.TxnOffsetCommitRequest) coord.Outcome {
	o := coord.Answer(to, txnCommitFailed(req, nil))
	o.Records = []coord.Record{{Key: []byte(req.Group), Value: []byte("offset")}}
	o.Txn = &coord.TxnAppend{ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch}
	return o
}

// newTxnKit starts a broker with transaction.version and topic t of two partitions.
func newTxnKit(t *testing.T, version int16, props map[string]string) *txnKit {
	t.Helper()
	k := &txnKit{offsets: &offsetsMachine{pending: map[int64]int{}}}
	k.kit = &kit{t: t, clock: clock.NewVirtual(time.UnixMilli(testEpochMs)), fs: vfs.NewMem(), cfg: testConfig(t, props), verify: true, setUp: k.coordinators}
	k.wheel = clock.NewWheel(k.clock)
	k.wheel.Start()
	k.net, k.addr = netx.NewMem(k.clock), "localhost:9092"
	k.open()
	k.apply(brokers()...)
	level := records.NewFeatureLevelRecord()
	level.Name, level.FeatureLevel = featureTransactionVersion, version
	k.apply(level)
	k.topic("t", 2, []int32{1})
	k.topic1(kafka.TransactionTopic)
	k.topic1(kafka.OffsetsTopic)
	k.ready()
	return k
}

// coordinators gives the doors their coordinators.
func (k *txnKit) coordinators(a *API) {
	transactions := rsm.NewCoordinator(a.TransactionConfig())
	groups := rsm.NewCoordinator(rsm.CoordinatorConfig[*offsetsMachine]{
		Topic: kafka.OffsetsTopic, NodeID: 1, Replicas: k.reps, Clock: k.clock, Wheel: k.wheel, Logger: a.Log, New: func(int32) *offsetsMachine { return k.offsets },
		CommitTimeout: 10 * time.Second, LoadBufferSize: 1 << 20,
	})
	a.Transactions, a.TxnGroups, k.groups = transactions, NewTxnGroups(groups), groups
	k.t.Cleanup(func() { transactions.Close(); groups.Close() })
}

// ready waits until the coordinators have read their logs.
func (k *txnKit) ready() {
	k.t.Helper()
	k.publish()
	k.c = k.client()
	eventually(k.t, "the coordinators are loaded", func() bool {
		resp := k.c.do(kmsg.NewPtrListTransactionsRequest()).(*kmsg.ListTransactionsResponse)
		return resp.ErrorCode == 0 && len(k.api.Transactions.Led()) == 1
	})
}

// publish tells the coordinators of the metadata, as the loader does.
func (k *txnKit) publish() {
	k.api.Transactions.Apply(nil, k.img.Load())
	k.groups.Apply(nil, k.img.Load())
}

func (c *client) initTxn(version int16, id string, timeoutMs int32) *kmsg.InitProducerIDResponse {
	c.k.t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionalID, req.TransactionTimeoutMillis = version, &id, timeoutMs
	return c.do(req).(*kmsg.InitProducerIDResponse)
}

// produceTxn produces to a partition of t within the transaction of id.
func (c *client) produceTxn(version int16, id string, partition int32, r rec, values ...string) kmsg.ProduceResponseTopicPartition {
	c.k.t.Helper()
	return c.produceTxnTo(version, id, "t", partition, r, values...)
}

func (c *client) produceTxnTo(version int16, id, topic string, partition int32, r rec, values ...string) kmsg.ProduceResponseTopicPartition {
	c.k.t.Helper()
	r.txn, r.ts = true, testEpochMs
	req := produceReq(version, topic, topicID(topic, 0), partition, -1, r.encode(values...))
	req.TransactionID = &id
	return c.do(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
}

func (c *client) endTxn(version int16, id string, pid int64, epoch int16, commit bool) *kmsg.EndTxnResponse {
	c.k.t.Helper()
	req := kmsg.NewPtrEndTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = version, id, pid, epoch, commit
	return c.do(req).(*kmsg.EndTxnResponse)
}

func (c *client) addToTxn(version int16, id string, pid int64, epoch int16, partitions ...int32) []kmsg.AddPartitionsToTxnResponseTopicPartition {
	c.k.t.Helper()
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = version, id, pid, epoch
	t := kmsg.NewAddPartitionsToTxnRequestTopic()
	t.Topic, t.Partitions = "t", partitions
	req.Topics = append(req.Topics, t)
	return c.do(req).(*kmsg.AddPartitionsToTxnResponse).Topics[0].Partitions
}

func (c *client) describeTxn(id string) kmsg.DescribeTransactionsResponseTransactionState {
	c.k.t.Helper()
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	return c.do(req).(*kmsg.DescribeTransactionsResponse).TransactionStates[0]
}

// becomes waits until the transaction is in that state.
func (k *txnKit) becomes(id string, s txn.State) {
	k.t.Helper()
	eventually(k.t, id+" becomes "+s.String(), func() bool { return k.c.describeTxn(id).State == s.String() })
}

// committed are the values of a partition of t that a read-committed consumer sees.
func (k *txnKit) committed(partition int32) (values []string, stable int64) {
	k.t.Helper()
	req := noWait(fetchReq("t", 0, partition))
	req.IsolationLevel = 1
	p := fetched(k.t, k.c.do(req))
	return committedValues(k.t, p), p.LastStableOffset
}

// producers is what DescribeProducers says of a partition of t.
func (k *txnKit) producers(partition int32) []kmsg.DescribeProducersResponseTopicPartitionActiveProducer {
	k.t.Helper()
	req := kmsg.NewPtrDescribeProducersRequest()
	t := kmsg.NewDescribeProducersRequestTopic()
	t.Topic, t.Partitions = "t", []int32{partition}
	req.Topics = append(req.Topics, t)
	p := k.c.do(req).(*kmsg.DescribeProducersResponse).Topics[0].Partitions[0]
	wantCode(k.t, "DescribeProducers", p.ErrorCode, nil)
	return p.ActiveProducers
}

// committedValues leaves out what a read-committed consumer leaves out: markers, and the
// records of aborted transactions that the answer names.
func committedValues(t testing.TB, p kmsg.FetchResponseTopicPartition) []string {
	t.Helper()
	infos, err := batch.Infos(p.RecordBatches)
	if err != nil {
		t.Fatal(err)
	}
	aborted := slices.Clone(p.AbortedTransactions)
	skipping := map[int64]bool{}
	var out []string
	for i := range infos {
		info := &infos[i]
		for _, a := range aborted {
			if a.ProducerID == info.ProducerID && a.FirstOffset == info.BaseOffset {
				skipping[a.ProducerID] = true
			}
		}
		switch {
		case info.IsControl:
			delete(skipping, info.ProducerID)
		case !skipping[info.ProducerID] || !info.IsTransactional:
			out = append(out, values(t, p.RecordBatches[info.Pos:info.End()], 0)...)
		}
	}
	return out
}
