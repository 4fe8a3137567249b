package raft

import (
	"encoding/binary"
	"fmt"
	"math"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/storage"
)

// envelope is one private request between nodes of the quorum: raft's messages, or
// the word of a node that is no voter and wants the log, or nothing, which asks for
// the answer alone. docs/architecture/quorum.md has the layout.
type envelope struct {
	ClusterID string
	From      kafka.NodeID
	FromDir   kafka.UUID
	// To is kafka.NoNode when the sender does not know who listens at the address, and
	// ToDir zero when it does not know the directory: messages to a voter's directory
	// that was lost must not be taken by the one in its place.
	To    kafka.NodeID
	ToDir kafka.UUID
	// Endpoints are where the sender is reached: who answers may not find it among the
	// voters that it knows.
	Endpoints []storage.Endpoint
	// Hello is set by a node that is no voter.
	Hello    *hello
	Messages []*pb.Message
}

// hello is what a node says of itself that wants to follow the log.
type hello struct {
	MinKRaftVersion int16
	MaxKRaftVersion int16
}

// answer is the answer to every envelope: who leads, as far as the peer knows.
type answer struct {
	Code      int16
	Leader    kafka.NodeID
	Epoch     kafka.LeaderEpoch
	Endpoints []storage.Endpoint
}

// Limits of what is decoded.
const (
	maxMessages  = 4096
	maxEndpoints = 64
	// minRecordBytes is the least that a record takes in a batch.
	minRecordBytes = 7
	// maxCompressedRecords bounds a compressed batch, where the size says nothing.
	maxCompressedRecords = 100_000
	// maxSkipped bounds the entries of a batch before the first one of a message.
	maxSkipped = 20_000
	// messageBytes is how large a message with entries may grow; a single batch may be
	// larger.
	messageBytes = 1 << 20
)

// wireTypes are the messages that travel, by their number in the encoding.
var wireTypes = []pb.MessageType{
	pb.MsgApp, pb.MsgAppResp, pb.MsgVote, pb.MsgVoteResp, pb.MsgPreVote, pb.MsgPreVoteResp,
	pb.MsgHeartbeat, pb.MsgHeartbeatResp, pb.MsgSnap, pb.MsgTimeoutNow,
}

func wireType(t pb.MessageType) (byte, bool) {
	for i, w := range wireTypes {
		if w == t {
			return byte(i), true
		}
	}
	return 0, false
}

// appendEnvelope encodes e. Messages that do not travel are left out.
func appendEnvelope(dst []byte, e *envelope) []byte {
	be := binary.BigEndian
	dst = appendString(dst, e.ClusterID)
	dst = be.AppendUint32(dst, uint32(e.From))
	dst = append(dst, e.FromDir[:]...)
	dst = be.AppendUint32(dst, uint32(e.To))
	dst = append(dst, e.ToDir[:]...)
	dst = appendEndpoints(dst, e.Endpoints)
	if e.Hello == nil {
		dst = append(dst, 0)
	} else {
		dst = append(dst, 1)
		dst = be.AppendUint16(dst, uint16(e.Hello.MinKRaftVersion))
		dst = be.AppendUint16(dst, uint16(e.Hello.MaxKRaftVersion))
	}
	at, n := len(dst), uint32(0)
	dst = be.AppendUint32(dst, 0)
	for _, m := range e.Messages {
		if t, ok := wireType(m.GetType()); ok {
			dst = appendMessage(dst, t, m)
			n++
		}
	}
	be.PutUint32(dst[at:], n)
	return dst
}

