package txn

import (
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// Config is what a Machine is told when it is made.
type Config struct {
	// MaxTimeoutMs is transaction.max.timeout.ms.
	MaxTimeoutMs int32
	// RetryMs is when an abort or a completion that could not be appended is tried again.
	RetryMs int64
	// ExpirationMs is transactional.id.expiration.ms, ExpirationIntervalMs
	// transaction.remove.expired.transaction.cleanup.interval.ms.
	ExpirationMs, ExpirationIntervalMs int64
	// TransactionVersion returns the level of the feature transaction.version.
	TransactionVersion func() int16
}

// Machine is the coordinator of the transactional ids of one partition.
type Machine struct {
	cfg  Config
	txns map[string]*Transaction
	// ongoing are those in state Ongoing: the ones with a deadline.
	ongoing map[string]*Transaction
	// armed is when the timer of deadlines is due, 0 when it is not set.
	armed int64
	// lastEpochs are the LastProducerEpochs of records that are being appended.
	lastEpochs map[string]int16
	// limit is how many bytes the partition takes in one batch now, nil for any.
	limit func() int
	// refused has, by timer, the last id of the batch that was too large for the log.
	refused map[string]string
	// other counts records of kinds that are not known.
	other int
}

var (
	_ coord.Machine = (*Machine)(nil)
	_ coord.Bounded = (*Machine)(nil)
)

// New returns a machine that knows nothing.
func New(cfg Config) *Machine {
	return &Machine{cfg: cfg, txns: map[string]*Transaction{}, ongoing: map[string]*Transaction{}, lastEpochs: map[string]int16{}, refused: map[string]string{}}
}

// Len is the number of transactional ids.
func (m *Machine) Len() int { return len(m.txns) }

// Get returns what is known of a transactional id, nil for nothing. It must not be
// changed.
func (m *Machine) Get(id string) *Transaction { return m.txns[id] }

// The timers.
const (
	timerDeadlines = "deadlines"
	timerComplete  = "complete"
	timerExpiry    = "expiry"
)

// op is what the runtime gives back when the records of an outcome are committed, or
// could not be appended.
type op struct {
	// ids are the transactional ids that the records are of.
	ids []string
	// retry is the timer that tries again what nobody will ask for again.
	retry string
}

// Replay applies one record.
func (m *Machine) Replay(r coord.Record, _ coord.Origin) error {
	id, ok, err := ParseKey(r.Key)
	if err != nil {
		return err
	}
	if !ok {
		m.other++
		return nil
	}
	last, appended := m.lastEpochs[id]
	delete(m.lastEpochs, id)
	if r.Value == nil {
		delete(m.txns, id)
		delete(m.ongoing, id)
		return nil
	}
	v, ok, err := ParseValue(r.Value)
	if err != nil {
		return fmt.Errorf("transactional id %q: %w", id, err)
	}
	if !ok {
		m.other++
		return nil
	}
	t, err := fromValue(id, &v)
	if err != nil {
		return err
	}
	if appended {
		t.LastProducerEpoch = last
	}
	m.txns[id] = t
	if t.State == Ongoing {
		m.ongoing[id] = t
	} else {
		delete(m.ongoing, id)
	}
	return nil
}

// ReplayTxnEnd is not for this machine: its log has no markers.
func (m *Machine) ReplayTxnEnd(int64, int16, bool) error { return nil }

// Loaded goes on with what the coordinator before left: decided transactions get
// their markers, possibly for the second time, and open ones their deadlines.
func (m *Machine) Loaded(nowMs int64) coord.Outcome {
	o := coord.Outcome{ReadBarrier: true}
	done := false
	for _, id := range slices.Sorted(maps.Keys(m.txns)) {
		t := m.txns[id]
		if !t.State.prepared() {
			continue
		}
		if len(t.Partitions) == 0 {
			done = true
			continue
		}
		o.Effects = append(o.Effects, m.markers(t))
	}
	if done {
		o.Timers = append(o.Timers, coord.Timer{Key: timerComplete, AtMs: nowMs})
	}
	if at, ok := m.nextDeadline(); ok {
		m.armed = at
		o.Timers = append(o.Timers, coord.Timer{Key: timerDeadlines, AtMs: at})
	}
	o.Timers = append(o.Timers, coord.Timer{Key: timerExpiry, AtMs: nowMs + m.cfg.ExpirationIntervalMs})
	return o
}

// OnTimer runs what is due.
func (m *Machine) OnTimer(key string, nowMs int64) coord.Outcome {
	switch key {
	case timerDeadlines:
		return m.abortLate(nowMs)
	case timerComplete:
		return m.complete(nowMs, m.inTurn(timerComplete, slices.Sorted(maps.Keys(m.txns))))
	case timerExpiry:
		return m.expire(nowMs)
	}
	return coord.Outcome{}
}

// Committed completes transactions that have no partition to write a marker to.
func (m *Machine) Committed(o any, nowMs int64) coord.Outcome {
	if o, ok := o.(*op); ok {
		return m.complete(nowMs, o.ids)
	}
	return coord.Outcome{}
}

// AppendFailed tells the clients to come back, here or at another coordinator, and
// sets the timer of work that nobody asks for again.
func (m *Machine) AppendFailed(o coord.Outcome, err error, nowMs int64) coord.Outcome {
	var out coord.Outcome
	if o, ok := o.Op.(*op); ok {
		for _, id := range o.ids {
			delete(m.lastEpochs, id)
		}
		if o.retry != "" {
			out.Timers = append(out.Timers, m.retried(o, err, nowMs))
		}
	}
	for _, r := range o.Replies {
		out.Replies = append(out.Replies, coord.Reply{To: r.To, Err: appendError(err)})
	}
	return out
}

// appendError is the code that clients of a coordinator understand, for the code of a
// log that refused a record.
func appendError(err error) error {
	switch kafka.CodeOf(err) {
	case kafka.UnknownTopicOrPartition, kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend, kafka.RequestTimedOut:
		return kafka.CoordinatorNotAvailable
	case kafka.NotLeaderOrFollower, kafka.KafkaStorageError:
		return kafka.NotCoordinator
	case kafka.MessageTooLarge, kafka.RecordListTooLarge:
		return kafka.UnknownServerError
	}
	return err
}

// Resigned lets go of everything.
func (m *Machine) Resigned() {
	m.txns, m.ongoing, m.lastEpochs = map[string]*Transaction{}, map[string]*Transaction{}, map[string]int16{}
}

// write is the outcome that gives t its new state and then answers.
func (m *Machine) write(t *Transaction, reply coord.Reply) coord.Outcome {
	m.lastEpochs[t.ID] = t.LastProducerEpoch
	o := coord.Outcome{Records: []coord.Record{t.record(m.cfg.TransactionVersion())}, Op: &op{ids: []string{t.ID}}}
	if reply.To != coord.NoToken {
		o.Replies = []coord.Reply{reply}
	}
	return o
}

// answer and refuse wait until all that they may be based on is committed.
func answer(to coord.Token, resp kmsg.Response) coord.Outcome {
	o := coord.Answer(to, resp)
	o.ReadBarrier = true
	return o
}

func refuse(to coord.Token, err error) coord.Outcome {
	if to == coord.NoToken {
		return coord.Outcome{}
	}
	o := coord.Refuse(to, err)
	o.ReadBarrier = true
	return o
}

// forVersion gives clients that do not know PRODUCER_FENCED the code that they know.
func forVersion(err error, version, since int16) error {
	if version < since && kafka.CodeOf(err) == kafka.ProducerFenced {
		return kafka.InvalidProducerEpoch
	}
	return err
}
