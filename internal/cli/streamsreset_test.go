package cli_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const resetTool = "kafka-streams-application-reset --bootstrap-server ADDR --application-id "

func TestAStreamsApplicationIsReset(t *testing.T) {
	publish(t, "sreset-in", 1000, 2000, 3000, 4000)
	for _, topic := range []string{"sreset-mid", "sreset-app-a-changelog", "sreset-app-output", "sreset-other-changelog"} {
		must(t, "", "kafka-topics --bootstrap-server ADDR --create --topic "+topic)
	}
	const to = "Reset-offsets for input topics [sreset-in]\nFollowing input topics offsets will be reset to (for consumer group sreset-app)\n"
	at := func(offset string) string {
		return "Topic: sreset-in Partition: 0 Offset: 0\nTopic: sreset-in Partition: 1 Offset: " + offset + "\nTopic: sreset-in Partition: 2 Offset: 0\nDone.\n"
	}
	const dry = "----Dry run displays the actions which will be performed when running Streams Reset Tool----\n"
	const ends = "New offset (1) is higher than latest offset. Value will be set to 0\n"
	const inferred = "Deleting inferred internal topics [sreset-app-a-changelog]\nDone.\n"
	const empty2 = "Partition 2 from topic sreset-in is empty, without a committed record. Falling back to latest known offset.\n"
	const empty0 = "Partition 0 from topic sreset-in is empty, without a committed record. Falling back to latest known offset.\n"
	plan := file(t, "plan.csv", "sreset-in,0,0\nsreset-in,1,3\nsreset-in,2,0\n")
	const zero = "New offset (0) is higher than latest offset. Value will be set to 0\n"
	script(t, resetTool+"sreset-app --dry-run --input-topics sreset-in", []step{
		{line: "", out: dry + to + at("0") + inferred},
		{line: "--to-latest", out: dry + to + at("4") + inferred},
		{line: "--to-offset 1", out: dry + to + ends + ends + at("1") + inferred},
		{line: "--to-datetime 1970-01-01T00:00:02.500", out: dry + to + empty0 + empty2 + at("2") + inferred},
		{line: "--from-file " + plan, out: dry + to + zero + zero + at("3") + inferred},
		{line: "--internal-topics sreset-app-a-changelog", out: dry + to + at("0") + "Deleting specified internal topics [sreset-app-a-changelog]\nDone.\n"},
		{line: "--input-topics sreset-app-a-changelog --to-latest --internal-topics sreset-app-a-changelog", code: 1,
			out: dry + "Reset-offsets for input topics [sreset-in, sreset-app-a-changelog]\nFollowing input topics offsets will be reset to (for consumer group sreset-app)\n" +
				"Topic: sreset-app-a-changelog Partition: 0 Offset: 0\n" + at("4"),
			err: "ERROR: java.lang.IllegalArgumentException: Invalid topic specified in the --internal-topics option. Ensure that the topics specified are all internal topics. Do a dry run without the --internal-topics option to see the list of all internal topics that can be deleted."},
	})
	const skipped = "WARN: `--intermediate-topics` is deprecated and will be removed in a future release\nReset-offsets for input topics [sreset-in, sreset-no]\nSeek-to-end for intermediate topics [sreset-mid, sreset-nor]\n" +
		"Following input topics are not found, skipping them\nTopic: sreset-no\nFollowing intermediate topics are not found, skipping them\nTopic:sreset-nor\nFollowing input topics offsets will be reset to (for consumer group sreset-app)\n"
	script(t, resetTool+"sreset-app", []step{
		{line: "--input-topics sreset-in,sreset-no --intermediate-topics sreset-mid,sreset-nor --to-latest", code: 1,
			out: skipped + strings.Replace(at("4"), "Done.", "Following intermediate topics offsets will be reset to end (for consumer group sreset-app)\nTopic: sreset-mid\nDone.", 1) + inferred},
		{line: "--input-topics sreset-in --shift-by -3", out: to + "New offset (-3) is lower than earliest offset. Value will be set to 0\nNew offset (-3) is lower than earliest offset. Value will be set to 0\n" + at("1") + "Deleting inferred internal topics []\nDone.\n"},
		{line: "", out: "No input or intermediate topics specified. Skipping seek.\nDeleting inferred internal topics []\nDone.\n"},
	})
	got := must(t, "", "kafka-topics --bootstrap-server ADDR --list --topic sreset-.*")
	if want := "sreset-app-output\nsreset-in\nsreset-mid\nsreset-other-changelog\n"; got != want {
		t.Errorf("topics left: %s, want %s", got, want)
	}
}

