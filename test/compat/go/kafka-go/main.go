// Command kafkago is an application on segmentio's kafka-go: topics, every codec, acks,
// groups, administration. kafka-go has no idempotent and no transactional producer.
// Usage: kafkago ADDR NAME REPLICAS.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"exercise"

	"github.com/segmentio/kafka-go"
)

var (
	addrs, name, replicas = exercise.Args()
	client                = &kafka.Client{Addr: kafka.TCP(addrs...), Timeout: 30 * time.Second}
	ctx                   = context.Background()
)

// topic creates it and waits until the nodes know its leaders.
func topic(suffix string) (string, error) {
	t := name + "-" + suffix
	res, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{
		{Topic: t, NumPartitions: exercise.Partitions, ReplicationFactor: replicas},
	}})
	if err != nil {
		return t, err
	}
	if err := res.Errors[t]; err != nil {
		return t, err
	}
	return t, exercise.Until("the topic's leaders", func() (bool, error) {
		res, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{t}})
		if err != nil || res.Topics[0].Error != nil {
			return false, err
		}
		for _, p := range res.Topics[0].Partitions {
			if p.Error != nil || len(p.Isr) != replicas {
				return false, nil
			}
		}
		return len(res.Topics[0].Partitions) == exercise.Partitions, nil
	})
}

func send(t string, codec kafka.Compression, acks kafka.RequiredAcks, numbers []int) error {
	w := &kafka.Writer{
		Addr: kafka.TCP(addrs...), Topic: t, Compression: codec, RequiredAcks: acks,
		Balancer: &kafka.Hash{}, BatchTimeout: 5 * time.Millisecond,
	}
	var ms []kafka.Message
	for _, i := range numbers {
		r := exercise.Number(i)
		m := kafka.Message{Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			m.Headers = append(m.Headers, kafka.Header{Key: h.Key, Value: h.Value})
		}
		ms = append(ms, m)
	}
	return errors.Join(w.WriteMessages(ctx, ms...), w.Close())
}

func record(m kafka.Message) exercise.Record {
	r := exercise.Record{Key: m.Key, Value: m.Value, Partition: m.Partition, Offset: m.Offset}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, exercise.Header{Key: h.Key, Value: h.Value})
	}
	return r
}

func reader(t, group string) *kafka.Reader {
	return kafka.NewReader(kafka.ReaderConfig{Brokers: addrs, GroupID: group, Topic: t, StartOffset: kafka.FirstOffset, MaxWait: 500 * time.Millisecond})
}

// read gives a group's next records: so many, and what comes in a moment after them.
func read(t, group string, count int) ([]exercise.Record, error) {
	r := reader(t, group)
	var got []exercise.Record
	for {
		wait := 60 * time.Second
		if len(got) >= count {
			wait = time.Second
		}
		c, cancel := context.WithTimeout(ctx, wait)
		m, err := r.FetchMessage(c)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return got, r.Close()
		}
		if err != nil {
			return got, err
		}
		got = append(got, record(m))
		if err := r.CommitMessages(ctx, m); err != nil {
			return got, err
		}
	}
}

func roundTrip(suffix string, codec kafka.Compression, acks kafka.RequiredAcks) error {
	t, err := topic(suffix)
	if err != nil {
		return err
	}
	if err := send(t, codec, acks, exercise.Range(0, exercise.Count, nil)); err != nil {
		return err
	}
	got, err := read(t, t, exercise.Count)
	return exercise.All(err, exercise.Exactly(got, exercise.Range(0, exercise.Count, nil)))
}

// noAcks sends to a topic whose leaders have already taken some: without acks a node that
// has not yet learned that it leads drops the records, and nobody hears of it. There is no
// order: kafka-go's next batch takes any free connection, and the last one may still be on
// its way on another.
func noAcks() error {
	t := name + "-codec-uncompressed"
	if err := send(t, 0, kafka.RequireNone, exercise.Range(exercise.Count, 2*exercise.Count, nil)); err != nil {
		return err
	}
	got, err := read(t, t+"-again", 2*exercise.Count)
	return exercise.All(err, exercise.Once(got, exercise.Range(0, 2*exercise.Count, nil)))
}

func topics() error {
	if _, err := topic("topics"); err != nil {
		return err
	}
	if _, err := topic("topics"); !errors.Is(err, kafka.TopicAlreadyExists) {
		return fmt.Errorf("created again: %v", err)
	}
	return nil
}

func group() error {
	t, err := topic("group")
	if err != nil {
		return err
	}
	for _, part := range [][2]int{{0, exercise.Count}, {exercise.Count, exercise.Count + 100}} {
		want := exercise.Range(part[0], part[1], nil)
		if err := send(t, 0, kafka.RequireAll, want); err != nil {
			return err
		}
		got, err := read(t, t, len(want))
		if err := exercise.All(err, exercise.Exactly(got, want)); err != nil {
			return err
		}
	}
	res, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: t, Topics: map[string][]int{t: {0, 1, 2, 3, 4, 5}}})
	if err != nil {
		return err
	}
	var sum int64
	for _, p := range res.Topics[t] {
		sum += max(p.CommittedOffset, 0)
	}
	return exercise.Equal(exercise.Count+100, sum)
}

