package kafka

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

func TestCodesAreThoseOfTheProtocol(t *testing.T) {
	seen := 0
	for num := int16(-1); num < 200; num++ {
		known := kerr.TypedErrorForCode(num)
		if num == 0 || known == nil || known == kerr.UnknownServerError && num != -1 {
			continue
		}
		seen++
		c := CodeForNum(num)
		if c.Num() != num || c.Name() == "" || c.Retriable() != known.Retriable {
			t.Errorf("code %d is %v, the protocol says %s", num, c, known.Message)
		}
	}
	if all := len(AllCodes()); seen != all || seen < 130 {
		t.Errorf("%d codes compared, %d defined", seen, all)
	}
	if CodeForNum(0) != nil || CodeForNum(9999) != UnknownServerError {
		t.Error("0 is no error and an unknown number is an unknown error")
	}
}

func TestErrorsCarryTheirCodeAndCause(t *testing.T) {
	err := fmt.Errorf("reading: %w", FencedLeaderEpoch.Errorf("t-0: %w", io.EOF))
	if !errors.Is(err, FencedLeaderEpoch) || !errors.Is(err, io.EOF) {
		t.Fatalf("%v lost its code or its cause", err)
	}
	if NumOf(err) != 74 || NumOf(nil) != 0 || NumOf(io.EOF) != -1 || NumOf(NotLeaderOrFollower) != 6 {
		t.Error("the number of an error is wrong")
	}
}

func TestUUIDText(t *testing.T) {
	for range 1000 {
		u := NewUUID()
		back, err := ParseUUID(u.String())
		if err != nil || back != u || u.String()[0] == '-' || len(u.String()) != 22 {
			t.Fatalf("%v reads back as %v, %v", u, back, err)
		}
	}
	if MetadataTopicID.String() != "AAAAAAAAAAAAAAAAAAAAAQ" {
		t.Errorf("the metadata topic's id is %s", MetadataTopicID)
	}
	for _, bad := range []string{"", "abc", "AAAAAAAAAAAAAAAAAAAAA!", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		if _, err := ParseUUID(bad); err == nil {
			t.Errorf("%q was taken for an id", bad)
		}
	}
}

func TestTopicPartitionText(t *testing.T) {
	for text, want := range map[string]TopicPartition{
		"a-0": {"a", 0}, "a-b-12": {"a-b", 12}, "__cluster_metadata-0": {MetadataTopic, 0},
	} {
		got, err := ParseTopicPartition(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s reads as %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "a", "a-", "-1", "a-x", "a--1", "a-99999999999"} {
		if tp, err := ParseTopicPartition(bad); err == nil && tp.Partition < 0 {
			t.Errorf("%q reads as %v", bad, tp)
		} else if err == nil && bad != "a--1" {
			t.Errorf("%q was taken for a partition", bad)
		}
	}
}

func TestTopicNames(t *testing.T) {
	long := make([]byte, MaxTopicNameLength+1)
	for i := range long {
		long[i] = 'a'
	}
	for _, bad := range []string{"", ".", "..", "a b", "a/b", "ä", string(long)} {
		if err := ValidateTopicName(bad); !errors.Is(err, InvalidTopicException) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, good := range []string{"a", "a.b_c-9", string(long[1:])} {
		if err := ValidateTopicName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	if !TopicsCollide("a.b", "a_b") || TopicsCollide("a.b", "a-b") {
		t.Error("dots and underscores collide, nothing else does")
	}
}
