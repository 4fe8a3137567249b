package raft

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// wire connects the voters of one process. Messages to a voter go through a queue
// that its own goroutine empties; a full queue drops them.
type wire struct {
	mu    sync.Mutex
	boxes map[uint64]chan *pb.Message
	wg    sync.WaitGroup
}

func (w *wire) Send(msgs []*pb.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range msgs {
		if box := w.boxes[m.GetTo()]; box != nil {
			select {
			case box <- m:
			default:
			}
		}
	}
}

func (w *wire) connect(id kafka.NodeID, e *Engine) {
	box := make(chan *pb.Message, 1024)
	w.mu.Lock()
	w.boxes[raftID(id)] = box
	w.mu.Unlock()
	w.wg.Add(1)
	go func() {
		defer w.wg.Done()
		for m := range box {
			_ = e.Step(m) // a message that is refused is as good as lost
		}
	}()
}

func (w *wire) cut(id kafka.NodeID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.boxes[raftID(id)])
	delete(w.boxes, raftID(id))
}

func TestThreeVotersAgree(t *testing.T) {
	w := &wire{boxes: map[uint64]chan *pb.Message{}}
	voters := map[kafka.NodeID]*voter{}
	news := make(chan struct{}, 1)
	for id := kafka.NodeID(1); id <= 3; id++ {
		fsys := vfs.NewMem()
		format(t, fsys, nil)
		voters[id] = boot(t, fsys, func(o *Options) {
			o.NodeID, o.StaticVoters, o.Transport, o.ElectionTimeout = id, static(1, 2, 3), w, 100*time.Millisecond
		})
		voters[id].rec.mu.Lock()
		voters[id].rec.news = news
		voters[id].rec.mu.Unlock()
		w.connect(id, voters[id].engine)
	}
	alive := func() []kafka.NodeID {
		var ids []kafka.NodeID
		for id := kafka.NodeID(1); id <= 3; id++ {
			if voters[id] != nil {
				ids = append(ids, id)
			}
		}
		return ids
	}
	// leader waits until all that are alive agree on one, who knows it himself.
	leader := func(above kafka.LeaderEpoch) (kafka.NodeID, kafka.LeaderEpoch) {
		t.Helper()
		giveUp := time.After(20 * time.Second)
		for {
			first := voters[alive()[0]].engine.Leader()
			agreed := first.Leader != kafka.NoNode && voters[first.Leader] != nil && first.Epoch > above
			for _, id := range alive() {
				agreed = agreed && voters[id].engine.Leader() == first
			}
			if agreed {
				v := voters[first.Leader]
				v.rec.mu.Lock()
				told := v.rec.leader == first
				v.rec.mu.Unlock()
				if told {
					return first.Leader, first.Epoch
				}
			}
			select {
			case <-news:
			case <-giveUp:
				t.Fatal("no leader")
			}
		}
	}
	id, epoch := leader(0)
	var last kafka.Offset
	for i := range 20 {
		last = voters[id].propose(epoch, fmt.Sprint("a", i), fmt.Sprint("b", i), fmt.Sprint("c", i))
	}
	for _, v := range voters {
		v.awaitOffset(last)
	}
	w.cut(id)
	voters[id].die()
	delete(voters, id)
	second, later := leader(epoch)
	last = voters[second].propose(later, "after")
	var logs [][]byte
	for _, id := range alive() {
		v := voters[id]
		v.awaitOffset(last)
		if n := len(v.rec.names); n != 61 || v.rec.names[60] != "after" {
			t.Errorf("voter %d has %d topics", id, n)
		}
		data, err := readLog(v.engine.o.Log, 0, 1<<20, last+1)
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, data)
	}
	if !bytes.Equal(logs[0], logs[1]) {
		t.Error("the logs of two voters differ")
	}
	for _, id := range alive() {
		w.cut(id)
		voters[id].die()
	}
	w.wg.Wait()
}
