package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

var e2eLatencyTable = opt.Table{Options: append([]opt.Option{
	{Name: "bootstrap-server", Kind: opt.Value, Arg: "bootstrap-server", Doc: "REQUIRED: The brokers to connect to, in the form HOST1:PORT1,HOST2:PORT2."},
	{Name: "topic", Kind: opt.Value, Arg: "topic-name", Doc: "REQUIRED: The topic to use; it is created when it does not exist."},
	{Name: "num-records", Kind: opt.Value, Type: "Integer", Arg: "count", Doc: "REQUIRED: The number of messages to send."},
	{Name: "producer-acks", Kind: opt.Value, Arg: "producer-acks", Doc: "REQUIRED: The acknowledgements that a message needs: '1' or 'all'."},
	{Name: "record-size", Kind: opt.Value, Type: "Integer", Arg: "bytes", Doc: "REQUIRED: The size of a message's value."},
	{Name: "record-key-size", Kind: opt.Value, Optional: "0", Type: "Integer", Arg: "bytes", Default: "0", Doc: "The size of a message's key."},
	{Name: "record-header-key-size", Kind: opt.Value, Optional: "0", Type: "Integer", Arg: "bytes", Default: "0", Doc: "The size of the key of a header."},
	{Name: "record-header-size", Kind: opt.Value, Type: "Integer", Arg: "bytes", Default: "0", Doc: "The size of the value of a header; -1 is null."},
	{Name: "num-headers", Kind: opt.Value, Optional: "0", Type: "Integer", Arg: "count", Default: "0", Doc: "The number of headers of a message."},
	{Name: "command-config", Kind: opt.Value, Arg: "config-file", Doc: "A properties file with client settings."},
}, helpOptions...)}

// e2eTimeout is how long a message may take to come back.
const e2eTimeout = 60 * time.Second

func e2eLatency(ctx context.Context, env *Env) int {
	args, err := namedArguments(env)
	if err != nil {
		fmt.Fprintln(env.Err, err)
		return 1
	}
	named := *env
	named.Args = args
	v, code, done := parse(&named, &e2eLatencyTable, "This tool measures end-to-end latency in Kafka by sending messages and timing their reception.")
	if done {
		return code
	}
	r, err := newLatencyRun(env, v)
	if err == nil {
		err = r.run(ctx)
	}
	if ctx.Err() != nil {
		return signalCode(ctx)
	}
	if errors.Is(err, opt.ErrUsage) {
		return wrongUsage(env, &e2eLatencyTable, err)
	}
	if err != nil {
		fmt.Fprintln(env.Err, reason(err))
		return 1
	}
	return 0
}

// namedArguments gives the words of the tool's old form, which had no options,
// their names.
func namedArguments(env *Env) ([]string, error) {
	names := []string{"--bootstrap-server", "--topic", "--num-records", "--producer-acks", "--record-size", "--command-config"}
	for _, a := range env.Args {
		option, _, _ := strings.Cut(a, "=")
		if option == "--help" || option == "--version" {
			return env.Args, nil
		}
		for _, n := range names[:5] {
			if option == n {
				return env.Args, nil
			}
		}
	}
	if len(env.Args) == 0 {
		return nil, nil
	}
	if len(env.Args) != 5 && len(env.Args) != 6 {
		return nil, fmt.Errorf("Invalid number of arguments. Expected 5 or 6 positional arguments, but got %d. Usage: bootstrap-server topic num-records producer-acks record-size [optional] command-config", len(env.Args))
	}
	var args []string
	for i, a := range env.Args {
		args = append(args, names[i], a)
	}
	fmt.Fprintln(env.Out, "WARNING: Positional argument usage is deprecated and will be removed in Apache Kafka 5.0. Please use named arguments instead: "+strings.Join(names, ", "))
	return args, nil
}

// latencyRun is one measurement.
type latencyRun struct {
	env                        *Env
	v                          *opt.Values
	topic                      string
	records                    int
	valueSize, keySize         int
	headers                    int
	headerKeySize, headerValue int
	random                     *rand.Rand
}

