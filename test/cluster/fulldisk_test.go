package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	fullTopic    = "full"
	fullVictim   = "victim"
	fullProducer = 3
)

// TestDiskFillsUnderLoad: a file system of 16 MB gets full under three producers. The
// node must live, keep what it acknowledged, serve readers and commits meanwhile, and
// serve everybody within a second of room coming back. GREGOR_FULLDISK_RUNS says how
// often; the runs take turns in how the room goes and comes back.
func TestDiskFillsUnderLoad(t *testing.T) {
	runs := 1
	if s := os.Getenv("GREGOR_FULLDISK_RUNS"); s != "" {
		var err error
		if runs, err = strconv.Atoi(s); err != nil {
			t.Fatalf("GREGOR_FULLDISK_RUNS: %v", err)
		}
	}
	var worst time.Duration
	for run := range runs {
		t.Run(strconv.Itoa(run), func(t *testing.T) {
			took, acked := fillDisk(t, run)
			t.Logf("%d records acknowledged, full service %v after room came back", acked, took.Round(time.Millisecond))
			worst = max(worst, took)
		})
	}
	t.Logf("%d runs, the slowest recovery took %v", runs, worst.Round(time.Millisecond))
}

// mountSmall mounts an empty ext4 of 16 MB, or skips where that is not allowed.
func mountSmall(t *testing.T, at string) {
	t.Helper()
	image := at + ".img"
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 16<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Skipf("a full file system of 16 MB, whose ENOSPC is the kernel's own, needs root, a loop device and mkfs.ext4 (package log has the same with injected errors): %v: %v: %s", cmd, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
}

// filler is one producer with what was acknowledged to it.
type filler struct {
	client *kgo.Client
	part   int32

	mu    sync.Mutex
	acked map[int64]uint64 // offset -> value
	last  time.Time        // of the latest acknowledgement
	err   error
}

func fillClient(t *testing.T, addr string, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(0), kgo.MetadataMinAge(20 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// run produces until ctx ends. The context is not that of the records: what was sent
// is waited for.
func (f *filler) run(ctx context.Context, rng *rand.Rand) {
	for n := uint64(0); ctx.Err() == nil; {
		var recs []*kgo.Record
		for range 1 + rng.IntN(32) {
			v := make([]byte, 8+rng.IntN(1000))
			for i := range v {
				v[i] = byte(rng.Uint32())
			}
			n++
			binary.BigEndian.PutUint64(v, uint64(f.part)<<48|n)
			recs = append(recs, &kgo.Record{Topic: fullTopic, Partition: f.part, Value: v})
		}
		results := f.client.ProduceSync(context.Background(), recs...)
		f.mu.Lock()
		if f.err = results.FirstErr(); f.err != nil {
			f.mu.Unlock()
			return
		}
		f.last = time.Now()
		for _, r := range recs {
			f.acked[r.Offset] = binary.BigEndian.Uint64(r.Value)
		}
		f.mu.Unlock()
	}
}

func (f *filler) state() (acked int, last time.Time, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.acked), f.last, f.err
}

// until polls a condition for a minute.
func (n *node) until(what string, cond func() bool) {
	n.t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-n.done:
			n.t.Fatalf("the node ended while waiting until %s", what)
		case <-deadline:
			n.t.Fatalf("a minute has passed without that %s", what)
		}
	}
}

