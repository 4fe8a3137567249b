package cli_test

import (
	"strings"
	"testing"
)

const configsTool = "kafka-configs --bootstrap-server ADDR"

const (
	policyLine    = "  cleanup.policy=compact,delete sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,delete, DEFAULT_CONFIG:log.cleanup.policy=delete}\n"
	retentionLine = "  retention.ms=1000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=1000}\n"
)

func TestTopicConfigsAreAlteredAndDescribed(t *testing.T) {
	must(t, "", "kafka-topics --bootstrap-server ADDR --create --topic conf")
	more := file(t, "more.properties", "segment.bytes = 1048576\n")
	failed := func(args string) string {
		return "Error while executing config command with args '--bootstrap-server ADDR " + args + "'"
	}
	script(t, configsTool, []step{
		{line: "--describe --topic conf", out: "Dynamic configs for topic conf are:\n"},
		{line: "--alter --topic conf --add-config retention.ms=1000,cleanup.policy=[compact,delete]", out: "Completed updating config for topic conf.\n"},
		{line: "--describe --topic conf", out: "Dynamic configs for topic conf are:\n" + policyLine + retentionLine},
		{line: "--alter --entity-type topics --entity-name conf --delete-config cleanup.policy,nothere --add-config-file " + more, out: "Completed updating config for topic conf.\n"},
		{line: "--describe --entity-type topics --entity-name conf", out: "Dynamic configs for topic conf are:\n" + retentionLine +
			"  segment.bytes=1048576 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:segment.bytes=1048576, DEFAULT_CONFIG:log.segment.bytes=1073741824}\n"},
		{line: "--describe --topic conf-none", out: "The topic 'conf-none' doesn't exist and doesn't have dynamic config.\n"},
		{line: "--describe --topic conf-none --all", out: "All configs for topic conf-none are:\n", err: failed("--describe --topic conf-none --all"), code: 1},
		{line: "--alter --topic conf --add-config a=b", err: failed("--alter --topic conf --add-config a=b"), code: 1},
		{line: "--describe --topic a/b", err: "Topic name is invalid: 'a/b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", code: 1},
	})
	r := call(t, "", strings.Fields(configsTool+" --alter --topic conf --add-config a=b")...)
	if !strings.HasSuffix(r.err, "'\norg.apache.kafka.common.errors.InvalidConfigurationException: Unknown topic config name: a\n") {
		t.Error(r.err)
	}
	all := must(t, "", configsTool+" --describe --topic conf --all")
	if !strings.HasPrefix(all, "All configs for topic conf are:\n  cleanup.policy=delete ") || !strings.Contains(all, retentionLine) || strings.Count(all, "\n") < 30 {
		t.Error(all)
	}
	if every := must(t, "", configsTool+" --describe --entity-type topics"); !strings.Contains(every, "Dynamic configs for topic conf are:\n"+retentionLine) {
		t.Error(every)
	}
}

func TestBrokerConfigsAreAlteredAndDescribed(t *testing.T) {
	const minISR = "  min.insync.replicas=1 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:min.insync.replicas=1}\n"
	script(t, configsTool, []step{
		{line: "--alter --broker 1 --add-config log.cleaner.threads=2", out: "Completed updating config for broker 1.\n"},
		{line: "--alter --entity-type brokers --entity-default --add-config log.cleaner.threads=3", out: "Completed updating default config for brokers in the cluster.\n"},
		{line: "--describe --entity-type brokers", out: "Dynamic configs for broker 1 are:\n" +
			"  log.cleaner.threads=2 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.cleaner.threads=2, DYNAMIC_DEFAULT_BROKER_CONFIG:log.cleaner.threads=3, DEFAULT_CONFIG:log.cleaner.threads=1}\n" +
			"Default configs for brokers in the cluster are:\n  log.cleaner.threads=3 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.cleaner.threads=3}\n" + minISR},
		{line: "--alter --broker 1 --delete-config log.cleaner.threads", out: "Completed updating config for broker 1.\n"},
		{line: "--alter --broker-defaults --delete-config log.cleaner.threads", out: "Completed updating default config for brokers in the cluster.\n"},
		{line: "--describe --broker-defaults", out: "Default configs for brokers in the cluster are:\n" + minISR},
		{line: "--describe --broker 7", out: "The broker '7' doesn't exist and doesn't have dynamic config.\n"},
		{line: "--describe --client-metrics none", out: "The client-metric 'none' doesn't exist and doesn't have dynamic config.\n"},
		{line: "--alter --client-metrics m --add-config interval.ms=1000", out: "Completed updating config for client-metric m.\n"},
		{line: "--describe --entity-type client-metrics", out: "Dynamic configs for client-metric m are:\n  interval.ms=1000 sensitive=false synonyms={DYNAMIC_CLIENT_METRICS_CONFIG:interval.ms=1000}\n"},
		{line: "--alter --broker-logger 1 --add-config no.such=DEBUG", err: "Invalid broker logger(s): no.such", code: 1},
	})
}

