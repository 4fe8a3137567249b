package controller

import (
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/features"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// request builds the request of one script command.
func (w *world) request(command string, a args) kmsg.Request {
	switch command {
	case "create": // NAME [partitions=] [rf=] [assign=1,2/2,3] [configs=k:v;k:v] ..., topics separated by "+"
		return w.createRequest(a)
	case "delete": // names, or id=NAME for the id of a topic; version=3 takes names only
		return w.deleteRequest(a)
	case "grow": // TOPIC count= [assign=1,2/2,3] [validate]
		return w.growRequest(a)
	case "alter", "incremental": // TYPE:NAME ops like set:k=v delete:k append:k=v subtract:k=v
		return w.configRequest(command, a)
	case "features": // name=level [safe|unsafe] [validate]
		return w.featureRequest(a)
	case "reassign": // TOPIC INDEXES [to=1,2/2,3] [samefactor]; without a goal it reverts
		return w.reassignRequest(a)
	case "reassignments": // [TOPIC INDEXES]
		req := kmsg.NewPtrListPartitionReassignmentsRequest()
		if len(a.words) > 0 {
			req.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: a.words[0], Partitions: ints(a.words[1])}}
		}
		return req
	case "elect": // preferred|unclean TOPIC INDEX
		req := kmsg.NewPtrElectLeadersRequest()
		req.SetVersion(2)
		if a.has("unclean") {
			req.ElectionType = 1
		}
		if len(a.words) > 1 {
			req.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: a.words[1], Partitions: ints(a.words[2])}}
		}
		return req
	}
	return w.brokerRequest(command, a)
}

// brokerRequest builds what brokers and controllers ask.
func (w *world) brokerRequest(command string, a args) kmsg.Request {
	id := int32(0)
	if len(a.words) > 0 {
		if n, err := strconv.Atoi(a.words[0]); err == nil {
			id = int32(n)
		}
	}
	epoch := int64(-1)
	if b := w.log.Image().Broker(id); b != nil {
		epoch = b.Epoch
	}
	epoch = a.int("epoch", epoch)
	switch command {
	case "register": // ID [incarnation=] [rack=] [dirs=a,b] [prev=] [clean] [cluster=]
		return w.registerRequest(id, a)
	case "heartbeat": // ID [fence] [shutdown] [offset=] [offline=a,b] [cordoned=a,b]
		req := kmsg.NewPtrBrokerHeartbeatRequest()
		req.SetVersion(2)
		req.BrokerID, req.BrokerEpoch = id, epoch
		req.CurrentMetadataOffset = a.int("offset", w.log.Image().Offset)
		req.WantFence, req.WantShutdown = a.has("fence"), a.has("shutdown")
		req.OfflineLogDirs = dirs(a.pairs["offline"])
		if c, ok := a.pairs["cordoned"]; ok {
			req.CordonedLogDirs = append([][16]byte{}, dirs(c)...)
		}
		return req
	case "unregister":
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = id
		return req
	case "producerids":
		req := kmsg.NewPtrAllocateProducerIDsRequest()
		req.BrokerID, req.BrokerEpoch = id, epoch
		return req
	case "assign": // BROKER TOPIC INDEX dir= says where a replica is
		return w.assignRequest(id, epoch, a)
	case "isr": // BROKER TOPIC INDEX isr=1,2 [epochs=1,2] [leaderEpoch=] [partitionEpoch=] [recovery=]
		return w.isrRequest(id, epoch, a)
	case "controller": // ID registers it
		req := kmsg.NewPtrControllerRegistrationRequest()
		req.ControllerID, req.IncarnationID = id, uuid("controller")
		req.Listeners = []kmsg.ControllerRegistrationRequestListener{{Name: "CONTROLLER", Host: "h", Port: 9093}}
		for _, f := range metadata.SupportedFeatures() {
			req.Features = append(req.Features, kmsg.ControllerRegistrationRequestFeature{Name: f.Name, MinSupportedVersion: f.Min, MaxSupportedVersion: f.Max})
		}
		return req
	case "uncontroller":
		req := kmsg.NewPtrUnregisterControllerRequest()
		req.ControllerID = id
		return req
	}
	w.t.Fatalf("unknown command %q", command)
	return nil
}

func dirs(s string) [][16]byte {
	var out [][16]byte
	for _, d := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		out = append(out, uuid(d))
	}
	return out
}

func assignments(s string) [][]int32 {
	var out [][]int32
	for _, p := range strings.Split(s, "/") {
		out = append(out, ints(p))
	}
	return out
}

