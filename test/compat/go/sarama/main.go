// Command sarama is an application on IBM's sarama: topics, every codec, acks, groups,
// transactions, administration. Usage: sarama ADDR NAME REPLICAS.
package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"exercise"

	"github.com/IBM/sarama"
)

var (
	addrs, name, replicas = exercise.Args()
	admin                 sarama.ClusterAdmin
)

// config is that of the newest broker that sarama knows.
func config() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.MaxVersion
	c.Producer.Return.Successes = true
	c.Producer.Flush.Frequency = 5 * time.Millisecond
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Enable = false
	c.Consumer.IsolationLevel = sarama.ReadCommitted
	return c
}

func topic(suffix string) (string, error) {
	t := name + "-" + suffix
	return t, admin.CreateTopic(t, &sarama.TopicDetail{NumPartitions: exercise.Partitions, ReplicationFactor: int16(replicas)}, false)
}

func message(t string, i int) *sarama.ProducerMessage {
	r := exercise.Number(i)
	m := &sarama.ProducerMessage{Topic: t}
	if r.Key != nil {
		m.Key = sarama.ByteEncoder(r.Key)
	}
	if r.Value != nil {
		m.Value = sarama.ByteEncoder(r.Value)
	}
	for _, h := range r.Headers {
		m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(h.Key), Value: h.Value})
	}
	return m
}

func sendWith(p sarama.SyncProducer, t string, numbers []int) error {
	var ms []*sarama.ProducerMessage
	for _, i := range numbers {
		ms = append(ms, message(t, i))
	}
	return p.SendMessages(ms)
}

func send(t string, c *sarama.Config, numbers []int) error {
	p, err := sarama.NewSyncProducer(addrs, c)
	if err != nil {
		return err
	}
	return errors.Join(sendWith(p, t, numbers), p.Close())
}

func transactional(id string) (sarama.SyncProducer, error) {
	c := config()
	c.Producer.Transaction.ID = id
	c.Producer.Idempotent = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Net.MaxOpenRequests = 1
	return sarama.NewSyncProducer(addrs, c)
}

// collector is the handler of a member of a group. take sees every message of a session.
type collector struct {
	mu     sync.Mutex
	got    []exercise.Record
	claims int
	take   func(sarama.ConsumerGroupSession, *sarama.ConsumerMessage) error
}

func (c *collector) Setup(s sarama.ConsumerGroupSession) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.claims = 0
	for _, ps := range s.Claims() {
		c.claims += len(ps)
	}
	return nil
}

func (*collector) Cleanup(s sarama.ConsumerGroupSession) error {
	s.Commit()
	return nil
}

func (c *collector) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			c.mu.Lock()
			var err error
			if c.take != nil {
				err = c.take(s, m)
			} else {
				c.got = append(c.got, record(m))
				s.MarkMessage(m, "")
			}
			c.mu.Unlock()
			if err != nil {
				return err
			}
		case <-s.Context().Done():
			return nil
		}
	}
}

func (c *collector) count() (records, claims int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.got), c.claims
}

func record(m *sarama.ConsumerMessage) exercise.Record {
	r := exercise.Record{Key: m.Key, Value: m.Value, Partition: int(m.Partition), Offset: m.Offset}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, exercise.Header{Key: string(h.Key), Value: h.Value})
	}
	return r
}

// join runs a member until leave is called.
func join(t, group string, c *sarama.Config, h *collector) (leave func() error, err error) {
	g, err := sarama.NewConsumerGroup(addrs, group, c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		for {
			err := g.Consume(ctx, []string{t}, h)
			if err != nil || ctx.Err() != nil {
				ended <- err
				return
			}
		}
	}()
	return func() error {
		cancel()
		err := <-ended
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		return errors.Join(err, g.Close())
	}, nil
}

// read gives a group's next records: so many, and what comes in a moment after them.
func read(t, group string, c *sarama.Config, count int) ([]exercise.Record, error) {
	h := &collector{}
	leave, err := join(t, group, c, h)
	if err != nil {
		return nil, err
	}
	late := exercise.Until(fmt.Sprintf("%d records", count), func() (bool, error) {
		n, _ := h.count()
		return n >= count, nil
	})
	time.Sleep(500 * time.Millisecond)
	return h.got, errors.Join(leave(), late)
}

