package broker_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/broker"
)

// damageFile changes bytes in the middle of a file and returns what it held.
func damageFile(t *testing.T, name string, at int64) []byte {
	t.Helper()
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0xde, 0xad, 0xbe, 0xef}, at); err != nil {
		t.Fatal(err)
	}
	return before
}

// awaitFile waits until a file holds what is wanted.
func awaitFile(t *testing.T, ctx context.Context, name string, want []byte) {
	t.Helper()
	for {
		if b, err := os.ReadFile(name); err == nil && bytes.Equal(b, want) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s was not mended", name)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Damaged bytes in a closed segment of a follower are found by the scrub after its
// restart, those of the leader by a reader that meets them; either is mended from
// another replica, to the byte, and the partition is served on.
func TestClusterMendsDamagedSegments(t *testing.T) {
	ctx := clusterContext(t)
	dir := t.TempDir()
	c, err := broker.OpenCluster(broker.ClusterConfig{InProcess: true, Dir: dir, Properties: map[string]string{
		"min.insync.replicas": "2", "offsets.topic.num.partitions": "1", "log.segment.bytes": "1048576",
		"gregor.log.scrub.bytes.per.second": "1000000000",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	cl := clusterClient(t, c, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, 1, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	const n = 40
	for i := range n {
		v := append(fmt.Appendf(nil, "%d", i), make([]byte, 64<<10)...)
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: v}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	leader := int(partitions(t, ctx, cl, "t", fullISR)[0].Leader)
	follower := leader%c.Size() + 1
	segment := func(id int) string {
		return filepath.Join(dir, broker.NodeDir(id), "t-0", "00000000000000000000.log")
	}

	if err := c.Stop(follower); err != nil {
		t.Fatal(err)
	}
	want := damageFile(t, segment(follower), 300<<10)
	if err := c.Restart(ctx, follower); err != nil {
		t.Fatal(err)
	}
	awaitFile(t, ctx, segment(follower), want)
	partitions(t, ctx, cl, "t", fullISR)

	leader = int(partitions(t, ctx, cl, "t", fullISR)[0].Leader)
	want = damageFile(t, segment(leader), 8) // the length of the first batch
	reader := clusterClient(t, c, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for got := 0; got < n; {
		f := reader.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d records were read: %v", got, n, f.Errors())
		}
		f.EachRecord(func(r *kgo.Record) {
			if !bytes.HasPrefix(r.Value, fmt.Appendf(nil, "%d\x00", got)) {
				t.Fatalf("offset %d holds something else", r.Offset)
			}
			got++
		})
	}
	awaitFile(t, ctx, segment(leader), want)
}
