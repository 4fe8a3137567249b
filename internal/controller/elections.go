package controller

import (
	"slices"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxElectionsPerTick bounds the leader changes of one look at the balance.
const maxElectionsPerTick = 1000

// uncleanElectionType is the election type of ElectLeaders that may lose records;
// 0 is the preferred election.
const uncleanElectionType int8 = 1

// partitionsWhere calls fn for every partition that match selects, by topic name
// and index.
func (d *decision) partitionsWhere(match func(*metadata.Partition) bool, fn func(*metadata.Topic, int32, *metadata.Partition)) {
	var found []*metadata.Topic
	for t := range d.img.Topics() {
		for _, p := range t.Partitions() {
			if match(p) {
				found = append(found, t)
				break
			}
		}
	}
	slices.SortFunc(found, func(a, b *metadata.Topic) int { return strings.Compare(a.Name, b.Name) })
	for _, t := range found {
		for i, p := range t.Partitions() {
			if match(p) {
				fn(t, i, p)
			}
		}
	}
}

// brokerChange is what happens to one broker, for the partitions it matters to.
// Fields that do not apply are NoLeader.
type brokerChange struct {
	remove  int32 // leaves every ISR and leads nothing
	add     int32 // may lead, though the image does not show it yet
	unclean int32 // lost data: leaves every ISR and ELR and leads nothing
	// also is told of each change before it is built; nil for nobody.
	also func(*change)
}

// changePartitions adds the records that a broker's change asks of the partitions
// that match selects.
func (d *decision) changePartitions(b brokerChange, match func(*metadata.Partition) bool) {
	d.partitionsWhere(match, func(t *metadata.Topic, index int32, p *metadata.Partition) {
		c := d.newChange(t, index, p)
		c.alive = func(id int32) bool {
			if id == b.remove || id == b.unclean {
				return false
			}
			return d.canLead(p, id, id == b.add || d.active(id))
		}
		c.uncleanShutdown = b.unclean
		if d.uncleanElection(t.Name) {
			c.election = electUnclean
		}
		c.isr = slices.DeleteFunc(slices.Clone(p.ISR), func(id int32) bool { return id == b.remove || id == b.unclean })
		if b.also != nil {
			b.also(c)
		}
		if r := c.build(); r != nil {
			d.add(r)
		}
	})
}

// removeFromISRs takes a broker that stops serving out of every ISR.
func (d *decision) removeFromISRs(id int32) {
	d.changePartitions(brokerChange{remove: id, add: metadata.NoLeader, unclean: metadata.NoLeader},
		func(p *metadata.Partition) bool { return p.InISR(id) })
}

// leads says whether the broker leads any partition.
func (d *decision) leads(id int32) bool {
	for t := range d.img.Topics() {
		for _, p := range t.Partitions() {
			if p.Leader == id {
				return true
			}
		}
	}
	return false
}

// electLeaders decides ElectLeaders (KIP-460).
func (d *decision) electLeaders(req *kmsg.ElectLeadersRequest, resp *kmsg.ElectLeadersResponse) Result {
	if req.ElectionType != 0 && req.ElectionType != uncleanElectionType {
		return Result{Reply: fail(req, resp, kafka.InvalidRequest.Errorf("Unknown election type %d", req.ElectionType))}
	}
	how := electPreferred
	if req.ElectionType == uncleanElectionType {
		how = electUnclean
	}
	if req.Topics == nil {
		d.electAll(resp, how)
	}
	for i := range req.Topics {
		out := kmsg.NewElectLeadersResponseTopic()
		out.Topic = req.Topics[i].Topic
		for _, index := range req.Topics[i].Partitions {
			out.Partitions = append(out.Partitions, electResult(index, d.electLeader(out.Topic, index, how)))
		}
		resp.Topics = append(resp.Topics, out)
	}
	if len(d.records) > maxRecordsPerOp {
		resp.Topics = nil
		return Result{Reply: fail(req, resp, tooLarge())}
	}
	return d.result(resp, false)
}

// electAll elects for every partition, and answers for those that needed it.
func (d *decision) electAll(resp *kmsg.ElectLeadersResponse, how election) {
	for _, t := range d.img.SortedTopics() {
		out := kmsg.NewElectLeadersResponseTopic()
		out.Topic = t.Name
		for index := range t.Partitions() {
			if err := d.electLeader(t.Name, index, how); err != error(kafka.ElectionNotNeeded) {
				out.Partitions = append(out.Partitions, electResult(index, err))
			}
		}
		resp.Topics = append(resp.Topics, out)
	}
}

func electResult(index int32, err error) kmsg.ElectLeadersResponseTopicPartition {
	out := kmsg.NewElectLeadersResponseTopicPartition()
	out.Partition = index
	out.ErrorCode, out.ErrorMessage = kafka.NumAndText(err)
	return out
}

func (d *decision) electLeader(topic string, index int32, how election) error {
	t := d.img.Topic(topic)
	if t == nil {
		return kafka.UnknownTopicOrPartition.Errorf("No such topic as %s", topic)
	}
	p := t.Partition(index)
	if p == nil {
		return kafka.UnknownTopicOrPartition.Errorf("No such partition as %s-%d", topic, index)
	}
	if how == electPreferred && p.HasPreferredLeader() || how == electUnclean && p.HasLeader() {
		return kafka.ElectionNotNeeded
	}
	c := d.newChange(t, index, p)
	c.election = how
	r := c.build()
	switch {
	case r != nil:
		d.add(r)
		return nil
	case how == electPreferred:
		return kafka.PreferredLeaderNotAvailable
	}
	return kafka.EligibleLeadersNotAvailable
}

// balanceLeaders moves leadership to preferred replicas that can lead.
func (d *decision) balanceLeaders() {
	d.partitionsWhere(func(p *metadata.Partition) bool { return !p.HasPreferredLeader() },
		func(t *metadata.Topic, index int32, p *metadata.Partition) {
			if len(d.records) >= maxElectionsPerTick {
				return
			}
			c := d.newChange(t, index, p)
			c.election = electPreferred
			if r := c.build(); r != nil {
				d.add(r)
			}
		})
}

// electUncleanLeaders looks for leaders of the leaderless partitions whose topic
// allows to lose records.
func (d *decision) electUncleanLeaders() {
	d.partitionsWhere(func(p *metadata.Partition) bool { return !p.HasLeader() },
		func(t *metadata.Topic, index int32, _ *metadata.Partition) {
			if len(d.records) < maxElectionsPerTick && d.uncleanElection(t.Name) {
				_ = d.electLeader(t.Name, index, electUnclean) // none may be alive; the next look tries again
			}
		})
}
