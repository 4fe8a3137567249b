package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// RequestHeader is what stands before every request body.
type RequestHeader struct {
	Key           int16
	Version       int16
	CorrelationID int32
	// ClientID is nil when the client sent none; the protocol treats that as "".
	ClientID *string
}

// ErrMalformed is the cause of every error about bytes that are not a request.
var ErrMalformed = errors.New("malformed request")

// controlledShutdown v0 is the only request with header version 0, which has no
// client id.
const controlledShutdown = 7

// apiVersions responses always carry the oldest response header, because a client
// asks before it knows what the server speaks (KIP-511).
const apiVersions = 18

// ClientIDString returns the client id, "" when there is none.
func (h *RequestHeader) ClientIDString() string {
	if h.ClientID == nil {
		return ""
	}
	return *h.ClientID
}

// HeaderParser parses the headers of one connection. It remembers the last client
// id, so that a connection that repeats it costs no allocation. The zero value is
// ready; it is not safe for concurrent use.
type HeaderParser struct {
	clientID *string
}

// ParseRequestHeader parses the header of one frame (without its size) and returns
// the body that follows. Whether the header is flexible depends on the API key and
// version; a key that the table does not know is an error, a version is not: the
// caller decides what it serves.
func ParseRequestHeader(frame []byte) (RequestHeader, []byte, error) {
	var p HeaderParser
	return p.Parse(frame)
}

// Parse is ParseRequestHeader with the connection's memory of its client id.
func (p *HeaderParser) Parse(frame []byte) (RequestHeader, []byte, error) {
	var h RequestHeader
	if len(frame) < 8 {
		return h, nil, fmt.Errorf("%w: %d bytes are too few for a request header", ErrMalformed, len(frame))
	}
	h.Key = int16(binary.BigEndian.Uint16(frame))
	h.Version = int16(binary.BigEndian.Uint16(frame[2:]))
	h.CorrelationID = int32(binary.BigEndian.Uint32(frame[4:]))
	body := frame[8:]
	api := Lookup(h.Key)
	if api == nil {
		return h, nil, fmt.Errorf("%w: unknown API key %d", ErrMalformed, h.Key)
	}
	if h.Key == controlledShutdown && h.Version == 0 {
		return h, body, nil
	}
	body, err := p.readClientID(&h, body)
	if err != nil {
		return h, nil, err
	}
	if api.IsFlexible(h.Version) {
		if body, err = skipTags(body); err != nil {
			return h, nil, fmt.Errorf("header of %s v%d: %w", api.Name, h.Version, err)
		}
	}
	return h, body, nil
}

// readClientID reads the nullable client id; it is never compact, not even in the
// flexible header.
func (p *HeaderParser) readClientID(h *RequestHeader, b []byte) ([]byte, error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("%w: client id is cut off", ErrMalformed)
	}
	n := int(int16(binary.BigEndian.Uint16(b)))
	b = b[2:]
	if n < 0 {
		if n != -1 {
			return nil, fmt.Errorf("%w: client id of length %d", ErrMalformed, n)
		}
		return b, nil
	}
	if n > len(b) {
		return nil, fmt.Errorf("%w: client id of length %d with %d bytes left", ErrMalformed, n, len(b))
	}
	if p.clientID == nil || *p.clientID != string(b[:n]) {
		id := string(b[:n])
		p.clientID = &id
	}
	h.ClientID = p.clientID
	return b[n:], nil
}

// skipTags skips a tagged-field section. Nothing in a request header's tags is
// known to any version.
func skipTags(b []byte) ([]byte, error) {
	num, b, err := uvarint(b)
	if err != nil {
		return nil, err
	}
	// A tag takes at least two bytes, which bounds the loop by the bytes left.
	if uint64(num)*2 > uint64(len(b)) {
		return nil, fmt.Errorf("%w: %d tagged fields in %d bytes", ErrMalformed, num, len(b))
	}
	for ; num > 0; num-- {
		var size uint32
		if _, b, err = uvarint(b); err != nil {
			return nil, err
		}
		if size, b, err = uvarint(b); err != nil {
			return nil, err
		}
		if uint64(size) > uint64(len(b)) {
			return nil, fmt.Errorf("%w: tagged field of %d bytes with %d left", ErrMalformed, size, len(b))
		}
		b = b[size:]
	}
	return b, nil
}

// uvarint reads an unsigned varint of at most 32 bits.
func uvarint(b []byte) (uint32, []byte, error) {
	var v uint64
	for i := 0; i < 5 && i < len(b); i++ {
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			if v > 0xffffffff {
				return 0, nil, fmt.Errorf("%w: varint over 32 bits", ErrMalformed)
			}
			return uint32(v), b[i+1:], nil
		}
	}
	return 0, nil, fmt.Errorf("%w: varint is cut off or too long", ErrMalformed)
}

// AppendRequestHeader appends the header of a request that this process sends.
func AppendRequestHeader(dst []byte, h RequestHeader) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.Key))
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.Version))
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.CorrelationID))
	if h.Key == controlledShutdown && h.Version == 0 {
		return dst
	}
	if h.ClientID == nil {
		dst = append(dst, 0xff, 0xff)
	} else {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(*h.ClientID)))
		dst = append(dst, *h.ClientID...)
	}
	if api := Lookup(h.Key); api != nil && api.IsFlexible(h.Version) {
		dst = append(dst, 0)
	}
	return dst
}

// FlexibleResponseHeader says whether a response carries the tagged-field section
// after its correlation id.
func FlexibleResponseHeader(key, version int16) bool {
	if key == apiVersions {
		return false
	}
	api := Lookup(key)
	return api != nil && api.IsFlexible(version)
}

// AppendResponseHeader appends the header of the response to a request with this
// key and version.
func AppendResponseHeader(dst []byte, key, version int16, correlationID int32) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if FlexibleResponseHeader(key, version) {
		dst = append(dst, 0)
	}
	return dst
}

// ParseResponseHeader is the inverse of AppendResponseHeader, for connections that
// this process opened.
func ParseResponseHeader(frame []byte, key, version int16) (correlationID int32, body []byte, err error) {
	if len(frame) < 4 {
		return 0, nil, fmt.Errorf("%w: %d bytes are too few for a response header", ErrMalformed, len(frame))
	}
	correlationID = int32(binary.BigEndian.Uint32(frame))
	body = frame[4:]
	if FlexibleResponseHeader(key, version) {
		if body, err = skipTags(body); err != nil {
			return correlationID, nil, err
		}
	}
	return correlationID, body, nil
}