// fillDisk is one run; it returns how long after room came back everybody was served.
func fillDisk(t *testing.T, run int) (took time.Duration, total int) {
	n := newNode(t, "log.segment.bytes=1048576", "log.segment.delete.delay.ms=0", "offsets.topic.num.partitions=1")
	data := filepath.Join(n.dir, "data")
	mountSmall(t, data)
	t.Cleanup(func() { // runs before the file system goes
		if n.cmd != nil {
			n.kill()
		}
	})
	n.start()
	createParts(t, n.addr, fullTopic, fullProducer, nil)
	createTopic(t, n.addr, fullVictim, nil)
	admin := fillClient(t, n.addr)
	for range 3 {
		r := &kgo.Record{Topic: fullVictim, Value: make([]byte, 900<<10)}
		if err := admin.ProduceSync(context.Background(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	commitOffset(t, admin) // makes the offsets topic, for which there is room now
	squatter := filepath.Join(data, "squatter")
	if err := os.WriteFile(squatter, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	var all []*filler
	for i := range fullProducer {
		f := &filler{client: fillClient(t, n.addr), part: int32(i), acked: map[int64]uint64{}}
		all = append(all, f)
		rng := rand.New(rand.NewPCG(uint64(run), uint64(i)))
		wg.Go(func() { f.run(ctx, rng) })
	}
	n.until("the directory is full and nobody is served", func() bool {
		b, err := os.ReadFile(n.log())
		if err != nil || !strings.Contains(string(b), "log directory is full") {
			return false
		}
		for _, f := range all {
			if _, last, _ := f.state(); time.Since(last) < 500*time.Millisecond {
				return false
			}
		}
		return true
	})
	everyAckIsThere(t, n.addr, all)
	created := make(chan error, 1)
	created <- nil
	if run%2 == 0 {
		commitOffset(t, admin)
	} else {
		created = metadataWaits(t, n, admin, squatter)
	}
	back := giveRoom(t, admin, run, squatter)
	n.until("all producers are served again", func() bool {
		took = 0
		for _, f := range all {
			_, last, err := f.state()
			if err != nil {
				t.Fatal(err)
			}
			if !last.After(back) {
				return false
			}
			took = max(took, last.Sub(back))
		}
		return true
	})
	if took > time.Second {
		t.Errorf("everybody was served %v after room came back, not within a second", took)
	}
	// The producers may have filled the disk anew: what they wait for needs room too.
	stop()
	allRoom(t, admin, squatter)
	wg.Wait()
	if err := <-created; err != nil {
		t.Errorf("a topic that was asked for when there was no room: %v", err)
	}
	everyAckIsThere(t, n.addr, all)
	n.stop()
	n.start()
	total = everyAckIsThere(t, n.addr, all)
	n.stop()
	return took, total
}

// metadataWaits takes the room that is left and creates a topic, until the metadata log
// waits for room; the topic is there once the channel says so.
func metadataWaits(t *testing.T, n *node, c *kgo.Client, squatter string) chan error {
	t.Helper()
	eatTheRest(t, squatter)
	created := make(chan error, 1)
	adm := kadm.NewClient(c)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	go func() {
		defer cancel()
		for i := 0; ; i++ {
			// Each takes some bytes of the page that the log may still have.
			resp, err := adm.CreateTopic(ctx, 1, 1, nil, "late-"+strconv.Itoa(i)+strings.Repeat("x", 200))
			if err == nil {
				err = resp.Err
			}
			if ctx.Err() != nil || err == nil && waits(n) {
				created <- err
				return
			}
		}
	}()
	n.until("the metadata log waits for room", func() bool { return waits(n) })
	return created
}

func waits(n *node) bool {
	b, err := os.ReadFile(n.log())
	return err == nil && strings.Contains(string(b), "the metadata log waits for room")
}

// eatTheRest leaves not one byte to anybody.
func eatTheRest(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

// allRoom makes what room there is to make.
func allRoom(t *testing.T, c *kgo.Client, squatter string) {
	t.Helper()
	if err := os.Remove(squatter); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if _, err := kadm.NewClient(c).DeleteTopic(context.Background(), fullVictim); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Fatal(err)
	}
}

// giveRoom makes room in one of several ways and returns since when it is there.
func giveRoom(t *testing.T, c *kgo.Client, run int, squatter string) time.Time {
	t.Helper()
	if run%2 == 1 || run%4 == 0 {
		if err := os.Remove(squatter); err != nil {
			t.Fatal(err)
		}
		return time.Now()
	}
	adm := kadm.NewClient(c)
	if _, err := adm.DeleteTopic(context.Background(), fullVictim); err != nil {
		t.Fatal(err)
	}
	return time.Now()
}

// commitOffset commits an offset of a group, which takes room on a full disk too.
func commitOffset(t *testing.T, c *kgo.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var offsets kadm.Offsets
	offsets.AddOffset(fullTopic, 0, rand.Int64N(1000), -1)
	if err := kadm.NewClient(c).CommitAllOffsets(ctx, "g", offsets); err != nil {
		t.Fatalf("committing an offset: %v", err)
	}
}

// everyAckIsThere reads all of the topic: what was acknowledged is where it was
// acknowledged, and no value is there twice.
func everyAckIsThere(t *testing.T, addr string, all []*filler) (records int) {
	t.Helper()
	want := map[int32]map[int64]uint64{}
	for _, f := range all {
		f.mu.Lock()
		m := make(map[int64]uint64, len(f.acked))
		for k, v := range f.acked {
			m[k] = v
		}
		f.mu.Unlock()
		want[f.part] = m
	}
	missing := 0
	for _, m := range want {
		missing += len(m)
		records += len(m)
	}
	c := fillClient(t, addr, kgo.ConsumeTopics(fullTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	seen := map[uint64]string{}
	for missing > 0 {
		fetches := c.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d acknowledged records are not there", missing, records)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			v := binary.BigEndian.Uint64(r.Value)
			at := fmt.Sprintf("partition %d offset %d", r.Partition, r.Offset)
			if seen[v] != "" {
				t.Fatalf("value %x is at %s and at %s", v, seen[v], at)
			}
			seen[v] = at
			w, ok := want[r.Partition][r.Offset]
			if !ok {
				return
			}
			if w != v {
				t.Fatalf("%s holds %x, acknowledged was %x", at, v, w)
			}
			missing--
		})
	}
	c.Close()
	return records
}
