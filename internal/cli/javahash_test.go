package cli

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

// TestJavaOrder compares with the order in which Java walks through such tables.
func TestJavaOrder(t *testing.T) {
	names := []string{"in", "app-x-changelog"}
	for i := range 20 {
		names = append(names, fmt.Sprintf("topic-é%d", i*7))
	}
	slices.Sort(names)
	const few = "app-x-changelog, topic-é105, topic-é126, in, topic-é0, topic-é119, topic-é28, topic-é14, topic-é35, topic-é21, topic-é112, topic-é133"
	if got := strings.Join(javaOrder(names[:12], javaCapacity, javaStringHash), ", "); got != few {
		t.Errorf("12 strings: %s", got)
	}
	const all = "app-x-changelog, in, topic-é49, topic-é28, topic-é84, topic-é105, topic-é70, topic-é126, topic-é0, topic-é91, topic-é119, topic-é14, topic-é56, topic-é35, topic-é21, topic-é7, topic-é98, topic-é77, topic-é112, topic-é63, topic-é133, topic-é42"
	if got := strings.Join(javaOrder(names, 3, javaStringHash), ", "); got != all {
		t.Errorf("all strings: %s", got)
	}
	var partitions []kafka.TopicPartition
	for _, topic := range []string{"app-x-changelog", "in", "sreset-in"} {
		for p := range int32(4) {
			partitions = append(partitions, kafka.TopicPartition{Topic: topic, Partition: p})
		}
	}
	const want = "[app-x-changelog-2 app-x-changelog-1 app-x-changelog-3 in-3 in-2 in-1 app-x-changelog-0 in-0 sreset-in-0 sreset-in-1 sreset-in-2 sreset-in-3]"
	if got := fmt.Sprint(javaOrder(partitions, javaCapacity, javaPartitionHash)); got != want {
		t.Errorf("partitions: %s", got)
	}
}
