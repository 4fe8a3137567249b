package config

import "github.com/gregorhq/gregor/internal/kafka"

// Broker is the configuration of one node, typed. It never changes after Load
// or WithDynamic returned it; a dynamic change makes a new Broker.
//
// A field with a kafka tag is filled from the key of that name. Fields without
// one combine several keys, as their comments say. Durations are milliseconds
// unless the name says otherwise, sizes are bytes. An absent string is "".
type Broker struct {
	// Identity and listeners, combined from several keys.

	// NodeID is node.id, or broker.id where only that is given.
	NodeID kafka.NodeID
	// ProcessRoles is process.roles; in ZooKeeper mode it is empty.
	ProcessRoles []string
	// Rack is broker.rack, "" for none.
	Rack string
	// Listeners are the parsed listeners, controller listeners included.
	Listeners []Listener
	// AdvertisedListeners are what clients and brokers are told to connect to;
	// controller listeners are left out on a broker.
	AdvertisedListeners []Listener
	// AdvertisedControllerListeners are what other nodes are told to connect to
	// for the quorum. Host "" stands for this machine's own name.
	AdvertisedControllerListeners []Listener
	// ListenerSecurityProtocolMap maps listener names to protocols, with the
	// implicit PLAINTEXT of controller listeners filled in.
	ListenerSecurityProtocolMap map[string]SecurityProtocol
	// InterBrokerListenerName and InterBrokerSecurityProtocol say how brokers
	// talk to each other.
	InterBrokerListenerName     string
	InterBrokerSecurityProtocol SecurityProtocol
	// EarlyStartListeners may accept before the node is ready.
	EarlyStartListeners []string
	// Voters is controller.quorum.voters, BootstrapServers is
	// controller.quorum.bootstrap.servers.
	Voters           []Voter
	BootstrapServers []HostPort
	// LogDirs is log.dirs, or log.dir where that is absent. MetadataLogDir is
	// metadata.log.dir, or the first of LogDirs.
	LogDirs        []string
	MetadataLogDir string
	// The effective times: the milliseconds form wins over minutes over hours.
	// LogRetentionMs is -1 for "no limit".
	LogRetentionMs     int64
	LogRollMs          int64
	LogRollJitterMs    int64
	LogFlushIntervalMs int64
	// NumReplicaAlterLogDirsThreads falls back to the number of LogDirs.
	NumReplicaAlterLogDirsThreads int
	// MaxConnectionsPerIPOverrides maps a host or address to its limit.
	MaxConnectionsPerIPOverrides map[string]int
	// SuperUsers are principals like "User:admin" that pass every check.
	SuperUsers []string
	// AllowEveryoneIfNoACLFound opens resources that no ACL names.
	AllowEveryoneIfNoACLFound bool

	// Roles, quorum, registration.
	BrokerHeartbeatIntervalMs                 int64    `kafka:"broker.heartbeat.interval.ms"`
	BrokerSessionTimeoutMs                    int64    `kafka:"broker.session.timeout.ms"`
	ControllerListenerNames                   []string `kafka:"controller.listener.names"`
	ControllerPerformanceAlwaysLogThresholdMs int64    `kafka:"controller.performance.always.log.threshold.ms"`
	ControllerPerformanceSamplePeriodMs       int64    `kafka:"controller.performance.sample.period.ms"`
	ControllerQuorumAppendLingerMs            int64    `kafka:"controller.quorum.append.linger.ms"`
	ControllerQuorumAutoJoinEnable            bool     `kafka:"controller.quorum.auto.join.enable"`
	ControllerQuorumElectionBackoffMaxMs      int64    `kafka:"controller.quorum.election.backoff.max.ms"`
	ControllerQuorumElectionTimeoutMs         int64    `kafka:"controller.quorum.election.timeout.ms"`
	ControllerQuorumFetchMaxBytes             int      `kafka:"controller.quorum.fetch.max.bytes"`
	ControllerQuorumFetchSnapshotMaxBytes     int      `kafka:"controller.quorum.fetch.snapshot.max.bytes"`
	ControllerQuorumFetchTimeoutMs            int64    `kafka:"controller.quorum.fetch.timeout.ms"`
	ControllerQuorumRequestTimeoutMs          int64    `kafka:"controller.quorum.request.timeout.ms"`
	ControllerQuorumRetryBackoffMs            int64    `kafka:"controller.quorum.retry.backoff.ms"`
	ControllerSocketTimeoutMs                 int64    `kafka:"controller.socket.timeout.ms"`
	InitialBrokerRegistrationTimeoutMs        int64    `kafka:"initial.broker.registration.timeout.ms"`
	InternalMetadataDeleteDelayMillis         int64    `kafka:"internal.metadata.delete.delay.millis"`
	InternalMetadataMaxBatchSizeInBytes       int      `kafka:"internal.metadata.max.batch.size.in.bytes"`
	MetadataLogMaxRecordBytesBetweenSnapshots int64    `kafka:"metadata.log.max.record.bytes.between.snapshots"`
	MetadataLogMaxSnapshotIntervalMs          int64    `kafka:"metadata.log.max.snapshot.interval.ms"`
	MetadataLogSegmentBytes                   int      `kafka:"metadata.log.segment.bytes"`
	MetadataLogSegmentMs                      int64    `kafka:"metadata.log.segment.ms"`
	MetadataMaxIdleIntervalMs                 int64    `kafka:"metadata.max.idle.interval.ms"`
	MetadataMaxRetentionBytes                 int64    `kafka:"metadata.max.retention.bytes"`
	MetadataMaxRetentionMs                    int64    `kafka:"metadata.max.retention.ms"`
	ServerMaxStartupTimeMs                    int64    `kafka:"server.max.startup.time.ms"`
	UnstableAPIVersionsEnable                 bool     `kafka:"unstable.api.versions.enable"`
	UnstableFeatureVersionsEnable             bool     `kafka:"unstable.feature.versions.enable"`

	// Sockets and requests.
	BackgroundThreads                     int   `kafka:"background.threads"`
	ConnectionFailedAuthenticationDelayMs int64 `kafka:"connection.failed.authentication.delay.ms"`
	ConnectionsMaxIdleMs                  int64 `kafka:"connections.max.idle.ms"`
	MaxConnectionCreationRate             int   `kafka:"max.connection.creation.rate"`
	MaxConnections                        int   `kafka:"max.connections"`
	MaxConnectionsPerIP                   int   `kafka:"max.connections.per.ip"`
	NumIOThreads                          int   `kafka:"num.io.threads"`
	NumNetworkThreads                     int   `kafka:"num.network.threads"`
	QueuedMaxRequestBytes                 int64 `kafka:"queued.max.request.bytes"`
	QueuedMaxRequests                     int   `kafka:"queued.max.requests"`
	RequestTimeoutMs                      int64 `kafka:"request.timeout.ms"`
	SocketConnectionSetupTimeoutMaxMs     int64 `kafka:"socket.connection.setup.timeout.max.ms"`
	SocketConnectionSetupTimeoutMs        int64 `kafka:"socket.connection.setup.timeout.ms"`
	SocketListenBacklogSize               int   `kafka:"socket.listen.backlog.size"`
	SocketReceiveBufferBytes              int   `kafka:"socket.receive.buffer.bytes"`
	SocketRequestMaxBytes                 int   `kafka:"socket.request.max.bytes"`
	SocketSendBufferBytes                 int   `kafka:"socket.send.buffer.bytes"`

	// Logs.
	CompressionGzipLevel                        int      `kafka:"compression.gzip.level"`
	CompressionLZ4Level                         int      `kafka:"compression.lz4.level"`
	CompressionType                             string   `kafka:"compression.type"`
	CompressionZstdLevel                        int      `kafka:"compression.zstd.level"`
	CordonedLogDirs                             []string `kafka:"cordoned.log.dirs"`
	GregorHTTPListener                          string   `kafka:"gregor.http.listener"`
	GregorHTTPPprofEnable                       bool     `kafka:"gregor.http.pprof.enable"`
	GregorMetricsJVMAliasesEnable               bool     `kafka:"gregor.metrics.jvm.aliases.enable"`
	GregorLogDirHeadroomBytes                   int64    `kafka:"gregor.log.dir.headroom.bytes"`
	GregorLogScrubBytesPerSecond                int64    `kafka:"gregor.log.scrub.bytes.per.second"`
	DeleteRecordsPurgatoryPurgeIntervalRequests int      `kafka:"delete.records.purgatory.purge.interval.requests"`
	DeleteTopicEnable                           bool     `kafka:"delete.topic.enable"`
	LogCleanerBackoffMs                         int64    `kafka:"log.cleaner.backoff.ms"`
	LogCleanerDedupeBufferSize                  int64    `kafka:"log.cleaner.dedupe.buffer.size"`
	LogCleanerDeleteRetentionMs                 int64    `kafka:"log.cleaner.delete.retention.ms"`
	LogCleanerEnable                            bool     `kafka:"log.cleaner.enable"`
	LogCleanerIOBufferLoadFactor                float64  `kafka:"log.cleaner.io.buffer.load.factor"`
	LogCleanerIOBufferSize                      int      `kafka:"log.cleaner.io.buffer.size"`
	LogCleanerIOMaxBytesPerSecond               float64  `kafka:"log.cleaner.io.max.bytes.per.second"`
	LogCleanerMaxCompactionLagMs                int64    `kafka:"log.cleaner.max.compaction.lag.ms"`
	LogCleanerMinCleanableRatio                 float64  `kafka:"log.cleaner.min.cleanable.ratio"`
	LogCleanerMinCompactionLagMs                int64    `kafka:"log.cleaner.min.compaction.lag.ms"`
	LogCleanerThreads                           int      `kafka:"log.cleaner.threads"`
	LogCleanupPolicy                            []string `kafka:"log.cleanup.policy"`
	LogDirFailureTimeoutMs                      int64    `kafka:"log.dir.failure.timeout.ms"`
	LogFlushIntervalMessages                    int64    `kafka:"log.flush.interval.messages"`
	LogFlushOffsetCheckpointIntervalMs          int64    `kafka:"log.flush.offset.checkpoint.interval.ms"`
	LogFlushSchedulerIntervalMs                 int64    `kafka:"log.flush.scheduler.interval.ms"`
	LogFlushStartOffsetCheckpointIntervalMs     int64    `kafka:"log.flush.start.offset.checkpoint.interval.ms"`
	LogIndexIntervalBytes                       int      `kafka:"log.index.interval.bytes"`
	LogIndexSizeMaxBytes                        int      `kafka:"log.index.size.max.bytes"`
	LogInitialTaskDelayMs                       int64    `kafka:"log.initial.task.delay.ms"`
	LogLocalRetentionBytes                      int64    `kafka:"log.local.retention.bytes"`
	LogLocalRetentionMs                         int64    `kafka:"log.local.retention.ms"`
	LogMessageTimestampAfterMaxMs               int64    `kafka:"log.message.timestamp.after.max.ms"`
	LogMessageTimestampBeforeMaxMs              int64    `kafka:"log.message.timestamp.before.max.ms"`
	LogMessageTimestampType                     string   `kafka:"log.message.timestamp.type"`
	LogPreallocate                              bool     `kafka:"log.preallocate"`
	LogRemoteCopyLagBytes                       int64    `kafka:"log.remote.copy.lag.bytes"`
	LogRemoteCopyLagMs                          int64    `kafka:"log.remote.copy.lag.ms"`
	LogRetentionBytes                           int64    `kafka:"log.retention.bytes"`
	LogRetentionCheckIntervalMs                 int64    `kafka:"log.retention.check.interval.ms"`
	LogSegmentBytes                             int      `kafka:"log.segment.bytes"`
	LogSegmentDeleteDelayMs                     int64    `kafka:"log.segment.delete.delay.ms"`
	MaxDecompressedMessageBytes                 int      `kafka:"max.decompressed.message.bytes"`
	MessageMaxBytes                             int      `kafka:"message.max.bytes"`
	NumPartitions                               int      `kafka:"num.partitions"`
	NumRecoveryThreadsPerDataDir                int      `kafka:"num.recovery.threads.per.data.dir"`

	// Replication and fetching.
	AutoLeaderRebalanceEnable                bool   `kafka:"auto.leader.rebalance.enable"`
	ControlledShutdownEnable                 bool   `kafka:"controlled.shutdown.enable"`
	DefaultReplicationFactor                 int    `kafka:"default.replication.factor"`
	FetchMaxBytes                            int    `kafka:"fetch.max.bytes"`
	FetchPurgatoryPurgeIntervalRequests      int    `kafka:"fetch.purgatory.purge.interval.requests"`
	LeaderImbalanceCheckIntervalSeconds      int64  `kafka:"leader.imbalance.check.interval.seconds"`
	MaxIncrementalFetchSessionCacheSlots     int    `kafka:"max.incremental.fetch.session.cache.slots"`
	MinInsyncReplicas                        int    `kafka:"min.insync.replicas"`
	NumReplicaFetchers                       int    `kafka:"num.replica.fetchers"`
	ReplicaFetchBackoffMs                    int64  `kafka:"replica.fetch.backoff.ms"`
	ReplicaFetchMaxBytes                     int    `kafka:"replica.fetch.max.bytes"`
	ReplicaFetchMinBytes                     int    `kafka:"replica.fetch.min.bytes"`
	ReplicaFetchResponseMaxBytes             int    `kafka:"replica.fetch.response.max.bytes"`
	ReplicaFetchWaitMaxMs                    int64  `kafka:"replica.fetch.wait.max.ms"`
	ReplicaHighWatermarkCheckpointIntervalMs int64  `kafka:"replica.high.watermark.checkpoint.interval.ms"`
	ReplicaLagTimeMaxMs                      int64  `kafka:"replica.lag.time.max.ms"`
	ReplicaSelectorClass                     string `kafka:"replica.selector.class"`
	ReplicaSocketReceiveBufferBytes          int    `kafka:"replica.socket.receive.buffer.bytes"`
	ReplicaSocketTimeoutMs                   int64  `kafka:"replica.socket.timeout.ms"`
	UncleanLeaderElectionEnable              bool   `kafka:"unclean.leader.election.enable"`
	UncleanLeaderElectionIntervalMs          int64  `kafka:"unclean.leader.election.interval.ms"`

	LeaderImbalancePerBrokerPercentage int `kafka:"leader.imbalance.per.broker.percentage"`

	// Groups and their offsets.
	GroupConsumerAssignmentIntervalMs          int64    `kafka:"group.consumer.assignment.interval.ms"`
	GroupConsumerAssignorOffloadEnable         bool     `kafka:"group.consumer.assignor.offload.enable"`
	GroupConsumerAssignors                     []string `kafka:"group.consumer.assignors"`
	GroupConsumerHeartbeatIntervalMs           int64    `kafka:"group.consumer.heartbeat.interval.ms"`
	GroupConsumerMaxAssignmentIntervalMs       int64    `kafka:"group.consumer.max.assignment.interval.ms"`
	GroupConsumerMaxHeartbeatIntervalMs        int64    `kafka:"group.consumer.max.heartbeat.interval.ms"`
	GroupConsumerMaxSessionTimeoutMs           int64    `kafka:"group.consumer.max.session.timeout.ms"`
	GroupConsumerMaxSize                       int      `kafka:"group.consumer.max.size"`
	GroupConsumerMigrationPolicy               string   `kafka:"group.consumer.migration.policy"`
	GroupConsumerMinAssignmentIntervalMs       int64    `kafka:"group.consumer.min.assignment.interval.ms"`
	GroupConsumerMinHeartbeatIntervalMs        int64    `kafka:"group.consumer.min.heartbeat.interval.ms"`
	GroupConsumerMinSessionTimeoutMs           int64    `kafka:"group.consumer.min.session.timeout.ms"`
	GroupConsumerRegexRefreshIntervalMs        int64    `kafka:"group.consumer.regex.refresh.interval.ms"`
	GroupConsumerSessionTimeoutMs              int64    `kafka:"group.consumer.session.timeout.ms"`
	GroupCoordinatorAppendLingerMs             int64    `kafka:"group.coordinator.append.linger.ms"`
	GroupCoordinatorBackgroundThreads          int      `kafka:"group.coordinator.background.threads"`
	GroupCoordinatorCachedBufferMaxBytes       int      `kafka:"group.coordinator.cached.buffer.max.bytes"`
	GroupCoordinatorRebalanceProtocols         []string `kafka:"group.coordinator.rebalance.protocols"`
	GroupCoordinatorThreads                    int      `kafka:"group.coordinator.threads"`
	GroupInitialRebalanceDelayMs               int64    `kafka:"group.initial.rebalance.delay.ms"`
	GroupMaxSessionTimeoutMs                   int64    `kafka:"group.max.session.timeout.ms"`
	GroupMaxSize                               int      `kafka:"group.max.size"`
	GroupMinSessionTimeoutMs                   int64    `kafka:"group.min.session.timeout.ms"`
	GroupStreamsAcceptableRecoveryLag          int64    `kafka:"group.streams.acceptable.recovery.lag"`
	GroupStreamsAssignmentIntervalMs           int64    `kafka:"group.streams.assignment.interval.ms"`
	GroupStreamsAssignorOffloadEnable          bool     `kafka:"group.streams.assignor.offload.enable"`
	GroupStreamsAssignors                      []string `kafka:"group.streams.assignors"`
	GroupStreamsHeartbeatIntervalMs            int64    `kafka:"group.streams.heartbeat.interval.ms"`
	GroupStreamsInitialRebalanceDelayMs        int64    `kafka:"group.streams.initial.rebalance.delay.ms"`
	GroupStreamsMaxAssignmentIntervalMs        int64    `kafka:"group.streams.max.assignment.interval.ms"`
	GroupStreamsMaxHeartbeatIntervalMs         int64    `kafka:"group.streams.max.heartbeat.interval.ms"`
	GroupStreamsMaxSessionTimeoutMs            int64    `kafka:"group.streams.max.session.timeout.ms"`
	GroupStreamsMaxSize                        int      `kafka:"group.streams.max.size"`
	GroupStreamsMaxStandbyReplicas             int      `kafka:"group.streams.max.standby.replicas"`
	GroupStreamsMaxWarmupReplicas              int      `kafka:"group.streams.max.warmup.replicas"`
	GroupStreamsMinAssignmentIntervalMs        int64    `kafka:"group.streams.min.assignment.interval.ms"`
	GroupStreamsMinHeartbeatIntervalMs         int64    `kafka:"group.streams.min.heartbeat.interval.ms"`
	GroupStreamsMinSessionTimeoutMs            int64    `kafka:"group.streams.min.session.timeout.ms"`
	GroupStreamsMinTaskOffsetIntervalMs        int64    `kafka:"group.streams.min.task.offset.interval.ms"`
	GroupStreamsNumStandbyReplicas             int      `kafka:"group.streams.num.standby.replicas"`
	GroupStreamsNumWarmupReplicas              int      `kafka:"group.streams.num.warmup.replicas"`
	GroupStreamsRackAwareAssignmentTags        []string `kafka:"group.streams.rack.aware.assignment.tags"`
	GroupStreamsSessionTimeoutMs               int64    `kafka:"group.streams.session.timeout.ms"`
	GroupStreamsTaskOffsetIntervalMs           int64    `kafka:"group.streams.task.offset.interval.ms"`
	GroupStreamsTopologyDescriptionPluginClass string   `kafka:"group.streams.topology.description.plugin.class"`
	OffsetMetadataMaxBytes                     int      `kafka:"offset.metadata.max.bytes"`
	OffsetsCommitTimeoutMs                     int64    `kafka:"offsets.commit.timeout.ms"`
	OffsetsLoadBufferSize                      int      `kafka:"offsets.load.buffer.size"`
	OffsetsRetentionCheckIntervalMs            int64    `kafka:"offsets.retention.check.interval.ms"`
	OffsetsRetentionMinutes                    int64    `kafka:"offsets.retention.minutes"`
	OffsetsTopicCompressionCodec               int      `kafka:"offsets.topic.compression.codec"`
	OffsetsTopicNumPartitions                  int      `kafka:"offsets.topic.num.partitions"`
	OffsetsTopicReplicationFactor              int16    `kafka:"offsets.topic.replication.factor"`
	OffsetsTopicSegmentBytes                   int      `kafka:"offsets.topic.segment.bytes"`

	// Share groups and their coordinator.
	ErrorsDeadLetterQueueAutoCreateTopicsEnable      bool     `kafka:"errors.deadletterqueue.auto.create.topics.enable"`
	ErrorsDeadLetterQueueTopicNamePrefix             string   `kafka:"errors.deadletterqueue.topic.name.prefix"`
	GroupShareAssignmentIntervalMs                   int64    `kafka:"group.share.assignment.interval.ms"`
	GroupShareAssignorOffloadEnable                  bool     `kafka:"group.share.assignor.offload.enable"`
	GroupShareAssignors                              []string `kafka:"group.share.assignors"`
	GroupShareDeliveryCountLimit                     int      `kafka:"group.share.delivery.count.limit"`
	GroupShareDLQManagerClassName                    string   `kafka:"group.share.dlq.manager.class.name"`
	GroupShareHeartbeatIntervalMs                    int64    `kafka:"group.share.heartbeat.interval.ms"`
	GroupShareInitializeRetryIntervalMs              int64    `kafka:"group.share.initialize.retry.interval.ms"`
	GroupShareMaxAssignmentIntervalMs                int64    `kafka:"group.share.max.assignment.interval.ms"`
	GroupShareMaxDeliveryCountLimit                  int      `kafka:"group.share.max.delivery.count.limit"`
	GroupShareMaxHeartbeatIntervalMs                 int64    `kafka:"group.share.max.heartbeat.interval.ms"`
	GroupShareMaxPartitionMaxRecordLocks             int      `kafka:"group.share.max.partition.max.record.locks"`
	GroupShareMaxRecordLockDurationMs                int64    `kafka:"group.share.max.record.lock.duration.ms"`
	GroupShareMaxSessionTimeoutMs                    int64    `kafka:"group.share.max.session.timeout.ms"`
	GroupShareMaxShareSessions                       int      `kafka:"group.share.max.share.sessions"`
	GroupShareMaxSize                                int      `kafka:"group.share.max.size"`
	GroupShareMinAssignmentIntervalMs                int64    `kafka:"group.share.min.assignment.interval.ms"`
	GroupShareMinDeliveryCountLimit                  int      `kafka:"group.share.min.delivery.count.limit"`
	GroupShareMinHeartbeatIntervalMs                 int64    `kafka:"group.share.min.heartbeat.interval.ms"`
	GroupShareMinPartitionMaxRecordLocks             int      `kafka:"group.share.min.partition.max.record.locks"`
	GroupShareMinRecordLockDurationMs                int64    `kafka:"group.share.min.record.lock.duration.ms"`
	GroupShareMinSessionTimeoutMs                    int64    `kafka:"group.share.min.session.timeout.ms"`
	GroupSharePartitionMaxRecordLocks                int      `kafka:"group.share.partition.max.record.locks"`
	GroupSharePersisterClassName                     string   `kafka:"group.share.persister.class.name"`
	GroupShareRecordLockDurationMs                   int64    `kafka:"group.share.record.lock.duration.ms"`
	GroupShareSessionTimeoutMs                       int64    `kafka:"group.share.session.timeout.ms"`
	ShareCoordinatorAppendLingerMs                   int64    `kafka:"share.coordinator.append.linger.ms"`
	ShareCoordinatorCachedBufferMaxBytes             int      `kafka:"share.coordinator.cached.buffer.max.bytes"`
	ShareCoordinatorColdPartitionSnapshotIntervalMs  int64    `kafka:"share.coordinator.cold.partition.snapshot.interval.ms"`
	ShareCoordinatorLoadBufferSize                   int      `kafka:"share.coordinator.load.buffer.size"`
	ShareCoordinatorSnapshotUpdateRecordsPerSnapshot int      `kafka:"share.coordinator.snapshot.update.records.per.snapshot"`
	ShareCoordinatorStateTopicCompressionCodec       int      `kafka:"share.coordinator.state.topic.compression.codec"`
	ShareCoordinatorStateTopicMinISR                 int16    `kafka:"share.coordinator.state.topic.min.isr"`
	ShareCoordinatorStateTopicNumPartitions          int      `kafka:"share.coordinator.state.topic.num.partitions"`
	ShareCoordinatorStateTopicPruneIntervalMs        int64    `kafka:"share.coordinator.state.topic.prune.interval.ms"`
	ShareCoordinatorStateTopicReplicationFactor      int16    `kafka:"share.coordinator.state.topic.replication.factor"`
	ShareCoordinatorStateTopicSegmentBytes           int      `kafka:"share.coordinator.state.topic.segment.bytes"`
	ShareCoordinatorThreads                          int      `kafka:"share.coordinator.threads"`
	ShareCoordinatorWriteTimeoutMs                   int64    `kafka:"share.coordinator.write.timeout.ms"`
	ShareFetchPurgatoryPurgeIntervalRequests         int      `kafka:"share.fetch.purgatory.purge.interval.requests"`

	// Transactions and producer ids.
	AddPartitionsToTxnRetryBackoffMaxMs                  int64 `kafka:"add.partitions.to.txn.retry.backoff.max.ms"`
	AddPartitionsToTxnRetryBackoffMs                     int64 `kafka:"add.partitions.to.txn.retry.backoff.ms"`
	ProducerIDExpirationCheckIntervalMs                  int64 `kafka:"producer.id.expiration.check.interval.ms"`
	ProducerIDExpirationMs                               int64 `kafka:"producer.id.expiration.ms"`
	TransactionAbortTimedOutTransactionCleanupIntervalMs int64 `kafka:"transaction.abort.timed.out.transaction.cleanup.interval.ms"`
	TransactionMaxTimeoutMs                              int64 `kafka:"transaction.max.timeout.ms"`
	TransactionPartitionVerificationEnable               bool  `kafka:"transaction.partition.verification.enable"`
	TransactionRemoveExpiredTransactionCleanupIntervalMs int64 `kafka:"transaction.remove.expired.transaction.cleanup.interval.ms"`
	TransactionStateLogLoadBufferSize                    int   `kafka:"transaction.state.log.load.buffer.size"`
	TransactionStateLogMinISR                            int   `kafka:"transaction.state.log.min.isr"`
	TransactionStateLogNumPartitions                     int   `kafka:"transaction.state.log.num.partitions"`
	TransactionStateLogReplicationFactor                 int16 `kafka:"transaction.state.log.replication.factor"`
	TransactionStateLogSegmentBytes                      int   `kafka:"transaction.state.log.segment.bytes"`
	TransactionTwoPhaseCommitEnable                      bool  `kafka:"transaction.two.phase.commit.enable"`
	TransactionalIDExpirationMs                          int64 `kafka:"transactional.id.expiration.ms"`

	// Quotas, metrics, telemetry.
	AlterLogDirsReplicationQuotaWindowNum         int      `kafka:"alter.log.dirs.replication.quota.window.num"`
	AlterLogDirsReplicationQuotaWindowSizeSeconds int64    `kafka:"alter.log.dirs.replication.quota.window.size.seconds"`
	ClientQuotaCallbackClass                      string   `kafka:"client.quota.callback.class"`
	ControllerQuotaWindowNum                      int      `kafka:"controller.quota.window.num"`
	ControllerQuotaWindowSizeSeconds              int64    `kafka:"controller.quota.window.size.seconds"`
	KafkaMetricsPollingIntervalSecs               int64    `kafka:"kafka.metrics.polling.interval.secs"`
	KafkaMetricsReporters                         []string `kafka:"kafka.metrics.reporters"`
	MetricReporters                               []string `kafka:"metric.reporters"`
	MetricsNumSamples                             int      `kafka:"metrics.num.samples"`
	MetricsRecordingLevel                         string   `kafka:"metrics.recording.level"`
	MetricsSampleWindowMs                         int64    `kafka:"metrics.sample.window.ms"`
	QuotaWindowNum                                int      `kafka:"quota.window.num"`
	QuotaWindowSizeSeconds                        int64    `kafka:"quota.window.size.seconds"`
	FollowerReplicationThrottledRate              int64    `kafka:"follower.replication.throttled.rate"`
	LeaderReplicationThrottledRate                int64    `kafka:"leader.replication.throttled.rate"`
	ReplicaAlterLogDirsIOMaxBytesPerSecond        int64    `kafka:"replica.alter.log.dirs.io.max.bytes.per.second"`
	ReplicationQuotaWindowNum                     int      `kafka:"replication.quota.window.num"`
	ReplicationQuotaWindowSizeSeconds             int64    `kafka:"replication.quota.window.size.seconds"`
	TelemetryMaxBytes                             int      `kafka:"telemetry.max.bytes"`

	// Security.
	AuthorizerClassName                          string   `kafka:"authorizer.class.name"`
	ConnectionsMaxReauthMs                       int64    `kafka:"connections.max.reauth.ms"`
	DelegationTokenExpiryCheckIntervalMs         int64    `kafka:"delegation.token.expiry.check.interval.ms"`
	DelegationTokenExpiryTimeMs                  int64    `kafka:"delegation.token.expiry.time.ms"`
	DelegationTokenMaxLifetimeMs                 int64    `kafka:"delegation.token.max.lifetime.ms"`
	DelegationTokenSecretKey                     Password `kafka:"delegation.token.secret.key"`
	PrincipalBuilderClass                        string   `kafka:"principal.builder.class"`
	SASLClientCallbackHandlerClass               string   `kafka:"sasl.client.callback.handler.class"`
	SASLEnabledMechanisms                        []string `kafka:"sasl.enabled.mechanisms"`
	SASLJAASConfig                               Password `kafka:"sasl.jaas.config"`
	SASLKerberosKinitCmd                         string   `kafka:"sasl.kerberos.kinit.cmd"`
	SASLKerberosMinTimeBeforeRelogin             int64    `kafka:"sasl.kerberos.min.time.before.relogin"`
	SASLKerberosPrincipalToLocalRules            []string `kafka:"sasl.kerberos.principal.to.local.rules"`
	SASLKerberosServiceName                      string   `kafka:"sasl.kerberos.service.name"`
	SASLKerberosTicketRenewJitter                float64  `kafka:"sasl.kerberos.ticket.renew.jitter"`
	SASLKerberosTicketRenewWindowFactor          float64  `kafka:"sasl.kerberos.ticket.renew.window.factor"`
	SASLLoginCallbackHandlerClass                string   `kafka:"sasl.login.callback.handler.class"`
	SASLLoginClass                               string   `kafka:"sasl.login.class"`
	SASLLoginConnectTimeoutMs                    int64    `kafka:"sasl.login.connect.timeout.ms"`
	SASLLoginReadTimeoutMs                       int64    `kafka:"sasl.login.read.timeout.ms"`
	SASLLoginRefreshBufferSeconds                int16    `kafka:"sasl.login.refresh.buffer.seconds"`
	SASLLoginRefreshMinPeriodSeconds             int16    `kafka:"sasl.login.refresh.min.period.seconds"`
	SASLLoginRefreshWindowFactor                 float64  `kafka:"sasl.login.refresh.window.factor"`
	SASLLoginRefreshWindowJitter                 float64  `kafka:"sasl.login.refresh.window.jitter"`
	SASLLoginRetryBackoffMaxMs                   int64    `kafka:"sasl.login.retry.backoff.max.ms"`
	SASLLoginRetryBackoffMs                      int64    `kafka:"sasl.login.retry.backoff.ms"`
	SASLMechanismControllerProtocol              string   `kafka:"sasl.mechanism.controller.protocol"`
	SASLMechanismInterBrokerProtocol             string   `kafka:"sasl.mechanism.inter.broker.protocol"`
	SASLOAuthBearerAllowUnverifiedAudience       bool     `kafka:"sasl.oauthbearer.allow.unverified.audience"`
	SASLOAuthBearerAllowUnverifiedIssuer         bool     `kafka:"sasl.oauthbearer.allow.unverified.issuer"`
	SASLOAuthBearerAssertionAlgorithm            string   `kafka:"sasl.oauthbearer.assertion.algorithm"`
	SASLOAuthBearerAssertionClaimAud             string   `kafka:"sasl.oauthbearer.assertion.claim.aud"`
	SASLOAuthBearerAssertionClaimExpSeconds      int64    `kafka:"sasl.oauthbearer.assertion.claim.exp.seconds"`
	SASLOAuthBearerAssertionClaimIss             string   `kafka:"sasl.oauthbearer.assertion.claim.iss"`
	SASLOAuthBearerAssertionClaimJtiInclude      bool     `kafka:"sasl.oauthbearer.assertion.claim.jti.include"`
	SASLOAuthBearerAssertionClaimNbfSeconds      int64    `kafka:"sasl.oauthbearer.assertion.claim.nbf.seconds"`
	SASLOAuthBearerAssertionClaimSub             string   `kafka:"sasl.oauthbearer.assertion.claim.sub"`
	SASLOAuthBearerAssertionFile                 string   `kafka:"sasl.oauthbearer.assertion.file"`
	SASLOAuthBearerAssertionPrivateKeyFile       string   `kafka:"sasl.oauthbearer.assertion.private.key.file"`
	SASLOAuthBearerAssertionPrivateKeyPassphrase Password `kafka:"sasl.oauthbearer.assertion.private.key.passphrase"`
	SASLOAuthBearerAssertionTemplateFile         string   `kafka:"sasl.oauthbearer.assertion.template.file"`
	SASLOAuthBearerClientCredentialsClientID     string   `kafka:"sasl.oauthbearer.client.credentials.client.id"`
	SASLOAuthBearerClientCredentialsClientSecret Password `kafka:"sasl.oauthbearer.client.credentials.client.secret"`
	SASLOAuthBearerClockSkewSeconds              int64    `kafka:"sasl.oauthbearer.clock.skew.seconds"`
	SASLOAuthBearerExpectedAudience              []string `kafka:"sasl.oauthbearer.expected.audience"`
	SASLOAuthBearerExpectedIssuer                string   `kafka:"sasl.oauthbearer.expected.issuer"`
	SASLOAuthBearerJWKSEndpointRefreshMs         int64    `kafka:"sasl.oauthbearer.jwks.endpoint.refresh.ms"`
	SASLOAuthBearerJWKSEndpointRetryBackoffMaxMs int64    `kafka:"sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms"`
	SASLOAuthBearerJWKSEndpointRetryBackoffMs    int64    `kafka:"sasl.oauthbearer.jwks.endpoint.retry.backoff.ms"`
	SASLOAuthBearerJWKSEndpointURL               string   `kafka:"sasl.oauthbearer.jwks.endpoint.url"`
	SASLOAuthBearerJWTRetrieverClass             string   `kafka:"sasl.oauthbearer.jwt.retriever.class"`
	SASLOAuthBearerJWTValidatorClass             string   `kafka:"sasl.oauthbearer.jwt.validator.class"`
	SASLOAuthBearerScope                         string   `kafka:"sasl.oauthbearer.scope"`
	SASLOAuthBearerScopeClaimName                string   `kafka:"sasl.oauthbearer.scope.claim.name"`
	SASLOAuthBearerSubClaimName                  string   `kafka:"sasl.oauthbearer.sub.claim.name"`
	SASLOAuthBearerTokenEndpointURL              string   `kafka:"sasl.oauthbearer.token.endpoint.url"`
	SASLServerCallbackHandlerClass               string   `kafka:"sasl.server.callback.handler.class"`
	SASLServerMaxReceiveSize                     int      `kafka:"sasl.server.max.receive.size"`
	SecurityProviders                            string   `kafka:"security.providers"`
	SSLAllowDNChanges                            bool     `kafka:"ssl.allow.dn.changes"`
	SSLAllowSANChanges                           bool     `kafka:"ssl.allow.san.changes"`
	SSLCipherSuites                              []string `kafka:"ssl.cipher.suites"`
	SSLClientAuth                                string   `kafka:"ssl.client.auth"`
	SSLEnabledProtocols                          []string `kafka:"ssl.enabled.protocols"`
	SSLEndpointIdentificationAlgorithm           string   `kafka:"ssl.endpoint.identification.algorithm"`
	SSLEngineFactoryClass                        string   `kafka:"ssl.engine.factory.class"`
	SSLKeyPassword                               Password `kafka:"ssl.key.password"`
	SSLKeymanagerAlgorithm                       string   `kafka:"ssl.keymanager.algorithm"`
	SSLKeystoreCertificateChain                  Password `kafka:"ssl.keystore.certificate.chain"`
	SSLKeystoreKey                               Password `kafka:"ssl.keystore.key"`
	SSLKeystoreLocation                          string   `kafka:"ssl.keystore.location"`
	SSLKeystorePassword                          Password `kafka:"ssl.keystore.password"`
	SSLKeystoreType                              string   `kafka:"ssl.keystore.type"`
	SSLPrincipalMappingRules                     string   `kafka:"ssl.principal.mapping.rules"`
	SSLProtocol                                  string   `kafka:"ssl.protocol"`
	SSLProvider                                  string   `kafka:"ssl.provider"`
	SSLSecureRandomImplementation                string   `kafka:"ssl.secure.random.implementation"`
	SSLTrustmanagerAlgorithm                     string   `kafka:"ssl.trustmanager.algorithm"`
	SSLTruststoreCertificates                    Password `kafka:"ssl.truststore.certificates"`
	SSLTruststoreLocation                        string   `kafka:"ssl.truststore.location"`
	SSLTruststorePassword                        Password `kafka:"ssl.truststore.password"`
	SSLTruststoreType                            string   `kafka:"ssl.truststore.type"`

	// Tiered storage.
	FollowerFetchLastTieredOffsetEnable         bool    `kafka:"follower.fetch.last.tiered.offset.enable"`
	RemoteFetchMaxWaitMs                        int64   `kafka:"remote.fetch.max.wait.ms"`
	RemoteListOffsetsRequestTimeoutMs           int64   `kafka:"remote.list.offsets.request.timeout.ms"`
	RemoteLogIndexFileCacheTotalSizeBytes       int64   `kafka:"remote.log.index.file.cache.total.size.bytes"`
	RemoteLogIndexFileCacheTTLMs                int64   `kafka:"remote.log.index.file.cache.ttl.ms"`
	RemoteLogManagerCopierThreadPoolSize        int     `kafka:"remote.log.manager.copier.thread.pool.size"`
	RemoteLogManagerCopyMaxBytesPerSecond       int64   `kafka:"remote.log.manager.copy.max.bytes.per.second"`
	RemoteLogManagerCopyQuotaWindowNum          int     `kafka:"remote.log.manager.copy.quota.window.num"`
	RemoteLogManagerCopyQuotaWindowSizeSeconds  int64   `kafka:"remote.log.manager.copy.quota.window.size.seconds"`
	RemoteLogManagerExpirationThreadPoolSize    int     `kafka:"remote.log.manager.expiration.thread.pool.size"`
	RemoteLogManagerFetchMaxBytesPerSecond      int64   `kafka:"remote.log.manager.fetch.max.bytes.per.second"`
	RemoteLogManagerFetchQuotaWindowNum         int     `kafka:"remote.log.manager.fetch.quota.window.num"`
	RemoteLogManagerFetchQuotaWindowSizeSeconds int64   `kafka:"remote.log.manager.fetch.quota.window.size.seconds"`
	RemoteLogManagerFollowerThreadPoolSize      int     `kafka:"remote.log.manager.follower.thread.pool.size"`
	RemoteLogManagerTaskIntervalMs              int64   `kafka:"remote.log.manager.task.interval.ms"`
	RemoteLogManagerTaskRetryBackoffMaxMs       int64   `kafka:"remote.log.manager.task.retry.backoff.max.ms"`
	RemoteLogManagerTaskRetryBackoffMs          int64   `kafka:"remote.log.manager.task.retry.backoff.ms"`
	RemoteLogManagerTaskRetryJitter             float64 `kafka:"remote.log.manager.task.retry.jitter"`
	RemoteLogManagerThreadPoolSize              int     `kafka:"remote.log.manager.thread.pool.size"`
	RemoteLogMetadataCustomMetadataMaxBytes     int     `kafka:"remote.log.metadata.custom.metadata.max.bytes"`
	RemoteLogMetadataManagerClassName           string  `kafka:"remote.log.metadata.manager.class.name"`
	RemoteLogMetadataManagerClassPath           string  `kafka:"remote.log.metadata.manager.class.path"`
	RemoteLogMetadataManagerImplPrefix          string  `kafka:"remote.log.metadata.manager.impl.prefix"`
	RemoteLogMetadataManagerListenerName        string  `kafka:"remote.log.metadata.manager.listener.name"`
	RemoteLogReaderMaxPendingTasks              int     `kafka:"remote.log.reader.max.pending.tasks"`
	RemoteLogReaderThreads                      int     `kafka:"remote.log.reader.threads"`
	RemoteLogStorageManagerClassName            string  `kafka:"remote.log.storage.manager.class.name"`
	RemoteLogStorageManagerClassPath            string  `kafka:"remote.log.storage.manager.class.path"`
	RemoteLogStorageManagerImplPrefix           string  `kafka:"remote.log.storage.manager.impl.prefix"`
	RemoteLogStorageSystemEnable                bool    `kafka:"remote.log.storage.system.enable"`

	// Policies and the rest.
	AlterConfigPolicyClassName             string   `kafka:"alter.config.policy.class.name"`
	AutoCreateTopicsEnable                 bool     `kafka:"auto.create.topics.enable"`
	ConfigProviders                        []string `kafka:"config.providers"`
	CreateTopicPolicyClassName             string   `kafka:"create.topic.policy.class.name"`
	MaxRequestPartitionSizeLimit           int      `kafka:"max.request.partition.size.limit"`
	ProducerPurgatoryPurgeIntervalRequests int      `kafka:"producer.purgatory.purge.interval.requests"`

	// ZooKeeper mode and other keys that Kafka dropped in 4.0.

	ZookeeperConnect string `kafka:"zookeeper.connect"`
	// ZookeeperConnectionTimeoutMs falls back to the session timeout.
	ZookeeperConnectionTimeoutMs     int64
	ZookeeperSessionTimeoutMs        int64  `kafka:"zookeeper.session.timeout.ms"`
	ZookeeperMaxInFlightRequests     int    `kafka:"zookeeper.max.in.flight.requests"`
	ZookeeperSetACL                  bool   `kafka:"zookeeper.set.acl"`
	ZookeeperMetadataMigrationEnable bool   `kafka:"zookeeper.metadata.migration.enable"`
	InterBrokerProtocolVersion       string `kafka:"inter.broker.protocol.version"`
	ControlPlaneListenerName         string `kafka:"control.plane.listener.name"`

	// values are the texts behind the fields; topic is the configuration of a
	// topic without overrides and topicParsed its values by key.
	values      *values
	topic       Topic
	topicParsed map[string]any
}
