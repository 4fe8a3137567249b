package brokerapi

import (
	"context"
	"log/slog"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/server"
)

// describeConfigs is API key 32, versions 0 to 4: the configuration of topics,
// of this broker or the defaults of all, of groups, of client metrics
// subscriptions and of this broker's loggers. Secrets are never shown.
func (a *API) describeConfigs(r *server.Request) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	if decode(r, req) {
		r.Reply(a.configs(req))
	}
}

func (a *API) configs(req *kmsg.DescribeConfigsRequest) *kmsg.DescribeConfigsResponse {
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	img, cfg := a.Image(), a.Config()
	for _, res := range req.Resources {
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = res.ResourceType, res.ResourceName
		rows, err := a.resourceRows(img, cfg, res)
		if out.ErrorCode, out.ErrorMessage = errorText(err); err == nil {
			out.ErrorMessage = new(string) // empty, not null, where nothing is wrong
		}
		for _, row := range rows {
			if len(res.ConfigNames) > 0 && !slices.Contains(res.ConfigNames, row.Name) {
				continue
			}
			out.Configs = append(out.Configs, describedConfig(row, req))
		}
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

// resourceRows are the rows of one resource, unfiltered.
func (a *API) resourceRows(img *metadata.Image, cfg *config.Broker, res kmsg.DescribeConfigsRequestResource) ([]config.Row, error) {
	name := res.ResourceName
	overrides := img.Config(metadata.ConfigResource{Type: int8(res.ResourceType), Name: name})
	switch int8(res.ResourceType) {
	case metadata.ResourceTopic:
		if err := kafka.ValidateTopicName(name); err != nil {
			return nil, err
		}
		if img.Topic(name) == nil {
			return nil, kafka.UnknownTopicOrPartition
		}
		return cfg.DescribeTopic(overrides), nil
	case metadata.ResourceBroker:
		if name == "" {
			return cfg.DescribeClusterDefault(), nil
		}
		if err := a.thisBroker(name, "expected %d or empty string, but received %s"); err != nil {
			return nil, err
		}
		return cfg.DescribeBroker(), nil
	case metadata.ResourceBrokerLogger:
		if name == "" {
			return nil, kafka.InvalidRequest.Errorf("Broker id must not be empty")
		}
		if err := a.thisBroker(name, "expected %d but received %s"); err != nil {
			return nil, err
		}
		level := a.logLevel()
		return []config.Row{{Name: rootLogger, Value: &level, Source: config.SourceBrokerLogger}}, nil
	case metadata.ResourceClientMetrics:
		if name == "" {
			return nil, kafka.InvalidRequest.Errorf("Client metrics subscription name must not be empty")
		}
		return config.DescribeClientMetrics(overrides), nil
	case metadata.ResourceGroup:
		if name == "" {
			return nil, kafka.InvalidRequest.Errorf("Group name must not be empty")
		}
		return cfg.DescribeGroup(overrides), nil
	}
	return nil, kafka.InvalidRequest.Errorf("Unexpected resource type %d for resource %s", res.ResourceType, name)
}

// thisBroker refuses a resource name that is not this broker's id. format gets
// the id that was expected and the one that came.
func (a *API) thisBroker(name, format string) error {
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return kafka.InvalidRequest.Errorf("Broker id must be an integer, but it is: %s", name)
	}
	if kafka.NodeID(id) != a.NodeID {
		return kafka.InvalidRequest.Errorf("Unexpected broker id, "+format, a.NodeID, name)
	}
	return nil
}

// rootLogger is the one logger of this broker, by log4j's name.
const rootLogger = "root"

// logLevel is the lowest level that is logged, by log4j's name.
func (a *API) logLevel() string {
	for _, l := range []struct {
		level slog.Level
		name  string
	}{{slog.LevelDebug, "DEBUG"}, {slog.LevelInfo, "INFO"}, {slog.LevelWarn, "WARN"}, {slog.LevelError, "ERROR"}} {
		if a.Log.Enabled(context.Background(), l.level) {
			return l.name
		}
	}
	return "OFF"
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
