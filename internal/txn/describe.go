package txn

import (
	"maps"
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
)

// Describe answers with a DescribeTransactionsResponse of one transactional id.
func (m *Machine) Describe(to coord.Token, id string) coord.Outcome {
	s := kmsg.NewDescribeTransactionsResponseTransactionState()
	s.TransactionalID = id
	t := m.txns[id]
	switch {
	case id == "":
		s.ErrorCode = kafka.InvalidRequest.Num()
	case t == nil:
		s.ErrorCode = kafka.TransactionalIDNotFound.Num()
	default:
		s.ProducerID, s.ProducerEpoch = t.ProducerID, t.ProducerEpoch
		s.State, s.TimeoutMillis, s.StartTimestamp = t.State.String(), t.TimeoutMs, t.StartMs
		for _, topic := range topicsOf(t.Partitions) {
			st := kmsg.NewDescribeTransactionsResponseTransactionStateTopic()
			st.Topic, st.Partitions = topic.Topic, topic.Partitions
			s.Topics = append(s.Topics, st)
		}
	}
	resp := kmsg.NewPtrDescribeTransactionsResponse()
	resp.TransactionStates = append(resp.TransactionStates, s)
	return answer(to, resp)
}

// Filter chooses transactions for ListTransactions; the zero Filter is not ready. It is
// made once a request, and every machine asks it for each of its transactions.
type Filter struct {
	// A nil set chooses all.
	states      map[State]struct{}
	producerIDs map[int64]struct{}
	durationMs  int64
	pattern     *regexp.Regexp
	// UnknownStates are the names of states that there are not.
	UnknownStates []string
}

// ParseFilter reads the filters of a request.
func ParseFilter(req *kmsg.ListTransactionsRequest) (*Filter, error) {
	f := &Filter{durationMs: -1}
	unknown := map[string]struct{}{}
	for _, name := range req.StateFilters {
		if f.states == nil {
			f.states = map[State]struct{}{}
		}
		if s, ok := ParseState(name); ok {
			f.states[s] = struct{}{}
		} else if _, told := unknown[name]; !told {
			unknown[name] = struct{}{}
			f.UnknownStates = append(f.UnknownStates, name)
		}
	}
	for _, id := range req.ProducerIDFilters {
		if f.producerIDs == nil {
			f.producerIDs = make(map[int64]struct{}, len(req.ProducerIDFilters))
		}
		f.producerIDs[id] = struct{}{}
	}
	if req.Version >= 1 {
		f.durationMs = req.DurationFilterMillis
	}
	if p := req.TransactionalIDPattern; req.Version >= 2 && p != nil && *p != "" {
		re, err := regexp.Compile(`\A(?:` + *p + `)\z`)
		if err != nil {
			return nil, kafka.InvalidRegularExpression.Errorf("Transaction ID pattern `%s` is not a valid regular expression: %s.", *p, err)
		}
		f.pattern = re
	}
	return f, nil
}

func (f *Filter) includes(t *Transaction, nowMs int64) bool {
	return chooses(f.states, t.State) && chooses(f.producerIDs, t.ProducerID) &&
		(f.durationMs < 0 || nowMs-t.StartMs > f.durationMs) &&
		(f.pattern == nil || f.pattern.MatchString(t.ID))
}

func chooses[K comparable](set map[K]struct{}, k K) bool {
	_, ok := set[k]
	return ok || set == nil
}

// List answers with a ListTransactionsResponse of this partition's transactions.
func (m *Machine) List(nowMs int64, to coord.Token, f *Filter) coord.Outcome {
	resp := kmsg.NewPtrListTransactionsResponse()
	for _, id := range slices.Sorted(maps.Keys(m.txns)) {
		t := m.txns[id]
		if !f.includes(t, nowMs) {
			continue
		}
		s := kmsg.NewListTransactionsResponseTransactionState()
		s.TransactionalID, s.ProducerID, s.TransactionState = t.ID, t.ProducerID, t.State.String()
		resp.TransactionStates = append(resp.TransactionStates, s)
	}
	return answer(to, resp)
}
