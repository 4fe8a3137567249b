package cli_test

import (
	"regexp"
	"strings"
	"testing"
)

const topicsTool = "kafka-topics --bootstrap-server ADDR"

var topicID = regexp.MustCompile(`TopicId: \S{22}`)

func TestTopicsAreCreatedDescribedAlteredAndDeleted(t *testing.T) {
	script(t, topicsTool, []step{
		{line: "--create --topic topics-a --partitions 2 --config retention.ms=1000", out: "Created topic topics-a.\n"},
		{line: "--create --topic topics-a", out: "Error while executing topic command : Topic 'topics-a' already exists.\n", code: 1},
		{line: "--create --topic topics-a --if-not-exists"},
		{line: "--create --topic topics.b --config retention.ms=x", out: "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both.\n" +
			"Error while executing topic command : Invalid value x for configuration retention.ms: Not a number of type LONG\n", code: 1},
		{line: "--list --topic topics-.*", out: "topics-a\n"},
		{line: "--alter --topic topics-a --partitions 1", out: "Error while executing topic command : The topic topics-a currently has 2 partition(s); 1 would not be an increase.\n", code: 1},
		{line: "--alter --topic topics-a --partitions 3"},
		{line: "--describe --topic topics-a --under-replicated-partitions"},
		{line: "--describe --topic topics-none", out: "Error while executing topic command : Topic 'topics-none' does not exist as expected\n", code: 1},
		{line: "--describe --topic topics-none --if-exists"},
	})
	got := topicID.ReplaceAllString(must(t, "", topicsTool+" --describe --topic topics-a"), "TopicId: ID")
	part := func(n string) string {
		return "\tTopic: topics-a\tPartition: " + n + "\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n"
	}
	want := "Topic: topics-a\tTopicId: ID\tPartitionCount: 3\tReplicationFactor: 1\tConfigs: min.insync.replicas=1,retention.ms=1000\n" + part("0") + part("1") + part("2")
	if got != want {
		t.Errorf("described\n%swant\n%s", got, want)
	}
	script(t, topicsTool, []step{
		{line: "--delete --topic topics-a"},
		{line: "--list --topic topics-.*", out: "\n"},
		{line: "--delete --topic topics-a", out: "Error while executing topic command : Topic 'topics-a' does not exist as expected\n", code: 1},
	})
}

func TestMistakesOnTheTopicsCommandLine(t *testing.T) {
	script(t, topicsTool, []step{
		{line: "--nope", err: "nope is not a recognized option", code: 1},
		{line: "", err: "Command must include exactly one action: --list, --describe, --create, --alter or --delete", code: 1},
		{line: "--list --create --topic x", err: "Command must include exactly one action: --list, --describe, --create, --alter or --delete", code: 1},
		{line: "--create", err: `Missing required argument "[topic]"`, code: 1},
		{line: "--list --partitions 2", err: `Option "[partitions]" can't be used with option "[list]"`, code: 1},
		{line: "--create --topic x --replication-factor 0", out: "Error while executing topic command : The replication factor must be between 1 and 32767 inclusive\n", code: 1},
	})
	script(t, "kafka-topics", []step{
		{line: "", err: "Create, delete, describe, or change a topic.", code: 1},
		{line: "--help", err: "This tool helps to create, delete, describe, or change a topic.", code: 1},
		{line: "--version", out: "4.4.0\n"},
		{line: "--list", err: "--bootstrap-server must be specified", code: 1},
		{line: "--list --bootstrap-server nowhere", err: "invalid url in bootstrap.servers: nowhere (give host:port)", code: 1},
	})
}

func TestAToolWaitsForABrokerAsLongAsItWasTold(t *testing.T) {
	props := file(t, "short.properties", "default.api.timeout.ms=100\n")
	r := call(t, "", "kafka-topics", "--bootstrap-server", "127.0.0.1:1", "--command-config", props, "--list")
	if want := "Error while executing topic command : Timed out waiting for a node assignment.\n"; r.code != 1 || !strings.HasPrefix(r.out, want) {
		t.Errorf("code %d: %s", r.code, r.out)
	}
}