func roundTrip(suffix string, c *sarama.Config) error {
	t, err := topic(suffix)
	if err != nil {
		return err
	}
	all := exercise.Range(0, exercise.Count, nil)
	if err := send(t, c, all); err != nil {
		return err
	}
	got, err := read(t, t, config(), exercise.Count)
	return exercise.All(err, exercise.Exactly(got, all))
}

// noAcks sends to a topic whose leaders have already taken some: without acks a node that
// has not yet learned that it leads drops the records, and nobody hears of it.
func noAcks() error {
	t, c := name+"-codec-none", config()
	c.Producer.RequiredAcks = sarama.NoResponse
	if err := send(t, c, exercise.Range(exercise.Count, 2*exercise.Count, nil)); err != nil {
		return err
	}
	got, err := read(t, t+"-again", config(), 2*exercise.Count)
	return exercise.All(err, exercise.Exactly(got, exercise.Range(0, 2*exercise.Count, nil)))
}

func topics() error {
	t, err := topic("topics")
	if err != nil {
		return err
	}
	if _, err := topic("topics"); !errors.Is(err, sarama.ErrTopicAlreadyExists) {
		return fmt.Errorf("created again: %v", err)
	}
	return exercise.Eventually(func() error {
		found, err := admin.DescribeTopics([]string{t})
		if err != nil {
			return err
		}
		for _, p := range found[0].Partitions {
			if len(p.Isr) != replicas {
				return fmt.Errorf("partition %d has %d replicas in sync", p.ID, len(p.Isr))
			}
		}
		return exercise.Equal(exercise.Partitions, len(found[0].Partitions))
	})
}

func group() error {
	t, err := topic("group")
	if err != nil {
		return err
	}
	for _, part := range [][2]int{{0, exercise.Count}, {exercise.Count, exercise.Count + 100}} {
		want := exercise.Range(part[0], part[1], nil)
		if err := send(t, config(), want); err != nil {
			return err
		}
		got, err := read(t, t, config(), len(want))
		if err := exercise.All(err, exercise.Exactly(got, want)); err != nil {
			return err
		}
	}
	return nil
}

func members() error {
	t, err := topic("members")
	if err != nil {
		return err
	}
	one, two := &collector{}, &collector{}
	leaveOne, err := join(t, t, config(), one)
	if err != nil {
		return err
	}
	leaveTwo, err := join(t, t, config(), two)
	if err != nil {
		return err
	}
	shared := exercise.Until("two members with half of the partitions each", func() (bool, error) {
		_, a := one.count()
		_, b := two.count()
		return a == exercise.Partitions/2 && b == exercise.Partitions/2, nil
	})
	described, err := admin.DescribeConsumerGroups([]string{t})
	if err == nil {
		err = exercise.Equal("Stable 2", fmt.Sprintf("%s %d", described[0].State, len(described[0].Members)))
	}
	left := leaveOne()
	alone := exercise.Until("the last member has them all", func() (bool, error) {
		_, b := two.count()
		return b == exercise.Partitions, nil
	})
	return errors.Join(shared, err, left, alone, leaveTwo())
}

func groupAdministration() error {
	g := name + "-group"
	before, err := admin.ListConsumerGroups()
	if err != nil {
		return err
	}
	_, listed := before[g]
	altered, err := admin.AlterConsumerGroupOffsets(g, map[string]map[int32]sarama.OffsetAndMetadata{g: {2: {Offset: 7, Metadata: "seven", LeaderEpoch: -1}}}, nil)
	if err != nil {
		return err
	}
	offsets, err := admin.ListConsumerGroupOffsets(g, map[string][]int32{g: {2}})
	if err != nil {
		return err
	}
	at := offsets.GetBlock(g, 2)
	if err := admin.DeleteConsumerGroup(g); err != nil {
		return err
	}
	after, err := admin.ListConsumerGroups()
	_, still := after[g]
	return exercise.All(err, exercise.Equal(sarama.ErrNoError, altered.Errors[g][2]),
		exercise.Equal("true false 7 seven", fmt.Sprintf("%t %t %d %s", listed, still, at.Offset, at.Metadata)))
}

