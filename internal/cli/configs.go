package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/cli/opt"
)

var configsTable = opt.Table{Options: append([]opt.Option{
	{Name: "bootstrap-server", Kind: opt.Value, Arg: "server to connect to", Doc: "The Kafka servers to connect to."},
	{Name: "bootstrap-controller", Kind: opt.Value, Arg: "controller to connect to", Doc: "The Kafka controllers to connect to."},
	{Name: "command-config", Kind: opt.Value, Arg: "command config property file", Doc: "Property file with settings for the admin client."},
	{Name: "alter", Doc: "Alter the configuration for the entity."},
	{Name: "describe", Doc: "List configs for the given entity."},
	{Name: "all", Doc: "List all configs for the entity, those that are not dynamic too."},
	{Name: "entity-type", Kind: opt.List, Doc: "Type of entity (topics/clients/users/brokers/broker-loggers/ips/client-metrics/groups)."},
	{Name: "entity-name", Kind: opt.List, Doc: "Name of entity (topic name/client id/user principal name/broker id/ip/client metrics/group id)."},
	{Name: "entity-default", Doc: "The default entity for clients/users/brokers/ips, of the entity type that goes with it."},
	{Name: "add-config", Kind: opt.Value, Doc: "Configs to add, as 'k1=v1,k2=[v1,v2,v2],k3=v3'; square brackets hold a value together that has commas. Users and clients have quotas (producer_byte_rate, consumer_byte_rate, request_percentage, controller_mutation_rate), users SCRAM credentials too (SCRAM-SHA-256, SCRAM-SHA-512), ips connection_creation_rate. Users and clients may be given together, for the clients of one user."},
	{Name: "add-config-file", Kind: opt.Value, Doc: "Path to a properties file with configs to add."},
	{Name: "delete-config", Kind: opt.List, Doc: "Config keys to remove, as 'k1,k2'."},
	{Name: "topic", Kind: opt.Value, Doc: "The topic's name."},
	{Name: "client", Kind: opt.Value, Doc: "The client's id."},
	{Name: "client-defaults", Doc: "The defaults for all clients."},
	{Name: "user", Kind: opt.Value, Doc: "The user's principal name."},
	{Name: "user-defaults", Doc: "The defaults for all users."},
	{Name: "broker", Kind: opt.Value, Doc: "The broker's id."},
	{Name: "broker-defaults", Doc: "The defaults for all brokers."},
	{Name: "broker-logger", Kind: opt.Value, Doc: "The id of the broker whose loggers are meant."},
	{Name: "ip", Kind: opt.Value, Doc: "The IP address."},
	{Name: "ip-defaults", Doc: "The defaults for all IPs."},
	{Name: "group", Kind: opt.Value, Doc: "The group's id."},
	{Name: "client-metrics", Kind: opt.Value, Doc: "The name of the client metrics resource."},
}, helpOptions...)}

// The entity types by their names on the command line.
const (
	topicType, clientType, userType, brokerType = "topics", "clients", "users", "brokers"
	ipType, metricsType, groupType, loggerType  = "ips", "client-metrics", "groups", "broker-loggers"
)

var entityTypeNames = []string{topicType, clientType, userType, brokerType, ipType, metricsType, groupType, loggerType}

// entityFlags are the options that name an entity of a type, in the order in which
// they count, and entityDefaultFlags those that mean a type's default entity.
var (
	entityFlags = [][2]string{{"topic", topicType}, {"client", clientType}, {"user", userType}, {"broker", brokerType},
		{"broker-logger", loggerType}, {"ip", ipType}, {"client-metrics", metricsType}, {"group", groupType}}
	entityDefaultFlags = [][2]string{{"client-defaults", clientType}, {"user-defaults", userType}, {"broker-defaults", brokerType}, {"ip-defaults", ipType}}
)

// resourceTypes are the entity types that are config resources.
var resourceTypes = map[string]kmsg.ConfigResourceType{
	topicType: kmsg.ConfigResourceTypeTopic, brokerType: kmsg.ConfigResourceTypeBroker, loggerType: kmsg.ConfigResourceTypeBrokerLogger,
	metricsType: kmsg.ConfigResourceTypeClientMetrics, groupType: kmsg.ConfigResourceTypeGroupConfig,
}

// illegal is a mistake that the tool reports by its message alone.
type illegal struct{ msg string }

func (e illegal) Error() string { return e.msg }

func illegalf(format string, args ...any) error { return illegal{fmt.Sprintf(format, args...)} }

func configs(ctx context.Context, env *Env) int {
	v, code, done := parse(env, &configsTable, "This tool helps to manipulate and describe entity config for a topic, client, user, broker, ip, client-metrics or group")
	if done {
		return code
	}
	if v.Has("alter") == v.Has("describe") {
		return usage(env, &configsTable, "Command must include exactly one action: --describe, --alter")
	}
	if err := v.Exclude("describe", "alter", "add-config", "delete-config"); err != nil {
		return wrongUsage(env, &configsTable, err)
	}
	e := readEntities(v)
	err := e.check(v)
	if err == nil {
		err = runConfigs(ctx, env, v, e)
	}
	switch {
	case err == nil:
		return 0
	case errors.As(err, new(illegal)):
		fmt.Fprintln(env.Err, err)
	default:
		fmt.Fprintf(env.Err, "Error while executing config command with args '%s'\n%s\n", strings.Join(env.Args, " "), exception(err))
	}
	return 1
}

