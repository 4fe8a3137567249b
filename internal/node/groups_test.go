package node

import (
	"context"
	"math/rand"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/clock"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/netx"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestAcknowledgedCommitsSurviveAKill: the process is killed while a group commits
// growing offsets; after each restart the offset is no lower than what was acknowledged
// before the kill.
func TestAcknowledgedCommitsSurviveAKill(t *testing.T) {
	m := newMachine(t, map[string]string{
		"offsets.topic.num.partitions": "1", "offsets.topic.replication.factor": "1",
	})
	m.format()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	rng := rand.New(rand.NewSource(1))
	var acked atomic.Int64
	n := m.start()
	for round := range 4 {
		cl, err := kgo.NewClient(kgo.SeedBrokers("localhost:9092"), kgo.Dialer(m.net.Dial))
		if err != nil {
			t.Fatal(err)
		}
		adm := kadm.NewClient(cl)
		if round == 0 {
			if _, err := adm.CreateTopic(ctx, 1, 1, nil, "t"); err != nil {
				t.Fatal(err)
			}
		}
		running, stop := context.WithCancel(ctx)
		enough, ended := make(chan struct{}), make(chan struct{})
		until := acked.Load() + 20 + rng.Int63n(60)
		go func() {
			defer close(ended)
			for at := acked.Load() + 1; running.Err() == nil; at++ {
				var o kadm.Offsets
				o.AddOffset("t", 0, at, -1)
				if resp, err := adm.CommitOffsets(running, "g", o); err != nil || !resp.Ok() {
					continue
				}
				if acked.Store(at); at == until {
					close(enough)
				}
			}
		}()
		select {
		case <-enough:
		case <-ended:
			t.Fatalf("the commits ended at %d\n%s", acked.Load(), m.log)
		case <-ctx.Done():
			t.Fatalf("only %d commits\n%s", acked.Load(), m.log)
		}
		want := acked.Load()
		disk := m.fsys.(*vfs.Mem).Crash(rng, vfs.ProcessKill)
		stop()
		<-ended
		cl.Close()
		m.stop(n)

		acked.Store(want)
		m.fsys, m.net = disk, netx.NewMem(clock.Real())
		n = m.start()
		got := m.committed(ctx)
		if got < want {
			t.Fatalf("round %d: the committed offset is %d, %d was acknowledged", round, got, want)
		}
		acked.Store(got)
	}
	m.stop(n)
}

// committed reads the offset of the group.
func (m *machine) committed(ctx context.Context) int64 {
	m.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers("localhost:9092"), kgo.Dialer(m.net.Dial))
	if err != nil {
		m.t.Fatal(err)
	}
	defer cl.Close()
	offsets, err := kadm.NewClient(cl).FetchOffsets(ctx, "g")
	if err != nil {
		m.t.Fatalf("%v\n%s", err, m.log)
	}
	o, ok := offsets.Lookup("t", 0)
	if !ok {
		m.t.Fatal("there is no committed offset")
	}
	return o.At
}

// TestGroupsGoByTheImageOfThePartitions: a step of the metadata reaches the group
// coordinator before it is published. What the coordinator is told of in it, as the
// deletion of a topic, it must not judge by an image that is older.
func TestGroupsGoByTheImageOfThePartitions(t *testing.T) {
	m := newMachine(t, nil)
	m.format()
	n := m.start()
	m.stop(n)
	published := n.loader.Current()
	step, err := published.With(metadata.Provenance{Offset: published.Offset + 1}, []records.Message{&records.TopicRecord{Name: "t", TopicID: kafka.UUID{1}}})
	if err != nil {
		t.Fatal(err)
	}
	image := n.groupConfig(n.config.Load()).Image
	if image().Offset < published.Offset {
		t.Fatalf("the image at offset %d, %d is published", image().Offset, published.Offset)
	}
	n.replicas.Apply(metadata.NewDelta(published), step)
	if image().Topic("t") == nil {
		t.Fatalf("the image at offset %d does not have the topic of the step", image().Offset)
	}
}
