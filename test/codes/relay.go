package codes

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"reflect"
	"sync"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxFrame bounds the frames of both sides.
const maxFrame = 64 << 20

// Relay stands between clients and a broker and puts an error code into the next
// response to one kind of request. The broker has done what it was asked for: to the
// client that is the worst case of a code that says it may not have. A response that is
// an error already passes as it is, as when the transaction before is still ending: what
// was asked for was not done, and the client will ask again. So does what another client
// is told, one of a former row that has not ended yet.
type Relay struct {
	mu       sync.Mutex
	name     []byte        // guarded by mu; the group or transactional id of the client
	key      int16         // guarded by mu
	code     int16         // guarded by mu; 0 for nothing to inject
	injected chan struct{} // guarded by mu; closed when the code was put in
	again    chan struct{} // guarded by mu; closed when the client has gone on
	goneOn   bool          // guarded by mu
	rejoined bool          // guarded by mu
}

// Arm makes the next response to a request of that key, in which the name is, carry the
// code. The first channel is closed when it does, the second one when the client sends
// such a request again, or joins a group: it has done with the code what it does.
func (r *Relay) Arm(name string, key, code int16) (injected, again <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.name, r.key, r.code, r.rejoined, r.goneOn = []byte(name), key, code, false, false
	r.injected, r.again = make(chan struct{}), make(chan struct{})
	return r.injected, r.again
}

// Disarm takes back a code that no response has carried, and says whether there was one.
func (r *Relay) Disarm() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	armed := r.code != 0
	r.code = 0
	return armed
}

// Rejoined says whether a member asked to join a group after the code was put in.
func (r *Relay) Rejoined() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rejoined
}

// pass is the response as the client gets it.
func (r *Relay) pass(frame []byte, a asked) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.code == 0 || r.key != a.key || !bytes.Contains(a.frame, r.name) {
		return frame
	}
	out, ok := withCode(frame, a, r.code)
	if ok {
		r.code = 0
		close(r.injected)
	}
	return out
}

// saw notes a request that passes.
func (r *Relay) saw(a asked) {
	join := joins(a)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.code != 0 || r.again == nil || !join && a.key != r.key || !bytes.Contains(a.frame, r.name) {
		return
	}
	r.rejoined = r.rejoined || join
	if !r.goneOn {
		r.goneOn = true
		close(r.again)
	}
}

type asked struct {
	key, version int16
	frame        []byte
}

// Serve relays one connection until either side ends it; it closes both.
func (r *Relay) Serve(client, broker net.Conn) {
	requests := make(chan asked, 1000)
	var done sync.WaitGroup
	done.Go(func() {
		defer close(requests)
		defer func() { _, _ = broker.Close(), client.Close() }()
		for {
			f, err := readFrame(client)
			if err != nil || len(f) < 12 {
				return
			}
			a := asked{int16(binary.BigEndian.Uint16(f[4:])), int16(binary.BigEndian.Uint16(f[6:])), f}
			r.saw(a)
			requests <- a
			if _, err := broker.Write(f); err != nil {
				return
			}
		}
	})
	done.Go(func() {
		defer func() {
			_, _ = broker.Close(), client.Close()
			for range requests { // the reader of requests may wait for room
			}
		}()
		for a := range requests {
			f, err := readFrame(broker)
			if err != nil {
				return
			}
			if _, err := client.Write(r.pass(f, a)); err != nil {
				return
			}
		}
	})
	done.Wait()
}

// readFrame reads a request or response with its size.
func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	f := make([]byte, 4+n)
	copy(f, size[:])
	_, err := io.ReadFull(r, f[4:])
	return f, err
}

// joins says whether the request is that of a member who joins a group.
func joins(a asked) bool {
	if a.key == int16(kmsg.JoinGroup) {
		return true
	}
	if a.key != int16(kmsg.ConsumerGroupHeartbeat) {
		return false
	}
	r := kbin.Reader{Src: a.frame[12:]}
	r.NullableString() // the client's id
	kmsg.ReadTags(&r)
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.SetVersion(a.version)
	return r.Complete() == nil && req.ReadFrom(r.Src) == nil && req.MemberEpoch == 0
}

