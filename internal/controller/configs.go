package controller

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	configMinISR   = "min.insync.replicas"
	configCordoned = "cordoned.log.dirs"
)

// clusterDefault is the resource of configs that hold for every broker.
var clusterDefault = metadata.ConfigResource{Type: metadata.ResourceBroker}

func resourceTopic(name string) metadata.ConfigResource {
	return metadata.ConfigResource{Type: metadata.ResourceTopic, Name: name}
}

// configChange is the new value of one key; nil removes it.
type configChange struct {
	name  string
	value *string
}

// configChanges are the changes of one resource: those that were asked for, and
// the removals that the legacy AlterConfigs implies.
type configChanges struct {
	asked   []configChange
	implied []configChange
}

// asChanges is the creation of configs, by name.
func asChanges(configs map[string]string) configChanges {
	var c configChanges
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		value := configs[name]
		c.asked = append(c.asked, configChange{name, &value})
	}
	return c
}

func configRecord(r metadata.ConfigResource, name string, value *string) *records.ConfigRecord {
	out := records.NewConfigRecord()
	out.ResourceType, out.ResourceName, out.Name, out.Value = r.Type, r.Name, name, value
	return out
}

func alterResult(t kmsg.ConfigResourceType, name string, err error) kmsg.AlterConfigsResponseResource {
	out := kmsg.NewAlterConfigsResponseResource()
	out.ResourceType, out.ResourceName = t, name
	out.ErrorCode, out.ErrorMessage = kafka.NumAndText(err)
	return out
}

func incrementalResult(t kmsg.ConfigResourceType, name string, err error) kmsg.IncrementalAlterConfigsResponseResource {
	out := kmsg.NewIncrementalAlterConfigsResponseResource()
	out.ResourceType, out.ResourceName = t, name
	out.ErrorCode, out.ErrorMessage = kafka.NumAndText(err)
	return out
}

// alterConfigs decides the legacy AlterConfigs, which replaces all configs of a
// resource.
func (d *decision) alterConfigs(req *kmsg.AlterConfigsRequest, resp *kmsg.AlterConfigsResponse) Result {
	var all []metadata.ConfigResource
	for i := range req.Resources {
		all = append(all, metadata.ConfigResource{Type: int8(req.Resources[i].ResourceType), Name: req.Resources[i].ResourceName})
	}
	_, twice := splitDuplicates(all)
	for _, r := range twice {
		resp.Resources = append(resp.Resources, alterResult(kmsg.ConfigResourceType(r.Type), r.Name, errDuplicateResource()))
	}
	for i := range req.Resources {
		in := &req.Resources[i]
		if slices.Contains(twice, all[i]) {
			continue
		}
		wanted := map[string]*string{}
		for _, c := range in.Configs {
			wanted[c.Name] = c.Value
		}
		err := d.alterResource(all[i], d.replaceAll(all[i], wanted))
		resp.Resources = append(resp.Resources, alterResult(in.ResourceType, in.ResourceName, err))
	}
	if len(d.records) > maxRecordsPerOp {
		resp.Resources = nil
		return Result{Reply: fail(req, resp, tooLarge())}
	}
	return d.finishConfigs(resp, req.ValidateOnly)
}

// incrementalAlterConfigs decides IncrementalAlterConfigs (KIP-339).
func (d *decision) incrementalAlterConfigs(req *kmsg.IncrementalAlterConfigsRequest, resp *kmsg.IncrementalAlterConfigsResponse) Result {
	var all []metadata.ConfigResource
	for i := range req.Resources {
		all = append(all, metadata.ConfigResource{Type: int8(req.Resources[i].ResourceType), Name: req.Resources[i].ResourceName})
	}
	_, twice := splitDuplicates(all)
	for _, r := range twice {
		resp.Resources = append(resp.Resources, incrementalResult(kmsg.ConfigResourceType(r.Type), r.Name, errDuplicateResource()))
	}
	for i := range req.Resources {
		in := &req.Resources[i]
		if slices.Contains(twice, all[i]) {
			continue
		}
		changes, err := d.applyOps(all[i], in.Configs)
		if err == nil {
			err = d.alterResource(all[i], changes)
		}
		resp.Resources = append(resp.Resources, incrementalResult(in.ResourceType, in.ResourceName, err))
	}
	if len(d.records) > maxRecordsPerOp {
		resp.Resources = nil
		return Result{Reply: fail(req, resp, tooLarge())}
	}
	return d.finishConfigs(resp, req.ValidateOnly)
}

func errDuplicateResource() error { return kafka.InvalidRequest.Errorf("Duplicate resource.") }

