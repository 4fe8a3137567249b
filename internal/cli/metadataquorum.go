package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

var eitherOptions = []opt.Option{
	{Name: "bootstrap-server", Kind: opt.Value, Arg: "host:port,...", Doc: "The brokers to connect to first."},
	{Name: "bootstrap-controller", Kind: opt.Value, Arg: "host:port,...", Doc: "The controllers to connect to first."},
	{Name: "command-config", Kind: opt.Value, Arg: "file", Doc: "A property file with settings for the admin client."},
}

var quorumCommands = opt.Commands{
	Program: "kafka-metadata-quorum", Doc: "Describes the metadata quorum, and changes who votes in it.",
	Global: opt.Table{Options: eitherOptions},
	OneOf:  []string{"bootstrap-server", "bootstrap-controller"}, OneRequired: true,
	List: []opt.Command{{Name: "describe", Doc: "Describe the metadata quorum.", Table: opt.Table{Options: []opt.Option{
		{Name: "status", Doc: "Print a summary of the quorum."},
		{Name: "replication", Doc: "Print how far each replica of the metadata log is."},
		{Name: "human-readable", Doc: "With --replication, print times as ages."},
	}}}, addController, removeController},
}

func metadataQuorum(ctx context.Context, env *Env) int {
	p, err := quorumCommands.Parse(env.Args)
	if err != nil {
		fmt.Fprintf(env.Err, "%s%s: error: %v\n", quorumCommands.Usage(), quorumCommands.Program, err)
		return 1
	}
	if p.Help != "" {
		fmt.Fprint(env.Out, p.Help)
		return 0
	}
	do := describeQuorum
	switch p.Command {
	case addController.Name:
		do = addVoter
	case removeController.Name:
		do = removeVoter
	}
	if err := do(ctx, env, p); err != nil {
		fmt.Fprintln(env.Err, exception(err))
		return 1
	}
	return 0
}

func describeQuorum(ctx context.Context, env *Env, p *opt.Chosen) error {
	c, err := quorumAdmin(p)
	if err != nil {
		return err
	}
	defer c.Close()
	v := p.Values
	switch {
	case v.Has("status") && v.Has("replication"):
		return errors.New("Only one of --status or --replication should be specified with describe sub-command")
	case !v.Has("status") && !v.Has("replication"):
		return errors.New("One of --status or --replication must be specified with describe sub-command")
	case v.Has("status") && v.Has("human-readable"):
		return errors.New("The option --human-readable is only supported along with --replication")
	}
	ctx, cancel := within(ctx)
	defer cancel()
	if err := c.await(ctx); err != nil {
		return err
	}
	q, err := fetchQuorum(ctx, c)
	if err != nil {
		return err
	}
	if v.Has("status") {
		n, err := c.describe(ctx)
		if err != nil {
			return err
		}
		fmt.Fprint(env.Out, q.status(n.clusterID))
		return nil
	}
	rows, err := q.replication(v.Has("human-readable"), time.Now().UnixMilli())
	if err != nil {
		return err
	}
	printTable(env.Out, []string{"NodeId", "DirectoryId", "LogEndOffset", "Lag", "LastFetchTimestamp", "LastCaughtUpTimestamp", "Status"}, rows)
	return nil
}

type replicaState = kmsg.DescribeQuorumResponseTopicPartitionReplicaState

// quorumState is the answer to DescribeQuorum with its leader found.
type quorumState struct {
	kmsg.DescribeQuorumResponseTopicPartition
	nodes  []kmsg.DescribeQuorumResponseNode
	leader replicaState
}

func fetchQuorum(ctx context.Context, c *cluster) (*quorumState, error) {
	req := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = "__cluster_metadata"
	topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := withMessage(resp.ErrorCode, resp.ErrorMessage); err != nil {
		return nil, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, fmt.Errorf("DescribeQuorum answered with %d topics; the metadata log is one with one partition", len(resp.Topics))
	}
	q := &quorumState{DescribeQuorumResponseTopicPartition: resp.Topics[0].Partitions[0], nodes: resp.Nodes}
	if err := withMessage(q.ErrorCode, q.ErrorMessage); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(q.CurrentVoters, func(r replicaState) bool { return r.ReplicaID == q.LeaderID })
	if i < 0 {
		return nil, errors.New("No value present")
	}
	q.leader = q.CurrentVoters[i]
	return q, nil
}

