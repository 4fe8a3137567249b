package rpc

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/wire"
)

// Principal is the authenticated client of a forwarded request, in the form of
// DefaultPrincipalData.
type Principal struct {
	Type, Name string
	// TokenAuthenticated says that a delegation token was used.
	TokenAuthenticated bool
}

func (p Principal) String() string { return p.Type + ":" + p.Name }

// AppendPrincipal appends the bytes of RequestPrincipal: the version of the message,
// then the message.
func AppendPrincipal(dst []byte, p Principal) []byte {
	dst = kbin.AppendInt16(dst, 0)
	dst = kbin.AppendCompactString(dst, p.Type)
	dst = kbin.AppendCompactString(dst, p.Name)
	dst = kbin.AppendBool(dst, p.TokenAuthenticated)
	return append(dst, 0) // no tagged fields
}

// ParsePrincipal is the inverse of AppendPrincipal.
func ParsePrincipal(b []byte) (Principal, error) {
	r := kbin.Reader{Src: b}
	if v := r.Int16(); r.Ok() && v != 0 {
		return Principal{}, kafka.PrincipalDeserializationFailure.Errorf("the principal has version %d, not 0", v)
	}
	p := Principal{Type: r.CompactString(), Name: r.CompactString(), TokenAuthenticated: r.Bool()}
	if err := r.Complete(); err != nil || p.Type == "" {
		return Principal{}, kafka.PrincipalDeserializationFailure.Errorf("%d bytes are not a principal", len(b))
	}
	return p, nil
}

// encodeRequest is a request as it would stand in a frame, without the size.
func encodeRequest(req kmsg.Request, clientID string) []byte {
	b := wire.AppendRequestHeader(nil, wire.RequestHeader{Key: req.Key(), Version: req.GetVersion(), ClientID: &clientID})
	return req.AppendTo(b)
}

// decodeResponse opens what an Envelope brought back.
func decodeResponse(req kmsg.Request, data []byte) (kmsg.Response, error) {
	_, body, err := wire.ParseResponseHeader(data, req.Key(), req.GetVersion())
	if err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%w: %w", wire.ErrMalformed, err)
	}
	return resp, nil
}

// clientAddress is the address in the form of an Envelope: 4 or 16 bytes. A request of
// the broker itself, or a client inside the process, comes from the loopback address.
func clientAddress(host string) ([]byte, error) {
	a, err := netip.ParseAddr(host)
	if err != nil {
		a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return a.Unmap().AsSlice(), nil
}

// endOffsetTag is the tagged field of an EnvelopeResponse in which a controller of this
// kind tells the end offset of its decision; others ignore it, and do not send it.
const endOffsetTag = 32001

// SetEndOffset puts the end offset of the decision into the answer, so that the broker
// can answer once its own image has it.
func SetEndOffset(resp *kmsg.EnvelopeResponse, end kafka.Offset) {
	resp.UnknownTags.Set(endOffsetTag, binary.BigEndian.AppendUint64(nil, uint64(end)))
}

// endOffset is the end offset in the answer, -1 when there is none.
func endOffset(resp *kmsg.EnvelopeResponse) kafka.Offset {
	end := kafka.Offset(-1)
	resp.UnknownTags.Each(func(tag uint32, val []byte) {
		if tag == endOffsetTag && len(val) == 8 {
			end = kafka.Offset(binary.BigEndian.Uint64(val))
		}
	})
	return end
}