// withCode is the response with the code wherever it has one for what was asked, and
// false if it carries another one.
func withCode(frame []byte, a asked, code int16) ([]byte, bool) {
	header, resp := parse(frame, a)
	if errorCode(reflect.ValueOf(resp)) != 0 {
		return frame, false
	}
	setCode(resp, code)
	out := resp.AppendTo(append([]byte(nil), header...))
	return append(kbin.AppendInt32(nil, int32(len(out)-4)), out[4:]...), true
}

// parse splits a response from its header, which the size is part of.
func parse(frame []byte, a asked) (header []byte, resp kmsg.Response) {
	resp = kmsg.ResponseForKey(a.key)
	resp.SetVersion(a.version)
	n := 8
	if resp.IsFlexible() {
		n = 9
	}
	if err := resp.ReadFrom(frame[n:]); err != nil {
		panic(err)
	}
	return frame[:n], resp
}

// errorCode is the first error code that a response, or any part of it, carries; 0 for
// none.
func errorCode(v reflect.Value) int16 {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return errorCode(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			if code := errorCode(v.Index(i)); code != 0 {
				return code
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Field(i)
			if v.Type().Field(i).Name == "ErrorCode" && f.Int() != 0 {
				return int16(f.Int())
			}
			if code := errorCode(f); code != 0 {
				return code
			}
		}
	}
	return 0
}

func setCode(resp kmsg.Response, code int16) {
	switch r := resp.(type) {
	case *kmsg.ProduceResponse:
		for t := range r.Topics {
			for p := range r.Topics[t].Partitions {
				r.Topics[t].Partitions[p].ErrorCode = code
			}
		}
	case *kmsg.InitProducerIDResponse:
		r.ErrorCode, r.ProducerID, r.ProducerEpoch = code, -1, -1
	case *kmsg.AddPartitionsToTxnResponse:
		r.ErrorCode = code
		for t := range r.Topics {
			for p := range r.Topics[t].Partitions {
				r.Topics[t].Partitions[p].ErrorCode = code
			}
		}
	case *kmsg.AddOffsetsToTxnResponse:
		r.ErrorCode = code
	case *kmsg.EndTxnResponse:
		r.ErrorCode, r.ProducerID, r.ProducerEpoch = code, -1, -1
	case *kmsg.TxnOffsetCommitResponse:
		for t := range r.Topics {
			for p := range r.Topics[t].Partitions {
				r.Topics[t].Partitions[p].ErrorCode = code
			}
		}
	case *kmsg.FindCoordinatorResponse:
		r.ErrorCode, r.NodeID, r.Host, r.Port = code, -1, "", -1
		for c := range r.Coordinators {
			at := &r.Coordinators[c]
			at.ErrorCode, at.NodeID, at.Host, at.Port = code, -1, "", -1
		}
	default:
		setGroupCode(resp, code)
	}
}

func setGroupCode(resp kmsg.Response, code int16) {
	switch r := resp.(type) {
	case *kmsg.JoinGroupResponse:
		r.ErrorCode, r.Generation = code, -1
	case *kmsg.SyncGroupResponse:
		r.ErrorCode, r.MemberAssignment = code, []byte{}
	case *kmsg.HeartbeatResponse:
		r.ErrorCode = code
	case *kmsg.ConsumerGroupHeartbeatResponse:
		r.ErrorCode, r.Assignment = code, nil
	case *kmsg.OffsetCommitResponse:
		for t := range r.Topics {
			for p := range r.Topics[t].Partitions {
				r.Topics[t].Partitions[p].ErrorCode = code
			}
		}
	case *kmsg.OffsetFetchResponse:
		// Up to version 7 all partitions carry what the group is told.
		r.ErrorCode = code
		for t := range r.Topics {
			for p := range r.Topics[t].Partitions {
				r.Topics[t].Partitions[p].ErrorCode = code
			}
		}
		for g := range r.Groups {
			group := &r.Groups[g]
			if code == unstableOffsetCommit {
				for t := range group.Topics {
					for p := range group.Topics[t].Partitions {
						group.Topics[t].Partitions[p].ErrorCode = code
					}
				}
				continue
			}
			group.ErrorCode, group.Topics = code, nil
		}
	default:
		panic(fmt.Sprintf("no code is put into %T", r))
	}
}

// unstableOffsetCommit is a partition's code in OffsetFetch, never a group's.
const unstableOffsetCommit = 88