func newLatencyRun(env *Env, v *opt.Values) (*latencyRun, error) {
	r := &latencyRun{env: env, v: v, topic: v.Get("topic"), random: rand.New(rand.NewPCG(0, 0))}
	if err := v.Require("bootstrap-server", "topic", "num-records", "producer-acks", "record-size"); err != nil {
		return nil, err
	}
	if a := v.Get("producer-acks"); a != "1" && a != "all" {
		return nil, opt.Usagef("Invalid value for --producer-acks. Latency testing requires synchronous acknowledgement. Please use '1' or 'all'.")
	}
	for _, n := range []struct {
		option string
		to     *int
		least  int64
		rule   string
	}{
		{"num-records", &r.records, 1, "a positive integer."},
		{"record-size", &r.valueSize, 0, "a non-negative integer."},
		{"record-key-size", &r.keySize, 0, "a non-negative integer."},
		{"record-header-key-size", &r.headerKeySize, 0, "a non-negative integer."},
		{"record-header-size", &r.headerValue, -1, "a non-negative integer or -1 for null header value."},
		{"num-headers", &r.headers, 0, "a non-negative integer."},
	} {
		got, err := perfNumber(v, n.option, 32)
		if err == nil && got < n.least {
			err = opt.Usagef("Value for --%s must be %s", n.option, n.rule)
		}
		if err != nil {
			return nil, err
		}
		*n.to = int(got)
	}
	return r, nil
}

func (r *latencyRun) run(ctx context.Context) error {
	props, err := readProperties(r.v.Get("command-config"))
	if err != nil {
		return err
	}
	acks, err := ackOptions(r.v.Get("producer-acks"))
	if err != nil {
		return err
	}
	bootstrap := r.v.Get("bootstrap-server")
	producer, err := connect(bootstrap, props, append(acks, kgo.DefaultProduceTopic(r.topic), kgo.ProducerLinger(0), kgo.MetadataMinAge(100*time.Millisecond), kgo.RecordDeliveryTimeout(2*requestTimeout))...)
	if err != nil {
		return err
	}
	defer producer.Close()
	consumer, err := connect(bootstrap, props, kgo.FetchMaxWait(500*time.Millisecond))
	if err != nil {
		return err
	}
	defer consumer.Close()
	if err := r.begin(ctx, consumer); err != nil {
		return err
	}
	return r.measure(ctx, producer, consumer)
}

// begin makes the topic if need be and sets the consumer to the ends of its
// partitions.
func (r *latencyRun) begin(ctx context.Context, consumer *cluster) error {
	ctx, cancel := within(ctx)
	defer cancel()
	all, err := consumer.Admin.ListTopicsWithInternal(ctx)
	if err != nil {
		return err
	}
	if !all.Has(r.topic) {
		fmt.Fprintf(r.env.Out, "Topic \"%s\" does not exist. Will create topic with 1 partition(s) and replication factor = 1\n", r.topic)
		resp, err := consumer.Admin.CreateTopic(ctx, 1, 1, nil, r.topic)
		if err != nil {
			fmt.Fprintf(r.env.Out, "Creation of topic %s failed\n", r.topic)
			return messageOr(err, resp.ErrMessage)
		}
	}
	ends, err := r.ends(ctx, consumer.Admin)
	if err != nil {
		return err
	}
	from := map[int32]kgo.Offset{}
	for p, at := range ends {
		from[p] = kgo.NewOffset().At(at)
	}
	consumer.AddConsumePartitions(map[string]map[int32]kgo.Offset{r.topic: from})
	return nil
}

