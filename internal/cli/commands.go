package cli

// Commands are the tools of the wing, in the order of the overview.
func Commands() []Command {
	return []Command{
		{Name: "produce", Summary: "publish the lines of standard input to a topic", Run: produce},
		{Name: "consume", Summary: "print a topic's records", Run: consume},
		{Name: "group", Summary: "list, describe or move consumer groups", Run: group},
		{Name: "top", Summary: "show what nodes, topics and groups do, live", Run: top},
		{Name: "kafka-broker-api-versions", Summary: "show which requests brokers serve", Run: brokerAPIVersions, KafkaName: true},
		{Name: "kafka-cluster", Summary: "show a cluster's id and nodes, or forget a broker", Run: clusterTool, KafkaName: true},
		{Name: "kafka-configs", Summary: "describe or alter configs and quotas", Run: configs, KafkaName: true},
		{Name: "kafka-console-consumer", Summary: "print messages of topics", Run: consoleConsumer, KafkaName: true},
		{Name: "kafka-console-producer", Summary: "publish lines of standard input", Run: consoleProducer, KafkaName: true},
		{Name: "kafka-consumer-groups", Summary: "list, describe, delete or reset consumer groups", Run: consumerGroups, KafkaName: true},
		{Name: "kafka-consumer-perf-test", Summary: "measure how fast records are consumed", Run: consumerPerf, KafkaName: true},
		{Name: "kafka-delete-records", Summary: "delete the oldest records of partitions", Run: deleteRecords, KafkaName: true},
		{Name: "kafka-e2e-latency", Summary: "measure the time from a producer to a consumer", Run: e2eLatency, KafkaName: true},
		{Name: "kafka-features", Summary: "describe or change finalised features", Run: featuresTool, KafkaName: true},
		{Name: "kafka-get-offsets", Summary: "print offsets of partitions", Run: getOffsets, KafkaName: true},
		{Name: "kafka-groups", Summary: "list groups of all types", Run: groups, KafkaName: true},
		{Name: "kafka-leader-election", Summary: "elect leaders of partitions", Run: leaderElection, KafkaName: true},
		{Name: "kafka-log-dirs", Summary: "describe the log directories of brokers", Run: logDirs, KafkaName: true},
		{Name: "kafka-metadata-quorum", Summary: "describe the metadata quorum", Run: metadataQuorum, KafkaName: true},
		{Name: "kafka-producer-perf-test", Summary: "measure how fast records are produced", Run: producerPerf, KafkaName: true},
		{Name: "kafka-reassign-partitions", Summary: "move partitions between brokers", Run: reassignPartitions, KafkaName: true},
		{Name: "kafka-replica-verification", Summary: "compare the replicas of partitions", Run: replicaVerification, KafkaName: true},
		{Name: "kafka-streams-application-reset", Summary: "reset a Kafka Streams application", Run: streamsReset, KafkaName: true},
		{Name: "kafka-topics", Summary: "create, delete, describe, or change topics", Run: topics, KafkaName: true},
		{Name: "kafka-transactions", Summary: "describe transactions, and end those that hang", Run: transactions, KafkaName: true},
	}
}
