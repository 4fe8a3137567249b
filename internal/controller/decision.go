package controller

import (
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxRecordsPerOp bounds what one request of a user may write.
const maxRecordsPerOp = 10000

// decision is the making of one Result.
type decision struct {
	*Machine
	in      Input
	img     *metadata.Image
	version metadata.Version // 0 before the bootstrap
	elr     bool             // eligible leader replicas are kept

	records []records.Message
	created map[string]string // topics created here, by the name that their metrics have
}

func (m *Machine) decide(in Input) *decision {
	d := &decision{Machine: m, in: in, img: in.Image, elr: in.Image.ELREnabled(), created: map[string]string{}}
	d.version, _ = in.Image.MetadataVersion()
	return d
}

// add appends to the records of the result.
func (d *decision) add(m ...records.Message) { d.records = append(d.records, m...) }

// result carries what was decided.
func (d *decision) result(reply kmsg.Response, atomic bool) Result {
	return Result{Records: d.records, Reply: reply, Atomic: atomic}
}

// active says whether the broker is registered and may lead and be in an ISR.
func (d *decision) active(id int32) bool {
	b := d.img.Broker(id)
	return b != nil && b.Active()
}

// checkEpoch fails for a broker that is not registered with that epoch.
func (d *decision) checkEpoch(id int32, epoch int64) error {
	b := d.img.Broker(id)
	if b == nil {
		return kafka.StaleBrokerEpoch.Errorf("No broker registration found for broker id %d", id)
	}
	if b.Epoch != epoch {
		return kafka.StaleBrokerEpoch.Errorf("Expected broker epoch %d, but got broker epoch %d", b.Epoch, epoch)
	}
	return nil
}

// defaultDirectory is the directory of a new replica: the only one of its broker,
// or left to the broker.
func (d *decision) defaultDirectory(broker int32) kafka.UUID {
	b := d.img.Broker(broker)
	switch {
	case b == nil:
		return metadata.DirUnassigned
	case len(b.Directories) == 0:
		return metadata.DirMigrating
	case len(b.Directories) == 1:
		return b.Directories[0]
	}
	return metadata.DirUnassigned
}

// topicConfig is the effective value of a config of a topic: the topic's own, else
// this node's, else the cluster's dynamic one. ok is false when only the static
// configuration has it.
func (d *decision) topicConfig(topic, key string) (value string, ok bool) {
	for _, r := range []metadata.ConfigResource{
		{Type: metadata.ResourceTopic, Name: topic},
		{Type: metadata.ResourceBroker, Name: strconv.Itoa(int(d.cfg.NodeID))},
		{Type: metadata.ResourceBroker},
	} {
		if v, ok := d.img.Config(r)[key]; ok {
			return v, true
		}
	}
	return "", false
}

// minISR is the effective min.insync.replicas, at most the replication factor.
func (d *decision) minISR(t *metadata.Topic) int {
	minISR := d.minISRValue(d.topicConfig(t.Name, configMinISR))
	if p := t.Partition(0); p != nil {
		minISR = min(minISR, len(p.Replicas))
	}
	return minISR
}

// minISRValue is the number in a value of min.insync.replicas, the static one when there
// is none.
func (d *decision) minISRValue(value string, ok bool) int {
	if ok {
		if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
			return n
		}
	}
	return d.cfg.Static.MinInsyncReplicas
}

// uncleanElection is the effective unclean.leader.election.enable.
func (d *decision) uncleanElection(topic string) bool {
	if v, ok := d.topicConfig(topic, "unclean.leader.election.enable"); ok {
		return strings.EqualFold(strings.TrimSpace(v), "true")
	}
	return d.cfg.Static.UncleanLeaderElectionEnable
}

// tooLarge is the refusal of an operation that would write too many records.
func tooLarge() error {
	return kafka.PolicyViolation.Errorf("Unable to perform excessively large batch operation.")
}

// errNoVersion is the answer of a controller that has not written the bootstrap
// records yet.
func errNoVersion() error {
	return kafka.NotController.Errorf("the controller is not ready: the metadata log has no metadata.version yet")
}
