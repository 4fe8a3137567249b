package brokerapi

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/server"
)

// describeLogDirs is API key 35, versions 0 to 5: what lies in each log directory, and
// how much room its file system has (KIP-113, KIP-827). Version 5 tells cordoned
// directories (KIP-1066).
func (a *API) describeLogDirs(r *server.Request) {
	var req kmsg.DescribeLogDirsRequest
	if err := r.Decode(&req); err != nil {
		r.CloseConn(fmt.Errorf("DescribeLogDirs v%d: %w", r.Header.Version, err))
		return
	}
	var wanted map[kafka.TopicPartition]bool // nil for all
	if req.Topics != nil {
		wanted = map[kafka.TopicPartition]bool{}
		for i := range req.Topics {
			for _, n := range req.Topics[i].Partitions {
				wanted[kafka.TopicPartition{Topic: req.Topics[i].Topic, Partition: n}] = true
			}
		}
	}
	byDir := map[string][]*log.Log{}
	logs := a.Replicas.Logs()
	for _, l := range append(logs.Logs(), logs.Futures()...) {
		if wanted == nil || wanted[l.TopicPartition()] {
			dir, _ := l.Dir()
			byDir[dir] = append(byDir[dir], l)
		}
	}
	resp := kmsg.DescribeLogDirsResponse{Version: req.Version}
	for _, d := range logs.Dirs() {
		resp.Dirs = append(resp.Dirs, a.describeLogDir(d, byDir[d.Path]))
	}
	r.Reply(&resp)
}

func (a *API) describeLogDir(d log.DirInfo, logs []*log.Log) kmsg.DescribeLogDirsResponseDir {
	out := kmsg.NewDescribeLogDirsResponseDir()
	out.Dir = d.Path
	out.TotalBytes, out.UsableBytes = -1, -1
	if d.Offline != nil {
		out.ErrorCode = kafka.KafkaStorageError.Num()
		return out
	}
	space, err := a.FS.Space(d.Path)
	if err != nil {
		a.Log.Warn("cannot describe log directory", "dir", d.Path, "error", err)
		out.ErrorCode = kafka.KafkaStorageError.Num()
		return out
	}
	out.TotalBytes, out.UsableBytes = space.Total, space.Usable
	out.IsCordoned = a.Replicas.Logs().Cordoned(d.Path)
	slices.SortFunc(logs, func(x, y *log.Log) int {
		a, b := x.TopicPartition(), y.TopicPartition()
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return int(a.Partition) - int(b.Partition)
	})
	for _, l := range logs {
		tp := l.TopicPartition()
		if n := len(out.Topics); n == 0 || out.Topics[n-1].Topic != tp.Topic {
			t := kmsg.NewDescribeLogDirsResponseDirTopic()
			t.Topic = tp.Topic
			out.Topics = append(out.Topics, t)
		}
		t := &out.Topics[len(out.Topics)-1]
		p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		p.Partition, p.Size = tp.Partition, l.Size()
		p.IsFuture, p.OffsetLag = l.IsFuture(), a.offsetLag(l)
		t.Partitions = append(t.Partitions, p)
	}
	return out
}

// offsetLag is by how much a future log is behind the current one, -1 when that is not
// known; a current log is behind its high watermark if it lacks committed records.
func (a *API) offsetLag(l *log.Log) int64 {
	if !l.IsFuture() {
		return max(0, l.HighWatermark()-l.LogEndOffset())
	}
	current := a.Replicas.Logs().Get(l.TopicPartition())
	if current == nil {
		return -1
	}
	return current.LogEndOffset() - l.LogEndOffset()
}
