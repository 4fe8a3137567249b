package brokerapi

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/fetchsession"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/replica"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/vfs"
)

// fetchItem is one partition of a fetch; the partition's part of the operation on the
// logs has the same index in fetchOp.f.Parts.
type fetchItem struct {
	key    fetchsession.Key
	name   string // the topic's name, "" while it is not known
	cached *fetchsession.Partition
	keep   bool // goes into the answer
	// converted holds the records in an old message format, for old clients.
	converted []byte
}

// How a fetch is related to its session.
type sessionKind uint8

const (
	sessionless  sessionKind = iota
	newSession               // a full fetch that asks for a session
	inSession                // an incremental fetch
	sessionError             // the whole answer is an error
)

// fetchOp is one Fetch request. While the handler runs it belongs to the connection's
// reader, then to whoever completes the fetch, at last to the connection's writer
// until the answer is written.
type fetchOp struct {
	f       replica.FetchOp
	api     *API
	req     *server.Request
	version int16
	q       fetchRequest

	entries []fetchsession.Entry
	forget  []fetchsession.Key
	items   []fetchItem
	listed  map[fetchsession.Key]int // the items' places, of a request with many

	kind    sessionKind
	shard   *sessionShard
	session *fetchsession.Session
	code    *kafka.Code // of sessionError

	buf   []byte
	cuts  []cut
	spans []vfs.Span
	nodes []int32
	// release is op.written, made once.
	release func()
}

var fetchOps = sync.Pool{New: func() any { return new(fetchOp) }}

// fetch is API key 1, versions 0 to 18. Stage 1 reads what is there; a fetch that
// finds less than it wants is parked on its partitions and answered by whoever
// appends enough, or by the timer wheel.
func (a *API) fetch(r *server.Request) {
	op := fetchOps.Get().(*fetchOp)
	op.api, op.req, op.version = a, r, r.Header.Version
	if op.release == nil {
		op.release = op.written
	}
	if err := op.decodeFetch(op.version, r.Body); err != nil {
		r.CloseConn(fmt.Errorf("Fetch v%d: %w", op.version, err))
		op.reset()
		return
	}
	op.begin()
	op.keepNames()
	cfg := a.Config()
	op.f.Rack, op.f.Listener = "", ""
	if cfg.ReplicaSelectorClass != "" && op.q.rack != "" {
		op.f.Rack, op.f.Listener = strings.Clone(op.q.rack), r.Listener.Name
	}
	op.q.rack = ""
	// Nothing aliases the body any more: a fetch that waits holds no frame.
	op.forget = op.forget[:0]
	r.ReleaseBody()
	op.resolve(a.Image())
	f, q := &op.f, &op.q
	f.Owner = op
	f.ReplicaID, f.BrokerEpoch = q.replicaID, q.replicaEpoch
	f.MaxBytes = max(0, min(int(q.maxBytes), cfg.FetchMaxBytes))
	f.MinBytes = min(int(q.minBytes), f.MaxBytes)
	f.MaxWait = time.Duration(q.maxWaitMs) * time.Millisecond
	// Every negative id is a consumer's: who is no replica sees nothing that may go again.
	follower := q.replicaID >= 0
	f.OnlyLeader = follower || op.version < fetchRack
	f.OldFormat = !follower && op.version < fetchIsolation
	switch {
	case follower:
		f.Isolation = replica.ToLogEnd
	case q.isolation == 1:
		f.Isolation = replica.ToLastStable
	default:
		f.Isolation = replica.ToHighWatermark
	}
	f.Start(a.Replicas)
}

// committed says whether the answer lists aborted transactions.
func (op *fetchOp) committed() bool { return op.f.Isolation == replica.ToLastStable }

// begin finds the session that the request belongs to.
func (op *fetchOp) begin() {
	q, all := &op.q, op.api.data.sessions
	op.kind, op.shard, op.session, op.code = sessionless, nil, nil, nil
	if fetchsession.IsFull(q.sessionEpoch) {
		if q.sessionID != fetchsession.InvalidSessionID {
			all.remove(q.sessionID)
		}
		if q.sessionEpoch == fetchsession.InitialEpoch {
			op.kind = newSession
		}
		return
	}
	op.shard = all.shard(q.sessionID)
	if op.shard == nil {
		op.kind, op.code = sessionError, kafka.FetchSessionIDNotFound
		return
	}
	// What the session keeps must outlive the request's body.
	for i := range op.entries {
		op.entries[i].Topic = op.stableTopic(i)
	}
	op.shard.mu.Lock()
	op.session, op.code = op.shard.cache.Begin(op.api.nowMs(), q.sessionID, q.sessionEpoch,
		op.version >= fetchTopicIDs, op.entries, op.forget)
	switch {
	case op.code != nil:
		op.kind = sessionError
	case op.session != nil:
		op.kind = inSession
		for p := op.session.First(); p != nil; p = op.session.Next(p) {
			op.addItem(p.Key, p.Name, p.Params)
			op.items[len(op.items)-1].cached = p
		}
	}
	op.shard.mu.Unlock()
}

