package brokerapi

import (
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/describe"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
)

// What AlterConfigs and IncrementalAlterConfigs share: the broker checks what
// only it can know, and passes the rest on.

// configOp is one change of one key; op is set for AlterConfigs.
type configOp struct {
	name  string
	op    kmsg.IncrementalAlterConfigOp
	value *string
}

// checkOps refuses keys that are named twice and values that are missing.
func checkOps(ops []configOp) error {
	seen := map[string]bool{}
	var null []string
	for _, o := range ops {
		if seen[o.name] {
			return kafka.InvalidRequest.Errorf("Error due to duplicate config keys")
		}
		seen[o.name] = true
		if o.value == nil && o.op != kmsg.IncrementalAlterConfigOpDelete {
			null = append(null, o.name)
		}
	}
	if len(null) > 0 {
		return kafka.InvalidRequest.Errorf("Null value not supported for : %s", strings.Join(null, ", "))
	}
	return nil
}

// errTwice answers a resource that a request names more than once.
func errTwice() error {
	return kafka.InvalidRequest.Errorf("Each resource must appear at most once.")
}

// checkBroker says whether this broker, or the cluster for an empty name, could
// have the dynamic values that are left after ops. With replace, ops are all
// there is to be.
func (a *API) checkBroker(img *metadata.Image, name string, ops []configOp, replace bool) error {
	if name != "" {
		if err := a.thisNode(name); err != nil {
			return err
		}
	}
	values := map[string]string{}
	if !replace {
		maps.Copy(values, config.Applicable(img.Config(metadata.ConfigResource{Type: metadata.ResourceBroker, Name: name}), name != ""))
	}
	for _, o := range ops {
		if err := applyOp(values, o); err != nil {
			return err
		}
	}
	return a.Config().ValidateBrokerConfigs(values, name != "")
}

func (a *API) thisNode(name string) error {
	err := describe.ThisNode(a.NodeID, name, "expected %d, but received %s")
	if err != nil && strings.HasPrefix(err.Error(), "Broker id must") {
		return kafka.InvalidRequest.Errorf("Node id must be an integer, but it is: %s", name)
	}
	return err
}

// applyOp changes the values of a broker by one operation.
func applyOp(values map[string]string, o configOp) error {
	verb := "append"
	switch o.op {
	case kmsg.IncrementalAlterConfigOpSet:
		values[o.name] = *o.value
		return nil
	case kmsg.IncrementalAlterConfigOpDelete:
		delete(values, o.name)
		return nil
	case kmsg.IncrementalAlterConfigOpAppend:
	case kmsg.IncrementalAlterConfigOpSubtract:
		verb = "subtract"
	default:
		return kafka.InvalidRequest.Errorf("Unknown operations type %d", o.op)
	}
	k, ok := config.BrokerKey(o.name)
	if !ok {
		return kafka.InvalidConfig.Errorf("Unknown config name: %s", o.name)
	}
	if k.Type != config.TypeList {
		return kafka.InvalidConfig.Errorf("Config value %s is not allowed for config key: %s", verb, o.name)
	}
	text, ok := values[o.name]
	if !ok {
		text, _ = k.Default()
	}
	var list []string
	if text != "" {
		list = strings.Split(text, ",")
	}
	for _, v := range strings.Split(*o.value, ",") {
		at := slices.Index(list, v)
		switch {
		case verb == "append" && at < 0:
			list = append(list, v)
		case verb == "subtract" && at >= 0:
			list = slices.Delete(list, at, at+1)
		}
	}
	values[o.name] = strings.Join(list, ",")
	return nil
}

// logLevels are log4j's levels in the levels that are logged here.
var logLevels = map[string]slog.Level{
	"TRACE": slog.LevelDebug, "DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo,
	"WARN": slog.LevelWarn, "ERROR": slog.LevelError, "FATAL": slog.LevelError,
}

// alterLoggers sets the level of this broker's one logger (KIP-412). Nothing of
// it is kept.
func (a *API) alterLoggers(name string, ops []configOp, validateOnly bool) error {
	if err := a.thisNode(name); err != nil {
		return err
	}
	level := slog.LevelInfo
	for _, o := range ops {
		if o.name != describe.RootLogger {
			return kafka.InvalidConfig.Errorf("Logger %s does not exist!", o.name)
		}
		switch o.op {
		case kmsg.IncrementalAlterConfigOpSet:
			l, ok := logLevels[*o.value]
			if !ok {
				return kafka.InvalidConfig.Errorf("Cannot set the log level of %s to %s as it is not a supported log level. Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN", o.name, *o.value)
			}
			level = l
		case kmsg.IncrementalAlterConfigOpDelete:
			return kafka.InvalidRequest.Errorf("Removing the log level of the %s logger is not allowed", describe.RootLogger)
		case kmsg.IncrementalAlterConfigOpAppend:
			return kafka.InvalidRequest.Errorf("APPEND operation is not allowed for the BROKER_LOGGER resource")
		case kmsg.IncrementalAlterConfigOpSubtract:
			return kafka.InvalidRequest.Errorf("SUBTRACT operation is not allowed for the BROKER_LOGGER resource")
		default:
			return kafka.InvalidRequest.Errorf("Unknown operation type %d is not allowed for the BROKER_LOGGER resource", o.op)
		}
	}
	if len(ops) == 0 || validateOnly {
		return nil
	}
	if a.LogLevel == nil {
		return kafka.InvalidRequest.Errorf("The log level of this broker cannot be changed while it runs")
	}
	a.LogLevel.Set(level)
	return nil
}
