package replica

import (
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/isr"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// alterPause is how long the sender waits before it repeats what the controller did
// not decide.
const alterPause = 50 * time.Millisecond

// alterer sends the proposals of all partitions to the controller (AlterPartition), all
// that gathered in one request, one request at a time. A proposal is repeated for as
// long as it is pending in its partition's mind. Its goroutine exists only while there
// are proposals.
type alterer struct {
	m *Manager

	mu      sync.Mutex
	queue   []alteration // in the order of arrival, one a partition
	running bool
}

// alteration is one proposal on its way.
type alteration struct {
	p        *Partition
	proposal *isr.Proposal
	told     bool // the log has it
}

func (a *alterer) tell(x *alteration) {
	if x.told {
		return
	}
	x.told = true
	msg, who := "expanding ISR", []int32{x.proposal.Added}
	if x.proposal.Added == isr.NoNode {
		msg, who = "shrinking ISR", x.proposal.Removed
	}
	a.m.logger.Info(msg, "partition", x.p.tp, "replicas", who, "leaderEpoch", x.proposal.LeaderEpoch, "partitionEpoch", x.proposal.PartitionEpoch)
}

// submit sends a proposal. It may be called under Partition.mu.
func (a *alterer) submit(p *Partition, proposal *isr.Proposal) {
	if proposal.Added != isr.NoNode {
		a.m.Stats.ISRExpands.Add(1)
	} else {
		a.m.Stats.ISRShrinks.Add(1)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = append(a.queue, alteration{p: p, proposal: proposal})
	if !a.running && !a.m.manual {
		a.running = a.m.start(a.run)
	}
}

func (a *alterer) run() {
	for {
		req, sent := a.prepare()
		if req == nil {
			return
		}
		resp, err := a.m.cluster.Controller.Do(a.m.ctx, req)
		if again := a.finish(sent, resp, err); again && a.m.clock.Sleep(a.m.ctx, alterPause) != nil {
			return
		}
		if a.m.ctx.Err() != nil {
			return
		}
	}
}

// prepare builds a request of the proposals that are still pending; nil when there are
// none, which ends the goroutine.
func (a *alterer) prepare() (*kmsg.AlterPartitionRequest, []alteration) {
	for {
		a.mu.Lock()
		queue := a.queue
		a.queue = nil
		if len(queue) == 0 {
			a.running = false
			a.mu.Unlock()
			return nil, nil
		}
		a.mu.Unlock()
		req := kmsg.NewPtrAlterPartitionRequest()
		req.BrokerID, req.BrokerEpoch = a.m.nodeID, a.m.brokerEpoch()
		sent := queue[:0]
		for _, x := range queue {
			if x.p.isPending(x.proposal) {
				a.tell(&x)
				sent = append(sent, x)
				addProposal(req, x)
			}
		}
		if len(sent) > 0 {
			return req, sent
		}
	}
}

// addProposal appends a proposal to the request.
func addProposal(req *kmsg.AlterPartitionRequest, x alteration) {
	at := -1
	for i := range req.Topics {
		if req.Topics[i].TopicID == x.p.topicID {
			at = i
		}
	}
	if at < 0 {
		t := kmsg.NewAlterPartitionRequestTopic()
		t.Topic, t.TopicID = x.p.tp.Topic, x.p.topicID
		req.Topics = append(req.Topics, t)
		at = len(req.Topics) - 1
	}
	p := kmsg.NewAlterPartitionRequestTopicPartition()
	p.Partition, p.LeaderEpoch, p.PartitionEpoch = x.p.tp.Partition, x.proposal.LeaderEpoch, x.proposal.PartitionEpoch
	p.LeaderRecoveryState = metadata.LeaderRecovered
	for _, m := range x.proposal.ISR {
		e := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
		e.BrokerID, e.BrokerEpoch = m.ID, m.BrokerEpoch
		p.NewISR = append(p.NewISR, m.ID)
		p.NewEpochISR = append(p.NewEpochISR, e)
	}
	req.Topics[at].Partitions = append(req.Topics[at].Partitions, p)
}

// finish applies the controller's answer. It says whether something is to be repeated
// after a pause.
func (a *alterer) finish(sent []alteration, answer kmsg.Response, err error) (again bool) {
	resp, ok := answer.(*kmsg.AlterPartitionResponse)
	if err == nil && !ok {
		err = fmt.Errorf("AlterPartition was answered with %T", answer)
	}
	if err == nil {
		if code := kafka.CodeForNum(resp.ErrorCode); code != nil {
			err = code
		}
	}
	var repeat []alteration
	if err != nil {
		a.m.Stats.FailedISRUpdates.Add(1)
		a.m.logger.Info("the controller did not take proposals for ISRs, they will be repeated", "partitions", len(sent), "error", err)
		repeat = sent
	} else {
		for _, x := range sent {
			if part := answerFor(resp, x.p); part == nil || x.p.decided(x.proposal, part) {
				repeat = append(repeat, x)
			}
		}
	}
	if len(repeat) == 0 {
		return false
	}
	a.mu.Lock()
	a.queue = append(repeat, a.queue...)
	a.mu.Unlock()
	return true
}

func answerFor(resp *kmsg.AlterPartitionResponse, p *Partition) *kmsg.AlterPartitionResponseTopicPartition {
	for i := range resp.Topics {
		if resp.Topics[i].TopidID != p.topicID {
			continue
		}
		for j := range resp.Topics[i].Partitions {
			if part := &resp.Topics[i].Partitions[j]; part.Partition == p.tp.Partition {
				return part
			}
		}
	}
	return nil
}

// isPending says whether the mind still waits for the proposal's outcome.
func (p *Partition) isPending(x *isr.Proposal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leader != nil && p.leader.Pending() == x
}

// decided applies the controller's answer to a proposal; true means to repeat it.
func (p *Partition) decided(x *isr.Proposal, part *kmsg.AlterPartitionResponseTopicPartition) (again bool) {
	var w wakes
	code := kafka.CodeForNum(part.ErrorCode)
	p.mu.Lock()
	if p.leader != nil {
		if code != nil {
			again = p.leader.Rejected(x, code)
		} else {
			if p.leader.Committed(x, part.ISR, part.LeaderEpoch, part.PartitionEpoch, p.m.nowMs(), p) {
				p.advanced(&w)
			}
			p.completeAppends(&w)
			p.completeDeletes(&w)
			p.watch()
		}
	}
	p.mu.Unlock()
	w.run()
	if code != nil {
		p.m.Stats.FailedISRUpdates.Add(1)
		p.m.logger.Info("the controller refused a proposal for an ISR", "partition", p.tp, "leaderEpoch", x.LeaderEpoch,
			"partitionEpoch", x.PartitionEpoch, "error", code.Name(), "repeated", again)
	}
	return again
}

// expand proposes the follower for the ISR if it may join. Caller holds mu and leads.
func (p *Partition) expand(id int32) {
	if p.m.cluster.Controller == nil {
		return
	}
	if x := p.leader.Expand(id, p.m.brokerEpoch(), p); x != nil {
		p.m.alter.submit(p, x)
	}
}

// shrink proposes to drop who is behind for too long. Caller holds mu and leads.
func (p *Partition) shrink(nowMs int64) {
	if p.m.cluster.Controller == nil {
		return
	}
	if x := p.leader.Shrink(nowMs, p.m.brokerEpoch()); x != nil {
		p.m.alter.submit(p, x)
	}
}
