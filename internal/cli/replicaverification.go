package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

var replicaVerificationTable = opt.Table{Options: append([]opt.Option{
	{Name: "broker-list", Kind: opt.Value, Arg: "hostname:port,...,hostname:port", Doc: "REQUIRED: The brokers to connect to first."},
	{Name: "fetch-size", Kind: opt.Value, Type: "Integer", Arg: "bytes", Default: "1048576", Doc: "How many bytes of a partition one request fetches."},
	{Name: "max-wait-ms", Kind: opt.Value, Type: "Integer", Arg: "ms", Default: "1000", Doc: "How long a request waits for records."},
	{Name: "topics-include", Kind: opt.Value, Arg: "Java regex (String)", Default: ".*", Doc: "The topics to verify."},
	{Name: "time", Kind: opt.Value, Type: "Long", Arg: "timestamp/-1(latest)/-2(earliest)", Default: "-1", Doc: "Where to begin: a time, the end or the beginning."},
	{Name: "report-interval-ms", Kind: opt.Value, Type: "Long", Arg: "ms", Default: "30000", Doc: "How often the largest lag is printed."},
}, helpOptions...)}

// debuggingReplica is the replica id by which a fetch reads from followers too, up to the
// high watermark.
const debuggingReplica = -2

// errReplicasDiffer ends the verification; what differs was printed.
var errReplicasDiffer = errors.New("replicas differ")

func replicaVerification(ctx context.Context, env *Env) int {
	v, code, done := parse(env, &replicaVerificationTable, "Validate that all replicas for a set of topics have the same data.")
	if done {
		return code
	}
	if err := v.Require("broker-list"); err != nil {
		return wrongUsage(env, &replicaVerificationTable, err)
	}
	fmt.Fprintln(env.Err, "This tool is deprecated and may be removed in a future major release.")
	switch err := verifyReplicas(ctx, env, v); {
	case err == nil, ctx.Err() != nil:
		return 0
	case !errors.Is(err, errReplicasDiffer):
		fmt.Fprintln(env.Err, exception(err))
	}
	return 1
}

// verification compares the replicas of partitions, round by round: every broker is asked
// for its part, and what came is compared batch by batch up to the high watermark.
type verification struct {
	env      *Env
	c        *cluster
	parts    map[kafka.TopicPartition][]int32 // replicas
	ids      map[string][16]byte              // of topics
	offsets  map[kafka.TopicPartition]int64   // verified so far
	numbers  map[string]int64                 // of options
	reported time.Time
}