// appendMessage encodes one message. Of its entries only the batches travel, and how
// many entries of a batch stand before the first one.
func appendMessage(dst []byte, t byte, m *pb.Message) []byte {
	be := binary.BigEndian
	dst = append(dst, t)
	dst = be.AppendUint32(dst, uint32(m.GetTerm()))
	dst = be.AppendUint32(dst, uint32(m.GetLogTerm()))
	dst = be.AppendUint64(dst, m.GetIndex())
	dst = be.AppendUint64(dst, m.GetCommit())
	dst = append(dst, boolByte(m.GetReject()))
	dst = be.AppendUint64(dst, m.GetRejectHint())
	dst = be.AppendUint64(dst, m.GetSnapshot().GetMetadata().GetIndex())
	dst = be.AppendUint32(dst, uint32(m.GetSnapshot().GetMetadata().GetTerm()))
	dst = appendString(dst, string(m.GetContext()))
	skip, skipTerm := 0, uint64(0)
	for skip < len(m.GetEntries()) && len(m.GetEntries()[skip].GetData()) == len(filler) {
		skipTerm = m.GetEntries()[skip].GetTerm()
		skip++
	}
	dst = be.AppendUint32(dst, uint32(skip))
	dst = be.AppendUint32(dst, uint32(skipTerm))
	at := len(dst)
	dst = be.AppendUint32(dst, 0)
	for _, en := range m.GetEntries() {
		if len(en.GetData()) > len(filler) {
			dst = append(dst, en.GetData()...)
		}
	}
	be.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

func appendAnswer(dst []byte, a answer) []byte {
	be := binary.BigEndian
	dst = be.AppendUint16(dst, uint16(a.Code))
	dst = be.AppendUint32(dst, uint32(a.Leader))
	dst = be.AppendUint32(dst, uint32(a.Epoch))
	return appendEndpoints(dst, a.Endpoints)
}

func appendEndpoints(dst []byte, eps []storage.Endpoint) []byte {
	eps = eps[:min(len(eps), maxEndpoints)]
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(eps)))
	for _, ep := range eps {
		dst = appendString(dst, ep.Listener)
		dst = appendString(dst, ep.Host)
		dst = binary.BigEndian.AppendUint16(dst, ep.Port)
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	s = s[:min(len(s), math.MaxInt16)]
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// parser reads an encoding; after the first failure everything is zero.
type parser struct {
	b   []byte
	err error
}

func (p *parser) take(n int) []byte {
	if p.err == nil && (n < 0 || n > len(p.b)) {
		p.err = kafka.InvalidRequest.Errorf("a message of the quorum ends %d bytes too early", n-len(p.b))
	}
	if p.err != nil {
		return nil
	}
	out := p.b[:n:n]
	p.b = p.b[n:]
	return out
}

func (p *parser) uint8() byte {
	if b := p.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (p *parser) uint16() uint16 {
	if b := p.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (p *parser) uint32() uint32 {
	if b := p.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// index is a number that fits an offset.
func (p *parser) index() uint64 {
	b := p.take(8)
	if b == nil {
		return 0
	}
	v := binary.BigEndian.Uint64(b)
	if v > math.MaxInt64 {
		p.err = kafka.InvalidRequest.Errorf("a message of the quorum names index %d", v)
		return 0
	}
	return v
}

// term is a number that fits a leader epoch.
func (p *parser) term() uint64 {
	v := p.uint32()
	if p.err == nil && v > math.MaxInt32 {
		p.err = kafka.InvalidRequest.Errorf("a message of the quorum names epoch %d", v)
		return 0
	}
	return uint64(v)
}

func (p *parser) node() kafka.NodeID {
	id := kafka.NodeID(int32(p.uint32()))
	if id < kafka.NoNode && p.err == nil {
		p.err = kafka.InvalidRequest.Errorf("a message of the quorum names node %d", id)
	}
	return id
}

func (p *parser) string() string { return string(p.take(int(p.uint16()))) }

func (p *parser) uuid() (u kafka.UUID) {
	copy(u[:], p.take(len(u)))
	return u
}

func (p *parser) endpoints() []storage.Endpoint {
	n := int(p.uint16())
	if p.err == nil && n > maxEndpoints {
		p.err = kafka.InvalidRequest.Errorf("a message of the quorum names %d listeners", n)
	}
	var out []storage.Endpoint
	for i := 0; i < n && p.err == nil; i++ {
		out = append(out, storage.Endpoint{Listener: p.string(), Host: p.string(), Port: p.uint16()})
	}
	return out
}

func (p *parser) end() error {
	if p.err == nil && len(p.b) > 0 {
		p.err = kafka.InvalidRequest.Errorf("%d bytes behind a message of the quorum", len(p.b))
	}
	return p.err
}

// parseEnvelope decodes body, which it does not keep.
func parseEnvelope(body []byte) (*envelope, error) {
	p := &parser{b: body}
	e := &envelope{ClusterID: p.string(), From: p.node(), FromDir: p.uuid(), To: p.node(), ToDir: p.uuid(), Endpoints: p.endpoints()}
	if p.uint8() != 0 {
		e.Hello = &hello{MinKRaftVersion: int16(p.uint16()), MaxKRaftVersion: int16(p.uint16())}
	}
	n := int(p.uint32())
	if p.err == nil && (n < 0 || n > maxMessages) {
		return nil, kafka.InvalidRequest.Errorf("%d messages of the quorum in one request", n)
	}
	if p.err == nil && e.From < 0 {
		return nil, kafka.InvalidRequest.Errorf("a message of the quorum names no sender")
	}
	for i := 0; i < n && p.err == nil; i++ {
		m, err := p.message()
		if err != nil {
			return nil, err
		}
		m.From, m.To = new(raftID(e.From)), new(raftID(max(e.To, 0)))
		e.Messages = append(e.Messages, m)
	}
	return e, p.end()
}

// message decodes one message with its entries.
func (p *parser) message() (*pb.Message, error) {
	t := int(p.uint8())
	if p.err == nil && t >= len(wireTypes) {
		return nil, kafka.InvalidRequest.Errorf("the quorum has no message %d", t)
	}
	if p.err != nil {
		return nil, p.err
	}
	m := &pb.Message{Type: wireTypes[t].Enum(), Term: new(p.term()), LogTerm: new(p.term()), Index: new(p.index()), Commit: new(p.index())}
	m.Reject = new(p.uint8() != 0)
	m.RejectHint = new(p.index())
	snapIndex, snapTerm := p.index(), p.term()
	if c := p.string(); c != "" {
		m.Context = []byte(c)
	}
	skip, skipTerm := int(p.uint32()), p.term()
	data := p.take(int(p.uint32()))
	if p.err != nil {
		return nil, p.err
	}
	if m.GetTerm() == 0 {
		// Raft takes a message without a term for one of its own.
		return nil, kafka.InvalidRequest.Errorf("a message of the quorum has no epoch")
	}
	if m.GetLogTerm() > m.GetTerm() {
		return nil, kafka.InvalidRequest.Errorf("a message of epoch %d names a record of epoch %d", m.GetTerm(), m.GetLogTerm())
	}
	if m.GetType() == pb.MsgSnap {
		m.Snapshot = &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: new(snapIndex), Term: new(snapTerm)}}
	}
	if len(data) == 0 && skip == 0 {
		return m, nil
	}
	if m.GetType() != pb.MsgApp || skip < 0 || skip > maxSkipped || skipTerm > m.GetTerm() || skip > 0 && skipTerm < m.GetLogTerm() {
		return nil, kafka.InvalidRequest.Errorf("%s came with batches, or with %d entries before them", m.GetType(), skip)
	}
	for i := range uint64(skip) {
		m.Entries = append(m.Entries, &pb.Entry{Term: new(skipTerm), Index: new(m.GetIndex() + 1 + i), Data: filler})
	}
	entries, err := entriesOf(append([]byte(nil), data...), m.GetIndex()+1+uint64(skip), max(m.GetLogTerm(), skipTerm), m.GetTerm())
	if err != nil {
		return nil, err
	}
	m.Entries = append(m.Entries, entries...)
	return m, nil
}

// entriesOf makes entries of batches that a peer sent, and checks that they are whole,
// undamaged, without gaps from index first on, and of epochs from least to term that do
// not fall.
func entriesOf(data []byte, first, least, term uint64) ([]*pb.Entry, error) {
	infos, err := batch.Infos(data)
	if err != nil {
		return nil, fmt.Errorf("batches of another voter: %w", err)
	}
	if n := len(infos); len(data) > 0 && (n == 0 || infos[n-1].End() != len(data)) {
		return nil, kafka.CorruptMessage.Errorf("batches of another voter end inside a batch")
	}
	var out []*pb.Entry
	epoch := int32(least)
	for i := range infos {
		in := &infos[i]
		n := in.LastOffset - in.BaseOffset + 1
		switch {
		case in.Magic != 2 || uint64(in.BaseOffset)+1 != first:
			return nil, kafka.CorruptMessage.Errorf("a batch of another voter begins at offset %d instead of %d", in.BaseOffset, int64(first)-1)
		case n != int64(in.NumRecords) || n < 1 || n > int64(in.Size/minRecordBytes) && (in.Codec == 0 || n > maxCompressedRecords):
			return nil, kafka.CorruptMessage.Errorf("a batch of another voter has %d records in %d bytes and %d offsets", in.NumRecords, in.Size, n)
		case in.LeaderEpoch < epoch || uint64(in.LeaderEpoch) > term:
			return nil, kafka.CorruptMessage.Errorf("a batch of another voter has epoch %d in a message of epoch %d", in.LeaderEpoch, term)
		}
		epoch = in.LeaderEpoch
		out = appendEntries(out, data[in.Pos:in.End()], *in, first, first+uint64(n))
		first += uint64(n)
	}
	return out, nil
}

func parseAnswer(body []byte) (answer, error) {
	p := &parser{b: body}
	a := answer{Code: int16(p.uint16()), Leader: p.node(), Epoch: kafka.LeaderEpoch(p.term()), Endpoints: p.endpoints()}
	return a, p.end()
}
