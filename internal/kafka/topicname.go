package kafka

import "strings"

// MaxTopicNameLength leaves room for the partition number and the suffixes that
// a log directory adds, within a file name of 255 bytes.
const MaxTopicNameLength = 249

// Names of the topics that brokers write themselves.
const (
	MetadataTopic       = "__cluster_metadata"
	OffsetsTopic        = "__consumer_offsets"
	TransactionTopic    = "__transaction_state"
	ShareStateTopic     = "__share_group_state"
	RemoteMetadataTopic = "__remote_log_metadata"
)

// InternalTopic says whether clients see the topic marked as internal.
func InternalTopic(name string) bool {
	return name == OffsetsTopic || name == TransactionTopic || name == ShareStateTopic
}

// ValidateTopicName returns InvalidTopicException with the reason, or nil. The
// texts are those that users of topic tools see.
func ValidateTopicName(name string) error {
	if name == "" {
		return InvalidTopicException.Errorf("Topic name is invalid: the empty string is not allowed")
	}
	if name == "." || name == ".." {
		return InvalidTopicException.Errorf("Topic name is invalid: '%s' is not allowed", name)
	}
	if len(name) > MaxTopicNameLength {
		return InvalidTopicException.Errorf("Topic name is invalid: the length of '%s' is longer than the max allowed length %d", name, MaxTopicNameLength)
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-' {
			continue
		}
		return InvalidTopicException.Errorf("Topic name is invalid: '%s' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", name)
	}
	return nil
}

// TopicsCollide says whether two names would give the same metric name, where
// dots and underscores are not told apart.
func TopicsCollide(a, b string) bool {
	return strings.ReplaceAll(a, ".", "_") == strings.ReplaceAll(b, ".", "_")
}