func TestEveryKindOfInternalTopicIsDeleted(t *testing.T) {
	internal := []string{"skind-a-changelog", "skind-a-repartition", "skind-a-subscription-registration-topic", "skind-a-subscription-response-topic",
		"skind-KTABLE-FK-JOIN-SUBSCRIPTION-REGISTRATION-0000000004-topic", "skind-KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-0000000007-topic"}
	for _, topic := range append(internal, "skind-x-topic", "skind-changelog-x", "skinder-changelog") {
		must(t, "", "kafka-topics --bootstrap-server ADDR --create --topic "+topic)
	}
	got := must(t, "", resetTool+"skind")
	for _, topic := range internal {
		if !strings.Contains(got, topic) {
			t.Errorf("%s is not in %s", topic, got)
		}
	}
	left := must(t, "", "kafka-topics --bootstrap-server ADDR --list --topic skind.*")
	if want := "skind-changelog-x\nskind-x-topic\nskinder-changelog\n"; left != want {
		t.Errorf("topics left: %s, want %s", left, want)
	}
}

func TestResetsOfStreamsApplicationsThatAreRefused(t *testing.T) {
	publish(t, "srefuse", 1)
	bad, short, word := file(t, "bad.csv", "srefuse,0\n"), file(t, "short.csv", "srefuse,0,0\n"), file(t, "word.csv", "srefuse,x,0\n")
	const failed = "ERROR: Resetting offsets failed."
	script(t, resetTool+"srefuse-app --input-topics srefuse --dry-run", []step{
		{line: "--to-earliest --shift-by 1", err: `Option "[to-earliest]" can't be used with option "[shift-by]"`, code: 1},
		{line: "--config-file a --command-config b", err: `Option "[config-file]" can't be used with option "[command-config]"`, code: 1},
		{line: "--command-config /none", err: "ERROR: java.nio.file.NoSuchFileException: /none", code: 1},
		{line: "--config-file /none", out: "Option --config-file has been deprecated and will be removed in a future version. Use --command-config instead.\n", err: "ERROR: java.nio.file.NoSuchFileException: /none", code: 1},
	})
	for line, want := range map[string]string{
		"--to-offset x":        "ERROR: joptsimple.OptionArgumentConversionException: Cannot parse argument 'x' of option to-offset",
		"--to-datetime x":      failed + "\nERROR: java.text.ParseException: ",
		"--by-duration x":      "ERROR: java.time.format.DateTimeParseException: Text cannot be parsed to a Duration",
		"--from-file /none":    failed + "\nERROR: java.nio.file.NoSuchFileException: /none",
		"--from-file " + bad:   failed + "\nERROR: java.text.ParseException: Reset plan CSV file is not following the format `TOPIC,PARTITION,OFFSET`.",
		"--from-file " + word:  `ERROR: java.lang.NumberFormatException: For input string: "x"`,
		"--from-file " + short: "ERROR: java.lang.NullPointerException: ",
	} {
		if r := call(t, "", strings.Fields(resetTool+"srefuse-app --input-topics srefuse --dry-run "+line)...); r.code != 1 || !strings.HasPrefix(r.err, want) {
			t.Errorf("%s: code %d, %s", line, r.code, r.err)
		}
	}
	script(t, "kafka-streams-application-reset", []step{{line: "", err: "Missing required option(s) [application-id]", code: 1}})
}

func TestAResetNeedsAGroupWithoutMembers(t *testing.T) {
	publish(t, "sactive", 1, 2)
	c, err := kgo.NewClient(kgo.SeedBrokers(addr(t)), kgo.ConsumerGroup("sactive-app"), kgo.ConsumeTopics("sactive"), kgo.ClientID("instance"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.PollFetches(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	c.PauseFetchTopics("sactive")
	r := call(t, "", strings.Fields(resetTool+"sactive-app --input-topics sactive")...)
	if want := "ERROR: java.lang.IllegalStateException: Consumer group 'sactive-app' is still active and has following members: [(memberId="; r.code != 1 || !strings.HasPrefix(r.err, want) ||
		!strings.Contains(r.err, "clientId=instance, host=/127.0.0.1, assignment=(topicPartitions=sactive-0,sactive-1,sactive-2), targetAssignment=Optional.empty, memberEpoch=null, upgraded=null)].") {
		t.Errorf("code %d, %s", r.code, r.err)
	}
	got := must(t, "", resetTool+"sactive-app --force")
	if want := "Force deleting all active members in the group: sactive-app\nNo input or intermediate topics specified. Skipping seek.\n"; !strings.HasPrefix(got, want) {
		t.Error(got)
	}
}