// members: two readers of a group, which is described while they have its partitions.
func members() error {
	t, err := topic("members")
	if err != nil {
		return err
	}
	one, two := reader(t, t), reader(t, t)
	return errors.Join(exercise.Until("two members with half of the partitions each", func() (bool, error) {
		res, err := client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{t}})
		if err != nil || res.Groups[0].Error != nil {
			return false, err
		}
		ms := res.Groups[0].Members
		if res.Groups[0].GroupState != "Stable" || len(ms) != 2 {
			return false, nil
		}
		for _, m := range ms {
			if len(m.MemberAssignments.Topics) != 1 || len(m.MemberAssignments.Topics[0].Partitions) != exercise.Partitions/2 {
				return false, nil
			}
		}
		return true, nil
	}), one.Close(), two.Close())
}

func groupAdministration() error {
	g := name + "-group"
	listed := func() (bool, error) {
		res, err := client.ListGroups(ctx, &kafka.ListGroupsRequest{})
		if err != nil {
			return false, err
		}
		for _, x := range res.Groups {
			if x.GroupID == g {
				return true, nil
			}
		}
		return false, res.Error
	}
	before, err := listed()
	if err != nil {
		return err
	}
	del, err := client.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{g}})
	if err != nil {
		return err
	}
	after, err := listed()
	return exercise.All(err, del.Errors[g], exercise.Equal("true false", fmt.Sprint(before, after)))
}

func times() error {
	t, err := topic("times")
	if err != nil {
		return err
	}
	w := &kafka.Writer{Addr: kafka.TCP(addrs...), Topic: t, RequiredAcks: kafka.RequireAll, BatchTimeout: 5 * time.Millisecond,
		Balancer: kafka.BalancerFunc(func(kafka.Message, ...int) int { return 3 })}
	var ms []kafka.Message
	for i := range 100 {
		ms = append(ms, kafka.Message{Value: []byte("value"), Time: time.UnixMilli(exercise.Start + int64(i)*1000)})
	}
	if err := errors.Join(w.WriteMessages(ctx, ms...), w.Close()); err != nil {
		return err
	}
	res, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{t: {
		kafka.FirstOffsetOf(3), kafka.LastOffsetOf(3), kafka.TimeOffsetOf(3, time.UnixMilli(exercise.Start+49_001)),
	}}})
	if err != nil {
		return err
	}
	p := res.Topics[t][0]
	_, found := p.Offsets[50]
	return exercise.All(p.Error, exercise.Equal("0 100 true", fmt.Sprint(p.FirstOffset, p.LastOffset, found)))
}

func configs() error {
	t, err := topic("configs")
	if err != nil {
		return err
	}
	alter, err := client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: t,
		Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms", Value: "123456", ConfigOperation: kafka.ConfigOperationSet}},
	}}})
	if err != nil {
		return err
	}
	more, err := client.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: t, Count: exercise.Partitions + 2}}})
	if err != nil {
		return err
	}
	return exercise.All(alter.Resources[0].Error, more.Errors[t], exercise.Eventually(func() error {
		res, err := client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: t, ConfigNames: []string{"retention.ms"},
		}}})
		if err != nil {
			return err
		}
		return exercise.All(res.Resources[0].Error, exercise.Equal("123456", res.Resources[0].ConfigEntries[0].ConfigValue))
	}))
}

func deleteTopics() error {
	t := name + "-topics"
	res, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{t}})
	if err != nil {
		return err
	}
	return exercise.All(res.Errors[t], exercise.Until("the topic is gone", func() (bool, error) {
		res, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{t}})
		return err == nil && errors.Is(res.Topics[0].Error, kafka.UnknownTopicOrPartition), err
	}))
}

func main() {
	var tests exercise.Tests
	tests.Run("topics are created, and once only", topics)
	for _, codec := range []kafka.Compression{0, kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd} {
		tests.Run("records with keys, headers and nulls, "+codec.String(), func() error { return roundTrip("codec-"+codec.String(), codec, kafka.RequireAll) })
	}
	tests.Run("acks=none", noAcks)
	for _, acks := range []kafka.RequiredAcks{kafka.RequireOne, kafka.RequireAll} {
		tests.Run("acks="+acks.String(), func() error { return roundTrip("acks-"+acks.String(), 0, acks) })
	}
	tests.Run("a group goes on where it stopped", group)
	tests.Run("two members share the partitions", members)
	tests.Run("a group is listed and deleted", groupAdministration)
	tests.Run("offsets are found by time", times)
	tests.Run("configurations and partitions", configs)
	tests.Run("topics are deleted", deleteTopics)
	tests.Done()
}
