package metadata

import (
	"bytes"
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// writer makes random but valid records, keeping just enough of a model to know
// what exists.
type writer struct {
	rng     *rand.Rand
	topics  []kafka.TopicID
	names   map[kafka.TopicID]string
	parts   map[kafka.TopicID]int32
	brokers map[int32]int64
	acls    []kafka.UUID
	serial  int
}

func newWriter(seed int64) *writer {
	return &writer{rng: rand.New(rand.NewSource(seed)), names: map[kafka.TopicID]string{}, parts: map[kafka.TopicID]int32{}, brokers: map[int32]int64{}}
}

func (w *writer) id() (u kafka.UUID) {
	w.rng.Read(u[:])
	return u
}

func (w *writer) bootstrap(t testing.TB, v Version) []records.Message {
	t.Helper()
	msgs, err := BootstrapRecords(v, nil)
	if err != nil {
		t.Fatal(err)
	}
	return msgs
}

func (w *writer) next() records.Message {
	w.serial++
	switch n := w.rng.Intn(16); {
	case n < 4 || len(w.topics) == 0:
		return w.topicOrPartition()
	case n < 7:
		return w.partitionChange()
	case n == 7 && len(w.topics) > 3:
		return w.removeTopic()
	case n == 8:
		return w.broker()
	case n == 9:
		return w.brokerChange()
	case n == 10:
		return w.config()
	case n == 11:
		return w.acl()
	default:
		return w.other()
	}
}

func (w *writer) topicOrPartition() records.Message {
	if len(w.topics) == 0 || w.rng.Intn(3) == 0 {
		r := records.NewTopicRecord()
		r.TopicID, r.Name = w.id(), fmt.Sprintf("t.%d_x", w.serial)
		w.topics = append(w.topics, r.TopicID)
		w.names[r.TopicID] = r.Name
		return r
	}
	r := records.NewPartitionRecord()
	r.Version, r.TopicID = 2, w.topics[w.rng.Intn(len(w.topics))]
	r.PartitionID = w.parts[r.TopicID]
	w.parts[r.TopicID]++
	r.Replicas, r.ISR, r.Leader, r.LeaderEpoch, r.PartitionEpoch = []int32{1, 2, 3}, []int32{1, 2, 3}, 1, 0, 0
	r.Directories = []kafka.UUID{w.id(), w.id(), w.id()}
	return r
}

func (w *writer) partitionChange() records.Message {
	id := w.topics[w.rng.Intn(len(w.topics))]
	if w.parts[id] == 0 {
		return records.NewNoOpRecord()
	}
	r := records.NewPartitionChangeRecord()
	r.Version, r.TopicID, r.PartitionID = 2, id, w.rng.Int31n(w.parts[id])
	switch w.rng.Intn(4) {
	case 0:
		r.Leader = w.rng.Int31n(4) - 1
	case 1:
		r.ISR, r.EligibleLeaderReplicas = []int32{2}, []int32{1, 3}
	case 2:
		r.AddingReplicas, r.RemovingReplicas = []int32{4}, []int32{}
	case 3:
		r.LeaderRecoveryState, r.LastKnownELR = int8(w.rng.Intn(2)), []int32{2}
	}
	return r
}

func (w *writer) removeTopic() records.Message {
	i := w.rng.Intn(len(w.topics))
	r := records.NewRemoveTopicRecord()
	r.TopicID = w.topics[i]
	w.topics = slices.Delete(w.topics, i, i+1)
	delete(w.parts, r.TopicID)
	return r
}

func (w *writer) broker() records.Message {
	r := records.NewRegisterBrokerRecord()
	r.Version, r.BrokerID, r.BrokerEpoch, r.IncarnationID = 4, w.rng.Int31n(5), int64(w.serial), w.id()
	r.EndPoints = []records.BrokerEndpoint{{Name: "PLAINTEXT", Host: "h", Port: 9092}}
	r.Features = []records.BrokerFeature{{Name: FeatureMetadataVersion, MinSupportedVersion: 7, MaxSupportedVersion: 33}}
	r.LogDirs = []kafka.UUID{w.id()}
	w.brokers[r.BrokerID] = r.BrokerEpoch
	return r
}

func (w *writer) brokerChange() records.Message {
	for id := range int32(5) {
		epoch, ok := w.brokers[id]
		if !ok || w.rng.Intn(3) == 0 {
			continue
		}
		if w.rng.Intn(4) == 0 {
			delete(w.brokers, id)
			r := records.NewUnregisterBrokerRecord()
			r.BrokerID, r.BrokerEpoch = id, epoch
			return r
		}
		r := records.NewBrokerRegistrationChangeRecord()
		r.Version, r.BrokerID, r.BrokerEpoch = 3, id, epoch
		r.Fenced, r.InControlledShutdown = int8(w.rng.Intn(3)-1), int8(w.rng.Intn(2))
		r.CordonedLogDirs = []kafka.UUID{w.id(), w.id()}
		return r
	}
	return records.NewNoOpRecord()
}

func (w *writer) config() records.Message {
	r := records.NewConfigRecord()
	r.ResourceType, r.ResourceName, r.Name = ResourceBroker, fmt.Sprint(w.rng.Intn(3)), fmt.Sprintf("key%d", w.rng.Intn(3))
	if len(w.topics) > 0 && w.rng.Intn(2) == 0 {
		r.ResourceType, r.ResourceName = ResourceTopic, w.names[w.topics[0]]
	}
	if w.rng.Intn(3) > 0 {
		v := fmt.Sprint(w.serial)
		r.Value = &v
	}
	return r
}

func (w *writer) acl() records.Message {
	if len(w.acls) > 0 && w.rng.Intn(3) == 0 {
		r := records.NewRemoveAccessControlEntryRecord()
		r.ID = w.acls[0]
		w.acls = w.acls[1:]
		return r
	}
	r := records.NewAccessControlEntryRecord()
	r.ID, r.ResourceName, r.Principal, r.Host = w.id(), "x", "User:a", "*"
	w.acls = append(w.acls, r.ID)
	return r
}

func (w *writer) other() records.Message {
	user := fmt.Sprintf("user%d", w.rng.Intn(3))
	switch w.rng.Intn(6) {
	case 0:
		r := records.NewClientQuotaRecord()
		r.Entity = []records.EntityData{{EntityType: "user", EntityName: &user}, {EntityType: "client-id"}}
		r.Key, r.Value, r.Remove = fmt.Sprintf("rate%d", w.rng.Intn(2)), 1.5, w.rng.Intn(3) == 0
		return r
	case 1:
		r := records.NewUserScramCredentialRecord()
		r.Name, r.Mechanism, r.Salt, r.StoredKey, r.ServerKey, r.Iterations = user, 1, []byte{1}, []byte{2}, []byte{3}, 4096
		return r
	case 2:
		r := records.NewRemoveUserScramCredentialRecord()
		r.Name, r.Mechanism = user, 1
		return r
	case 3:
		r := records.NewDelegationTokenRecord()
		r.Owner, r.Requester, r.TokenID = "User:"+user, "User:"+user, user
		return r
	case 4:
		r := records.NewFeatureLevelRecord()
		r.Name, r.FeatureLevel = "share.version", int16(w.rng.Intn(2))
		return r
	}
	r := records.NewProducerIdsRecord()
	r.NextProducerID = int64(w.serial) * 1000
	return r
}

// dump is everything an image says, as bytes.
func dump(i *Image) []byte {
	var b bytes.Buffer
	for m := range i.Snapshot() {
		b.Write(records.JSON(m))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func batchOf(offset kafka.Offset, msgs ...records.Message) Batch {
	return Batch{BaseOffset: offset, LastOffset: offset + kafka.Offset(len(msgs)) - 1, Epoch: 1, TimestampMs: 1000, Messages: msgs}
}

// TestRandomHistories plays random records in batches of random size and checks,
// after every batch, that the image is the one that its own snapshot gives, the one
// that replaying everything at once gives, and that no earlier image changed.
func TestRandomHistories(t *testing.T) {
	for seed := range int64(8) {
		w := newWriter(seed)
		l := NewLog(Empty())
		all := w.bootstrap(t, DefaultVersion)
		if _, err := l.Append(batchOf(0, all...)); err != nil {
			t.Fatal(err)
		}
		type past struct {
			image *Image
			dump  []byte
		}
		var history []past
		for range 30 {
			var batch []records.Message
			for range 1 + w.rng.Intn(12) {
				batch = append(batch, w.next())
			}
			if _, err := l.Append(batchOf(kafka.Offset(len(all)), batch...)); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			all = append(all, batch...)
			img := l.Image()
			if img.EndOffset() != kafka.Offset(len(all)) {
				t.Fatalf("seed %d: end offset %d, want %d", seed, img.EndOffset(), len(all))
			}
			history = append(history, past{img, dump(img)})
			checkSnapshot(t, seed, img)
		}
		once, err := Empty().With(Provenance{}, all)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(dump(once), dump(l.Image())) {
			t.Fatalf("seed %d: batches and one delta give different images", seed)
		}
		for _, p := range history {
			if !bytes.Equal(dump(p.image), p.dump) {
				t.Fatalf("seed %d: an image changed after it was made", seed)
			}
		}
		checkSnapshotDelta(t, seed, history[len(history)/2].image, l.Image())
	}
}

func checkSnapshot(t *testing.T, seed int64, img *Image) {
	t.Helper()
	l := NewLog(Empty())
	if _, err := l.LoadSnapshot(img.Provenance, slices.Collect(img.Snapshot())); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if got := l.Image(); !bytes.Equal(dump(got), dump(img)) || got.Provenance != img.Provenance {
		t.Fatalf("seed %d: the snapshot gives another image:\n%s\nwant\n%s", seed, dump(got), dump(img))
	}
}

// checkSnapshotDelta loads the snapshot of a later image over an earlier one: the
// result is the later image, and the delta names exactly what differs.
func checkSnapshotDelta(t *testing.T, seed int64, from, to *Image) {
	t.Helper()
	l := NewLog(from)
	c, err := l.LoadSnapshot(to.Provenance, slices.Collect(to.Snapshot()))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(dump(c.New), dump(to)) {
		t.Fatalf("seed %d: loading a snapshot over an image gives another image", seed)
	}
	changed := map[string]bool{}
	for td := range c.Delta.ChangedTopics() {
		for i := range td.Partitions() {
			changed[fmt.Sprint(td.ID, i)] = true
		}
	}
	for topic := range to.Topics() {
		old := from.TopicByID(topic.ID)
		for i, p := range topic.Partitions() {
			differs := old == nil || old.Partition(i) == nil || !old.Partition(i).Equal(p)
			if differs != changed[fmt.Sprint(topic.ID, i)] {
				t.Fatalf("seed %d: %s-%d differs %v, in the delta %v", seed, topic.Name, i, differs, !differs)
			}
		}
	}
	for topic := range c.Delta.DeletedTopics() {
		if to.TopicByID(topic.ID) != nil {
			t.Fatalf("seed %d: topic %s is not deleted", seed, topic.Name)
		}
	}
	for _, id := range c.Delta.ChangedBrokers() {
		a, b := from.Broker(id), to.Broker(id)
		if a != nil && b != nil && a.equal(b) {
			t.Fatalf("seed %d: broker %d did not change", seed, id)
		}
	}
	again, err := NewLog(c.New).LoadSnapshot(to.Provenance, slices.Collect(to.Snapshot()))
	if err != nil || !again.Delta.Empty() {
		t.Fatalf("seed %d: the same snapshot again is a change (%v)", seed, err)
	}
}
