package brokerapi

import (
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/describe"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/server"
)

// metadata is API key 3, versions 0 to 13: brokers, and topics with their
// partitions, as they are reached through the listener that the client used.
//
//   - No topics (null, in version 0 an empty list) means all topics.
//   - From version 4 a request says whether unknown topics may be created; earlier
//     ones always allow it.
//   - From version 12 topics may be named by id.
func (a *API) metadata(r *server.Request) {
	req := kmsg.NewPtrMetadataRequest()
	if decode(r, req) {
		r.Reply(a.clusterMetadata(req, r.Listener.Name, onBehalfOf(r)))
	}
}

// notAsked is what authorized operations are when they were not asked for.
const notAsked = math.MinInt32

func (a *API) clusterMetadata(req *kmsg.MetadataRequest, listener string, who onBehalf) *kmsg.MetadataResponse {
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	if !validTopics(req) {
		return refusedMetadata(req, resp)
	}
	img := a.Image()
	resp.ClusterID = &a.ClusterID
	resp.ControllerID = a.controllerID(img)
	resp.AuthorizedOperations = notAsked
	if req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = describe.AllClusterOperations
	}
	resp.Brokers = metadataBrokers(img, listener)
	v := topicView{img: img, listener: listener, version: req.Version, operations: notAsked}
	if req.IncludeTopicAuthorizedOperations {
		v.operations = describe.AllTopicOperations
	}
	if req.Topics != nil && (req.Version > 0 || len(req.Topics) > 0) {
		a.namedTopics(req, &v, resp, who)
		return resp
	}
	resp.Topics = make([]kmsg.MetadataResponseTopic, 0, img.NumTopics())
	for _, t := range img.SortedTopics() {
		resp.Topics = append(resp.Topics, v.topic(t))
	}
	return resp
}

// refusedMetadata is the answer to a request that is not valid as a whole: it has the
// topics that were asked for, and nothing of the cluster.
func refusedMetadata(req *kmsg.MetadataRequest, resp *kmsg.MetadataResponse) *kmsg.MetadataResponse {
	resp.ControllerID, resp.AuthorizedOperations = -1, notAsked
	for _, t := range req.Topics {
		resp.Topics = append(resp.Topics, refusedTopic(t))
	}
	return resp
}

// validTopics says whether the version allows how topics are named.
func validTopics(req *kmsg.MetadataRequest) bool {
	for _, t := range req.Topics {
		if req.Version < 12 && (t.Topic == nil || t.TopicID != kafka.ZeroUUID) {
			return false
		}
	}
	return true
}

// namedTopics answers each topic of the request once, in its order. If any topic
// is named by id, only ids count.
func (a *API) namedTopics(req *kmsg.MetadataRequest, v *topicView, resp *kmsg.MetadataResponse, who onBehalf) {
	byID := false
	for _, t := range req.Topics {
		byID = byID || t.TopicID != kafka.ZeroUUID
	}
	seen := map[string]bool{}
	seenID := map[kafka.TopicID]bool{}
	var missing []int
	for _, t := range req.Topics {
		if byID {
			if t.TopicID == kafka.ZeroUUID || seenID[t.TopicID] {
				continue
			}
			seenID[t.TopicID] = true
			if known := v.img.TopicByID(t.TopicID); known != nil {
				resp.Topics = append(resp.Topics, v.topic(known))
			} else {
				resp.Topics = append(resp.Topics, v.unknownID(t.TopicID))
			}
			continue
		}
		if t.Topic == nil || seen[*t.Topic] {
			continue
		}
		seen[*t.Topic] = true
		if known := v.img.Topic(*t.Topic); known != nil && known.NumPartitions() > 0 {
			resp.Topics = append(resp.Topics, v.topic(known))
			continue
		}
		missing = append(missing, len(resp.Topics))
		resp.Topics = append(resp.Topics, v.failed(*t.Topic, unknownTopic(*t.Topic)))
	}
	if len(missing) > 0 && (req.AllowAutoTopicCreation || req.Version < 4) && a.Config().AutoCreateTopicsEnable {
		a.autoCreate(who, resp.Topics, missing)
	}
}

// unknownTopic is the error of a topic that is not there: whether it could be.
func unknownTopic(name string) *kafka.Code {
	if kafka.ValidateTopicName(name) != nil {
		return kafka.InvalidTopicException
	}
	return kafka.UnknownTopicOrPartition
}

// controllerID is the broker that administrative requests are best sent to: the
// leader of the quorum where it is a broker that clients can reach, else this
// broker, which passes them on. -1 means that no broker is alive.
func (a *API) controllerID(img *metadata.Image) int32 {
	alive := func(id int32) bool {
		b := img.Broker(id)
		return b != nil && !b.Fenced
	}
	if a.Quorum != nil {
		if leader := int32(a.Quorum.Leader().Leader); alive(leader) {
			return leader
		}
	}
	if alive(int32(a.NodeID)) {
		return int32(a.NodeID)
	}
	for _, b := range img.Brokers() {
		if !b.Fenced {
			return b.ID
		}
	}
	return -1
}

