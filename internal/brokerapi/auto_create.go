package brokerapi

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
)

// maxCreating bounds the topics whose automatic creation is under way.
const maxCreating = 1000

// autoCreate asks the controller to create the topics behind the rows at the
// given places on behalf of somebody, as far as their names are valid and nobody is at it
// already. It does not wait: clients see UNKNOWN_TOPIC_OR_PARTITION and ask again.
func (a *API) autoCreate(who onBehalf, rows []kmsg.MetadataResponseTopic, places []int) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = req.MaxVersion()
	cfg := a.Config()
	req.TimeoutMillis = int32(cfg.RequestTimeoutMs)
	a.admin.mu.Lock()
	for _, i := range places {
		name := *rows[i].Topic
		if rows[i].ErrorCode != kafka.UnknownTopicOrPartition.Num() || a.admin.creating[name] || len(a.admin.creating) >= maxCreating {
			continue
		}
		if a.admin.creating == nil {
			a.admin.creating = map[string]bool{}
		}
		a.admin.creating[name] = true
		req.Topics = append(req.Topics, creatable(cfg, name))
	}
	a.admin.mu.Unlock()
	if len(req.Topics) == 0 {
		return
	}
	a.init()
	a.data.wg.Add(1)
	go func() {
		defer a.data.wg.Done()
		a.finishAutoCreate(req, who)
	}()
}

// finishAutoCreate waits for the controller and forgets the topics. It is the one
// goroutine of an automatic creation; Close waits for it.
func (a *API) finishAutoCreate(req *kmsg.CreateTopicsRequest, who onBehalf) {
	resp := a.ask(who, req, req.TimeoutMillis, func() bool { return a.data.ctx.Err() == nil })
	for _, t := range resp.(*kmsg.CreateTopicsResponse).Topics {
		if t.ErrorCode == 0 || t.ErrorCode == kafka.TopicAlreadyExists.Num() {
			continue
		}
		text := ""
		if t.ErrorMessage != nil {
			text = *t.ErrorMessage
		}
		a.Log.Warn("could not create topic automatically", "topic", t.Topic, "error", kafka.CodeForNum(t.ErrorCode).Name(), "message", text)
	}
	a.admin.mu.Lock()
	defer a.admin.mu.Unlock()
	for _, t := range req.Topics {
		delete(a.admin.creating, t.Topic)
	}
}

// creatable is the request for one topic: the coordinators' topics have settings
// of their own, for others the controller's defaults count unless this broker was
// given some.
func creatable(cfg *config.Broker, name string) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, -1, -1
	set := func(partitions int, replicas int16, configs ...string) {
		t.NumPartitions, t.ReplicationFactor = int32(partitions), replicas
		for i := 0; i < len(configs); i += 2 {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = configs[i], &configs[i+1]
			t.Configs = append(t.Configs, c)
		}
	}
	switch name {
	case kafka.OffsetsTopic:
		set(cfg.OffsetsTopicNumPartitions, cfg.OffsetsTopicReplicationFactor,
			"cleanup.policy", "compact",
			"compression.type", "producer",
			"segment.bytes", strconv.Itoa(cfg.OffsetsTopicSegmentBytes))
	case kafka.TransactionTopic:
		set(cfg.TransactionStateLogNumPartitions, cfg.TransactionStateLogReplicationFactor,
			"cleanup.policy", "compact",
			"compression.type", "uncompressed",
			"min.insync.replicas", strconv.Itoa(cfg.TransactionStateLogMinISR),
			"segment.bytes", strconv.Itoa(cfg.TransactionStateLogSegmentBytes),
			"unclean.leader.election.enable", "false")
	case kafka.ShareStateTopic:
		set(cfg.ShareCoordinatorStateTopicNumPartitions, cfg.ShareCoordinatorStateTopicReplicationFactor,
			"cleanup.policy", "delete",
			"compression.type", "producer",
			"min.insync.replicas", strconv.Itoa(int(cfg.ShareCoordinatorStateTopicMinISR)),
			"retention.ms", "-1",
			"segment.bytes", strconv.Itoa(cfg.ShareCoordinatorStateTopicSegmentBytes))
	default:
		if _, given := cfg.Given("num.partitions"); given {
			t.NumPartitions = int32(cfg.NumPartitions)
		}
		if _, given := cfg.Given("default.replication.factor"); given {
			t.ReplicationFactor = int16(cfg.DefaultReplicationFactor)
		}
	}
	return t
}
