package metadata

import (
	"cmp"
	"maps"

	"github.com/gregorhq/gregor/internal/records"
)

// Resource types of configs, as in records and in the protocol.
const (
	ResourceTopic         int8 = 2
	ResourceBroker        int8 = 4
	ResourceBrokerLogger  int8 = 8
	ResourceClientMetrics int8 = 16
	ResourceGroup         int8 = 32
)

// ConfigResource names what configs belong to. A broker's name is its id in
// decimal; the empty name is the default of all brokers.
type ConfigResource struct {
	Type int8
	Name string
}

// Compare orders resources by type and name.
func (r ConfigResource) Compare(o ConfigResource) int {
	return cmp.Or(cmp.Compare(r.Type, o.Type), cmp.Compare(r.Name, o.Name))
}

// Config returns the dynamic configs of a resource, nil when it has none.
func (i *Image) Config(r ConfigResource) map[string]string {
	m, _ := i.configs.Get(r)
	return m
}

// TopicConfig returns the overrides of a topic, nil when it has none.
func (i *Image) TopicConfig(topic string) map[string]string {
	return i.Config(ConfigResource{ResourceTopic, topic})
}

// ConfigResources returns every resource that has configs, sorted.
func (i *Image) ConfigResources() []ConfigResource {
	return sortedMapKeys(i.configs, ConfigResource.Compare)
}

func (d *Delta) replayConfig(r *records.ConfigRecord) {
	res := ConfigResource{r.ResourceType, r.ResourceName}
	m, _ := d.configs.get(res)
	if !d.configs.isChanged(res) {
		m = maps.Clone(m)
	}
	if r.Value == nil {
		delete(m, r.Name)
	} else {
		if m == nil {
			m = map[string]string{}
		}
		m[r.Name] = *r.Value
	}
	d.configs.setOrDelete(res, m, len(m) > 0)
}
