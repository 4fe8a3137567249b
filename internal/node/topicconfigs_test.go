package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/batch"
	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/vfs"
)

// topicRun is one topic on a running broker, whose configuration is changed.
type topicRun struct {
	t     *testing.T
	ctx   context.Context
	m     *machine
	cl    *kgo.Client
	gzip  *kgo.Client // compresses
	adm   *kadm.Client
	topic string
	syncs *atomic.Int64 // of this topic's segments
	n     int
	mark  int // what a case remembers from before
}

// write appends one record; age is how old its timestamp says it is.
func (r *topicRun) write(key, value string, age time.Duration) error {
	rec := &kgo.Record{Topic: r.topic, Partition: 0, Value: []byte(value), Timestamp: time.Now().Add(-age)}
	if key != "" {
		rec.Key = []byte(key)
	}
	if value == "" {
		rec.Value = nil
	}
	return r.cl.ProduceSync(r.ctx, rec).FirstErr()
}

func (r *topicRun) put(n int) {
	r.t.Helper()
	for range n {
		r.n++
		if err := r.write("key", "value-"+strings.Repeat("v", r.n%7), 0); err != nil {
			r.t.Fatal(err)
		}
	}
}

// names are the files of the partition whose names end so.
func (r *topicRun) names(suffix string) (list []string) {
	entries, err := r.m.fsys.ReadDir("/data/" + r.topic + "-0")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			list = append(list, e.Name())
		}
	}
	return list
}

func (r *topicRun) files(suffix string) int { return len(r.names(suffix)) }

func (r *topicRun) size(name string) int64 {
	info, err := r.m.fsys.Stat("/data/" + r.topic + "-0/" + name)
	if err != nil {
		r.t.Fatal(err)
	}
	return info.Size()
}

func (r *topicRun) start() int64 {
	r.t.Helper()
	offsets, err := r.adm.ListStartOffsets(r.ctx, r.topic)
	if err != nil {
		r.t.Fatal(err)
	}
	o, _ := offsets.Lookup(r.topic, 0)
	return o.Offset
}

// keys are those of the records in the partition's files.
func (r *topicRun) keys() (list []string) {
	for _, b := range r.batches() {
		var it batch.Iter
		if err := it.Reset(b, 0); err != nil {
			r.t.Fatal(err)
		}
		var rec batch.Record
		for it.Next(&rec) {
			list = append(list, string(rec.Key))
		}
		it.Close()
	}
	return list
}

func (r *topicRun) records() int { return len(r.keys()) }

// clean appends until compaction has looked at everything that is there now.
func (r *topicRun) clean() {
	for end := r.end(); ; r.put(1) {
		data, err := vfs.ReadFile(r.m.fsys, "/data/cleaner-offset-checkpoint")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var topic string
			var partition int
			var offset int64
			if n, _ := fmt.Sscan(line, &topic, &partition, &offset); n == 3 && topic == r.topic && offset >= end {
				return
			}
		}
	}
}

// batches are those in the partition's files, looked at while no compaction puts one file
// in the place of others: in between neither has its name.
func (r *topicRun) batches() [][]byte {
	for {
		before := r.names(".log")
		swaps := r.files(".log.swap")
		list, whole := r.batchesOf(before)
		if whole && swaps == 0 && r.files(".log.swap") == 0 && slices.Equal(before, r.names(".log")) {
			return list
		}
	}
}

// batchesOf reads files; whole says that all of them were there.
func (r *topicRun) batchesOf(names []string) (list [][]byte, whole bool) {
	whole = true
	for _, name := range names {
		data, err := vfs.ReadFile(r.m.fsys, path.Join("/data", r.topic+"-0", name))
		if err != nil {
			whole = false // renamed meanwhile
			continue
		}
		for len(data) >= 12 {
			n := 12 + int(binary.BigEndian.Uint32(data[8:]))
			if n > len(data) {
				break
			}
			list = append(list, data[:n])
			data = data[n:]
		}
	}
	return list, whole
}

// last is the header of the last batch after one more record.
func (r *topicRun) last() batch.Info {
	r.t.Helper()
	r.put(1)
	list := r.batches()
	info, err := batch.Peek(list[len(list)-1])
	if err != nil {
		r.t.Fatal(err)
	}
	return info
}

func (r *topicRun) alter(key, value string) {
	r.t.Helper()
	resp, err := r.adm.AlterTopicConfigs(r.ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, r.topic)
	if err == nil {
		err = resp[0].Err
	}
	if err != nil {
		r.t.Fatalf("%s=%s: %v", key, value, err)
	}
}

