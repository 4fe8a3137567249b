package cluster

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestNoDescriptorsLeft: a process that may have 160 descriptors serves 150 partitions
// while strangers take every descriptor there is: it lives, connections that are there
// go on, others are accepted once the strangers are gone, and no directory goes offline.
func TestNoDescriptorsLeft(t *testing.T) {
	n := newNode(t, "log.flush.offset.checkpoint.interval.ms=200", "replica.high.watermark.checkpoint.interval.ms=200", "log.initial.task.delay.ms=1")
	n.prefix = []string{"sh", "-c", `ulimit -n 160 && exec "$@"`, "sh"}
	n.start()
	const parts = 150
	createParts(t, n.addr, "many", parts, map[string]string{"flush.messages": "1"})
	c, err := dial(n.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	next := make([]int64, parts)
	unsure := make([]int64, parts) // refused, and perhaps in the log: what failed may have been the flush
	produceAll := func() {
		t.Helper()
		for p := range parts {
			req, err := produceRequest("many", [][]byte{fmt.Appendf(nil, "%08d", next[p])})
			if err != nil {
				t.Fatal(err)
			}
			req.Topics[0].Partitions[0].Partition = int32(p)
			resp, err := c.do(req)
			if err != nil {
				t.Fatal(err)
			}
			base, err := produced(resp)
			if err != nil || base < next[p] || base > next[p]+unsure[p] {
				t.Fatalf("partition %d: offset %d, want %d and up to %d more, %v", p, base, next[p], unsure[p], err)
			}
			next[p], unsure[p] = base+1, 0
		}
	}
	produceAll()
	logHas := func(text string) func() bool {
		return func() bool {
			b, err := os.ReadFile(n.log())
			return err == nil && strings.Contains(string(b), text)
		}
	}
	var strangers []net.Conn
	for range 400 {
		s, err := net.DialTimeout("tcp", n.addr, time.Second)
		if err != nil {
			break
		}
		strangers = append(strangers, s)
	}
	n.until("there are no descriptors left", logHas("accepting a connection failed"))
	refused := 0
	for range 3 {
		for p := range parts {
			req, err := produceRequest("many", [][]byte{fmt.Appendf(nil, "%08d", next[p])})
			if err != nil {
				t.Fatal(err)
			}
			req.Topics[0].Partitions[0].Partition = int32(p)
			resp, err := c.do(req)
			if err != nil {
				t.Fatal(err)
			}
			if base, err := produced(resp); err != nil {
				refused++ // with an error that is retried: no descriptor for the file
				unsure[p]++
			} else if base < next[p] || base > next[p]+unsure[p] {
				t.Fatalf("partition %d: offset %d, want %d and up to %d more", p, base, next[p], unsure[p])
			} else {
				next[p], unsure[p] = base+1, 0
			}
		}
	}
	t.Logf("%d strangers, %d of %d requests were refused meanwhile", len(strangers), refused, 3*parts)
	for _, s := range strangers {
		s.Close()
	}
	n.until("connections are accepted again", func() bool {
		d, err := dial(n.addr)
		if err != nil {
			return false
		}
		defer d.Close()
		d.SetDeadline(time.Now().Add(time.Second))
		req := kmsg.NewPtrMetadataRequest()
		req.SetVersion(9)
		_, err = d.do(req)
		return err == nil
	})
	produceAll()
	if logHas("goes offline")() {
		t.Fatal("a directory went offline")
	}
	n.kill()
	n.start()
	for p := range parts {
		end := endOffset(t, n.addr, "many", int32(p))
		if end < next[p] {
			t.Fatalf("partition %d ends at %d, %d were acknowledged", p, end, next[p])
		}
	}
	n.stop()
}

// endOffset asks for the end of a partition.
func endOffset(t *testing.T, addr, topic string, part int32) int64 {
	t.Helper()
	c, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req := kmsg.NewPtrListOffsetsRequest()
	req.SetVersion(7)
	req.ReplicaID = -1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Partition, rp.Timestamp = part, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := c.do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].Offset
}