// finishConfigs ends both requests.
func (d *decision) finishConfigs(resp kmsg.Response, validateOnly bool) Result {
	if validateOnly {
		return Result{Reply: resp, Atomic: true}
	}
	if d.elr {
		d.clearELRs()
	}
	return d.result(resp, true)
}

// replaceAll is the difference from a resource's configs to the wanted ones.
func (d *decision) replaceAll(r metadata.ConfigResource, wanted map[string]*string) configChanges {
	var c configChanges
	current := d.img.Config(r)
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if d.worthWriting(r, name, wanted[name]) {
			c.asked = append(c.asked, configChange{name, wanted[name]})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(current)) {
		if _, keep := wanted[name]; !keep {
			c.implied = append(c.implied, configChange{name, nil})
		}
	}
	return c
}

// worthWriting says whether a record is needed. Brokers reload what a path names
// (key stores) when they see a record, so theirs are written unchanged too.
func (d *decision) worthWriting(r metadata.ConfigResource, name string, value *string) bool {
	old, ok := d.img.Config(r)[name]
	return r.Type == metadata.ResourceBroker || ok != (value != nil) || ok && old != *value
}

// applyOps is what the operations of one resource come to.
func (d *decision) applyOps(r metadata.ConfigResource, ops []kmsg.IncrementalAlterConfigsRequestResourceConfig) (configChanges, error) {
	var c configChanges
	last := map[string]int{} // a key named twice takes its last operation
	for i := range ops {
		last[ops[i].Name] = i
	}
	for i := range ops {
		if last[ops[i].Name] != i {
			continue
		}
		value, err := d.applyOp(r, &ops[i])
		if err != nil {
			return c, err
		}
		if d.worthWriting(r, ops[i].Name, value) {
			c.asked = append(c.asked, configChange{ops[i].Name, value})
		}
	}
	return c, nil
}

func (d *decision) applyOp(r metadata.ConfigResource, op *kmsg.IncrementalAlterConfigsRequestResourceConfig) (*string, error) {
	switch op.Op {
	case kmsg.IncrementalAlterConfigOpSet:
		return op.Value, nil
	case kmsg.IncrementalAlterConfigOpDelete:
		return nil, nil
	case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
	default:
		return nil, kafka.InvalidRequest.Errorf("Unknown operation %d for config %s", op.Op, op.Name)
	}
	subtract := op.Op == kmsg.IncrementalAlterConfigOpSubtract
	key := configKey(r.Type, op.Name)
	if key == nil || key.Type != config.TypeList {
		name := "APPEND"
		if subtract {
			name = "SUBTRACT"
		}
		return nil, kafka.InvalidConfig.Errorf("Can't %s to key %s because its type is not LIST.", name, op.Name)
	}
	if op.Value == nil {
		return nil, kafka.InvalidRequest.Errorf("Null value not supported for : %s", op.Name)
	}
	old, ok := d.img.Config(r)[op.Name]
	if !ok {
		old, _ = key.Default()
	}
	list := slices.DeleteFunc(strings.Split(old, ","), func(s string) bool { return s == "" })
	for _, s := range strings.Split(*op.Value, ",") {
		at := slices.Index(list, s)
		switch {
		case subtract && at >= 0:
			list = slices.Delete(list, at, at+1)
		case !subtract && at < 0:
			list = append(list, s)
		}
	}
	joined := strings.Join(list, ",")
	return &joined, nil
}