// twice is a dirty log of one key in two closed segments.
func twice(r *topicRun) { r.put(1); r.put(1); r.put(1) }

// rolls begins a segment with every record: their times differ by more than segment.ms.
var rolls = map[string]string{"segment.ms": "1", "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0"}

func with(base map[string]string, kv ...string) map[string]string {
	m := map[string]string{}
	for k, v := range base {
		m[k] = v
	}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

// topicCase is one key of a topic: how it is before, and what must begin to hold once it
// has the new value. The effect is tried until it is there, and must not be before.
type topicCase struct {
	key, value string
	configs    map[string]string
	before     func(r *topicRun)
	effect     func(r *topicRun) bool
}

// refused says that a record is not accepted.
func refused(want error, key, value string, age time.Duration) func(r *topicRun) bool {
	return func(r *topicRun) bool {
		err := r.write(key, value, age)
		if err != nil && !errors.Is(err, want) {
			r.t.Fatal(err)
		}
		return err != nil
	}
}

// rolled appends until there is a second segment.
func rolled(r *topicRun) bool { r.put(1); return r.files(".log") > 1 }

// compacted appends one record more, which closes the segment before it.
func compacted(r *topicRun) bool { r.put(1); return r.records() <= 3 }

// text compresses to a size that depends on the level.
var text = func() string {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "%d %x ", i*i%977, i*7919%65_537)
	}
	return b.String()
}()

func (r *topicRun) sizeOfText() int {
	if err := r.write("k", text, 0); err != nil {
		r.t.Fatal(err)
	}
	list := r.batches()
	return len(list[len(list)-1])
}

// releveled says that a record is compressed to another size than before.
func releveled(key, codec, from, to string) topicCase {
	return topicCase{key, to, map[string]string{"compression.type": codec, key: from},
		func(r *topicRun) { r.mark = r.sizeOfText() }, func(r *topicRun) bool { return r.sizeOfText() != r.mark }}
}

