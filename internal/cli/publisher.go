package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

// publisher is a console producer at work. Its fields but first and those that mu guards
// belong to the goroutine that publishes.
type publisher struct {
	c     *cluster
	topic string
	known bool // the cluster has said that the topic has partitions
	// maxBlock is how long a record may wait until the topic is known.
	maxBlock time.Duration
	oneByOne bool // each record is waited for
	send     *sender
	first    firstFailure // of records that are waited for
	env      *Env
	mu       sync.Mutex // guards env.Err, to which the sender's goroutine logs
}

func publishConsole(ctx context.Context, env *Env, v *opt.Values, reader *lineReader, props map[string]string) error {
	maxBlock, err := strconv.ParseInt(strings.TrimSpace(props["max.block.ms"]), 10, 64)
	if err != nil || maxBlock < 0 {
		return fmt.Errorf("Invalid value %s for configuration max.block.ms: it must be a number, not negative", props["max.block.ms"])
	}
	opts, err := producerOptions(props)
	if err != nil {
		return err
	}
	opts = append(append(deliveryOptions(), opts...), kgo.DefaultProduceTopic(v.Get("topic")), kgo.ClientID(orDefault(props["client.id"], "console-producer")))
	c, err := connect(v.Get("bootstrap-server"), props, opts...)
	if err != nil {
		return err
	}
	defer c.Close()
	p := &publisher{c: c, topic: v.Get("topic"), maxBlock: time.Duration(min(maxBlock, math.MaxInt32)) * time.Millisecond, oneByOne: v.Has("sync"), env: env}
	p.send = &sender{c: c, failed: p.log}
	if p.oneByOne {
		p.send.failed = p.first.note
	}
	// ctx ends the reading; what was read is still delivered.
	work, cancel := lasting(ctx, leavePatience)
	defer cancel()
	err = eachLine(ctx, env.In, p.prompt, func(line []byte) error {
		r, err := reader.record(bytes.TrimSuffix(line, []byte("\r")))
		if err != nil {
			return err
		}
		return p.publish(work, r)
	})
	p.send.finish(work)
	return err
}

func (p *publisher) prompt() {
	if p.env.Terminal {
		fmt.Fprint(p.env.Out, ">")
	}
}

// publish sends a record. As with Kafka's tool a record that is not delivered is an error
// of the tool when each is waited for, and is only logged otherwise.
func (p *publisher) publish(ctx context.Context, r *kgo.Record) error {
	if !p.known {
		err := p.c.awaitTopic(ctx, p.topic, p.maxBlock)
		switch {
		case err != nil && p.oneByOne:
			return err
		case err != nil:
			p.log(r, err)
			return nil
		}
		p.known = true
	}
	p.send.send(ctx, r)
	if !p.oneByOne {
		return nil
	}
	p.send.finish(ctx)
	return p.first.get()
}

// log prints what Kafka's ErrorLoggingCallback does for a record that is not delivered.
func (p *publisher) log(r *kgo.Record, err error) {
	size := func(b []byte) string {
		if b == nil {
			return "null"
		}
		return strconv.Itoa(len(b)) + " bytes"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	logTo(p.env, "org.apache.kafka.clients.producer.internals.ErrorLoggingCallback").
		Error("Error when sending message to topic " + p.topic + " with key: " + size(r.Key) + ", value: " + size(r.Value) + " with error:")
	fmt.Fprintln(p.env.Err, exception(err))
}

// topicRetryWait is the pause before a cluster that does not know a topic is asked again.
const topicRetryWait = 100 * time.Millisecond

// awaitTopic waits until the cluster says that a topic has partitions, which it may make
// for it. A topic that can never be had is an error at once.
func (c *cluster) awaitTopic(ctx context.Context, topic string, limit time.Duration) error {
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := c.askForTopic(waiting, topic)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return errForced
		case waiting.Err() != nil:
			return messageOr(kerr.RequestTimedOut, fmt.Sprintf("Topic %s not present in metadata after %d ms.", topic, limit.Milliseconds()))
		case errors.As(err, new(*kerr.Error)) && !kerr.IsRetriable(err):
			return err
		}
		select {
		case <-waiting.Done():
		case <-time.After(topicRetryWait):
		}
	}
}

func (c *cluster) askForTopic(ctx context.Context, topic string) error {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = true
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, c.Client)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil || len(t.Partitions) > 0 {
			return err
		}
	}
	return kerr.UnknownTopicOrPartition
}