func runConfigs(ctx context.Context, env *Env, v *opt.Values, e *entities) error {
	c, err := admin(v.Get("bootstrap-server"), v.Get("bootstrap-controller"), v.Get("command-config"))
	if err != nil {
		return err
	}
	defer c.Close()
	if v.Has("alter") && len(e.types) != len(e.names) {
		return illegalf("An entity name must be specified for every entity type")
	}
	ctx, cancel := within(ctx)
	defer cancel()
	if v.Has("alter") {
		return alterEntity(ctx, env, c, v, e)
	}
	if err := c.await(ctx); err != nil {
		return err
	}
	switch e.types[0] {
	case userType, clientType:
		if err := describeQuotas(ctx, env, c, e); err != nil {
			return err
		}
		if slices.Contains(e.types, clientType) || slices.Contains(e.names, "") {
			return nil
		}
		return describeScram(ctx, env, c, e.names)
	case ipType:
		return describeQuotas(ctx, env, c, e)
	}
	return describeResources(ctx, env, c, v, e)
}

// entities are what a command line is about: types, and names that go with them in
// the same order; the empty name is a type's default entity.
type entities struct {
	types, names []string
}

func readEntities(v *opt.Values) *entities {
	e := &entities{types: slices.Clone(v.All("entity-type"))}
	names := v.All("entity-name")
	for _, o := range v.Order() {
		switch o {
		case "entity-name":
			e.names, names = append(e.names, names[0]), names[1:]
		case "entity-default":
			e.names = append(e.names, "")
		}
	}
	for _, f := range entityFlags {
		if v.Has(f[0]) {
			e.types, e.names = append(e.types, f[1]), append(e.names, v.Get(f[0]))
		}
	}
	for _, f := range entityDefaultFlags {
		if v.Has(f[0]) {
			e.types, e.names = append(e.types, f[1]), append(e.names, "")
		}
	}
	return e
}

func (e *entities) has(types ...string) bool {
	return slices.ContainsFunc(types, func(t string) bool { return slices.Contains(e.types, t) })
}

// named says whether an entity is named; isDefault, whether a default one is meant.
func (e *entities) named() bool {
	return slices.ContainsFunc(e.names, func(n string) bool { return n != "" })
}
func (e *entities) isDefault() bool { return slices.Contains(e.names, "") }

func (e *entities) check(v *opt.Values) error {
	var repeated []string
	for i, t := range e.types {
		if slices.Contains(e.types[:i], t) {
			repeated = append(repeated, t)
		}
	}
	if len(repeated) > 0 {
		return illegalf("Duplicate entity type(s) specified: %s", strings.Join(repeated, ","))
	}
	if !v.Has("bootstrap-server") && !v.Has("bootstrap-controller") {
		return illegalf("Either --bootstrap-server or --bootstrap-controller must be specified.")
	}
	for _, t := range e.types {
		if !slices.Contains(entityTypeNames, t) {
			return illegalf("Invalid entity type %s, the entity type must be one of %s with a --bootstrap-server or --bootstrap-controller argument", t, strings.Join(entityTypeNames, ", "))
		}
	}
	switch {
	case len(e.types) == 0:
		return illegalf("At least one entity type must be specified")
	case len(e.types) > 1 && (len(e.types) > 2 || !e.has(userType) || !e.has(clientType)):
		return illegalf("Only '%s' and '%s' entity types may be specified together", userType, clientType)
	}
	flagged := slices.ContainsFunc(append(slices.Clone(entityFlags), entityDefaultFlags...), func(f [2]string) bool { return v.Has(f[0]) })
	if flagged && (v.Has("entity-name") || v.Has("entity-type") || v.Has("entity-default")) {
		return illegalf("--entity-{type,name,default} should not be used in conjunction with specific entity flags")
	}
	if v.Has("bootstrap-server") && v.Has("bootstrap-controller") {
		return illegalf("Only one of --bootstrap-server or --bootstrap-controller can be specified")
	}
	if err := e.checkNames(); err != nil {
		return err
	}
	if v.Has("describe") {
		return e.checkDescribe(v)
	}
	return e.checkAlter(v)
}

func (e *entities) checkNames() error {
	for _, name := range e.names {
		if name == "" {
			continue
		}
		if e.has(brokerType, loggerType) {
			if _, err := strconv.ParseInt(name, 10, 32); err != nil {
				return illegalf("The entity name for %s must be a valid integer broker id, but it is: %s", e.types[0], name)
			}
		}
		if e.has(ipType) && net.ParseIP(name) == nil {
			if _, err := net.LookupHost(name); err != nil {
				return illegalf("The entity name for %s must be a valid IP or resolvable host, but it is: %s", e.types[0], name)
			}
		}
	}
	return nil
}

func (e *entities) checkDescribe(v *opt.Values) error {
	if v.Has("entity-default") && !e.has(userType, clientType, brokerType, ipType) {
		return illegalf("--entity-default must not be specified with --describe of %s", strings.Join(e.types, ","))
	}
	if e.has(loggerType) && !e.named() {
		return illegalf("An entity name must be specified with --describe of %s", strings.Join(e.types, ","))
	}
	return nil
}

func (e *entities) checkAlter(v *opt.Values) error {
	switch {
	case e.has(userType, clientType, brokerType, ipType):
		if !e.named() && !e.isDefault() {
			return illegalf("An entity-name or default entity must be specified with --alter of users, clients, brokers or ips")
		}
	case !e.named():
		return illegalf("An entity name must be specified with --alter of %s", strings.Join(e.types, ","))
	}
	switch {
	case v.Has("add-config") && v.Has("add-config-file"):
		return illegalf("Only one of --add-config or --add-config-file must be specified")
	case !v.Has("add-config") && !v.Has("add-config-file") && !v.Has("delete-config"):
		return illegalf("At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter")
	}
	return nil
}