// deleted appends until retention has moved the log's start.
func (r *topicRun) deleted() {
	for seen := r.start(); r.start() <= seen; {
		r.put(2)
	}
	// The start is known before the files have gone.
	for start, base := r.start(), int64(0); base < start; {
		_, err := fmt.Sscanf(r.names(".log")[0], "%d.log", &base)
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *topicRun) end() int64 {
	offsets, err := r.adm.ListEndOffsets(r.ctx, r.topic)
	if err != nil {
		r.t.Fatal(err)
	}
	o, _ := offsets.Lookup(r.topic, 0)
	return o.Offset
}

// create makes a topic of one partition.
func (r *topicRun) create(topic string, configs map[string]string) {
	m := map[string]*string{}
	for k, v := range configs {
		m[k] = &v
	}
	if _, err := r.adm.CreateTopic(r.ctx, 1, 1, m, topic); err != nil {
		r.t.Fatal(err)
	}
}

func topicCases() []topicCase {
	big := strings.Repeat("x", 300_000)
	return []topicCase{
		{"segment.bytes", "1048576", nil, nil, func(r *topicRun) bool {
			if err := r.write("k", big, 0); err != nil {
				r.t.Fatal(err)
			}
			return r.files(".log") > 1
		}},
		{"segment.ms", "1", nil, nil, rolled},
		{"segment.index.bytes", "24", map[string]string{"index.interval.bytes": "0"}, nil, rolled},
		{"index.interval.bytes", "0", map[string]string{"segment.ms": "1"}, nil, func(r *topicRun) bool {
			r.put(1)
			for _, name := range r.names(".index") {
				if r.size(name) > 0 {
					return true
				}
			}
			return false
		}},
		{"retention.ms", "1", nil, func(r *topicRun) { r.put(3) }, func(r *topicRun) bool { return r.start() >= 3 }},
		{"retention.bytes", "1", map[string]string{"segment.ms": "1"}, twice, func(r *topicRun) bool { r.put(1); return r.start() > 0 }},
		{"cleanup.policy", "compact", with(rolls, "cleanup.policy", "delete"), twice, compacted},
		{"cleanup.policy", "compact", nil, nil, refused(kerr.InvalidRecord, "", "no key", 0)},
		{"cleanup.policy", "delete", map[string]string{"cleanup.policy": "compact", "retention.ms": "1"}, twice, func(r *topicRun) bool { return r.start() >= 3 }},
		{"cleanup.policy", "", map[string]string{"retention.ms": "1"}, func(r *topicRun) {
			r.create("beside", map[string]string{"retention.ms": "1"})
		}, func(r *topicRun) bool {
			// What is older than retention.ms goes beside it and stays here.
			first := r.end()
			r.put(1)
			beside := *r
			beside.topic = "beside"
			beside.deleted()
			beside.deleted()
			return r.start() <= first
		}},
		{"max.message.bytes", "100", nil, nil, refused(kerr.MessageTooLarge, "k", strings.Repeat("x", 200), 0)},
		{"max.decompressed.message.bytes", "100", nil, nil, func(r *topicRun) bool {
			gzip := *r
			gzip.cl = r.gzip
			return refused(kerr.MessageTooLarge, "k", strings.Repeat("x", 20_000), 0)(&gzip)
		}},
		{"compression.type", "zstd", nil, nil, func(r *topicRun) bool { return r.last().Codec == batch.CodecZstd }},
		releveled("compression.gzip.level", "gzip", "9", "1"),
		releveled("compression.lz4.level", "lz4", "9", "1"),
		releveled("compression.zstd.level", "zstd", "1", "22"),
		{"message.timestamp.type", "LogAppendTime", nil, nil, func(r *topicRun) bool { return r.last().TimestampType == batch.LogAppendTime }},
		{"message.timestamp.before.max.ms", "1000", nil, nil, refused(kerr.InvalidTimestamp, "k", "v", time.Hour)},
		{"message.timestamp.after.max.ms", "1000", nil, nil, refused(kerr.InvalidTimestamp, "k", "v", -10*time.Minute)},
		{"flush.messages", "1", nil, nil, func(r *topicRun) bool { n := r.syncs.Load(); r.put(1); return r.syncs.Load() > n }},
		{"flush.ms", "1", nil, func(r *topicRun) { r.put(1) }, func(r *topicRun) bool { return r.syncs.Load() > 0 }},
		{"file.delete.delay.ms", "0", map[string]string{"retention.bytes": "1", "segment.ms": "1", "file.delete.delay.ms": "3600000"}, nil, func(r *topicRun) bool {
			n := len(r.names(".log.deleted"))
			r.deleted()
			return len(r.names(".log.deleted")) <= n
		}},
		{"min.cleanable.dirty.ratio", "0", with(rolls, "min.cleanable.dirty.ratio", "1"), twice, compacted},
		{"min.compaction.lag.ms", "0", with(rolls, "min.compaction.lag.ms", "3600000"), twice, compacted},
		{"max.compaction.lag.ms", "1", with(rolls, "min.cleanable.dirty.ratio", "1"), twice, compacted},
		{"delete.retention.ms", "0", rolls, nil, func(r *topicRun) bool {
			// A tombstone that has its horizon keeps it; a new one goes by the new value.
			r.n++
			key := fmt.Sprint("gone-", r.n)
			if err := r.write(key, "", 0); err != nil {
				r.t.Fatal(err)
			}
			r.clean()
			r.clean()
			return !slices.Contains(r.keys(), key)
		}},
	}
}

// elsewhere are the keys that one broker cannot show, and what shows them.
var elsewhere = map[string]string{
	"preallocate":                             "accepted without effect (docs/compat)",
	"unclean.leader.election.enable":          "controller testdata/elections.txt: an alteration elects at once",
	"min.insync.replicas":                     "brokerapi TestConfigChangesApplyAtOnce: of one replica no more than one is asked",
	"segment.jitter.ms":                       "log TestRollJitter",
	"internal.segment.bytes":                  "not for users",
	"leader.replication.throttled.replicas":   "replica, with several brokers",
	"follower.replication.throttled.replicas": "replica, with several brokers",
	"errors.deadletterqueue.group.enable":     "share groups",
	"local.retention.bytes":                   "tiered storage",
	"local.retention.ms":                      "tiered storage",
	"remote.copy.lag.bytes":                   "tiered storage",
	"remote.copy.lag.ms":                      "tiered storage",
	"remote.log.copy.disable":                 "tiered storage",
	"remote.log.delete.on.disable":            "tiered storage",
	"remote.storage.enable":                   "tiered storage",
}

// topicClient is a client to which a refusal is an answer, not a reason to try again.
func topicClient(t *testing.T, m *machine, codec kgo.CompressionCodec) *kgo.Client {
	cl, err := kgo.NewClient(kgo.SeedBrokers("localhost:9092"), kgo.Dialer(m.net.Dial), kgo.DisableIdempotentWrite(), kgo.RecordRetries(0),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(codec))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// TestBrokerDefaultsTakeEffectAtOnce: a dynamic key of the broker is that of the cleaner,
// and of the topics that have none of their own.
func TestBrokerDefaultsTakeEffectAtOnce(t *testing.T) {
	m := newMachine(t, map[string]string{
		"log.initial.task.delay.ms": "1", "log.retention.check.interval.ms": "5", "log.cleaner.backoff.ms": "3600000", "log.cleaner.dedupe.buffer.size": "4000000",
	})
	m.format()
	n := m.start()
	defer m.stop(n)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cl := topicClient(t, m, kgo.NoCompression())
	for _, c := range []struct {
		topicCase
		topic string
	}{
		{topicCase{"log.cleaner.backoff.ms", "5", rolls, twice, compacted}, "a"},
		{topicCase{"log.cleaner.threads", "2", rolls, twice, func(*topicRun) bool {
			return strings.Contains(m.log.String(), "restarting with a new configuration threads=2")
		}}, "b"},
		{topicCase{"log.cleaner.io.max.bytes.per.second", "1", rolls, nil, func(*topicRun) bool {
			return strings.Contains(m.log.String(), "ioMaxBytesPerSecond=1 ")
		}}, "c"},
		{topicCase{"log.retention.ms", "1", nil, func(r *topicRun) { r.put(3) }, func(r *topicRun) bool { return r.start() >= 3 }}, "d"},
		{topicCase{"log.roll.ms", "1", nil, nil, rolled}, "e"},
	} {
		r := &topicRun{t: t, ctx: ctx, m: m, cl: cl, adm: kadm.NewClient(cl), topic: c.topic}
		r.create(c.topic, c.configs)
		if c.before != nil {
			c.before(r)
		}
		if c.effect(r) {
			t.Errorf("what %s=%s does is there before", c.key, c.value)
		}
		resp, err := r.adm.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: c.key, Value: &c.value}})
		if err == nil {
			err = resp[0].Err
		}
		if err != nil {
			t.Fatalf("%s=%s: %v %s", c.key, c.value, err, resp[0].ErrMessage)
		}
		for deadline := time.Now().Add(10 * time.Second); !c.effect(r); {
			if time.Now().After(deadline) {
				t.Errorf("%s=%s has no effect\n%s", c.key, c.value, m.log)
				break
			}
		}
	}
}

