package codes

import (
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestRelayPassesWhatIsAnErrorAlready: a transaction that begins while the one before is
// still ending is told CONCURRENT_TRANSACTIONS. A code in its place would come of a
// transaction that the broker knows nothing of, and the client would go on where it
// cannot.
func TestRelayPassesWhatIsAnErrorAlready(t *testing.T) {
	var r Relay
	client := relayed(t, &r, kerr.ConcurrentTransactions.Code, 0, 0)
	injected, again := r.Arm("mine", int16(kmsg.AddPartitionsToTxn), kerr.InvalidProducerEpoch.Code)
	for i, want := range []int16{kerr.ConcurrentTransactions.Code, kerr.InvalidProducerEpoch.Code, 0} {
		if got := addPartitions(t, client, "mine"); got != want {
			t.Errorf("response %d carries %d, want %d", i, got, want)
		}
	}
	if r.Disarm() {
		t.Error("the code was put into none")
	}
	<-injected
	<-again
}

// TestRelayPassesWhatOthersAreTold: a client of a former row may still be there.
func TestRelayPassesWhatOthersAreTold(t *testing.T) {
	var r Relay
	client := relayed(t, &r, 0, 0, 0, 0)
	_, again := r.Arm("mine", int16(kmsg.AddPartitionsToTxn), kerr.InvalidProducerEpoch.Code)
	for i, step := range []struct {
		name string
		want int16
	}{{"yours", 0}, {"mine", kerr.InvalidProducerEpoch.Code}, {"yours", 0}} {
		if got := addPartitions(t, client, step.name); got != step.want {
			t.Errorf("response %d carries %d, want %d", i, got, step.want)
		}
	}
	select {
	case <-again:
		t.Error("another client's request was taken for what this one did with the code")
	default:
	}
	addPartitions(t, client, "mine")
	<-again
}

// relayed is a connection through the relay to a broker that answers AddPartitionsToTxn
// with these codes.
func relayed(t *testing.T, r *Relay, answers ...int16) net.Conn {
	client, down := net.Pipe()
	up, broker := net.Pipe()
	go r.Serve(down, up)
	t.Cleanup(func() { _ = client.Close() })
	go func() {
		for _, code := range answers {
			if _, err := readFrame(broker); err != nil {
				return
			}
			resp := kmsg.NewPtrAddPartitionsToTxnResponse()
			resp.SetVersion(3)
			p := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
			p.ErrorCode = code
			resp.Topics = []kmsg.AddPartitionsToTxnResponseTopic{{Topic: "t", Partitions: []kmsg.AddPartitionsToTxnResponseTopicPartition{p}}}
			body := resp.AppendTo([]byte{0, 0, 0, 1, 0})
			if _, err := broker.Write(append(kbin.AppendInt32(nil, int32(len(body))), body...)); err != nil {
				return
			}
		}
	}()
	return client
}

// addPartitions asks with that transactional id and returns the code of the answer.
func addPartitions(t *testing.T, client net.Conn, name string) int16 {
	t.Helper()
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.SetVersion(3)
	req.TransactionalID = name
	if _, err := client.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err != nil {
		t.Fatal(err)
	}
	f, err := readFrame(client)
	if err != nil {
		t.Fatal(err)
	}
	_, resp := parse(f, asked{key: int16(kmsg.AddPartitionsToTxn), version: 3})
	return resp.(*kmsg.AddPartitionsToTxnResponse).Topics[0].Partitions[0].ErrorCode
}
