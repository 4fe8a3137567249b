package metadata

import (
	"slices"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

func topicRecord(name string, id byte) *records.TopicRecord {
	r := records.NewTopicRecord()
	r.Name, r.TopicID = name, kafka.TopicID{9, id}
	return r
}

func partitionRecord(id byte, index int32) *records.PartitionRecord {
	r := records.NewPartitionRecord()
	r.Version, r.TopicID, r.PartitionID = 2, kafka.TopicID{9, id}, index
	r.Replicas, r.ISR, r.Leader, r.LeaderEpoch, r.PartitionEpoch = []int32{1}, []int32{1}, 1, 0, 0
	r.Directories = []kafka.UUID{{7}}
	return r
}

func leaderChange(id byte, index, leader int32) *records.PartitionChangeRecord {
	r := records.NewPartitionChangeRecord()
	r.Version, r.TopicID, r.PartitionID, r.Leader = 2, kafka.TopicID{9, id}, index, leader
	return r
}

func removeTopic(id byte) *records.RemoveTopicRecord {
	r := records.NewRemoveTopicRecord()
	r.TopicID = kafka.TopicID{9, id}
	return r
}

func mustImage(t testing.TB, from *Image, msgs ...records.Message) *Image {
	t.Helper()
	img, err := from.With(Provenance{Offset: from.Offset + kafka.Offset(len(msgs))}, msgs)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// bigTopic is an image with one topic of n partitions.
func bigTopic(t testing.TB, n int32) *Image {
	msgs := []records.Message{topicRecord("big", 1)}
	for i := range n {
		msgs = append(msgs, partitionRecord(1, i))
	}
	return mustImage(t, Empty(), msgs...)
}

// TestChangeSharesTheRest changes one partition of 10,000 and checks that nearly
// everything is shared with the image before.
func TestChangeSharesTheRest(t *testing.T) {
	img := bigTopic(t, 10000)
	next := mustImage(t, img, leaderChange(1, 5000, metadataTestLeader))
	if next.Partition("big", 5000).Leader != metadataTestLeader || img.Partition("big", 5000).Leader != 1 {
		t.Fatal("the change is not in the new image only")
	}
	same := 0
	a, b := img.Topic("big").parts, next.Topic("big").parts
	for i := range a.list {
		if &a.list[i][0] == &b.list[i][0] {
			same++
		}
	}
	if same != len(a.list)-1 {
		t.Errorf("%d of %d chunks are shared", same, len(a.list))
	}
	allocs := testing.AllocsPerRun(20, func() { mustImage(t, img, leaderChange(1, 77, 2)) })
	if allocs > 60 {
		t.Errorf("one partition change makes %.0f allocations", allocs)
	}
}

const metadataTestLeader = 2

func TestDeltaTellsChanges(t *testing.T) {
	img := mustImage(t, Empty(), topicRecord("a", 1), partitionRecord(1, 0), topicRecord("b", 2), partitionRecord(2, 0), partitionRecord(2, 1))
	d := NewDelta(img)
	for _, m := range []records.Message{
		removeTopic(1), topicRecord("a", 3), partitionRecord(3, 0), // created again
		leaderChange(2, 1, -1), leaderChange(2, 1, 1), // twice
		topicRecord("c", 4), removeTopic(4), // came and went
	} {
		if err := d.Replay(m); err != nil {
			t.Fatal(err)
		}
	}
	next := d.Apply(Provenance{Offset: 99})
	var changed []string
	for td := range d.ChangedTopics() {
		for i := range td.Partitions() {
			changed = append(changed, kafka.TopicPartition{Topic: td.Name, Partition: i}.String())
		}
		if td.New != next.TopicByID(td.ID) || td.Created() != (td.Name == "a") {
			t.Errorf("topic delta %+v", td)
		}
	}
	if !slices.Equal(changed, []string{"a-0", "b-1"}) {
		t.Errorf("changed %v", changed)
	}
	deleted := slices.Collect(d.DeletedTopics())
	if len(deleted) != 1 || deleted[0] != img.TopicByID(kafka.TopicID{9, 1}) {
		t.Errorf("deleted %v", deleted)
	}
	if next.Topic("a").ID != (kafka.TopicID{9, 3}) || next.TopicByID(kafka.TopicID{9, 1}) != nil || next.NumTopics() != 2 {
		t.Error("the name does not lead to the new topic")
	}
	p := next.Partition("b", 1)
	if p.LeaderEpoch != 2 || p.PartitionEpoch != 2 || p.Leader != 1 {
		t.Errorf("b-1 is %+v", p)
	}
}

func TestReplayRefuses(t *testing.T) {
	img := mustImage(t, Empty(), topicRecord("a", 1), partitionRecord(1, 0))
	badDirs := partitionRecord(1, 1)
	badDirs.Directories = []kafka.UUID{{1}, {2}}
	fence := records.NewFenceBrokerRecord()
	fence.ID = 5
	mv := records.NewFeatureLevelRecord()
	mv.Name, mv.FeatureLevel = FeatureMetadataVersion, 99
	noACL := records.NewRemoveAccessControlEntryRecord()
	clear := records.NewClearElrRecord()
	clear.TopicName = "none"
	for name, m := range map[string]records.Message{
		"topic name taken":         topicRecord("a", 2),
		"topic id taken":           topicRecord("b", 1),
		"partition of no topic":    partitionRecord(7, 0),
		"negative index":           partitionRecord(1, -1),
		"absurd index":             partitionRecord(1, 1<<30),
		"change of no partition":   leaderChange(1, 3, 1),
		"change of no topic":       leaderChange(8, 0, 1),
		"directories and replicas": badDirs,
		"removal of no topic":      removeTopic(9),
		"fence of no broker":       fence,
		"metadata.version 99":      mv,
		"removal of no ACL":        noACL,
		"transaction":              records.NewBeginTransactionRecord(),
		"ELR of no topic":          clear,
	} {
		if err := NewDelta(img).Replay(m); err == nil {
			t.Errorf("%s: replayed", name)
		}
	}
}

func TestCollidingTopics(t *testing.T) {
	img := mustImage(t, Empty(), topicRecord("a.b", 1), topicRecord("plain", 2), topicRecord("a_b", 3))
	if got := img.CollidingTopics("a.b"); !slices.Equal(got, []string{"a.b", "a_b"}) {
		t.Errorf("got %v", got)
	}
	img = mustImage(t, img, removeTopic(1))
	if got := img.CollidingTopics("a.b"); !slices.Equal(got, []string{"a_b"}) {
		t.Errorf("after the removal got %v", got)
	}
	if got := img.CollidingTopics("plain"); got != nil {
		t.Errorf("a name without dot or underscore collides with %v", got)
	}
}

func TestClearELR(t *testing.T) {
	c := leaderChange(1, 0, NoLeaderChange)
	c.EligibleLeaderReplicas, c.LastKnownELR = []int32{4}, []int32{5}
	img := mustImage(t, Empty(), topicRecord("a", 1), partitionRecord(1, 0), partitionRecord(1, 1), c)
	clear := records.NewClearElrRecord()
	next := mustImage(t, img, clear)
	p := next.Partition("a", 0)
	if len(p.ELR) != 0 || len(p.LastKnownELR) != 0 || p.PartitionEpoch != 2 {
		t.Errorf("a-0 is %+v", p)
	}
	if q := next.Partition("a", 1); q.PartitionEpoch != 0 {
		t.Error("a partition without ELR was touched")
	}
	if len(img.Partition("a", 0).ELR) != 1 {
		t.Error("the image before changed")
	}
}

// TestEmptyISRKeepsELR: with eligible leader replicas turned off a snapshot leaves them out, but
// for a partition that nobody else could lead.
func TestEmptyISRKeepsELR(t *testing.T) {
	p := &Partition{Replicas: []int32{1}, Directories: make([]kafka.UUID, 1), ISR: []int32{1}, ELR: []int32{4}, LastKnownELR: []int32{5}}
	if r := p.NewRecord(kafka.TopicID{9, 1}, 0, DefaultVersion, false); r.EligibleLeaderReplicas != nil || r.LastKnownELR != nil {
		t.Errorf("with an ISR: %+v", r)
	}
	p.ISR = []int32{}
	if r := p.NewRecord(kafka.TopicID{9, 1}, 0, DefaultVersion, false); !slices.Equal(r.EligibleLeaderReplicas, p.ELR) || !slices.Equal(r.LastKnownELR, p.LastKnownELR) {
		t.Errorf("without an ISR: %+v", r)
	}
}

// TestOldRecords replays partition records from before directories were assigned.
func TestOldRecords(t *testing.T) {
	r := partitionRecord(1, 0)
	r.Version, r.Directories = 0, nil
	img := mustImage(t, Empty(), topicRecord("a", 1), r)
	if d := img.Partition("a", 0).Directory(1); d != DirMigrating {
		t.Errorf("directory %s", d)
	}
	if img.Partition("a", 0).Directory(2) != DirMigrating {
		t.Error("a broker without replica has a directory")
	}
}

func TestReservedDirectory(t *testing.T) {
	if !ReservedDirectory(kafka.UUID{15: 99}) || ReservedDirectory(kafka.UUID{15: 100}) || ReservedDirectory(kafka.UUID{1}) {
		t.Error("the first hundred ids are reserved, no others")
	}
}