// stableTopic returns the name of the i-th entry for keeping; neighbours share it.
func (op *fetchOp) stableTopic(i int) string {
	name := op.entries[i].Topic
	if name == "" {
		return ""
	}
	if i > 0 && op.entries[i-1].Topic == name {
		return op.entries[i-1].Topic
	}
	return op.api.stable(name)
}

// keepNames lists the partitions of a request that stands for itself. Of one that is named
// again the last parameters count, as in Kafka: a fetch must not wait on a partition more
// often than there are partitions.
func (op *fetchOp) keepNames() {
	if op.kind != sessionless && op.kind != newSession {
		return
	}
	for i := range op.entries {
		e := &op.entries[i]
		e.Topic = op.stableTopic(i)
		if at, again := op.named(e.Key); again {
			op.f.Parts[at] = fetchPart(e.Params)
			continue
		}
		op.addItem(e.Key, e.Topic, e.Params)
	}
}

// fewEntries are looked through faster than a map is filled.
const fewEntries = 32

// named says where a partition is listed already, and notes where it will be if it is not.
func (op *fetchOp) named(key fetchsession.Key) (at int, again bool) {
	if len(op.entries) <= fewEntries {
		at = slices.IndexFunc(op.items, func(it fetchItem) bool { return it.key == key })
		return at, at >= 0
	}
	if op.listed == nil {
		op.listed = make(map[fetchsession.Key]int, len(op.entries))
	}
	if at, again = op.listed[key]; !again {
		op.listed[key] = len(op.items)
	}
	return at, again
}

func (op *fetchOp) addItem(key fetchsession.Key, name string, p fetchsession.Params) {
	op.items = append(op.items, fetchItem{key: key, name: name, keep: true})
	op.f.Parts = append(op.f.Parts, fetchPart(p))
}

func fetchPart(p fetchsession.Params) replica.FetchPart {
	return replica.FetchPart{
		FetchOffset: p.FetchOffset, FollowerLogStart: p.LogStartOffset, MaxBytes: max(0, int(p.MaxBytes)),
		CurrentLeaderEpoch: p.CurrentLeaderEpoch, LastFetchedEpoch: p.LastFetchedEpoch,
	}
}

// resolve finds the partitions.
func (op *fetchOp) resolve(img *metadata.Image) {
	m := op.api.Replicas
	for i := range op.items {
		it, part := &op.items[i], &op.f.Parts[i]
		if op.version < fetchTopicIDs {
			part.P, part.Err = m.Find(img, it.key.Topic, it.key.Partition)
			continue
		}
		part.P, part.Err = m.FindByID(img, it.key.TopicID, it.key.Partition)
		switch {
		case part.P != nil:
			it.name = part.P.TopicPartition().Topic
		case it.name != "" && kafka.CodeOf(part.Err) == kafka.UnknownTopicID:
			// The session knew the id. Its topic is gone, or was created anew.
			part.Err = kafka.UnknownTopicOrPartition
			if img.Partition(it.name, it.key.Partition) != nil {
				part.Err = kafka.InconsistentTopicID
			}
		case it.name == "":
			if t := img.TopicByID(it.key.TopicID); t != nil {
				it.name = t.Name
			}
		}
	}
}

// Fetched answers the request with what was read.
func (op *fetchOp) Fetched(f *replica.FetchOp) {
	if op.version < fetchIsolation {
		op.downConvert()
	}
	code, id := op.closeSession()
	op.count(code)
	op.encodeFetch(op.version, code, id)
	if len(op.cuts) == 0 {
		op.req.ReplyRaw(op.buf)
		op.written()
		return
	}
	prefix := op.gather()
	op.req.ReplySpans(prefix, op.spans, op.release)
}

