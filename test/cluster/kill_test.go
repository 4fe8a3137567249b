package cluster

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
)

const killTopic = "killed"

// ledger knows what was sent and what was acknowledged. A value is its number in 8
// bytes followed by filling.
type ledger struct {
	next  uint64
	acked map[int64]uint64 // offset of an acknowledged batch's first record -> its first value
	size  map[int64]int    // and how many records it has
}

// values makes n fresh values, no value ever twice.
func (l *ledger) values(rng *rand.Rand, n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		v := make([]byte, 8+rng.IntN(400))
		binary.BigEndian.PutUint64(v, l.next)
		l.next++
		out[i] = v
	}
	return out
}

// answerKind tells the form of the answers that load reads.
var answerKind = func() *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(9)
	return req
}()

// sent is a batch on its way.
type sent struct {
	first uint64
	n     int
}

// load produces without pause, five requests in flight, until the connection dies.
// What was not answered by then is unknown: it may be stored, at most once.
func (l *ledger) load(addr string, rng *rand.Rand) error {
	c, err := dial(addr)
	if err != nil {
		return nil // killed before the connection was there
	}
	defer c.Close()
	var flight []sent
	for {
		for len(flight) < 5 {
			s := sent{first: l.next, n: 1 + rng.IntN(20)}
			req, err := produceRequest(killTopic, l.values(rng, s.n))
			if err != nil {
				return err
			}
			if c.send(req) != nil {
				return nil
			}
			flight = append(flight, s)
		}
		resp, err := c.receive(answerKind)
		if err != nil {
			return nil
		}
		base, err := produced(resp)
		if err != nil {
			return fmt.Errorf("an answer other than an acknowledgement: %w", err)
		}
		l.acked[base], l.size[base] = flight[0].first, flight[0].n
		flight = flight[1:]
	}
}

// verify reads the whole log: offsets without a gap, every batch one that was sent,
// no value twice, every acknowledged batch where it was acknowledged.
func (l *ledger) verify(t *testing.T, addr string) (records int64) {
	t.Helper()
	c, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seen := map[uint64]int64{}
	at := map[int64]uint64{}
	offset, end := int64(0), int64(-1)
	var it batch.Iter
	defer it.Close()
	for offset != end {
		data, hw, err := c.fetch(killTopic, offset)
		if err != nil {
			t.Fatalf("reading from offset %d: %v", offset, err)
		}
		end = hw
		if len(data) == 0 && offset < hw {
			t.Fatalf("nothing at offset %d, the end is %d", offset, hw)
		}
		infos, err := batch.Infos(data)
		if err != nil {
			t.Fatalf("batches from offset %d: %v", offset, err)
		}
		for _, info := range infos {
			if err := it.Reset(data[info.Pos:], 0); err != nil {
				t.Fatal(err)
			}
			var r batch.Record
			for it.Next(&r) {
				if r.Offset < offset {
					continue // the batch that holds the offset begins before it
				}
				if r.Offset != offset {
					t.Fatalf("offset %d follows %d", r.Offset, offset-1)
				}
				v := binary.BigEndian.Uint64(r.Value)
				if before, twice := seen[v]; twice || v >= l.next {
					t.Fatalf("value %d is at offset %d and at %d; %d were sent", v, before, offset, l.next)
				}
				seen[v], at[offset] = offset, v
				offset++
			}
			if it.Err() != nil {
				t.Fatal(it.Err())
			}
		}
	}
	for base, first := range l.acked {
		for i := 0; i < l.size[base]; i++ {
			if got, ok := at[base+int64(i)]; !ok || got != first+uint64(i) {
				t.Fatalf("offset %d was acknowledged with value %d and now holds %d (present: %v)", base+int64(i), first+uint64(i), got, ok)
			}
		}
	}
	return offset
}

// indexes asks Kafka's own way whether the index files agree with the log.
func indexes(t *testing.T, n *node) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.dir, "data", killTopic+"-0", "*index"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%d index files, %v", len(files), err)
	}
	out, err := exec.Command(gregor(t), "kafka-dump-log", "--verify-index-only", "--files", strings.Join(files, ",")).CombinedOutput()
	if err != nil || strings.Contains(string(out), "Mismatch") || strings.Contains(string(out), "non-monotonic") || strings.Contains(string(out), "Exception") {
		t.Fatalf("the indexes differ from the log: %v\n%s", err, out)
	}
}

// TestKillDuringProduce kills the process at random moments of a load with acks=1
// and restarts it on what is there.
func TestKillDuringProduce(t *testing.T) {
	kills := killsWanted(t, 5)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	n := newNode(t)
	n.start()
	createTopic(t, n.addr, killTopic, map[string]string{"segment.bytes": "1048576", "index.interval.bytes": "256"})
	l := &ledger{acked: map[int64]uint64{}, size: map[int64]int{}}
	var records int64
	for i := 0; i < kills; i++ {
		failed := make(chan error, 1)
		go func() { failed <- l.load(n.addr, rng) }()
		time.Sleep(time.Duration(1+rand.IntN(120)) * time.Millisecond) // the random moment is what is tested
		n.kill()
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
		n.start()
		// All is read after the first kills and at the end; in between every tenth time,
		// for reading everything each time would take most of the test.
		if i < 3 || i%10 == 9 || i == kills-1 {
			records = l.verify(t, n.addr)
		}
	}
	n.stop()
	indexes(t, n)
	n.start()
	if again := l.verify(t, n.addr); again != records {
		t.Fatalf("%d records after a clean restart, %d before", again, records)
	}
	t.Logf("%d kills, %d batches acknowledged, %d records in the log, 0 lost, 0 twice", kills, len(l.acked), records)
}
