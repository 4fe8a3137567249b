package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
	"github.com/gregorhq/gregor/internal/wire"
)

var brokerAPIVersionsTable = opt.Table{Options: append([]opt.Option{bootstrapServerOption, commandConfigOption}, helpOptions...)}

func brokerAPIVersions(ctx context.Context, env *Env) int {
	v, code, done := parse(env, &brokerAPIVersionsTable, "This tool helps to retrieve broker version information.")
	if done {
		return code
	}
	if err := v.Require("bootstrap-server"); err != nil {
		return wrongUsage(env, &brokerAPIVersionsTable, err)
	}
	return withCluster(ctx, env, v, printAPIVersions)
}

func printAPIVersions(ctx context.Context, env *Env, c *cluster, _ *opt.Values) error {
	meta, err := c.Admin.BrokerMetadata(ctx)
	if err != nil {
		seeds := make([]string, len(c.Seeds))
		for i, s := range c.Seeds {
			seeds[i] = fmt.Sprintf("%s (id: %d rack: null isFenced: false)", s, -1-i)
		}
		return fmt.Errorf("Request METADATA failed on brokers [%s]\n%s", strings.Join(seeds, ", "), reason(err))
	}
	slices.SortFunc(meta.Brokers, func(a, b kadm.BrokerDetail) int { return cmp.Compare(a.NodeID, b.NodeID) })
	for _, b := range meta.Brokers {
		rack := "null"
		if b.Rack != nil {
			rack = *b.Rack
		}
		fmt.Fprintf(env.Out, "%s:%d (id: %d rack: %s isFenced: false) -> ", b.Host, b.Port, b.NodeID, rack)
		resp, err := c.apiVersions(ctx, b.NodeID)
		if err != nil {
			fmt.Fprintf(env.Out, "ERROR: %s\n", exception(err))
			continue
		}
		fmt.Fprintf(env.Out, "(\n\t%s\n)\n", strings.Join(apiVersionLines(resp.ApiKeys), ",\n\t"))
	}
	return nil
}

// apiVersionLines is a line a request, in the order of the keys: those that the
// broker announces, and those that it lacks though brokers serve them.
func apiVersionLines(served []kmsg.ApiVersionsResponseApiKey) []string {
	lines := map[int16]string{}
	for _, k := range served {
		versions := fmt.Sprint(k.MinVersion)
		if k.MaxVersion != k.MinVersion {
			versions = fmt.Sprintf("%d to %d", k.MinVersion, k.MaxVersion)
		}
		api := wire.Lookup(k.ApiKey)
		switch {
		case api == nil || api.Max < api.Min:
			lines[k.ApiKey] = fmt.Sprintf("UNKNOWN(%d): %s", k.ApiKey, versions)
		case api.Max < k.MinVersion:
			lines[k.ApiKey] = fmt.Sprintf("%s(%d): %s [unusable: node too new]", api.Name, k.ApiKey, versions)
		case k.MaxVersion < api.Min:
			lines[k.ApiKey] = fmt.Sprintf("%s(%d): %s [unusable: node too old]", api.Name, k.ApiKey, versions)
		default:
			lines[k.ApiKey] = fmt.Sprintf("%s(%d): %s [usable: %d]", api.Name, k.ApiKey, versions, min(api.Max, k.MaxVersion))
		}
	}
	for _, api := range wire.APIs() {
		if _, ok := lines[api.Key]; !ok && api.Broker && api.Min <= api.Max {
			lines[api.Key] = fmt.Sprintf("%s(%d): UNSUPPORTED", api.Name, api.Key)
		}
	}
	keys := make([]int16, 0, len(lines))
	for k := range lines {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = lines[k]
	}
	return out
}