// closeSession brings the session up to date with the answer and marks what the client
// knows already. It returns the code and session id of the answer.
func (op *fetchOp) closeSession() (*kafka.Code, int32) {
	switch op.kind {
	case sessionError:
		return op.code, fetchsession.InvalidSessionID
	case newSession:
		return nil, op.createSession()
	case inSession:
		op.shard.mu.Lock()
		defer op.shard.mu.Unlock()
		if !op.session.Current(op.q.sessionEpoch) {
			for i := range op.items {
				op.items[i].keep = false
			}
			return kafka.InvalidFetchSessionEpoch, op.session.ID
		}
		for i := range op.items {
			it := &op.items[i]
			it.cached.Name = it.name
			it.keep = op.session.Responded(it.cached, op.result(i))
		}
		return nil, op.session.ID
	}
	return nil, fetchsession.InvalidSessionID
}

func (op *fetchOp) createSession() int32 {
	names := make([]string, len(op.items))
	results := make([]fetchsession.Result, len(op.items))
	for i := range op.items {
		names[i], results[i] = op.items[i].name, op.result(i)
	}
	sh := op.api.data.sessions.nextShard()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.cache.Create(op.api.nowMs(), op.f.FromFollower(), op.version >= fetchTopicIDs, op.entries, names, results)
}

func (op *fetchOp) result(i int) fetchsession.Result {
	part := &op.f.Parts[i]
	return fetchsession.Result{
		HighWatermark: part.HighWatermark, LogStartOffset: part.LogStartOffset, RecordsSize: part.Data.Size,
		Failed: part.Err != nil, Diverging: part.DivergingEpoch != kafka.NoEpoch,
		Preferred: part.Preferred != replica.NoReplica,
	}
}

// count adds what goes out to the counters: of the broker, of the topics, and of error
// codes. code is the answer's own.
func (op *fetchOp) count(code *kafka.Code) {
	total, ok := int64(0), 0
	if code != nil {
		op.req.CountErrors(code.Num(), 1)
	} else {
		ok++
	}
	follower := op.f.FromFollower()
	for i := range op.f.Parts {
		part := &op.f.Parts[i]
		if !op.items[i].keep {
			continue
		}
		if part.Err != nil {
			op.req.CountErrors(kafka.NumOf(part.Err), 1)
			continue
		}
		ok++
		if n := int64(part.Data.Size); n > 0 {
			total += n
			if !follower {
				part.P.TopicStats().BytesOut.Add(n)
			}
		}
	}
	op.req.CountErrors(0, ok)
	st := &op.api.Replicas.Stats
	if follower {
		st.ReplicationBytesOut.Add(total)
	} else {
		st.BytesOut.Add(total)
	}
}

// downConvert rewrites the records in the message format that the client knows. A
// partition whose records cannot be shown to it answers with the reason.
func (op *fetchOp) downConvert() {
	magic := batch.MagicV1
	if op.version < 2 {
		magic = batch.MagicV0
	}
	for i := range op.items {
		part := &op.f.Parts[i]
		if part.Data.Size == 0 {
			continue
		}
		raw, err := part.Records()
		if err == nil {
			limit := part.P.Config().MaxStoredBatchBytes()
			op.items[i].converted, err = batch.DownConvert(raw, magic, part.FetchOffset, limit)
		}
		op.api.Replicas.Stats.FetchConversions.Add(1)
		if err != nil {
			part.Data.Release()
			part.Data = log.Data{}
			part.Err, op.items[i].converted = err, nil
			part.HighWatermark, part.LastStableOffset, part.LogStartOffset = -1, -1, -1
		}
	}
}

// written gives everything back once the answer is written, or will never be.
func (op *fetchOp) written() {
	op.f.ReleaseData()
	if op.f.Recycle() {
		op.reset()
	}
}

// reset puts the op back for the next request.
func (op *fetchOp) reset() {
	if max(cap(op.items), cap(op.entries), cap(op.forget)) > maxPooledParts || cap(op.buf) > maxPooledBuf {
		return
	}
	clear(op.items)
	clear(op.listed)
	clear(op.entries)
	clear(op.f.Parts)
	clear(op.spans)
	op.items, op.entries, op.forget, op.f.Parts = op.items[:0], op.entries[:0], op.forget[:0], op.f.Parts[:0]
	op.spans = op.spans[:0]
	op.api, op.req, op.session, op.shard = nil, nil, nil, nil
	fetchOps.Put(op)
}

func (a *API) nowMs() int64 { return a.Clock.Now().UnixMilli() }