func (w *world) createRequest(a args) kmsg.Request {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(7)
	for _, name := range a.words {
		if name == "validate" {
			req.ValidateOnly = true
			continue
		}
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic = strings.Trim(name, "'")
		t.NumPartitions, t.ReplicationFactor = int32(a.int("partitions", -1)), int16(a.int("rf", -1))
		if s, ok := a.pairs["assign"]; ok {
			for i, replicas := range assignments(s) {
				r := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
				r.Partition, r.Replicas = int32(i)+int32(a.int("from", 0)), replicas
				t.ReplicaAssignment = append(t.ReplicaAssignment, r)
			}
		}
		for _, kv := range strings.FieldsFunc(a.pairs["configs"], func(r rune) bool { return r == ';' }) {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			k, v, ok := strings.Cut(kv, ":")
			if c.Name = k; ok {
				c.Value = &v
			}
			t.Configs = append(t.Configs, c)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

func (w *world) deleteRequest(a args) kmsg.Request {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.SetVersion(int16(a.int("version", 6)))
	for _, name := range a.words {
		if req.Version < 6 {
			req.TopicNames = append(req.TopicNames, name)
			continue
		}
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	for _, name := range strings.FieldsFunc(a.pairs["id"], func(r rune) bool { return r == ',' }) {
		t := kmsg.NewDeleteTopicsRequestTopic()
		if topic := w.log.Image().Topic(name); topic != nil {
			t.TopicID = topic.ID
		} else {
			t.TopicID = uuid(strings.TrimPrefix(name, "-"))
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

func (w *world) growRequest(a args) kmsg.Request {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.SetVersion(3)
	for _, name := range a.words {
		if name == "validate" {
			req.ValidateOnly = true
			continue
		}
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = name, int32(a.int("count", 0))
		if s, ok := a.pairs["assign"]; ok {
			for _, replicas := range assignments(s) {
				t.Assignment = append(t.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: replicas})
			}
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

var resourceTypes = map[string]int8{"topic": metadata.ResourceTopic, "broker": metadata.ResourceBroker, "logger": metadata.ResourceBrokerLogger, "group": metadata.ResourceGroup, "metrics": metadata.ResourceClientMetrics, "unknown": 77}

var opNames = map[string]kmsg.IncrementalAlterConfigOp{"set": 0, "delete": 1, "append": 2, "subtract": 3, "odd": 9}

func (w *world) configRequest(command string, a args) kmsg.Request {
	legacy, incremental := kmsg.NewPtrAlterConfigsRequest(), kmsg.NewPtrIncrementalAlterConfigsRequest()
	legacy.SetVersion(2)
	incremental.SetVersion(1)
	for _, word := range a.words {
		if word == "validate" {
			legacy.ValidateOnly, incremental.ValidateOnly = true, true
			continue
		}
		head, rest, _ := strings.Cut(word, ":")
		if rt, ok := resourceTypes[head]; ok {
			l := kmsg.NewAlterConfigsRequestResource()
			l.ResourceType, l.ResourceName = kmsg.ConfigResourceType(rt), rest
			legacy.Resources = append(legacy.Resources, l)
			i := kmsg.NewIncrementalAlterConfigsRequestResource()
			i.ResourceType, i.ResourceName = l.ResourceType, rest
			incremental.Resources = append(incremental.Resources, i)
			continue
		}
		var value *string
		key, v, ok := strings.Cut(rest, "=")
		if ok {
			value = &v
		}
		l := &legacy.Resources[len(legacy.Resources)-1]
		l.Configs = append(l.Configs, kmsg.AlterConfigsRequestResourceConfig{Name: key, Value: value})
		i := &incremental.Resources[len(incremental.Resources)-1]
		i.Configs = append(i.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: key, Op: opNames[head], Value: value})
	}
	if command == "alter" {
		return legacy
	}
	return incremental
}

func (w *world) featureRequest(a args) kmsg.Request {
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.SetVersion(2)
	req.ValidateOnly = a.has("validate")
	how := upgradeOnly
	switch {
	case a.has("safe"):
		how = safeDowngrade
	case a.has("unsafe"):
		how = unsafeDowngrade
	case a.has("odd"):
		how = 9
	}
	for _, f := range append(metadata.FeatureNames(), metadata.FeatureMetadataVersion, "no.feature") {
		if _, ok := a.pairs[f]; !ok {
			continue
		}
		u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
		u.Feature, u.MaxVersionLevel, u.UpgradeType = f, int16(a.int(f, 0)), how
		req.FeatureUpdates = append(req.FeatureUpdates, u)
	}
	return req
}

func (w *world) registerRequest(id int32, a args) kmsg.Request {
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.SetVersion(4)
	req.BrokerID, req.ClusterID = id, "cluster"
	if c, ok := a.pairs["cluster"]; ok {
		req.ClusterID = c
	}
	incarnation := a.pairs["incarnation"]
	if incarnation == "" {
		incarnation = "first"
	}
	req.IncarnationID = uuid(incarnation)
	if rack, ok := a.pairs["rack"]; ok {
		req.Rack = &rack
	}
	req.Listeners = []kmsg.BrokerRegistrationRequestListener{{Name: "PLAINTEXT", Host: "h", Port: 9092, SecurityProtocol: int16(a.int("protocol", 0))}}
	for _, f := range metadata.SupportedFeatures() {
		if a.has("-" + f.Name) {
			continue
		}
		req.Features = append(req.Features, kmsg.BrokerRegistrationRequestFeature{Name: f.Name, MinSupportedVersion: f.Min, MaxSupportedVersion: f.Max})
	}
	if max, ok := a.pairs["maxmv"]; ok {
		v, _ := features.FromVersionString(max, false)
		req.Features[0].MaxSupportedVersion = int16(v)
	}
	req.LogDirs = dirs("d" + strconv.Itoa(int(id)))
	if d, ok := a.pairs["dirs"]; ok {
		req.LogDirs = dirs(d)
	}
	if a.has("reserved") {
		req.LogDirs = [][16]byte{{15: 1}}
	}
	req.PreviousBrokerEpoch = a.int("prev", -1)
	if b := w.log.Image().Broker(id); b != nil && a.has("clean") { // as its markers say after a clean stop
		req.PreviousBrokerEpoch = b.Epoch
	}
	return req
}

func (w *world) isrRequest(id int32, epoch int64, a args) kmsg.Request {
	req := kmsg.NewPtrAlterPartitionRequest()
	req.SetVersion(3)
	req.BrokerID, req.BrokerEpoch = id, epoch
	t := kmsg.NewAlterPartitionRequestTopic()
	p := kmsg.NewAlterPartitionRequestTopicPartition()
	index, _ := strconv.Atoi(a.words[2])
	p.Partition = int32(index)
	if topic := w.log.Image().Topic(a.words[1]); topic != nil {
		t.TopicID = topic.ID
		if old := topic.Partition(p.Partition); old != nil {
			p.LeaderEpoch, p.PartitionEpoch = old.LeaderEpoch, old.PartitionEpoch
		}
	} else {
		t.TopicID = kafka.UUID{1}
	}
	p.LeaderEpoch = int32(a.int("leaderEpoch", int64(p.LeaderEpoch)))
	p.PartitionEpoch = int32(a.int("partitionEpoch", int64(p.PartitionEpoch)))
	p.LeaderRecoveryState = int8(a.int("recovery", 0))
	epochs := ints(a.pairs["epochs"])
	for i, member := range ints(a.pairs["isr"]) {
		e := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
		e.BrokerID, e.BrokerEpoch = member, -1
		if i < len(epochs) {
			e.BrokerEpoch = int64(epochs[i])
		}
		p.NewEpochISR = append(p.NewEpochISR, e)
	}
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func (w *world) assignRequest(id int32, epoch int64, a args) kmsg.Request {
	req := kmsg.NewPtrAssignReplicasToDirsRequest()
	req.BrokerID, req.BrokerEpoch = id, epoch
	t := kmsg.NewAssignReplicasToDirsRequestDirectoryTopic()
	t.TopicID = uuid("none")
	if topic := w.log.Image().Topic(a.words[1]); topic != nil {
		t.TopicID = topic.ID
	}
	for _, index := range ints(a.words[2]) {
		t.Partitions = append(t.Partitions, kmsg.AssignReplicasToDirsRequestDirectoryTopicPartition{Partition: index})
	}
	dir := kmsg.NewAssignReplicasToDirsRequestDirectory()
	dir.ID, dir.Topics = dirID(a.pairs["dir"]), append(dir.Topics, t)
	req.Directories = append(req.Directories, dir)
	return req
}

func (w *world) reassignRequest(a args) kmsg.Request {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.SetVersion(1)
	req.AllowReplicationFactorChange = !a.has("samefactor")
	t := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	t.Topic = a.words[0]
	goals := strings.Split(a.pairs["to"], "/")
	for i, index := range ints(a.words[1]) {
		p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		p.Partition = index
		if _, ok := a.pairs["to"]; ok {
			p.Replicas = append([]int32{}, ints(goals[min(i, len(goals)-1)])...)
		}
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

// dirID is the id of a directory; "lost" is the one of replicas that are nowhere.
func dirID(s string) kafka.UUID {
	if s == "lost" {
		return metadata.DirLost
	}
	return uuid(s)
}
