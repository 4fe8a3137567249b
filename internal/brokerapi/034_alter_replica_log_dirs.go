package brokerapi

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/server"
)

// alterReplicaLogDirs is API key 34, versions 0 to 2: replicas of this broker are to move
// into other log directories (KIP-113). The answer says whether the moves have begun;
// DescribeLogDirs shows how far they are.
func (a *API) alterReplicaLogDirs(r *server.Request) {
	var req kmsg.AlterReplicaLogDirsRequest
	if err := r.Decode(&req); err != nil {
		r.CloseConn(fmt.Errorf("AlterReplicaLogDirs v%d: %w", r.Header.Version, err))
		return
	}
	// Folders are made, and images wait for it.
	r.WillBlock()
	resp := kmsg.AlterReplicaLogDirsResponse{Version: req.Version}
	at := map[string]int{}
	for _, d := range req.Dirs {
		for _, t := range d.Topics {
			i, ok := at[t.Topic]
			if !ok {
				i = len(resp.Topics)
				at[t.Topic] = i
				row := kmsg.NewAlterReplicaLogDirsResponseTopic()
				row.Topic = t.Topic
				resp.Topics = append(resp.Topics, row)
			}
			for _, n := range t.Partitions {
				part := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
				part.Partition = n
				if err := a.Replicas.AlterLogDir(kafka.TopicPartition{Topic: t.Topic, Partition: n}, d.Dir); err != nil {
					a.Log.Warn("cannot move a replica to another log directory", "topic", t.Topic, "partition", n, "dir", d.Dir, "error", err)
					part.ErrorCode = kafka.NumOf(err)
				}
				resp.Topics[i].Partitions = append(resp.Topics[i].Partitions, part)
			}
		}
	}
	r.Reply(&resp)
}