func transactions() error {
	t, err := topic("transactions")
	if err != nil {
		return err
	}
	p, err := transactional(t)
	if err != nil {
		return err
	}
	for n := range 6 {
		if err := exercise.All(p.BeginTxn(), sendWith(p, t, exercise.Range(n*100, n*100+100, nil))); err != nil {
			return err
		}
		end := p.CommitTxn
		if n%2 == 1 {
			end = p.AbortTxn
		}
		if err := end(); err != nil {
			return err
		}
	}
	if err := p.Close(); err != nil {
		return err
	}
	committed, err := read(t, t+"-committed", config(), 300)
	if err := exercise.All(err, exercise.Exactly(committed, exercise.Range(0, 600, func(i int) bool { return i/100%2 == 0 }))); err != nil {
		return err
	}
	c := config()
	c.Consumer.IsolationLevel = sarama.ReadUncommitted
	all, err := read(t, t+"-all", c, 600)
	return exercise.All(err, exercise.Exactly(all, exercise.Range(0, 600, nil)))
}

// copied goes on in three lives where the offsets in transactions stopped: a record a
// transaction, 40 records a life, so that the last one reads to the end.
func copied() error {
	from, err := topic("copy-from")
	if err != nil {
		return err
	}
	to, err := topic("copy-to")
	if err != nil {
		return err
	}
	const count = 120
	if err := send(from, config(), exercise.Range(0, count, nil)); err != nil {
		return err
	}
	n := 0
	for life := 1; life <= 3; life++ {
		p, err := transactional(from)
		if err != nil {
			return err
		}
		h := &collector{}
		h.take = func(_ sarama.ConsumerGroupSession, m *sarama.ConsumerMessage) error {
			if n == life*count/3 {
				return nil
			}
			out := &sarama.ProducerMessage{Topic: to, Headers: nil}
			if m.Key != nil {
				out.Key = sarama.ByteEncoder(m.Key)
			}
			if m.Value != nil {
				out.Value = sarama.ByteEncoder(m.Value)
			}
			for _, x := range m.Headers {
				out.Headers = append(out.Headers, *x)
			}
			if err := p.BeginTxn(); err != nil {
				return err
			}
			if _, _, err := p.SendMessage(out); err != nil {
				return err
			}
			if err := exercise.All(p.AddMessageToTxn(m, from, nil), p.CommitTxn()); err != nil {
				return err
			}
			n++
			return nil
		}
		leave, err := join(from, from, config(), h)
		if err != nil {
			return err
		}
		late := exercise.Until(fmt.Sprintf("life %d", life), func() (bool, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			return n == life*count/3, nil
		})
		if err := errors.Join(late, leave(), p.Close()); err != nil {
			return err
		}
	}
	got, err := read(to, to, config(), count)
	return exercise.All(err, exercise.Exactly(got, exercise.Range(0, count, nil)))
}

func fenced() error {
	t, err := topic("fenced")
	if err != nil {
		return err
	}
	one, err := transactional(t)
	if err != nil {
		return err
	}
	if err := exercise.All(one.BeginTxn(), sendWith(one, t, exercise.Range(0, 10, nil))); err != nil {
		return err
	}
	two, err := transactional(t)
	if err != nil {
		return err
	}
	if err := exercise.All(two.BeginTxn(), sendWith(two, t, exercise.Range(10, 20, nil)), two.CommitTxn(), two.Close()); err != nil {
		return err
	}
	if err := one.CommitTxn(); err == nil {
		return errors.New("the first producer committed")
	}
	one.Close()
	got, err := read(t, t, config(), 10)
	return exercise.All(err, exercise.Exactly(got, exercise.Range(10, 20, nil)))
}

