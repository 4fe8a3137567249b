package main

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/rpc"
)

// controllers are requests to the listener of the controllers. What both serve there
// counts for itself: it is not coverage of the brokers'.
func controllers(o *oracle) {
	ranges, covered := o.ranges, o.covered
	swap := func() {
		for _, s := range o.sides {
			s.hangUp()
			s.addr, s.controller = s.controller, s.addr
		}
	}
	swap()
	defer func() {
		swap()
		o.ranges, o.covered = ranges, covered
	}()
	o.covered = map[int16]map[int16]int{}
	if err := o.findRanges(); err != nil {
		o.found = append(o.found, difference{"ApiVersions", 3, "the controllers", "answer", [2]string{"versions", err.Error()}})
		return
	}
	o.each(18, func(v int16) {
		for _, c := range []struct {
			name, software string
			cluster        *string
			node           int32
		}{{"controller: versions", "oracle", nil, -1}, {"controller: a bad software name", "-oracle?", nil, -1}, {"controller: another cluster", "oracle", str("elsewhere"), 1}, {"controller: a node without a cluster", "oracle", nil, 1}} {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrApiVersionsRequest()
				r.ClientSoftwareName, r.ClientSoftwareVersion, r.ClusterID, r.NodeID = c.software, "1.0", c.cluster, c.node
				return r
			})
		}
	})
	o.each(60, func(v int16) {
		for _, c := range []struct {
			name string
			kind int8
			auth bool
		}{{"controller: controllers", 2, false}, {"controller: with operations", 2, true}, {"controller: brokers", 1, false}, {"controller: an unknown kind", 9, false}} {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrDescribeClusterRequest()
				r.EndpointType, r.IncludeClusterAuthorizedOperations = c.kind, c.auth
				return r
			})
		}
	})
	envelopes(o)
}

// envelopes are requests as brokers pass them on, most of them wrong.
func envelopes(o *oracle) {
	whole := rpc.AppendPrincipal(nil, rpc.Principal{Type: "User", Name: "ANONYMOUS"})
	inner := func(key, version int16, cut int) []byte {
		r := kmsg.RequestForKey(key)
		if c, ok := r.(*kmsg.CreateTopicsRequest); ok {
			t := kmsg.NewCreateTopicsRequestTopic()
			t.Topic, t.NumPartitions, t.ReplicationFactor = "no/topic", 1, 1
			c.Topics, c.ValidateOnly, c.TimeoutMillis = append(c.Topics, t), true, timeoutMs
		}
		r.SetVersion(min(version, r.MaxVersion()))
		frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("oracle")).AppendRequest(nil, r, 7)[4:]
		frame[2], frame[3] = byte(version>>8), byte(version)
		return frame[:len(frame)-cut]
	}
	o.each(58, func(v int16) {
		for _, c := range []struct {
			name               string
			request, principal []byte
			address            []byte
		}{
			{"controller: a topic that cannot be", inner(19, 7, 0), whole, []byte{127, 0, 0, 1}},
			{"controller: a version too new", inner(19, 99, 0), whole, []byte{127, 0, 0, 1}},
			{"controller: a torn request", inner(19, 7, 6), whole, []byte{127, 0, 0, 1}},
			{"controller: half a header", inner(19, 7, 0)[:5], whole, []byte{127, 0, 0, 1}},
			{"controller: no request", nil, whole, []byte{127, 0, 0, 1}},
			{"controller: a request that is not passed on", inner(3, 9, 0), whole, []byte{127, 0, 0, 1}},
			{"controller: a broker's own request", inner(63, 0, 0), whole, []byte{127, 0, 0, 1}},
			{"controller: no principal", inner(19, 7, 0), nil, []byte{127, 0, 0, 1}},
			{"controller: half a principal", inner(19, 7, 0), whole[:5], []byte{127, 0, 0, 1}},
			{"controller: an address of three bytes", inner(19, 7, 0), whole, []byte{127, 0, 0}},
		} {
			o.ask(c.name, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrEnvelopeRequest()
				r.RequestData, r.RequestPrincipal, r.ClientHostAddress = c.request, c.principal, c.address
				return r
			})
		}
	})
}
