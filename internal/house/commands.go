package house

import "github.com/gregorhq/gregor/internal/cli"

// Commands are the tools of the house, in the order of the overview. all are the
// names that install-links makes links for.
func Commands(all func() []cli.Command) []cli.Command {
	return []cli.Command{
		{Name: "dev", Summary: "run one node with its data in ./gregor-data", Run: dev},
		{Name: "doctor", Summary: "check a data directory and say what is wrong with it", Run: doctor},
		{Name: "install-links", Summary: "make links with Kafka's command names in a folder", Run: installLinks(all)},
		{Name: "kafka-dump-log", Summary: "print log segments, indexes and snapshots", Run: dumpLog, KafkaName: true},
		{Name: "kafka-server-start", Summary: "run a node from a properties file", Run: serverStart, KafkaName: true},
		{Name: "kafka-server-stop", Summary: "stop the nodes of this machine", Run: serverStop, KafkaName: true},
		{Name: "kafka-storage", Summary: "format log directories, or look at them", Run: storageTool, KafkaName: true},
	}
}
