package cli

// Commands are the tools of the wing, in the order of the overview.
func Commands() []Command {
	return []Command{
		{Name: "kafka-topics", Summary: "create, delete, describe, or change topics", Run: topics, KafkaName: true},
	}
}
