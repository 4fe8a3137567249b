package wire

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestStringsHave32767BytesAtMost: a compact length can say more, but the records and
// answers that a string goes into cannot.
func TestStringsHave32767BytesAtMost(t *testing.T) {
	initProducer := func(s string) kmsg.Request {
		r := kmsg.NewPtrInitProducerIDRequest()
		r.TransactionalID = &s
		return r
	}
	join := func(set func(*kmsg.JoinGroupRequest, string)) func(string) kmsg.Request {
		return func(s string) kmsg.Request {
			r := kmsg.NewPtrJoinGroupRequest()
			set(r, s)
			return r
		}
	}
	protocol := func(r *kmsg.JoinGroupRequest, s string) {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = s, make([]byte, 1<<16) // bytes may be longer
		r.Protocols = append(r.Protocols, p)
	}
	names := func(s string) kmsg.Request {
		r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		r.SubscribedTopicNames = []string{s}
		return r
	}
	clusterID := func(s string) kmsg.Request {
		r := kmsg.NewPtrFetchRequest()
		r.ClusterID = &s
		return r
	}
	for _, c := range []struct {
		name    string
		version int16
		request func(string) kmsg.Request
	}{
		{"nullable", 4, initProducer},
		{"nullable, not compact", 1, initProducer},
		{"plain", 9, join(func(r *kmsg.JoinGroupRequest, s string) { r.Group = s })},
		{"plain, not compact", 5, join(func(r *kmsg.JoinGroupRequest, s string) { r.Group = s })},
		{"in a struct of an array", 9, join(protocol)},
		{"in an array", 1, names},
		{"in a tag", 15, clusterID},
	} {
		for _, n := range []int{0, 32767, 32768, 65545, 98304} {
			req := c.request(strings.Repeat("x", n))
			req.SetVersion(c.version)
			if !req.IsFlexible() && n > 32767 {
				continue // such a length cannot be said
			}
			body := req.AppendTo(nil)
			again := NewRequest(req.Key())
			err := DecodeInto(again, c.version, body)
			if alias := DecodeAlias(NewRequest(req.Key()), c.version, body); (alias == nil) != (err == nil) {
				t.Errorf("%s, %d bytes: %v, with strings that alias %v", c.name, n, err, alias)
			}
			switch {
			case n > 32767 && !errors.Is(err, ErrMalformed):
				t.Errorf("%s, %d bytes: %v, want ErrMalformed", c.name, n, err)
			case n <= 32767 && err != nil:
				t.Errorf("%s, %d bytes: %v", c.name, n, err)
			case n <= 32767 && string(again.AppendTo(nil)) != string(body):
				t.Errorf("%s, %d bytes: decoded to something else", c.name, n)
			}
		}
	}
}