// configKey returns the row of a key, or nil.
func configKey(resourceType int8, name string) *config.Key {
	var keys []*config.Key
	switch resourceType {
	case metadata.ResourceTopic:
		k, _ := config.TopicKey(name)
		return k
	case metadata.ResourceBroker:
		k, _ := config.BrokerKey(name)
		return k
	case metadata.ResourceGroup:
		keys = config.GroupKeys()
	case metadata.ResourceClientMetrics:
		keys = config.ClientMetricsKeys()
	}
	for _, k := range keys {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// alterResource checks the changes of one resource and adds their records.
func (d *decision) alterResource(r metadata.ConfigResource, c configChanges) error {
	merged := maps.Clone(d.img.Config(r))
	if merged == nil {
		merged = map[string]string{}
	}
	for _, change := range slices.Concat(c.asked, c.implied) {
		if err := d.checkChange(r, change); err != nil {
			return err
		}
		if change.value == nil {
			delete(merged, change.name)
		} else {
			merged[change.name] = *change.value
		}
	}
	if err := d.validateValues(r, merged); err != nil {
		return err
	}
	if r.Type == metadata.ResourceTopic && d.img.Topic(r.Name) == nil {
		return kafka.UnknownTopicOrPartition.Errorf("The topic '%s' does not exist.", r.Name)
	}
	if err := d.checkConfigPolicy(r, c); err != nil {
		return err
	}
	for _, change := range slices.Concat(c.asked, c.implied) {
		d.add(configRecord(r, change.name, change.value))
	}
	return nil
}

// checkChange refuses single changes that nothing later would notice.
func (d *decision) checkChange(r metadata.ConfigResource, c configChange) error {
	broker := r.Type == metadata.ResourceBroker
	switch {
	case broker && c.name == configMinISR && d.elr && r.Name != "":
		return kafka.InvalidConfig.Errorf("Broker-level %s cannot be altered while ELR is enabled.", configMinISR)
	case broker && c.name == configMinISR && d.elr && c.value == nil:
		return kafka.InvalidConfig.Errorf("Cluster-level %s cannot be removed while ELR is enabled.", configMinISR)
	case broker && c.name == configCordoned && !d.version.CordonedLogDirsSupported():
		return kafka.InvalidConfig.Errorf("The %s configuration value cannot be set because it requires metadata.version >= 4.3-IV0", configCordoned)
	case c.value != nil && len(*c.value) > math.MaxInt16:
		return kafka.InvalidConfig.Errorf("The configuration value cannot be added because it exceeds the maximum value size of %d bytes.", math.MaxInt16)
	}
	return nil
}

// checkConfigPolicy asks the policy about what was asked for. It does not see the
// removals that the legacy request implies.
func (d *decision) checkConfigPolicy(r metadata.ConfigResource, c configChanges) error {
	if d.cfg.AlterConfigPolicy == nil {
		return nil
	}
	asked := map[string]*string{}
	for _, change := range c.asked {
		asked[change.name] = change.value
	}
	return policyError(d.cfg.AlterConfigPolicy(r, asked))
}

// validateValues checks the configs that a resource is to have.
func (d *decision) validateValues(r metadata.ConfigResource, merged map[string]string) error {
	switch r.Type {
	case metadata.ResourceTopic:
		if r.Name == "" {
			return kafka.InvalidRequest.Errorf("Default topic resources are not allowed.")
		}
		if err := kafka.ValidateTopicName(r.Name); err != nil {
			return err
		}
		return d.cfg.Static.ValidateTopicConfigs(d.img.Config(r), merged)
	case metadata.ResourceBroker:
		return d.checkNode(r.Name)
	case metadata.ResourceClientMetrics:
		return config.ValidateClientMetricsConfigs(r.Name, merged)
	case metadata.ResourceGroup:
		if r.Name == "" {
			return kafka.InvalidRequest.Errorf("Default group resources are not allowed.")
		}
		return d.cfg.Static.ValidateGroupConfigs(merged)
	case metadata.ResourceBrokerLogger:
		// Loggers live in each process; the node that is asked changes them itself.
		return kafka.InvalidRequest.Errorf("Unknown resource type BROKER_LOGGER")
	}
	return kafka.UnsupportedVersion.Errorf("Unknown resource type %d.", r.Type)
}

// checkNode checks the name of a broker resource: the id of a registered node, or
// empty for all.
func (d *decision) checkNode(name string) error {
	if name == "" {
		return nil
	}
	id, err := strconv.ParseInt(name, 10, 32)
	switch {
	case err != nil:
		return kafka.InvalidRequest.Errorf("Unable to parse broker name as a base 10 number.")
	case id < 0:
		return kafka.InvalidRequest.Errorf("Invalid negative broker ID.")
	case d.img.Broker(int32(id)) == nil && d.img.Controller(int32(id)) == nil && !slices.Contains(d.cfg.QuorumNodes, int32(id)):
		return kafka.BrokerIDNotRegistered.Errorf("No node with id %d found.", id)
	}
	return nil
}

// topicDefaults is the node's configuration with the dynamic values of the image,
// which new topics take their defaults from. It is made anew when those differ from
// the last decision's: parsing every key takes longer than all else of a CreateTopics.
func (d *decision) topicDefaults() *config.Broker {
	node := d.img.Config(metadata.ConfigResource{Type: metadata.ResourceBroker, Name: strconv.Itoa(int(d.cfg.NodeID))})
	cluster := d.img.Config(clusterDefault)
	last := &d.defaults
	if last.broker == nil || !maps.Equal(last.node, node) || !maps.Equal(last.cluster, cluster) {
		*last = topicDefaults{node: node, cluster: cluster, broker: d.cfg.Static}
		if len(node) > 0 || len(cluster) > 0 {
			last.broker, _ = d.cfg.Static.WithDynamic(node, cluster)
		}
	}
	return last.broker
}

// topicDefaults keeps the configuration that new topics take their defaults from, and
// the dynamic values of the image that it has.
type topicDefaults struct {
	node, cluster map[string]string
	broker        *config.Broker
}
