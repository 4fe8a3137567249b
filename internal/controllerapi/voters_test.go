package controllerapi

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/quorum"
	"github.com/gregorhq/gregor/internal/rpc"
	"github.com/gregorhq/gregor/internal/wire"
)

// Brokers pass changes of the voters on in Envelopes; the quorum's leader decides them.
func TestVotersAreChangedThroughEnvelopes(t *testing.T) {
	k := newKit(t)
	k.propose("a")
	conn, err := rpc.Dial(context.Background(), rpc.Options{Net: k.net.Host("brk"), Clock: clock.Real()}, "ctl:9093")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ask := func(req kmsg.Request) kmsg.Response {
		t.Helper()
		got, err := conn.Do(context.Background(), envelopeOf(req, alice, []byte{127, 0, 0, 1}))
		if err != nil || got.(*kmsg.EnvelopeResponse).ErrorCode != 0 {
			t.Fatalf("%s: %+v, %v", wire.Name(req.Key()), got, err)
		}
		_, body, err := wire.ParseResponseHeader(got.(*kmsg.EnvelopeResponse).ResponseData, req.Key(), req.GetVersion())
		resp := req.ResponseKind()
		if err == nil {
			err = resp.ReadFrom(body)
		}
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	add := kmsg.NewPtrAddRaftVoterRequest()
	add.VoterID, add.VoterDirectoryID, add.TimeoutMillis = 4, [16]byte{1}, 1000
	for v := range int16(2) {
		add.Version = v
		add.Listeners = []kmsg.AddRaftVoterRequestListener{{Name: "OTHER", Host: "h", Port: 1}}
		if r := ask(add).(*kmsg.AddRaftVoterResponse); r.ErrorCode != kafka.InvalidRequest.Num() {
			t.Errorf("v%d without the listener: %+v", v, r)
		}
		add.Listeners[0].Name = "CONTROLLER"
		if r := ask(add).(*kmsg.AddRaftVoterResponse); r.ErrorCode != kafka.UnsupportedVersion.Num() {
			t.Errorf("v%d to a static quorum: %+v", v, r)
		}
	}
	if r := ask(kmsg.NewPtrRemoveRaftVoterRequest()).(*kmsg.RemoveRaftVoterResponse); r.ErrorCode != kafka.InvalidRequest.Num() {
		t.Errorf("removing nobody: %+v", r)
	}
	other := &API{NodeID: 7, Leader: func() quorum.LeaderAndEpoch { return quorum.LeaderAndEpoch{Leader: 1} }}
	if _, err := other.Do(context.Background(), "User:a", add, "CONTROLLER"); !errors.Is(err, kafka.NotController) {
		t.Errorf("where another node leads: %v", err)
	}
	// A leader that is to be removed hands over; who asked goes on to the next leader, a
	// client by the answer, a broker that forwards by the error of the whole.
	remove := kmsg.NewPtrRemoveRaftVoterRequest()
	remove.VoterID, remove.VoterDirectoryID = 7, [16]byte{1}
	leaving := &API{NodeID: 7, Quorum: leavingQuorum{}, RequestTimeout: time.Second, Leader: func() quorum.LeaderAndEpoch { return quorum.LeaderAndEpoch{Leader: 7} }}
	if _, err := leaving.Do(context.Background(), "User:a", remove, "CONTROLLER"); !errors.Is(err, kafka.NotController) {
		t.Errorf("a leader that goes, in an envelope: %v", err)
	}
	if r := leaving.removeVoter(context.Background(), remove); r.ErrorCode != kafka.NotController.Num() {
		t.Errorf("a leader that goes: %+v", r)
	}
}

// leavingQuorum is a voter that has handed leadership over.
type leavingQuorum struct{ quorum.Server }

func (leavingQuorum) RemoveVoter(context.Context, quorum.Replica) error {
	return kafka.NotController.Errorf("another leads")
}
