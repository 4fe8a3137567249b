package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/kafka"
)

type configEntry = kmsg.DescribeConfigsResponseResourceConfig

// sourceNames are the names that Kafka's admin client gives to where a value is from.
var sourceNames = map[kmsg.ConfigSource]string{
	kmsg.ConfigSourceDynamicTopicConfig: "DYNAMIC_TOPIC_CONFIG", kmsg.ConfigSourceDynamicBrokerConfig: "DYNAMIC_BROKER_CONFIG",
	kmsg.ConfigSourceDynamicDefaultBrokerConfig: "DYNAMIC_DEFAULT_BROKER_CONFIG", kmsg.ConfigSourceStaticBrokerConfig: "STATIC_BROKER_CONFIG",
	kmsg.ConfigSourceDefaultConfig: "DEFAULT_CONFIG", kmsg.ConfigSourceDynamicBrokerLoggerConfig: "DYNAMIC_BROKER_LOGGER_CONFIG",
	kmsg.ConfigSourceClientMetricsConfig: "DYNAMIC_CLIENT_METRICS_CONFIG", kmsg.ConfigSourceGroupConfig: "DYNAMIC_GROUP_CONFIG",
}

// dynamicSources are where an entity's own configs are from. Those of loggers have
// no other source, so that all of them are shown.
var dynamicSources = map[string]kmsg.ConfigSource{
	topicType: kmsg.ConfigSourceDynamicTopicConfig, brokerType: kmsg.ConfigSourceDynamicBrokerConfig,
	metricsType: kmsg.ConfigSourceClientMetricsConfig, groupType: kmsg.ConfigSourceGroupConfig,
}

func describeResources(ctx context.Context, env *Env, c *cluster, v *opt.Values, e *entities) error {
	kind, all := e.types[0], v.Has("all")
	var names []string
	switch {
	case len(e.names) == 0:
		var err error
		if names, err = entityList(ctx, c, kind); err != nil {
			return err
		}
	default:
		names = e.names[:1]
		if !all {
			there, err := entityExists(ctx, c, kind, names[0])
			if err != nil {
				return err
			}
			if !there {
				fmt.Fprintf(env.Out, "The %s '%s' doesn't exist and doesn't have dynamic config.\n", strings.TrimSuffix(kind, "s"), names[0])
				return nil
			}
		}
	}
	for _, name := range names {
		switch {
		case name == "":
			fmt.Fprintf(env.Out, "Default configs for %s in the cluster are:\n", kind)
		case all:
			fmt.Fprintf(env.Out, "All configs for %s %s are:\n", strings.TrimSuffix(kind, "s"), name)
		default:
			fmt.Fprintf(env.Out, "Dynamic configs for %s %s are:\n", strings.TrimSuffix(kind, "s"), name)
		}
		entries, err := describeEntity(ctx, c, kind, name, true, all)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			synonyms := make([]string, len(entry.ConfigSynonyms))
			for i, s := range entry.ConfigSynonyms {
				synonyms[i] = orDefault(sourceNames[s.Source], "UNKNOWN") + ":" + s.Name + "=" + textOrNull(s.Value)
			}
			fmt.Fprintf(env.Out, "  %s=%s sensitive=%t synonyms={%s}\n", entry.Name, textOrNull(entry.Value), entry.IsSensitive, strings.Join(synonyms, ", "))
		}
	}
	return nil
}

