package sim

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/vfs"
)

// Faults of several steps, which single ones come to too rarely.

// twice kills a leader, lets it start again soon, and then kills whoever leads instead.
func (s *storm) twice() error {
	h := s.leader()
	if h == nil || h.run == nil || h.paused || !s.mayLose() {
		return nil
	}
	h.kill(s.rng, vfs.ProcessKill)
	down, again := magnitude(s.rng, 200*time.Millisecond), magnitude(s.rng, 500*time.Millisecond)
	s.note(faultDouble, "%s for %v, the next leader %v later", h.name, down, again)
	s.later(down, func() error {
		s.later(again, func() error {
			if o := s.leader(); o != nil {
				return s.kill(o, vfs.ProcessKill, faultKill)
			}
			return nil
		})
		return s.start(h)
	})
	return nil
}

// handOver gives a partition to another replica while its leader lives, by a new order of
// its replicas. The next leader may not hear from the old one meanwhile, so that it leads
// without the latest records, and the partition may go on to others soon, or back because
// the next leader ends: each has records then that no other one has.
func (s *storm) handOver() error {
	img, _ := s.r.readLedgers()
	if img.IsEmpty() {
		return nil
	}
	topics := img.SortedTopics()
	if len(topics) == 0 {
		return nil
	}
	t := topics[s.rng.Intn(len(topics))]
	partition := s.rng.Int31n(int32(t.NumPartitions()))
	return s.handOverAgain(t.Name, partition, s.rng.Intn(3))
}

// handOverAgain hands the partition over and then as many times more.
func (s *storm) handOverAgain(topic string, partition int32, times int) error {
	img, _ := s.r.readLedgers()
	t := img.Topic(topic)
	if t == nil || int(partition) >= t.NumPartitions() {
		return nil
	}
	p := t.Partition(partition)
	old := s.living(p.Leader)
	if old == nil || len(p.AddingReplicas)+len(p.RemovingReplicas) > 0 {
		return nil
	}
	var others []int32
	for _, id := range p.ISR {
		if id != p.Leader && s.living(id) != nil {
			others = append(others, id)
		}
	}
	if len(others) == 0 {
		return nil
	}
	to := others[s.rng.Intn(len(others))]
	wait := time.Duration(0)
	if s.rng.Intn(3) > 0 {
		s.hold(faultOneWay, old.name, hostName(kafka.NodeID(to)))
		wait = magnitude(s.rng, 200*time.Millisecond)
	}
	next := s.living(to)
	if s.rng.Intn(3) == 0 {
		// If the next leader is the controller, the old one learns late of what comes, and of
		// several changes at once.
		s.hold(faultOneWay, next.name, old.name)
	}
	if s.rng.Intn(3) == 0 {
		s.later(magnitude(s.rng, 500*time.Millisecond), func() error { s.stop(next); return nil })
	}
	order := append([]int32{to}, slices.DeleteFunc(slices.Clone(p.Replicas), func(id int32) bool { return id == to })...)
	s.note(faultHandOver, "%s-%d from n%d to n%d in %v", topic, partition, p.Leader, to, wait)
	s.ask(func(ctx context.Context, kc *kgo.Client) {
		time.Sleep(wait)
		move := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		move.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: topic,
			Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: partition, Replicas: order}}}}
		elect := kmsg.NewPtrElectLeadersRequest()
		elect.TimeoutMillis = int32(patience.Milliseconds())
		elect.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: topic, Partitions: []int32{partition}}}
		if _, err := move.RequestWith(ctx, kc); err == nil {
			_, _ = elect.RequestWith(ctx, kc) // either outcome is right
		}
	})
	if times > 0 {
		s.later(magnitude(s.rng, time.Second), func() error { return s.handOverAgain(topic, partition, times-1) })
	}
	return nil
}

// living is the host of a node that runs and is not cut off, or nil.
func (s *storm) living(id int32) *host {
	if id < 1 || int(id) > len(s.c.hosts) || s.c.hosts[id-1].run == nil || s.c.hosts[id-1].paused {
		return nil
	}
	return s.c.hosts[id-1]
}

// Limits of an earlier life: how long what the next process is sent is late, how often it
// is looked for, and the pause in between.
const (
	relapseDelay = 200 * time.Millisecond
	relapseTries = 100
	relapsePause = 10 * time.Millisecond
)

// earlierLife empties the disk of a follower while what it had sent to a leader is held
// back. It arrives when the leader knows the next process, which has nothing yet and gets
// what it asks for late; then the leader dies.
func (s *storm) earlierLife() error {
	f := s.lossy
	if f == nil || f.run == nil || f.paused || !s.mayLose() || !s.spare() {
		return nil
	}
	l := s.leaderOf(f)
	if l == nil {
		return nil
	}
	s.c.net.Cut(f.name, l.name)
	s.c.net.SetDelay(l.name, f.name, relapseDelay)
	s.note(faultRelapse, "%s, as %s sees it", f.name, l.name)
	s.later(magnitude(s.rng, 100*time.Millisecond), func() error {
		if err := s.kill(f, vfs.ProcessKill, faultWipe); err != nil {
			return err
		}
		return s.relapse(f, l, relapseTries)
	})
	return nil
}

// relapse waits until the follower is up, gives the links back and kills the leader.
func (s *storm) relapse(f, l *host, tries int) error {
	if tries > 0 && !f.settled() {
		s.later(relapsePause, func() error { return s.relapse(f, l, tries-1) })
		return nil
	}
	s.c.net.Heal(f.name, l.name)
	s.later(magnitude(s.rng, relapseDelay), func() error {
		s.c.net.SetDelay(l.name, f.name, 0)
		return s.kill(l, vfs.ProcessKill, faultKill)
	})
	return nil
}

// leaderOf is a node that leads a partition of which the host is a follower in sync, one
// that would lead next if there is such a partition.
func (s *storm) leaderOf(f *host) *host {
	img, _ := s.r.readLedgers()
	me := int32(f.id)
	var next, any []*host
	for _, t := range img.SortedTopics() {
		for _, p := range t.Partitions() {
			l := s.living(p.Leader)
			if l == nil || l == f || !p.InISR(me) {
				continue
			}
			any = append(any, l)
			if leadsNext(p, me) {
				next = append(next, l)
			}
		}
	}
	if len(next) > 0 {
		any = next
	}
	if len(any) == 0 {
		return nil
	}
	return any[s.rng.Intn(len(any))]
}

// leadsNext says whether no other follower stands before this one.
func leadsNext(p *metadata.Partition, id int32) bool {
	for _, r := range p.Replicas {
		if r != p.Leader {
			return r == id
		}
	}
	return false
}
