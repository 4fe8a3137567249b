package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

var deleteRecordsTable = opt.Table{Options: append([]opt.Option{
	bootstrapServerOption, commandConfigOption,
	{Name: "offset-json-file", Kind: opt.Value, Arg: "Offset json file path", Doc: `REQUIRED: A file that gives an offset a partition: {"partitions": [{"topic": "foo", "partition": 1, "offset": 1}], "version": 1}. Records before it are deleted.`},
}, helpOptions...)}

func deleteRecords(ctx context.Context, env *Env) int {
	v, code, done := parse(env, &deleteRecordsTable, "This tool helps to delete records of the given partitions down to the specified offset.")
	if done {
		return code
	}
	if err := v.Require("bootstrap-server", "offset-json-file"); err != nil {
		return wrongUsage(env, &deleteRecordsTable, err)
	}
	return withCluster(ctx, env, v, whenUp(deleteRecordsBefore))
}

// partitionOffset is a partition with the offset up to which records go.
type partitionOffset struct {
	kafka.TopicPartition
	offset int64
}

func deleteRecordsBefore(ctx context.Context, env *Env, c *cluster, v *opt.Values) error {
	path := v.Get("offset-json-file")
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("Unable to read file %s\n%w", path, err)
	}
	wanted, err := parseOffsetsFile(text)
	if err != nil {
		return err
	}
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 30000
	for i, w := range wanted {
		if i == 0 || wanted[i-1].Topic != w.Topic {
			t := kmsg.NewDeleteRecordsRequestTopic()
			t.Topic = w.Topic
			req.Topics = append(req.Topics, t)
		}
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, kmsg.DeleteRecordsRequestTopicPartition{Partition: w.Partition, Offset: w.offset})
	}
	fmt.Fprintln(env.Out, "Executing records delete operation")
	type answer struct {
		lowWatermark int64
		err          error
	}
	answers := map[kafka.TopicPartition]answer{}
	if len(wanted) > 0 {
		for _, shard := range c.RequestSharded(ctx, req) {
			if shard.Err != nil {
				for _, t := range shard.Req.(*kmsg.DeleteRecordsRequest).Topics {
					for _, p := range t.Partitions {
						answers[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = answer{err: shard.Err}
					}
				}
				continue
			}
			for _, t := range shard.Resp.(*kmsg.DeleteRecordsResponse).Topics {
				for _, p := range t.Partitions {
					answers[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = answer{p.LowWatermark, withMessage(p.ErrorCode, nil)}
				}
			}
		}
	}
	fmt.Fprintln(env.Out, "Records delete operation completed:")
	for _, w := range wanted {
		a, ok := answers[w.TopicPartition]
		if !ok {
			a.err = errors.New("the broker did not answer for this partition")
		}
		if a.err != nil {
			fmt.Fprintf(env.Out, "partition: %s\terror: %s\n", w.TopicPartition, exception(a.err))
			continue
		}
		fmt.Fprintf(env.Out, "partition: %s\tlow_watermark: %d\n", w.TopicPartition, a.lowWatermark)
	}
	return nil
}

// parseOffsetsFile reads the --offset-json-file and returns its partitions in order.
func parseOffsetsFile(text []byte) ([]partitionOffset, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var root any
	if err := dec.Decode(&root); err != nil {
		return nil, errors.New("The input string is not a valid JSON")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("The input string is not a valid JSON")
	}
	object, err := jsonObject(root)
	if err != nil {
		return nil, err
	}
	if version, ok := object["version"]; ok {
		n, err := jsonInteger(version, "Integer", 32)
		if err != nil {
			return nil, err
		}
		if n != 1 {
			return nil, fmt.Errorf("Not supported version field value %d", n)
		}
	}
	list, ok := object["partitions"]
	if !ok {
		return nil, errors.New("Missing partitions field")
	}
	items, ok := list.([]any)
	if !ok {
		return nil, fmt.Errorf("Expected JSON array, received %s", jsonLine(list))
	}
	var out []partitionOffset
	for _, item := range items {
		p, err := parsePartitionOffset(item)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	slices.SortStableFunc(out, func(a, b partitionOffset) int {
		if d := strings.Compare(a.Topic, b.Topic); d != 0 {
			return d
		}
		return int(a.Partition) - int(b.Partition)
	})
	var twice []string
	for i := 1; i < len(out); i++ {
		if out[i].TopicPartition == out[i-1].TopicPartition && (i < 2 || out[i].TopicPartition != out[i-2].TopicPartition) {
			twice = append(twice, out[i].String())
		}
	}
	if len(twice) > 0 {
		return nil, fmt.Errorf("Offset json file contains duplicate topic partitions: %s", strings.Join(twice, ","))
	}
	return out, nil
}

func parsePartitionOffset(item any) (p partitionOffset, err error) {
	object, err := jsonObject(item)
	if err != nil {
		return p, err
	}
	for _, name := range []string{"topic", "partition", "offset"} {
		value, ok := object[name]
		if !ok {
			return p, fmt.Errorf("No such field exists: `%s`", name)
		}
		switch name {
		case "topic":
			if p.Topic, ok = value.(string); !ok {
				return p, fmt.Errorf("Expected `String` value, received %s", jsonLine(value))
			}
		case "partition":
			n, err := jsonInteger(value, "Integer", 32)
			if err != nil {
				return p, err
			}
			p.Partition = int32(n)
		case "offset":
			if p.offset, err = jsonInteger(value, "Long", 64); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

func jsonObject(value any) (map[string]any, error) {
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("Expected JSON object, received %s", jsonLine(value))
	}
	return object, nil
}

// jsonInteger returns a whole number of so many bits; what is its type's name.
func jsonInteger(value any, what string, bits int) (int64, error) {
	if number, ok := value.(json.Number); ok {
		if n, err := number.Int64(); err == nil && (bits == 64 || int64(int32(n)) == n) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("Expected `%s` value, received %s", what, jsonLine(value))
}

// jsonLine is a decoded value as text again.
func jsonLine(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}