func verifyReplicas(ctx context.Context, env *Env, v *opt.Values) error {
	numbers := map[string]int64{}
	for name, bits := range map[string]int{"fetch-size": 32, "max-wait-ms": 32, "time": 64, "report-interval-ms": 64} {
		n, err := strconv.ParseInt(v.Get(name), 10, bits)
		if err != nil {
			return fmt.Errorf("Cannot parse argument '%s' of option %s", v.Get(name), name)
		}
		numbers[name] = n
	}
	c, err := admin(v.Get("broker-list"), "", "")
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.await(ctx); err != nil {
		return err
	}
	r := &verification{env: env, c: c, numbers: numbers, reported: time.Now()}
	if err := r.begin(ctx, v.Get("topics-include")); err != nil {
		return err
	}
	r.say("verification process is started")
	for ctx.Err() == nil {
		fetched, err := r.fetchAll(ctx)
		if err == nil {
			err = r.compareAll(fetched)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// begin finds the partitions and where to begin in each.
func (r *verification) begin(ctx context.Context, pattern string) error {
	match, err := topicPattern(pattern)
	if err != nil {
		return fmt.Errorf("%s is an invalid regex", pattern)
	}
	ctx, cancel := within(ctx)
	defer cancel()
	all, err := r.c.Admin.ListTopicsWithInternal(ctx)
	if err != nil {
		return err
	}
	r.parts, r.ids, r.offsets = map[kafka.TopicPartition][]int32{}, map[string][16]byte{}, map[kafka.TopicPartition]int64{}
	var names []string
	for _, t := range all.Sorted() {
		if !match.MatchString(t.Topic) {
			continue
		}
		names = append(names, t.Topic)
		r.ids[t.Topic] = t.ID
		for _, p := range t.Partitions {
			r.parts[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = p.Replicas
		}
	}
	if len(names) == 0 {
		return errors.New("No topics found. [topics-include] if specified, is either filtering out all topics or there is no topic.")
	}
	var offsets kadm.ListedOffsets
	switch at := r.numbers["time"]; at {
	case -1:
		offsets, err = r.c.Admin.ListEndOffsets(ctx, names...)
	case -2:
		offsets, err = r.c.Admin.ListStartOffsets(ctx, names...)
	default:
		offsets, err = r.c.Admin.ListOffsetsAfterMilli(ctx, at, names...)
	}
	if err == nil {
		err = offsets.Error()
	}
	if err != nil {
		return err
	}
	offsets.Each(func(o kadm.ListedOffset) {
		r.offsets[kafka.TopicPartition{Topic: o.Topic, Partition: o.Partition}] = o.Offset
	})
	return nil
}

func (r *verification) say(format string, args ...any) {
	stamp := strings.Replace(time.Now().Format("2006-01-02 15:04:05.000"), ".", ",", 1)
	fmt.Fprintf(r.env.Out, stamp+": "+format+"\n", args...)
}

// replicaData is what one replica has of a partition from the verified offset on.
type replicaData struct {
	highWatermark int64
	batches       []byte
}

// fetchAll asks every broker at the same time. A broker that does not answer has nothing
// this time, so that its partitions wait for it.
func (r *verification) fetchAll(ctx context.Context) (map[partitionReplica]replicaData, error) {
	byBroker := map[int32][]kafka.TopicPartition{}
	for _, tp := range slices.SortedFunc(maps.Keys(r.parts), comparePartitions) {
		for _, id := range r.parts[tp] {
			byBroker[id] = append(byBroker[id], tp)
		}
	}
	out := map[partitionReplica]replicaData{}
	var mu sync.Mutex // guards out
	var wg sync.WaitGroup
	for id, parts := range byBroker {
		wg.Go(func() {
			answer, err := r.c.Broker(int(id)).RetriableRequest(ctx, r.fetchOf(parts))
			if err != nil {
				select { // a broker that is gone refuses at once
				case <-ctx.Done():
				case <-time.After(time.Duration(r.numbers["max-wait-ms"]) * time.Millisecond):
				}
				return
			}
			mu.Lock()
			defer mu.Unlock()
			r.note(out, id, answer.(*kmsg.FetchResponse))
		})
	}
	wg.Wait()
	return out, ctx.Err()
}

func (r *verification) fetchOf(parts []kafka.TopicPartition) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.ReplicaState.ID = debuggingReplica, debuggingReplica
	req.MaxWaitMillis, req.MinBytes = int32(r.numbers["max-wait-ms"]), 1
	for _, tp := range parts {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != tp.Topic {
			t := kmsg.NewFetchRequestTopic()
			t.Topic, t.TopicID = tp.Topic, r.ids[tp.Topic]
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.LogStartOffset, p.PartitionMaxBytes = tp.Partition, r.offsets[tp], 0, int32(r.numbers["fetch-size"])
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	return req
}

func (r *verification) note(out map[partitionReplica]replicaData, broker int32, resp *kmsg.FetchResponse) {
	for _, t := range resp.Topics {
		name := t.Topic
		for topic, id := range r.ids {
			if resp.Version >= 13 && id == t.TopicID {
				name = topic
			}
		}
		for _, p := range t.Partitions {
			key := partitionReplica{kafka.TopicPartition{Topic: name, Partition: p.Partition}, broker}
			out[key] = replicaData{p.HighWatermark, p.RecordBatches}
		}
	}
}

// compareAll compares what was fetched, moves on, and prints the largest lag when it is
// time to.
func (r *verification) compareAll(fetched map[partitionReplica]replicaData) error {
	maxLag, at := int64(-1), kafka.TopicPartition{}
	for _, tp := range slices.SortedFunc(maps.Keys(r.parts), comparePartitions) {
		highest, err := r.compare(tp, fetched)
		if err != nil {
			return err
		}
		if lag := highest - r.offsets[tp]; lag > maxLag {
			maxLag, at = lag, tp
		}
	}
	if time.Since(r.reported).Milliseconds() > r.numbers["report-interval-ms"] {
		r.say("max lag is %d for partition %s at offset %d among %d partitions", maxLag, at, r.offsets[at], len(r.parts))
		r.reported = time.Now()
	}
	return nil
}

// compare takes a batch of every replica in turn, as long as all have one below their
// high watermark. It returns the highest of these.
func (r *verification) compare(tp kafka.TopicPartition, fetched map[partitionReplica]replicaData) (highest int64, err error) {
	replicas := slices.Sorted(slices.Values(r.parts[tp]))
	rest := map[int32][]byte{}
	highest = -1
	for _, id := range replicas {
		data := fetched[partitionReplica{tp, id}]
		rest[id] = data.batches
		highest = max(highest, data.highWatermark)
	}
	for len(replicas) > 0 {
		var first batch.Info
		all := true
		for i, id := range replicas {
			b, ok, err := nextBatch(rest[id])
			if err != nil {
				return 0, fmt.Errorf("Error in processing replica %d in partition %s at offset %d\n%w", id, tp, r.offsets[tp], err)
			}
			if !ok || b.LastOffset >= fetched[partitionReplica{tp, id}].highWatermark {
				all = false
				break
			}
			rest[id] = rest[id][b.Size:]
			if i == 0 {
				first = b
				continue
			}
			if b.LastOffset != first.LastOffset {
				r.say("partition %s: replica %d's offset %d doesn't match replica %d's offset %d", tp, replicas[0], first.LastOffset, id, b.LastOffset)
				return 0, errReplicasDiffer
			}
			if b.CRC != first.CRC {
				r.say("partition %s has unmatched checksum at offset %d; replica %d's checksum %d; replica %d's checksum %d", tp, b.LastOffset, replicas[0], first.CRC, id, b.CRC)
			}
		}
		if !all {
			break
		}
		r.offsets[tp] = first.LastOffset + 1
	}
	return highest, nil
}

// nextBatch reads the header of the batch that b begins with; ok is false when b does not
// hold all of it, as the end of a fetch may not.
func nextBatch(b []byte) (info batch.Info, ok bool, err error) {
	size, ok, err := batch.NextSize(b)
	if err != nil || !ok || size > len(b) {
		return info, false, err
	}
	info, err = batch.Peek(b)
	return info, err == nil, err
}
