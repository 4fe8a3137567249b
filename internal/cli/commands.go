package cli

// Commands are the tools of the wing, in the order of the overview.
func Commands() []Command {
	return []Command{
		{Name: "produce", Summary: "publish the lines of standard input to a topic", Run: produce},
		{Name: "consume", Summary: "print a topic's records", Run: consume},
		{Name: "kafka-console-consumer", Summary: "print messages of topics", Run: consoleConsumer, KafkaName: true},
		{Name: "kafka-console-producer", Summary: "publish lines of standard input", Run: consoleProducer, KafkaName: true},
		{Name: "kafka-topics", Summary: "create, delete, describe, or change topics", Run: topics, KafkaName: true},
	}
}