// ends are the end offsets of the topic's partitions. A topic that was only just
// made may have no leader yet.
func (r *latencyRun) ends(ctx context.Context, admin *kadm.Client) (map[int32]int64, error) {
	for {
		ends, err := offsetsOf(admin.ListEndOffsets(ctx, r.topic))
		if err == nil || !kerr.IsRetriable(err) {
			return ends, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// letters is a field of one letter, repeated.
func (r *latencyRun) letters(n int) []byte {
	return bytes.Repeat([]byte{byte('A' + r.random.IntN(26))}, n)
}

func (r *latencyRun) next() *kgo.Record {
	rec := &kgo.Record{Key: r.letters(r.keySize), Value: r.letters(r.valueSize)}
	for range r.headers {
		h := kgo.RecordHeader{Key: string(r.letters(r.headerKeySize))}
		if r.headerValue >= 0 {
			h.Value = r.letters(r.headerValue)
		}
		rec.Headers = append(rec.Headers, h)
	}
	return rec
}

func (r *latencyRun) measure(ctx context.Context, producer, consumer *cluster) error {
	var total time.Duration
	latencies := make([]int64, 0, min(r.records, 1<<20))
	for i := range r.records {
		sent := r.next()
		begin := time.Now()
		if err := producer.ProduceSync(ctx, sent).FirstErr(); err != nil {
			return err
		}
		got, err := receive(ctx, consumer)
		if err != nil {
			return err
		}
		elapsed := time.Since(begin)
		if err := checkReceived(sent, got); err != nil {
			return err
		}
		if i%1000 == 0 {
			fmt.Fprintf(r.env.Out, "%d\t%s\n", i, javaDouble(float64(elapsed.Nanoseconds())/1000/1000))
		}
		total += elapsed
		latencies = append(latencies, elapsed.Milliseconds())
	}
	fmt.Fprintf(r.env.Out, "Avg latency: %s ms\n", javaFixed(float64(total.Nanoseconds())/float64(r.records)/1000/1000, 4))
	p := percentiles(latencies, 0.5, 0.99, 0.999)
	fmt.Fprintf(r.env.Out, "Percentiles: 50th = %d, 99th = %d, 99.9th = %d\n", p[0], p[1], p[2])
	return nil
}

// receive waits for records; none when the time is over.
func receive(ctx context.Context, consumer *cluster) ([]*kgo.Record, error) {
	poll, cancel := context.WithTimeout(ctx, e2eTimeout)
	defer cancel()
	for {
		fetches := consumer.PollFetches(poll)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if records := fetches.Records(); len(records) > 0 || poll.Err() != nil {
			return records, nil
		}
		if err := fetchError(fetches); err != nil {
			return nil, err
		}
	}
}

func checkReceived(sent *kgo.Record, got []*kgo.Record) error {
	if len(got) == 0 {
		return fmt.Errorf("poll() timed out before finding a result (timeout:[%dms])", e2eTimeout.Milliseconds())
	}
	rec := got[0]
	switch {
	case !bytes.Equal(rec.Value, sent.Value):
		return fmt.Errorf("The message value read [%s] did not match the message value sent [%s]", rec.Value, sent.Value)
	case rec.Key == nil:
		return errors.New("Expected message key but received null")
	case !bytes.Equal(rec.Key, sent.Key):
		return fmt.Errorf("The message key read [%s] did not match the message key sent [%s]", rec.Key, sent.Key)
	case len(sent.Headers) > 0 && len(rec.Headers) == 0:
		return errors.New("Expected message headers but received none")
	}
	for i := range min(len(sent.Headers), len(rec.Headers)) {
		s, g := sent.Headers[i], rec.Headers[i]
		if s.Key != g.Key || !bytes.Equal(s.Value, g.Value) || (s.Value == nil) != (g.Value == nil) {
			return fmt.Errorf("The message header read [%s:%s] did not match the message header sent [%s:%s]", g.Key, javaBytes(g.Value), s.Key, javaBytes(s.Value))
		}
	}
	if len(sent.Headers) > 0 && len(sent.Headers) != len(rec.Headers) {
		return errors.New("Header count mismatch between sent and received messages")
	}
	if len(got) != 1 {
		return fmt.Errorf("Only one result was expected during this test. We found [%d]", len(got))
	}
	return nil
}

// javaBytes prints bytes as Java prints an array of them.
func javaBytes(b []byte) string {
	if b == nil {
		return "null"
	}
	numbers := make([]string, len(b))
	for i, c := range b {
		numbers[i] = fmt.Sprint(int8(c))
	}
	return "[" + strings.Join(numbers, ", ") + "]"
}
