package replica

import (
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// maxAssignments bounds a request, as it does in Apache Kafka.
const maxAssignments = 2250

// Pauses before the controller is asked again, doubled with every failure in a row.
const (
	firstAssignPause = 100 * time.Millisecond
	maxAssignPause   = 10 * time.Second
)

// assigner tells the controller in which directories replicas are (KIP-858), all that
// gathered in one request, one request at a time. Of a replica only the newest assignment
// is sent. Its goroutine exists only while there are assignments.
type assigner struct {
	m *Manager

	mu       sync.Mutex
	queue    []*assignment // in the order of arrival, one a replica; replaced ones are void
	waiting  map[partKey]*assignment
	inFlight map[partKey]*assignment
	running  bool

	failures uint // in a row; belongs to the goroutine
}

// assignment is one replica's directory on its way to the controller.
type assignment struct {
	p   *Partition
	dir kafka.UUID
	// done is told whether the controller has taken it, unless a later one took its place;
	// nil for nobody. It is called without locks.
	done func(taken bool)
}

// assign has the controller told that p is in the directory. It returns false when there
// is nobody to tell. It may be called under any lock of the package but the mover's.
func (m *Manager) assign(p *Partition, dir kafka.UUID, done func(taken bool)) bool {
	if m.cluster.Assignments == nil || !m.dirsSupported.Load() {
		return false
	}
	a := &m.assigner
	a.mu.Lock()
	defer a.mu.Unlock()
	key := p.key()
	newest := a.waiting[key]
	if newest == nil {
		newest = a.inFlight[key]
	}
	if newest != nil && newest.dir == dir && newest.p == p && done == nil {
		return true
	}
	x := &assignment{p: p, dir: dir, done: done}
	if a.waiting == nil {
		a.waiting = map[partKey]*assignment{}
	}
	a.waiting[key] = x
	a.queue = append(a.queue, x)
	if !a.running && !m.manual {
		a.running = m.start(a.run)
	}
	return true
}

func (a *assigner) run() {
	for {
		req, sent := a.prepare()
		if req == nil {
			return
		}
		resp, err := a.m.cluster.Assignments.Do(a.m.ctx, req)
		if pause := a.finish(sent, resp, err); pause > 0 && a.m.clock.Sleep(a.m.ctx, pause) != nil {
			return
		}
		if a.m.ctx.Err() != nil {
			return
		}
	}
}

// prepare builds a request of the assignments that still make sense; nil when there are
// none, which ends the goroutine.
func (a *assigner) prepare() (*kmsg.AssignReplicasToDirsRequest, []*assignment) {
	img := a.m.image.Load()
	var sent, void []*assignment
	a.mu.Lock()
	for len(a.queue) > 0 && len(sent) < maxAssignments {
		x := a.queue[0]
		a.queue = a.queue[1:]
		key := x.p.key()
		if a.waiting[key] != x {
			continue
		}
		delete(a.waiting, key)
		if t := img.TopicByID(key.id); t == nil || t.Partition(key.index) == nil || !t.Partition(key.index).HasReplica(a.m.nodeID) {
			void = append(void, x)
			continue
		}
		sent = append(sent, x)
	}
	a.inFlight = make(map[partKey]*assignment, len(sent))
	for _, x := range sent {
		a.inFlight[x.p.key()] = x
	}
	if len(sent) == 0 {
		a.running = false
	}
	a.mu.Unlock()
	for _, x := range void {
		x.tell(false)
	}
	if len(sent) == 0 {
		return nil, nil
	}
	req := kmsg.NewPtrAssignReplicasToDirsRequest()
	req.BrokerID, req.BrokerEpoch = a.m.nodeID, a.m.brokerEpoch()
	for _, x := range sent {
		addAssignment(req, x)
	}
	return req, sent
}

// addAssignment puts an assignment into the request.
func addAssignment(req *kmsg.AssignReplicasToDirsRequest, x *assignment) {
	d := -1
	for i := range req.Directories {
		if req.Directories[i].ID == x.dir {
			d = i
		}
	}
	if d < 0 {
		dir := kmsg.NewAssignReplicasToDirsRequestDirectory()
		dir.ID = x.dir
		req.Directories = append(req.Directories, dir)
		d = len(req.Directories) - 1
	}
	dir := &req.Directories[d]
	// Assignments come topic by topic, so the last one is the likely one.
	t := len(dir.Topics) - 1
	for t >= 0 && dir.Topics[t].TopicID != x.p.topicID {
		t--
	}
	if t < 0 {
		topic := kmsg.NewAssignReplicasToDirsRequestDirectoryTopic()
		topic.TopicID = x.p.topicID
		dir.Topics = append(dir.Topics, topic)
		t = len(dir.Topics) - 1
	}
	part := kmsg.NewAssignReplicasToDirsRequestDirectoryTopicPartition()
	part.Partition = x.p.tp.Partition
	dir.Topics[t].Partitions = append(dir.Topics[t].Partitions, part)
}

// finish applies the controller's answer and returns how long to pause before the next
// request.
func (a *assigner) finish(sent []*assignment, answer kmsg.Response, err error) time.Duration {
	resp, ok := answer.(*kmsg.AssignReplicasToDirsResponse)
	if err == nil && !ok {
		err = fmt.Errorf("AssignReplicasToDirs was answered with %T", answer)
	}
	if err == nil {
		if code := kafka.CodeForNum(resp.ErrorCode); code != nil {
			err = code
		}
	}
	taken := map[partKey]kafka.UUID{}
	if err == nil {
		for _, d := range resp.Directories {
			for _, t := range d.Topics {
				for _, p := range t.Partitions {
					if p.ErrorCode == 0 {
						taken[partKey{t.TopicID, p.Partition}] = d.ID
					}
				}
			}
		}
	}
	var done []*assignment
	failed := 0
	a.mu.Lock()
	a.inFlight = nil
	for _, x := range sent {
		key := x.p.key()
		switch dir, ok := taken[key]; {
		case ok && dir == x.dir:
			done = append(done, x)
		case a.waiting[key] != nil:
			// A later assignment takes its place.
		default:
			failed++
			a.waiting[key] = x
			a.queue = append(a.queue, x)
		}
	}
	a.mu.Unlock()
	for _, x := range done {
		x.tell(true)
	}
	if failed == 0 {
		a.failures = 0
		return 0
	}
	a.failures++
	a.m.logger.Info("the controller did not take the directories of replicas, they will be sent again", "partitions", failed, "of", len(sent), "error", err)
	return min(firstAssignPause<<min(a.failures-1, 10), maxAssignPause)
}

func (x *assignment) tell(taken bool) {
	if x.done != nil {
		x.done(taken)
	}
}
