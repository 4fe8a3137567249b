package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

var logDirsTable = opt.Table{Options: append([]opt.Option{
	bootstrapServerOption, commandConfigOption,
	{Name: "describe", Doc: "Describe the log directories of brokers."},
	{Name: "topic-list", Kind: opt.Value, Arg: "Topic list", Doc: `The topics, in the form "topic1,topic2,topic3"; all without it.`},
	{Name: "broker-list", Kind: opt.Value, Arg: "Broker list", Doc: `The brokers, in the form "0,1,2"; all of the cluster without it.`},
}, helpOptions...)}

func logDirs(ctx context.Context, env *Env) int {
	v, code, done := parse(env, &logDirsTable, "This tool helps to query log directory usage on the specified brokers.")
	if done {
		return code
	}
	if err := v.Require("bootstrap-server", "describe"); err != nil {
		return wrongUsage(env, &logDirsTable, err)
	}
	return withCluster(ctx, env, v, whenUp(describeLogDirs))
}

// The JSON of kafka-log-dirs; the order of the fields is that of Kafka's tool.
type (
	logDirsReport struct {
		Brokers []brokerLogDirs `json:"brokers"`
		Version int             `json:"version"`
	}
	brokerLogDirs struct {
		Broker  int32         `json:"broker"`
		LogDirs []reportedDir `json:"logDirs"`
	}
	reportedDir struct {
		Partitions []reportedReplica `json:"partitions"`
		Error      *string           `json:"error"`
		LogDir     string            `json:"logDir"`
	}
	reportedReplica struct {
		Partition string `json:"partition"`
		Size      int64  `json:"size"`
		OffsetLag int64  `json:"offsetLag"`
		IsFuture  bool   `json:"isFuture"`
	}
)

func describeLogDirs(ctx context.Context, env *Env, c *cluster, v *opt.Values) error {
	topics := commaSeparated(v.Get("topic-list"))
	n, err := c.describe(ctx)
	if err != nil {
		return err
	}
	asked := n.ids()
	if list := commaSeparated(v.Get("broker-list")); len(list) > 0 {
		asked = nil
		var missing []int32
		for _, text := range list {
			id, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				return fmt.Errorf("For input string: \"%s\"", text)
			}
			if !n.has(int32(id)) {
				missing = append(missing, int32(id))
			}
			asked = append(asked, int32(id))
		}
		if len(missing) > 0 {
			return fmt.Errorf("ERROR: The given brokers do not exist from --broker-list: %s. Current existent brokers: %s", joinIDs(missing), joinIDs(n.ids()))
		}
		slices.Sort(asked)
		asked = slices.Compact(asked)
	}
	fmt.Fprintln(env.Out, "Querying brokers for log directories information")
	report := logDirsReport{Brokers: []brokerLogDirs{}, Version: 1}
	for _, id := range asked {
		dirs, err := brokerDirs(ctx, c, id, topics)
		if err != nil {
			return err
		}
		report.Brokers = append(report.Brokers, brokerLogDirs{Broker: id, LogDirs: dirs})
	}
	fmt.Fprintf(env.Out, "Received log directory information from brokers %s\n", joinIDs(asked))
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(report); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	_, err = env.Out.Write(line.Bytes())
	return err
}

func joinIDs(ids []int32) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.Itoa(int(id))
	}
	return strings.Join(texts, ",")
}

// brokerDirs describes the directories of one broker, with the partitions of the
// given topics, or of all when there are none.
func brokerDirs(ctx context.Context, c *cluster, id int32, topics []string) ([]reportedDir, error) {
	answer, err := c.askNode(ctx, id, kmsg.NewPtrDescribeLogDirsRequest())
	if err != nil {
		return nil, err
	}
	resp := answer.(*kmsg.DescribeLogDirsResponse)
	if len(resp.Dirs) == 0 {
		if err := withMessage(resp.ErrorCode, nil); err != nil {
			return nil, err
		}
	}
	dirs := []reportedDir{}
	for _, d := range resp.Dirs {
		r := reportedDir{Partitions: []reportedReplica{}, LogDir: d.Dir}
		if d.ErrorCode != 0 {
			name := exceptionName(d.ErrorCode)
			r.Error = &name
		}
		for _, t := range d.Topics {
			if len(topics) > 0 && !slices.Contains(topics, t.Topic) {
				continue
			}
			for _, p := range t.Partitions {
				tp := kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}
				r.Partitions = append(r.Partitions, reportedReplica{Partition: tp.String(), Size: p.Size, OffsetLag: p.OffsetLag, IsFuture: p.IsFuture})
			}
		}
		slices.SortFunc(r.Partitions, func(a, b reportedReplica) int { return cmp.Compare(a.Partition, b.Partition) })
		dirs = append(dirs, r)
	}
	slices.SortFunc(dirs, func(a, b reportedDir) int { return cmp.Compare(a.LogDir, b.LogDir) })
	return dirs, nil
}