func textOrNull(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// describeEntity returns the configs of one resource by name: its own, or all.
func describeEntity(ctx context.Context, c *cluster, kind, name string, synonyms, all bool) ([]configEntry, error) {
	if kind == topicType && name != "" {
		if err := kafka.ValidateTopicName(name); err != nil {
			return nil, err
		}
	}
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName = resourceTypes[kind], name
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms = synonyms
	req.Resources = append(req.Resources, r)
	resp, err := c.describeConfigs(ctx, req)
	if err != nil {
		return nil, err
	}
	if len(resp.Resources) != 1 {
		return nil, fmt.Errorf("DescribeConfigs answered for %d resources, asked for one", len(resp.Resources))
	}
	if err := withMessage(resp.Resources[0].ErrorCode, resp.Resources[0].ErrorMessage); err != nil {
		return nil, err
	}
	entries := resp.Resources[0].Configs
	if source, ok := dynamicSources[kind]; ok && !all {
		if kind == brokerType && name == "" {
			source = kmsg.ConfigSourceDynamicDefaultBrokerConfig
		}
		entries = slices.DeleteFunc(entries, func(e configEntry) bool { return e.Source != source })
	}
	slices.SortFunc(entries, func(a, b configEntry) int { return cmp.Compare(a.Name, b.Name) })
	return entries, nil
}

// describeConfigs asks the node that the resource is about, when it is about one.
func (c *cluster) describeConfigs(ctx context.Context, req *kmsg.DescribeConfigsRequest) (*kmsg.DescribeConfigsResponse, error) {
	r := req.Resources[0]
	if c.quorum != nil && r.ResourceName != "" && (r.ResourceType == kmsg.ConfigResourceTypeBroker || r.ResourceType == kmsg.ConfigResourceTypeBrokerLogger) {
		id, err := strconv.ParseInt(r.ResourceName, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("the node id %s: %w", r.ResourceName, err)
		}
		resp, err := c.askNode(ctx, int32(id), req)
		if err != nil {
			return nil, err
		}
		return resp.(*kmsg.DescribeConfigsResponse), nil
	}
	return req.RequestWith(ctx, c)
}

// entityList names every entity of a type.
func entityList(ctx context.Context, c *cluster, kind string) ([]string, error) {
	var names []string
	if c.quorum != nil && (kind == topicType || kind == groupType) {
		return nil, messageOr(kerr.UnsupportedEndpointType, "This Admin API is not yet supported when communicating directly with the controller quorum.")
	}
	switch kind {
	case topicType:
		topics, err := c.Admin.ListTopicsWithInternal(ctx)
		return topics.Names(), err
	case brokerType, loggerType:
		n, err := c.describe(ctx)
		if err != nil {
			return nil, err
		}
		for _, id := range n.ids() {
			names = append(names, strconv.Itoa(int(id)))
		}
		return append(names, ""), nil
	case groupType:
		groups, err := c.Admin.ListGroups(ctx)
		if err != nil {
			return nil, err
		}
		configured, err := configResources(ctx, c, kind)
		if err != nil && !unlistable(err) {
			return nil, err
		}
		names = append(groups.Groups(), configured...)
	default:
		var err error
		if names, err = configResources(ctx, c, kind); err != nil {
			return nil, err
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// unlistable says that config resources of groups cannot be listed: the broker is
// older than KIP-1142, or the user may not.
func unlistable(err error) bool {
	return errors.Is(err, kerr.UnsupportedVersion) || errors.Is(err, kerr.ClusterAuthorizationFailed)
}

func configResources(ctx context.Context, c *cluster, kind string) ([]string, error) {
	req := kmsg.NewPtrListConfigResourcesRequest()
	req.ResourceTypes = []int8{int8(resourceTypes[kind])}
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := withMessage(resp.ErrorCode, nil); err != nil {
		return nil, err
	}
	var names []string
	for _, r := range resp.ConfigResources {
		names = append(names, r.Name)
	}
	return names, nil
}

func entityExists(ctx context.Context, c *cluster, kind, name string) (bool, error) {
	switch {
	case kind == topicType:
		if err := kafka.ValidateTopicName(name); err != nil {
			return false, illegalf("%v", err)
		}
	case name == "" && (kind == brokerType || kind == loggerType):
		return true, nil
	}
	names, err := entityList(ctx, c, kind)
	return slices.Contains(names, name), err
}