func (q *quorumState) status(clusterID string) string {
	last := slices.MinFunc(q.CurrentVoters, func(a, b replicaState) int {
		return int(min(max(a.LogEndOffset-b.LogEndOffset, -1), 1))
	})
	lagMs := int64(-1)
	switch {
	case last.ReplicaID == q.LeaderID:
		lagMs = 0
	case last.LastCaughtUpTimestamp >= 0 && q.leader.LastCaughtUpTimestamp >= 0:
		lagMs = q.leader.LastCaughtUpTimestamp - last.LastCaughtUpTimestamp
	}
	var b strings.Builder
	for _, line := range []struct {
		name  string
		value any
	}{
		{"ClusterId:", clusterID}, {"LeaderId:", q.LeaderID}, {"LeaderEpoch:", q.LeaderEpoch}, {"HighWatermark:", q.HighWatermark},
		{"MaxFollowerLag:", q.leader.LogEndOffset - last.LogEndOffset}, {"MaxFollowerLagTimeMs:", lagMs},
		{"CurrentVoters:", q.list(q.CurrentVoters)}, {"CurrentObservers:", q.list(q.Observers)},
	} {
		fmt.Fprintf(&b, "%-24s%v\n", line.name, line.value)
	}
	return b.String()
}

// list prints replicas with their directory and endpoints, where these are known.
func (q *quorumState) list(replicas []replicaState) string {
	texts := make([]string, len(replicas))
	for i, r := range replicas {
		text := fmt.Sprintf(`{"id": %d`, r.ReplicaID)
		if id := kafka.UUID(r.ReplicaDirectoryID); !id.IsZero() {
			text += fmt.Sprintf(`, "directoryId": "%s"`, id)
		}
		var endpoints []string
		for _, n := range q.nodes {
			if n.NodeID != r.ReplicaID {
				continue
			}
			for _, l := range n.Listeners {
				endpoints = append(endpoints, `"`+l.Name+"://"+net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port)))+`"`)
			}
		}
		if len(endpoints) > 0 {
			text += `, "endpoints": [` + strings.Join(endpoints, ", ") + "]"
		}
		texts[i] = text + "}"
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// replication is a row a replica: the leader, other voters, observers.
func (q *quorumState) replication(ages bool, nowMs int64) ([][]string, error) {
	var failed error
	stamp := func(ms int64, what string) string {
		switch {
		case ms < 0:
			return "-1"
		case !ages:
			return strconv.FormatInt(ms, 10)
		case ms == 0 || ms > nowMs:
			failed = fmt.Errorf("Error while computing relative time, possible drift in system clock.\nCurrent timestamp is %d, %s timestamp is %d", nowMs, what, ms)
		}
		return fmt.Sprintf("%d ms ago", nowMs-ms)
	}
	var rows [][]string
	add := func(r replicaState, status string) {
		rows = append(rows, []string{
			strconv.Itoa(int(r.ReplicaID)), kafka.UUID(r.ReplicaDirectoryID).String(), strconv.FormatInt(r.LogEndOffset, 10),
			strconv.FormatInt(q.leader.LogEndOffset-r.LogEndOffset, 10),
			stamp(r.LastFetchTimestamp, "last fetch"), stamp(r.LastCaughtUpTimestamp, "last caught up"), status,
		})
	}
	add(q.leader, "Leader")
	for _, r := range q.CurrentVoters {
		if r.ReplicaID != q.LeaderID {
			add(r, "Follower")
		}
	}
	for _, r := range q.Observers {
		add(r, "Observer")
	}
	return rows, failed
}

// printTable prints columns of even width, each with a tab behind it.
func printTable(w io.Writer, head []string, rows [][]string) {
	width := make([]int, len(head))
	all := append([][]string{head}, rows...)
	for _, row := range all {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range all {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)) + "\t")
		}
		fmt.Fprintln(w, b.String())
	}
}
