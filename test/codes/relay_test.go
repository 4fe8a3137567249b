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
	client, down := net.Pipe()
	up, broker := net.Pipe()
	go r.Serve(down, up)
	defer client.Close()
	go func() {
		for _, code := range []int16{kerr.ConcurrentTransactions.Code, 0, 0} {
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
	injected, again := r.Arm(int16(kmsg.AddPartitionsToTxn), kerr.InvalidProducerEpoch.Code)
	for i, want := range []int16{kerr.ConcurrentTransactions.Code, kerr.InvalidProducerEpoch.Code, 0} {
		head := []byte{0, 0, 0, 8, 0, byte(kmsg.AddPartitionsToTxn), 0, 3, 0, 0, 0, 1}
		if _, err := client.Write(head); err != nil {
			t.Fatal(err)
		}
		f, err := readFrame(client)
		if err != nil {
			t.Fatal(err)
		}
		_, resp := parse(f, asked{int16(kmsg.AddPartitionsToTxn), 3})
		if got := resp.(*kmsg.AddPartitionsToTxnResponse).Topics[0].Partitions[0].ErrorCode; got != want {
			t.Errorf("response %d carries %d, want %d", i, got, want)
		}
	}
	if r.Disarm() {
		t.Error("the code was put into none")
	}
	<-injected
	<-again
}