// metadataBrokers lists the brokers that are alive and have the listener.
func metadataBrokers(img *metadata.Image, listener string) []kmsg.MetadataResponseBroker {
	var rows []kmsg.MetadataResponseBroker
	for _, b := range img.Brokers() {
		e, ok := b.Endpoint(listener)
		if b.Fenced || !ok {
			continue
		}
		row := kmsg.NewMetadataResponseBroker()
		row.NodeID, row.Host, row.Port, row.Rack = b.ID, e.Host, int32(e.Port), b.Rack
		rows = append(rows, row)
	}
	return rows
}

// topicView turns topics of one image into rows for one listener and version.
type topicView struct {
	img        *metadata.Image
	listener   string
	version    int16
	operations int32
}

func (v *topicView) failed(name string, err *kafka.Code) kmsg.MetadataResponseTopic {
	row := kmsg.NewMetadataResponseTopic()
	row.Topic, row.ErrorCode, row.IsInternal = &name, err.Num(), kafka.InternalTopic(name)
	row.AuthorizedOperations = v.operations
	if t := v.img.Topic(name); t != nil {
		row.TopicID = t.ID
	}
	return row
}

func (v *topicView) unknownID(id kafka.TopicID) kmsg.MetadataResponseTopic {
	row := kmsg.NewMetadataResponseTopic()
	row.TopicID, row.ErrorCode = id, kafka.UnknownTopicID.Num()
	return row
}

// refusedTopic is the row of a topic in a request that is not valid as a whole.
func refusedTopic(t kmsg.MetadataRequestTopic) kmsg.MetadataResponseTopic {
	row := kmsg.NewMetadataResponseTopic()
	empty := ""
	if row.Topic = t.Topic; row.Topic == nil {
		row.Topic = &empty
	}
	row.TopicID, row.ErrorCode = t.TopicID, kafka.InvalidRequest.Num()
	return row
}

func (v *topicView) topic(t *metadata.Topic) kmsg.MetadataResponseTopic {
	row := kmsg.NewMetadataResponseTopic()
	row.Topic, row.TopicID, row.IsInternal = &t.Name, t.ID, kafka.InternalTopic(t.Name)
	row.AuthorizedOperations = v.operations
	row.Partitions = make([]kmsg.MetadataResponseTopicPartition, 0, t.NumPartitions())
	for i, p := range t.Partitions() {
		row.Partitions = append(row.Partitions, v.partition(i, p))
	}
	return row
}

// partition names the leader only if clients of the listener can reach it. The
// first version leaves out replicas that cannot be reached, and says so; later
// ones list them all.
func (v *topicView) partition(index int32, p *metadata.Partition) kmsg.MetadataResponseTopicPartition {
	row := kmsg.NewMetadataResponseTopicPartition()
	row.Partition, row.Leader, row.LeaderEpoch = index, -1, p.LeaderEpoch
	row.Replicas, row.ISR = p.Replicas, p.ISR
	row.OfflineReplicas = offlineReplicas(v.img, p, v.listener)
	if v.version == 0 {
		row.Replicas, row.ISR = v.reachable(p.Replicas), v.reachable(p.ISR)
	}
	leader := v.img.Broker(p.Leader)
	switch {
	case leader == nil:
		row.ErrorCode = kafka.LeaderNotAvailable.Num()
	case !hasListener(leader, v.listener):
		// Versions before 6 do not know the better error.
		row.ErrorCode = kafka.LeaderNotAvailable.Num()
		if v.version >= 6 {
			row.ErrorCode = kafka.ListenerNotFound.Num()
		}
	default:
		row.Leader = p.Leader
		if len(row.Replicas) < len(p.Replicas) || len(row.ISR) < len(p.ISR) {
			row.ErrorCode = kafka.ReplicaNotAvailable.Num()
		}
	}
	return row
}

func hasListener(b *metadata.Broker, listener string) bool {
	_, ok := b.Endpoint(listener)
	return ok
}

// reachable keeps the ids of brokers that are alive and have the listener.
func (v *topicView) reachable(ids []int32) []int32 {
	var kept []int32
	for _, id := range ids {
		if b := v.img.Broker(id); b != nil && !b.Fenced && hasListener(b, v.listener) {
			kept = append(kept, id)
		}
	}
	return kept
}

// offlineReplicas are the replicas that clients of the listener cannot reach: the
// broker is gone, fenced or without the listener, or the directory is offline.
func offlineReplicas(img *metadata.Image, p *metadata.Partition, listener string) []int32 {
	var offline []int32
	for i, id := range p.Replicas {
		b := img.Broker(id)
		if b == nil || b.Fenced || !hasListener(b, listener) || i < len(p.Directories) && !b.HasOnlineDirectory(p.Directories[i]) {
			offline = append(offline, id)
		}
	}
	return offline
}
