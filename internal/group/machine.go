package group

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/coord"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// Machine holds the groups of one partition of __consumer_offsets. Its goroutine owns
// every field.
type Machine struct {
	cfg    Config
	groups map[string]group
	// offsets are the committed ones, pending those of open transactions by producer id,
	// open which producers have pending offsets of a partition.
	offsets offsetTable
	pending map[int64]offsetTable
	open    map[groupPartition]map[int64]struct{}

	// loaded is set when the log has been replayed: from then on every record that is
	// replayed was decided here.
	loaded bool
	// swept is set when the offsets of topics that are gone were removed.
	swept bool
	// expiryMs is when the next check for expired offsets is due.
	expiryMs int64
	counts   Counts
}

var _ coord.Machine = (*Machine)(nil)

// group is what every kind of group can be asked. Implemented by classicGroup and
// consumerGroup.
type group interface {
	groupID() string
	kind() string      // the type as ListGroups spells it
	stateName() string // the state as ListGroups spells it
	protocol() string  // the protocol type as ListGroups spells it
	isEmpty() bool
	// validateCommit says whether a commit is accepted, and which of its partitions.
	validateCommit(c commitSource) (partitionCheck, error)
	validateFetch(memberID *string, epoch int32) error
	validateOffsetDelete() error
	validateDelete() error
	subscribedTo(topic string) bool
	// expiresSince says from when the retention of an offset counts; ok is false while
	// the group keeps all its offsets.
	expiresSince(o *offset) (ms int64, ok bool)
	// tombstones are the records that remove the group, not its offsets.
	tombstones() []coord.Record
	timerKeys() []string
}

// op is the Op of this package's outcomes: what is done when the batch is committed, and
// what is taken back when it was not appended.
type op struct {
	committed func(nowMs int64) coord.Outcome
	failed    func(code *kafka.Code, nowMs int64) coord.Outcome
}

// New returns a machine without groups. Replay the partition's log into it, then call
// Loaded.
func New(cfg Config) *Machine {
	m := &Machine{
		groups:  map[string]group{},
		offsets: offsetTable{},
		pending: map[int64]offsetTable{},
		open:    map[groupPartition]map[int64]struct{}{},
	}
	m.Configure(cfg)
	return m
}

// Configure replaces the configuration: the next operation goes by it. Timers that are
// set stay as they are.
func (m *Machine) Configure(cfg Config) {
	if cfg.NewMemberJoinTimeoutMs == 0 {
		cfg.NewMemberJoinTimeoutMs = defaultNewMemberJoinTimeoutMs
	}
	cfg.ConsumerAssignors = assignorNames(cfg.ConsumerAssignors)
	m.cfg = cfg
}

// Replay applies one record of the log. Records of unknown types, and of types that
// belong to other kinds of groups, change nothing.
func (m *Machine) Replay(r coord.Record, from coord.Origin) error {
	key, err := records.DecodeCoordinatorKey(r.Key)
	if errors.Is(err, kafka.UnsupportedVersion) {
		return nil
	}
	if err != nil {
		return err
	}
	if !ownKey(key) {
		return nil
	}
	var value records.Message
	if r.Value != nil {
		if value, err = records.DecodeCoordinatorValue(key.APIKey(), r.Value); err != nil {
			return err
		}
	}
	switch k := key.(type) {
	case *records.LegacyOffsetCommitKey:
		m.replayOffset(groupPartition{k.Group, k.Topic, k.Partition}, legacyOffset(value), from)
	case *records.OffsetCommitKey:
		m.replayOffset(groupPartition{k.Group, k.Topic, k.Partition}, offsetOf(value, from), from)
	case *records.GroupMetadataKey:
		v, _ := value.(*records.GroupMetadataValue)
		m.replayClassicGroup(k.Group, v)
	default:
		return m.replayConsumer(key, value)
	}
	return nil
}

// ownKey says whether records of this key are understood here.
func ownKey(key records.Message) bool {
	kind := key.APIKey()
	return kind <= 8 || kind == 16
}