// TestTopicConfigsTakeEffectAtOnce alters each key of a topic on a running broker and
// waits for its effect, which was not there before.
func TestTopicConfigsTakeEffectAtOnce(t *testing.T) {
	m := newMachine(t, map[string]string{
		"log.initial.task.delay.ms": "1", "log.retention.check.interval.ms": "5", "log.flush.scheduler.interval.ms": "5", "log.cleaner.backoff.ms": "5",
		"log.cleaner.dedupe.buffer.size": "2000000",
		// The default of flush.ms is the interval above.
		"log.flush.interval.ms": "9223372036854775807",
	})
	var syncs sync.Map
	m.fsys = vfs.NewTrace(m.fsys, func(op string) {
		if name, ok := strings.CutPrefix(op, "sync /data/"); ok && strings.HasSuffix(name, ".log") {
			n, _ := syncs.LoadOrStore(path.Dir(name), new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
		}
	})
	m.format()
	n := m.start()
	defer m.stop(n)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cl, gzip := topicClient(t, m, kgo.NoCompression()), topicClient(t, m, kgo.GzipCompression())
	seen := map[string]bool{}
	for i, c := range topicCases() {
		seen[c.key] = true
		topic := fmt.Sprintf("t%d", i)
		counter, _ := syncs.LoadOrStore(topic+"-0", new(atomic.Int64))
		r := &topicRun{t: t, ctx: ctx, m: m, cl: cl, gzip: gzip, adm: kadm.NewClient(cl), topic: topic, syncs: counter.(*atomic.Int64)}
		r.create(topic, c.configs)
		if c.before != nil {
			c.before(r)
		}
		for range 3 {
			if c.effect(r) {
				t.Errorf("%s: what %s=%s does is there before", topic, c.key, c.value)
				break
			}
		}
		r.alter(c.key, c.value)
		for deadline := time.Now().Add(10 * time.Second); !c.effect(r); {
			if time.Now().After(deadline) {
				t.Errorf("%s: %s=%s has no effect", topic, c.key, c.value)
				break
			}
		}
	}
	for _, key := range config.TopicKeys() {
		if seen[key.Name] == (elsewhere[key.Name] != "") {
			t.Errorf("%s is not shown, or twice", key.Name)
		}
	}
}
