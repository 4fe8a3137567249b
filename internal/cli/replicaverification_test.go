package cli_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
)

// replicaBatches is a log of batches of n records each; values of the batch at odd differ.
func replicaBatches(t *testing.T, odd int, sizes ...int) []byte {
	t.Helper()
	var out []byte
	offset := int64(0)
	for i, n := range sizes {
		b := batch.NewBuilder(offset)
		for range n {
			value := "same"
			if i == odd {
				value = "else"
			}
			b.Append(1, nil, []byte(value), nil)
			offset++
		}
		var err error
		out, err = b.Build(out)
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// Two brokers have partition p-0. In the first round the third batch differs by its
// checksum and the fourth is above one high watermark; in the second the offsets differ.
func TestDifferentReplicasAreFound(t *testing.T) {
	one, two := startFake(t), startFake(t)
	var fetches [2][]*kmsg.FetchRequest
	for i, f := range []*fakeNode{one, two} {
		f.on(3, func(_ kmsg.Request, r kmsg.Response) {
			resp := r.(*kmsg.MetadataResponse)
			for id, b := range []*fakeNode{one, two} {
				row := kmsg.NewMetadataResponseBroker()
				row.NodeID, row.Host, row.Port = int32(id+1), b.host, b.port
				resp.Brokers = append(resp.Brokers, row)
			}
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Leader, p.Replicas, p.ISR = 1, []int32{1, 2}, []int32{1, 2}
			topic := kmsg.NewMetadataResponseTopic()
			topic.Topic, topic.TopicID, topic.Partitions = kmsg.StringPtr("p"), [16]byte{7}, append(topic.Partitions, p)
			resp.Topics = append(resp.Topics, topic)
		})
		f.on(2, func(_ kmsg.Request, r kmsg.Response) {
			p := kmsg.NewListOffsetsResponseTopicPartition()
			p.Offset = 0
			topic := kmsg.NewListOffsetsResponseTopic()
			topic.Topic, topic.Partitions = "p", append(topic.Partitions, p)
			r.(*kmsg.ListOffsetsResponse).Topics = append(r.(*kmsg.ListOffsetsResponse).Topics, topic)
		})
		f.on(1, func(q kmsg.Request, r kmsg.Response) {
			fetches[i] = append(fetches[i], q.(*kmsg.FetchRequest))
			p := kmsg.NewFetchResponseTopicPartition()
			p.HighWatermark, p.RecordBatches = int64(8-i), replicaBatches(t, 3*i-1, 1, 2, 3, 2)
			if len(fetches[i]) > 1 {
				p.HighWatermark, p.RecordBatches = 99, replicaBatches(t, -1, 1+i)
			}
			topic := kmsg.NewFetchResponseTopic()
			topic.Topic, topic.TopicID, topic.Partitions = "p", [16]byte{7}, append(topic.Partitions, p)
			r.(*kmsg.FetchResponse).Topics = append(r.(*kmsg.FetchResponse).Topics, topic)
		})
	}
	r := call(t, "", strings.Fields("kafka-replica-verification --broker-list "+one.addr+" --time -2 --report-interval-ms -1 --topics-include p")...)
	want := `^S: verification process is started
S: partition p-0 has unmatched checksum at offset 5; replica 1's checksum \d+; replica 2's checksum \d+
S: max lag is 2 for partition p-0 at offset 6 among 1 partitions
S: partition p-0: replica 1's offset 0 doesn't match replica 2's offset 1
$`
	want = strings.ReplaceAll(want, "S:", `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}:`)
	if !regexp.MustCompile(want).MatchString(r.out) || r.code != 1 {
		t.Errorf("code %d, %q, %q", r.code, r.out, r.err)
	}
	for i, all := range fetches {
		if len(all) != 2 || all[0].ReplicaState.ID != -2 || all[0].Topics[0].Partitions[0].FetchOffset != 0 || all[1].Topics[0].Partitions[0].FetchOffset != 6 {
			t.Errorf("fetches of broker %d: %+v", i+1, all)
		}
	}
	if r := call(t, "", strings.Fields("kafka-replica-verification --broker-list "+one.addr+" --topics-include none")...); r.code != 1 || !strings.Contains(r.err, "No topics found. ") {
		t.Errorf("code %d, %q", r.code, r.err)
	}
	if r := call(t, "", "kafka-replica-verification", "--time", "-1"); r.code != 1 || r.firstErr() != `Missing required argument "[broker-list]"` {
		t.Errorf("code %d, %q", r.code, r.err)
	}
}
