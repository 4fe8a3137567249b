// Package describe answers DescribeConfigs and ApiVersions, which brokers and controllers
// serve alike, from an image and a configuration. It is a mind: it reads no clock, does no I/O, keeps
// nothing and may be called from any goroutine.
package describe

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// RootLogger is the one logger of a node, by log4j's name.
const RootLogger = "root"

// maxRows bounds an answer: a resource of a few bytes in the request, even one that does
// not exist or is named many times, is up to hundreds of rows. It is what some 30,000
// topics have.
const maxRows = 1 << 20

// Node is who answers, with what it knows at that moment.
type Node struct {
	ID     kafka.NodeID
	Image  *metadata.Image
	Config *config.Broker
	// LogLevel is the level of the root logger, by log4j's name.
	LogLevel string
}

// Configs describes the resources of a request: topics, this node, the defaults of all
// brokers, groups, client metrics subscriptions and this node's loggers. Secrets are
// never shown.
func (n *Node) Configs(req *kmsg.DescribeConfigsRequest) *kmsg.DescribeConfigsResponse {
	return n.configs(req, maxRows)
}

// configs refuses the resources that would bring more than left rows.
func (n *Node) configs(req *kmsg.DescribeConfigsRequest, left int) *kmsg.DescribeConfigsResponse {
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	for _, res := range req.Resources {
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = res.ResourceType, res.ResourceName
		rows, err := n.rows(res)
		if left -= len(rows); left < 0 {
			rows, err = nil, kafka.InvalidRequest.Errorf("The answer would have too many configs: ask for fewer resources at a time")
		}
		if out.ErrorCode, out.ErrorMessage = kafka.NumAndText(err); err == nil {
			out.ErrorMessage = new(string) // empty, not null, where nothing is wrong
		}
		wanted := map[string]bool{}
		for _, name := range res.ConfigNames {
			wanted[name] = true
		}
		for _, row := range rows {
			if len(wanted) == 0 || wanted[row.Name] {
				out.Configs = append(out.Configs, describedConfig(row, req))
			}
		}
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

// rows are the rows of one resource, unfiltered.
func (n *Node) rows(res kmsg.DescribeConfigsRequestResource) ([]config.Row, error) {
	name := res.ResourceName
	overrides := n.Image.Config(metadata.ConfigResource{Type: int8(res.ResourceType), Name: name})
	switch int8(res.ResourceType) {
	case metadata.ResourceTopic:
		if err := kafka.ValidateTopicName(name); err != nil {
			return nil, err
		}
		if n.Image.Topic(name) == nil {
			return nil, kafka.UnknownTopicOrPartition
		}
		return n.Config.DescribeTopic(overrides), nil
	case metadata.ResourceBroker:
		if name == "" {
			return n.Config.DescribeClusterDefault(), nil
		}
		if err := ThisNode(n.ID, name, "expected %d or empty string, but received %s"); err != nil {
			return nil, err
		}
		return n.Config.DescribeBroker(), nil
	case metadata.ResourceBrokerLogger:
		if name == "" {
			return nil, kafka.InvalidRequest.Errorf("Broker id must not be empty")
		}
		if err := ThisNode(n.ID, name, "expected %d but received %s"); err != nil {
			return nil, err
		}
		return []config.Row{{Name: RootLogger, Value: &n.LogLevel, Source: config.SourceBrokerLogger}}, nil
	case metadata.ResourceClientMetrics:
		if name == "" {
			return nil, kafka.InvalidRequest.Errorf("Client metrics subscription name must not be empty")
		}
		return config.DescribeClientMetrics(overrides), nil
	case metadata.ResourceGroup:
		if name == "" {
			return nil, kafka.InvalidRequest.Errorf("Group name must not be empty")
		}
		return n.Config.DescribeGroup(overrides), nil
	}
	return nil, kafka.InvalidRequest.Errorf("Unexpected resource type %d for resource %s", res.ResourceType, name)
}

// ThisNode refuses a resource name that is not the node's id. format gets
// the id that was expected and the one that came.
func ThisNode(id kafka.NodeID, name, format string) error {
	named, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return kafka.InvalidRequest.Errorf("Broker id must be an integer, but it is: %s", name)
	}
	if kafka.NodeID(named) != id {
		return kafka.InvalidRequest.Errorf("Unexpected broker id, "+format, id, name)
	}
	return nil
}

// describedConfig is the row in the form of the response.
func describedConfig(row config.Row, req *kmsg.DescribeConfigsRequest) kmsg.DescribeConfigsResponseResourceConfig {
	out := kmsg.NewDescribeConfigsResponseResourceConfig()
	out.Name, out.ReadOnly, out.IsSensitive = row.Name, row.ReadOnly, row.Sensitive
	out.Source, out.IsDefault = kmsg.ConfigSource(row.Source), row.Source == config.SourceDefault
	out.ConfigType = kmsg.ConfigType(row.Type)
	if !row.Sensitive {
		out.Value = row.Value
	}
	if req.IncludeDocumentation && row.Doc != "" {
		out.Documentation = &row.Doc
	}
	if !req.IncludeSynonyms {
		return out
	}
	for _, s := range row.Synonyms {
		syn := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
		syn.Name, syn.Source = s.Name, kmsg.ConfigSource(s.Source)
		if !row.Sensitive {
			syn.Value = s.Value
		}
		out.ConfigSynonyms = append(out.ConfigSynonyms, syn)
	}
	return out
}
