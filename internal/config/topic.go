package config

// Topic is the effective configuration of one topic: its own overrides over the
// broker's values. Durations are milliseconds, sizes bytes. It never changes
// after TopicConfig returned it.
type Topic struct {
	CleanupDelete  bool // cleanup.policy names delete
	CleanupCompact bool // cleanup.policy names compact

	CompressionType      string `kafka:"compression.type"`
	CompressionGzipLevel int    `kafka:"compression.gzip.level"`
	CompressionLZ4Level  int    `kafka:"compression.lz4.level"`
	CompressionZstdLevel int    `kafka:"compression.zstd.level"`

	DeleteRetentionMs      int64   `kafka:"delete.retention.ms"`
	FileDeleteDelayMs      int64   `kafka:"file.delete.delay.ms"`
	FlushMessages          int64   `kafka:"flush.messages"`
	FlushMs                int64   `kafka:"flush.ms"`
	IndexIntervalBytes     int     `kafka:"index.interval.bytes"`
	MaxCompactionLagMs     int64   `kafka:"max.compaction.lag.ms"`
	MinCompactionLagMs     int64   `kafka:"min.compaction.lag.ms"`
	MinCleanableDirtyRatio float64 `kafka:"min.cleanable.dirty.ratio"`

	MaxMessageBytes             int    `kafka:"max.message.bytes"`
	MaxDecompressedMessageBytes int    `kafka:"max.decompressed.message.bytes"`
	MessageTimestampType        string `kafka:"message.timestamp.type"` // CreateTime or LogAppendTime
	MessageTimestampBeforeMaxMs int64  `kafka:"message.timestamp.before.max.ms"`
	MessageTimestampAfterMaxMs  int64  `kafka:"message.timestamp.after.max.ms"`

	MinInsyncReplicas           int  `kafka:"min.insync.replicas"`
	UncleanLeaderElectionEnable bool `kafka:"unclean.leader.election.enable"`

	Preallocate       bool  `kafka:"preallocate"`
	RetentionBytes    int64 `kafka:"retention.bytes"` // -1 is no limit
	RetentionMs       int64 `kafka:"retention.ms"`    // -1 is no limit
	SegmentBytes      int   `kafka:"segment.bytes"`
	SegmentIndexBytes int   `kafka:"segment.index.bytes"`
	SegmentJitterMs   int64 `kafka:"segment.jitter.ms"`
	SegmentMs         int64 `kafka:"segment.ms"`

	LeaderReplicationThrottledReplicas   []string `kafka:"leader.replication.throttled.replicas"`
	FollowerReplicationThrottledReplicas []string `kafka:"follower.replication.throttled.replicas"`

	RemoteStorageEnable      bool  `kafka:"remote.storage.enable"`
	RemoteLogCopyDisable     bool  `kafka:"remote.log.copy.disable"`
	RemoteLogDeleteOnDisable bool  `kafka:"remote.log.delete.on.disable"`
	RemoteCopyLagBytes       int64 `kafka:"remote.copy.lag.bytes"`
	RemoteCopyLagMs          int64 `kafka:"remote.copy.lag.ms"`
	LocalRetentionBytes      int64 `kafka:"local.retention.bytes"` // -2 follows retention.bytes
	LocalRetentionMs         int64 `kafka:"local.retention.ms"`    // -2 follows retention.ms

	ErrorsDeadLetterQueueGroupEnable bool `kafka:"errors.deadletterqueue.group.enable"`
}