func times() error {
	t, err := topic("times")
	if err != nil {
		return err
	}
	c := config()
	c.Producer.Partitioner = sarama.NewManualPartitioner
	c.Producer.RequiredAcks = sarama.WaitForAll // with fewer the newest offset may trail
	p, err := sarama.NewSyncProducer(addrs, c)
	if err != nil {
		return err
	}
	for i := range 100 {
		m := &sarama.ProducerMessage{Topic: t, Partition: 3, Value: sarama.StringEncoder("value"), Timestamp: time.UnixMilli(exercise.Start + int64(i)*1000)}
		if _, _, err := p.SendMessage(m); err != nil {
			return err
		}
	}
	offset := func(at int64) int64 {
		found, err := admin.ListOffsets(map[string]map[int32]int64{t: {3: at}}, nil)
		if err != nil || found[t][3].Err != sarama.ErrNoError {
			return -9
		}
		return found[t][3].Offset
	}
	return exercise.All(p.Close(),
		exercise.Equal("0 100 50", fmt.Sprint(offset(sarama.OffsetOldest), offset(sarama.OffsetNewest), offset(exercise.Start+49_001))),
		admin.DeleteRecords(t, map[int32]int64{3: 40}),
		exercise.Equal(40, offset(sarama.OffsetOldest)))
}

func configs() error {
	t, err := topic("configs")
	if err != nil {
		return err
	}
	value := "123456"
	if err := admin.IncrementalAlterConfig(sarama.TopicResource, t, map[string]sarama.IncrementalAlterConfigsEntry{
		"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value},
	}, false); err != nil {
		return err
	}
	if err := admin.CreatePartitions(t, exercise.Partitions+2, nil, false); err != nil {
		return err
	}
	brokers, _, err := admin.DescribeCluster()
	return exercise.All(err, exercise.Equal(replicas, len(brokers)), exercise.Eventually(func() error {
		found, err := admin.DescribeConfigs([]*sarama.ConfigResource{{Type: sarama.TopicResource, Name: t, ConfigNames: []string{"retention.ms"}}}, sarama.DescribeConfigsOptions{})
		if err != nil {
			return err
		}
		described, err := admin.DescribeTopics([]string{t})
		if err != nil {
			return err
		}
		return exercise.All(exercise.Equal(value, found[0].Configs[0].Value), exercise.Equal(exercise.Partitions+2, len(described[0].Partitions)))
	}))
}

func deleteTopics() error {
	t := name + "-topics"
	if err := admin.DeleteTopic(t); err != nil {
		return err
	}
	return exercise.Until("the topic is gone", func() (bool, error) {
		found, err := admin.ListTopics()
		_, ok := found[t]
		return !ok, err
	})
}

func main() {
	var tests exercise.Tests
	var err error
	if admin, err = sarama.NewClusterAdmin(addrs, config()); err != nil {
		fmt.Println("FAIL admin:", err)
		tests.Run("the administration client connects", func() error { return err })
		tests.Done()
	}
	tests.Run("topics are created, and once only", topics)
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD} {
		tests.Run("records with keys, headers and nulls, "+codec.String(), func() error {
			c := config()
			c.Producer.Compression = codec
			return roundTrip("codec-"+codec.String(), c)
		})
	}
	tests.Run("acks=0", noAcks)
	for _, acks := range []sarama.RequiredAcks{sarama.WaitForLocal, sarama.WaitForAll} {
		tests.Run(fmt.Sprint("acks=", acks), func() error {
			c := config()
			c.Producer.RequiredAcks = acks
			return roundTrip(fmt.Sprint("acks", acks), c)
		})
	}
	tests.Run("an idempotent producer", func() error {
		c := config()
		c.Producer.Idempotent = true
		c.Producer.RequiredAcks = sarama.WaitForAll
		c.Net.MaxOpenRequests = 1
		return roundTrip("idempotent", c)
	})
	tests.Run("a group goes on where it stopped", group)
	tests.Run("two members share the partitions", members)
	tests.Run("a group is listed, its offsets are changed, it is deleted", groupAdministration)
	tests.Run("transactions are committed and aborted", transactions)
	tests.Run("offsets are committed in a transaction", copied)
	tests.Run("a second producer fences the first", fenced)
	tests.Run("offsets are found by time, records are deleted", times)
	tests.Run("configurations, partitions and the cluster", configs)
	tests.Run("topics are deleted", deleteTopics)
	tests.Done()
}