// Loaded starts the timers of what the log holds.
func (m *Machine) Loaded(nowMs int64) coord.Outcome {
	m.loaded = true
	var out coord.Outcome
	for _, id := range m.sortedGroups() {
		switch g := m.groups[id].(type) {
		case *classicGroup:
			m.classicLoaded(&out, g, nowMs)
		case *consumerGroup:
			m.consumerLoaded(&out, g, nowMs)
		}
	}
	m.nextExpiry(&out, nowMs)
	return out
}

// Timer keys are a kind, the length of the group id, and the ids of the group and the
// member, which clients make up and which may hold any character.
const (
	expirationKey   = "expiration"
	keyHeartbeat    = "heartbeat"
	keyJoin         = "join"
	keySync         = "sync"
	keySession      = "session"
	keyRebalance    = "rebalance"
	keyConsumerJoin = "consumer-join"
	keyConsumerSync = "consumer-sync"
)

const keySeparator = "\x00"

func timerKey(kind, groupID, memberID string) string {
	return kind + keySeparator + strconv.Itoa(len(groupID)) + keySeparator + groupID + memberID
}

func parseTimerKey(key string) (kind, groupID, memberID string) {
	kind, rest, _ := strings.Cut(key, keySeparator)
	length, ids, _ := strings.Cut(rest, keySeparator)
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 || n > len(ids) {
		return "", "", ""
	}
	return kind, ids[:n], ids[n:]
}

// OnTimer is called when a timer is due.
func (m *Machine) OnTimer(key string, nowMs int64) coord.Outcome {
	if key == expirationKey {
		return m.expire(nowMs)
	}
	kind, groupID, memberID := parseTimerKey(key)
	var out coord.Outcome
	switch g := m.groups[groupID].(type) {
	case *classicGroup:
		m.classicTimer(&out, g, kind, memberID, nowMs)
	case *consumerGroup:
		m.consumerTimer(&out, g, kind, memberID, nowMs)
	}
	return out
}

// Committed finishes what waited for the commit of a batch.
func (m *Machine) Committed(o any, nowMs int64) coord.Outcome {
	if o, ok := o.(*op); ok && o.committed != nil {
		return o.committed(nowMs)
	}
	return coord.Outcome{}
}

// AppendFailed takes back the soft state of an operation and answers its clients.
func (m *Machine) AppendFailed(o coord.Outcome, err error, nowMs int64) coord.Outcome {
	code := appendErrorCode(err)
	var out coord.Outcome
	if p, ok := o.Op.(*op); ok && p.failed != nil {
		out = p.failed(code, nowMs)
	}
	for _, r := range o.Replies {
		out.Replies = append(out.Replies, coord.Reply{To: r.To, Err: code})
	}
	for _, t := range o.Timers {
		if t.Key == expirationKey {
			out.Timers = append(out.Timers, t)
		}
	}
	return out
}

// appendErrorCode maps an error of the log to the one that group members understand.
func appendErrorCode(err error) *kafka.Code {
	switch code := kafka.CodeOf(err); code {
	case kafka.UnknownTopicOrPartition, kafka.NotEnoughReplicas, kafka.RequestTimedOut:
		return kafka.CoordinatorNotAvailable
	case kafka.NotLeaderOrFollower, kafka.KafkaStorageError:
		return kafka.NotCoordinator
	case kafka.MessageTooLarge, kafka.RecordListTooLarge, kafka.InvalidFetchSize:
		return kafka.UnknownServerError
	default:
		return code
	}
}

// Resigned is called last.
func (m *Machine) Resigned() {}

// Groups returns the ids of all groups, sorted.
func (m *Machine) Groups() []string { return m.sortedGroups() }

func (m *Machine) sortedGroups() []string { return slices.Sorted(maps.Keys(m.groups)) }

// removeGroup forgets a group; its timers are cancelled by the operation that wrote the
// tombstone.
func (m *Machine) removeGroup(id string) { delete(m.groups, id) }

// set and cancel add a timer to an outcome.
func set(out *coord.Outcome, key string, atMs int64) {
	out.Timers = append(out.Timers, coord.Timer{Key: key, AtMs: atMs})
}

func cancel(out *coord.Outcome, keys ...string) {
	for _, k := range keys {
		out.Timers = append(out.Timers, coord.Timer{Key: k, Cancel: true})
	}
}
