package cli

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

// configChange is what --add-config, --add-config-file and --delete-config say.
type configChange struct {
	set    map[string]string
	delete []string
}

// configKey is what a key may look like; $ is for loggers of inner classes.
var configKey = regexp.MustCompile(`^[$a-zA-Z0-9._-]*$`)

func parseConfigChange(v *opt.Values) (*configChange, error) {
	change := &configChange{set: map[string]string{}}
	if v.Has("add-config-file") {
		props, err := readProperties(v.Get("add-config-file"))
		if err != nil {
			return nil, err
		}
		maps.Copy(change.set, props)
	}
	if v.Has("add-config") {
		parts := splitOutsideBrackets(v.Get("add-config"), ',')
		for len(parts) > 1 && parts[len(parts)-1] == "" {
			parts = parts[:len(parts)-1]
		}
		for _, part := range parts {
			pair := splitOutsideBrackets(part, '=')
			if len(pair) != 2 {
				return nil, illegalf("requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\" or  \"key=[val1,val2]\" to group values which contain commas.")
			}
			value := strings.NewReplacer("[", "", "]", "").Replace(pair[1])
			change.set[strings.TrimSpace(pair[0])] = strings.TrimSpace(value)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(change.set)) {
		if !configKey.MatchString(key) {
			return nil, illegalf("Invalid character found for config key: %s", key)
		}
	}
	for _, list := range v.All("delete-config") {
		for _, key := range strings.Split(list, ",") {
			change.delete = append(change.delete, strings.TrimSpace(key))
		}
	}
	return change, nil
}

// splitOutsideBrackets splits at sep where it does not stand between [ and ].
func splitOutsideBrackets(s string, sep byte) []string {
	var parts []string
	start := 0
	for i := range len(s) {
		if s[i] != sep {
			continue
		}
		opening, closing := strings.IndexByte(s[i:], '['), strings.IndexByte(s[i:], ']')
		if closing < 0 || opening >= 0 && opening < closing {
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

func alterEntity(ctx context.Context, env *Env, c *cluster, v *opt.Values, e *entities) error {
	change, err := parseConfigChange(v)
	if err == nil {
		err = c.await(ctx)
	}
	if err != nil {
		return err
	}
	switch e.types[0] {
	case userType, clientType:
		err = alterUserOrClient(ctx, c, e, change)
	case ipType:
		var unknown []string
		for _, key := range append(slices.Sorted(maps.Keys(change.set)), change.delete...) {
			if key != "connection_creation_rate" {
				unknown = append(unknown, key)
			}
		}
		if len(unknown) > 0 {
			return illegalf("Only connection quota configs can be added for '%s' using --bootstrap-server. Unexpected config names: %s", ipType, strings.Join(unknown, ","))
		}
		err = alterQuotas(ctx, c, e, change)
	case loggerType:
		err = alterLoggers(ctx, c, e.names[0], change)
	default:
		err = alterResource(ctx, c, resourceTypes[e.types[0]], e.names[0], change)
	}
	if err != nil {
		return err
	}
	if e.names[0] == "" {
		fmt.Fprintf(env.Out, "Completed updating default config for %s in the cluster.\n", e.types[0])
		return nil
	}
	fmt.Fprintf(env.Out, "Completed updating config for %s %s.\n", strings.TrimSuffix(e.types[0], "s"), e.names[0])
	return nil
}

// alterLoggers changes the levels of a broker's loggers, all of which must exist.
func alterLoggers(ctx context.Context, c *cluster, id string, change *configChange) error {
	entries, err := describeEntity(ctx, c, loggerType, id, false, true)
	if err != nil {
		return err
	}
	var unknown []string
	for _, key := range append(slices.Clone(change.delete), slices.Sorted(maps.Keys(change.set))...) {
		if !slices.ContainsFunc(entries, func(e configEntry) bool { return e.Name == key }) {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 {
		return illegalf("Invalid broker logger(s): %s", strings.Join(unknown, ","))
	}
	return alterResource(ctx, c, kmsg.ConfigResourceTypeBrokerLogger, id, change)
}

func alterResource(ctx context.Context, c *cluster, kind kmsg.ConfigResourceType, name string, change *configChange) error {
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kind, name
	add := func(op kmsg.IncrementalAlterConfigOp, key, value string) {
		cfg := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		cfg.Name, cfg.Op, cfg.Value = key, op, kmsg.StringPtr(value)
		resource.Configs = append(resource.Configs, cfg)
	}
	for _, key := range change.delete {
		add(kmsg.IncrementalAlterConfigOpDelete, key, "")
	}
	for _, key := range slices.Sorted(maps.Keys(change.set)) {
		add(kmsg.IncrementalAlterConfigOpSet, key, change.set[key])
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = append(req.Resources, resource)
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	for _, r := range resp.Resources {
		if err := withMessage(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}