func TestMistakesOnTheConfigsCommandLine(t *testing.T) {
	script(t, "kafka-configs", []step{
		{line: "", err: "This tool helps to manipulate and describe entity config for a topic, client, user, broker, ip, client-metrics or group", code: 1},
		{line: "--describe --topic x", err: "Either --bootstrap-server or --bootstrap-controller must be specified.", code: 1},
		{line: "--describe --topic x --bootstrap-server a:1 --bootstrap-controller b:1", err: "Only one of --bootstrap-server or --bootstrap-controller can be specified", code: 1},
	})
	script(t, configsTool, []step{
		{line: "", err: "Command must include exactly one action: --describe, --alter", code: 1},
		{line: "--describe --alter --topic x", err: "Command must include exactly one action: --describe, --alter", code: 1},
		{line: "--describe --topic x --add-config a=b", err: `Option "[describe]" can't be used with option "[add-config]"`, code: 1},
		{line: "--describe", err: "At least one entity type must be specified", code: 1},
		{line: "--describe --entity-type users --entity-type users", err: "Duplicate entity type(s) specified: users", code: 1},
		{line: "--describe --topic x --broker 1", err: "Only 'users' and 'clients' entity types may be specified together", code: 1},
		{line: "--describe --entity-type bogus", err: "Invalid entity type bogus, the entity type must be one of topics, clients, users, brokers, ips, client-metrics, groups, broker-loggers with a --bootstrap-server or --bootstrap-controller argument", code: 1},
		{line: "--describe --entity-name x --topic x", err: "--entity-{type,name,default} should not be used in conjunction with specific entity flags", code: 1},
		{line: "--describe --broker x", err: "The entity name for brokers must be a valid integer broker id, but it is: x", code: 1},
		{line: "--describe --entity-type topics --entity-default", err: "--entity-default must not be specified with --describe of topics", code: 1},
		{line: "--describe --entity-type broker-loggers", err: "An entity name must be specified with --describe of broker-loggers", code: 1},
		{line: "--alter --topic x", err: "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter", code: 1},
		{line: "--alter --topic x --add-config a=b --add-config-file f", err: "Only one of --add-config or --add-config-file must be specified", code: 1},
		{line: "--alter --entity-type topics --add-config a=b", err: "An entity name must be specified with --alter of topics", code: 1},
		{line: "--alter --entity-type users --add-config a=b", err: "An entity-name or default entity must be specified with --alter of users, clients, brokers or ips", code: 1},
		{line: "--alter --topic x --add-config a", err: "requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\" or  \"key=[val1,val2]\" to group values which contain commas.", code: 1},
		{line: "--alter --topic x --add-config a/b=1", err: "Invalid character found for config key: a/b", code: 1},
		{line: "--alter --client c --add-config foo=1", err: "Only quota configs can be added for 'clients' using --bootstrap-server. Unexpected config names: Set(foo)", code: 1},
		{line: "--alter --user u --delete-config foo", err: "Only quota and SCRAM credential configs can be deleted for 'users' using --bootstrap-server. Unexpected config names: ArrayBuffer(foo)", code: 1},
		{line: "--alter --user-defaults --add-config SCRAM-SHA-256=[password=x]", err: "The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using --bootstrap-server.", code: 1},
		{line: "--alter --user u --add-config SCRAM-SHA-256=[password=x],request_percentage=1", err: "Cannot alter both quota and SCRAM credential configs simultaneously for 'users' using --bootstrap-server.", code: 1},
		{line: "--alter --user u --add-config SCRAM-SHA-256=[iterations=5,password=x]", err: "Iterations 5 is less than the minimum 4096 required for SCRAM-SHA-256", code: 1},
		{line: "--alter --user u --add-config SCRAM-SHA-256=x", err: "Invalid credential property SCRAM_SHA_256=x", code: 1},
		{line: "--alter --ip 10.0.0.1 --add-config foo=1", err: "Only connection quota configs can be added for 'ips' using --bootstrap-server. Unexpected config names: foo", code: 1},
	})
}
