package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// directories are all directories of the node, each once.
func directories(cfg *config.Broker) []string {
	dirs := slices.Clone(cfg.LogDirs)
	if cfg.MetadataLogDir != "" {
		dirs = append(dirs, cfg.MetadataLogDir)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// checkFormatted refuses directories that were not formatted, or that hold the
// metadata log where it is not looked for.
func (n *Node) checkFormatted() error {
	for _, dir := range directories(n.static) {
		_, err := storage.ReadMetaProperties(n.deps.FS, dir)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("No `meta.properties` found in %s (have you run `kafka-storage.sh` to format the directory?)", dir)
		}
		if dir == n.static.MetadataLogDir {
			continue
		}
		stray := filepath.Join(dir, storage.MetadataLogDirName)
		if _, err := n.deps.FS.Stat(stray); err == nil {
			return fmt.Errorf("Found unexpected metadata location in data directory `%s` (the configured metadata directory is %s).", stray, n.static.MetadataLogDir)
		}
	}
	return nil
}

// openLogs locks the directories and opens every log in them.
func (n *Node) openLogs(ctx context.Context) error {
	if err := n.checkFormatted(); err != nil {
		return err
	}
	cfg := n.static
	defaults, err := cfg.TopicConfig(nil)
	if err != nil {
		return fmt.Errorf("the defaults of topics: %w", err)
	}
	n.logs, err = log.Open(ctx, log.Options{
		FS: n.deps.FS, Clock: n.deps.Clock, Logger: log4j.Named(n.log, "kafka.log.LogManager", ""),
		Dirs: cfg.LogDirs, MetadataDir: cfg.MetadataLogDir, NodeID: cfg.NodeID,
		TopicConfig:             func(string) config.Topic { return defaults },
		OnOffline:               n.dirFailed,
		RecoveryThreads:         cfg.NumRecoveryThreadsPerDataDir,
		HeadroomBytes:           cfg.GregorLogDirHeadroomBytes,
		MaxOpenFiles:            openFiles(),
		ProducerIDExpirationMs:  cfg.ProducerIDExpirationMs,
		TransactionMaxTimeoutMs: cfg.TransactionMaxTimeoutMs,
		VerifyTransactions:      cfg.TransactionPartitionVerificationEnable,
	})
	return err
}

// mostOpenFiles bounds the files that are kept open between uses, however many there
// may be.
const mostOpenFiles = 8192

// openFiles is how many files are kept open between uses: half of what the process may
// have, so that connections get the other half.
func openFiles() int {
	if n := vfs.OpenLimit(); n > 0 {
		return min(max(n/2, 1), mostOpenFiles)
	}
	return mostOpenFiles
}

// offlineDir is a directory that failed.
type offlineDir struct {
	path string
	id   kafka.UUID
	err  error
}

// dirFailed takes note of a directory that failed. It may be called from anywhere,
// with locks of the log held, and before the node is built.
func (n *Node) dirFailed(path string, id kafka.UUID, err error) {
	d := offlineDir{path, id, err}
	go func() {
		n.mu.Lock()
		if !n.built {
			n.offline = append(n.offline, d)
			n.mu.Unlock()
			return
		}
		n.mu.Unlock()
		n.handleOffline(d)
	}()
}

// handleOffline takes a directory out of service. Without the metadata directory
// the node cannot go on.
func (n *Node) handleOffline(d offlineDir) {
	if d.path == n.static.MetadataLogDir {
		n.fail(fmt.Errorf("the metadata directory %s failed: %w", d.path, d.err))
		return
	}
	if n.replicas != nil {
		n.replicas.DirFailed(d.path)
	}
	if n.lifecycle != nil {
		n.lifecycle.dirFailed(d.id)
	}
}

// openMetadataLog opens the metadata log. What a snapshot stands for was committed
// and synced, so recovery looks at what lies behind the newest one.
func (n *Node) openMetadataLog() (*log.Log, string, error) {
	cfg := n.static
	dir := filepath.Join(cfg.MetadataLogDir, storage.MetadataLogDirName)
	recoveryPoint := int64(0)
	if _, err := n.deps.FS.Stat(dir); err == nil {
		ids, err := storage.ListSnapshots(n.deps.FS, dir)
		if err != nil {
			return nil, "", err
		}
		if len(ids) > 0 {
			recoveryPoint = ids[len(ids)-1].EndOffset
		}
	}
	topic, err := cfg.TopicConfig(map[string]string{
		"max.message.bytes":    strconv.Itoa(storage.MaxBatchBytes),
		"segment.bytes":        strconv.Itoa(cfg.MetadataLogSegmentBytes),
		"segment.ms":           strconv.FormatInt(cfg.MetadataLogSegmentMs, 10),
		"retention.ms":         "-1",
		"retention.bytes":      "-1",
		"cleanup.policy":       "delete",
		"file.delete.delay.ms": strconv.FormatInt(cfg.InternalMetadataDeleteDelayMillis, 10),
	})
	if err != nil {
		return nil, "", fmt.Errorf("the configuration of the metadata log: %w", err)
	}
	l, err := n.logs.OpenMetadata(kafka.TopicPartition{Topic: kafka.MetadataTopic}, kafka.MetadataTopicID, topic, recoveryPoint)
	if err != nil {
		return nil, "", fmt.Errorf("opening the metadata log in %s: %w", dir, err)
	}
	return l, dir, nil
}

// directoryIDs are the ids of the directories that are online and hold topics.
func (n *Node) directoryIDs() []kafka.UUID {
	var ids []kafka.UUID
	for _, d := range n.logs.Dirs() {
		if d.Offline == nil && slices.Contains(n.static.LogDirs, d.Path) {
			ids = append(ids, d.ID)
		}
	}
	return ids
}

// cordonedIDs are the ids of the directories that get no new partitions
// (KIP-1066); "*" stands for all.
func (n *Node) cordonedIDs() []kafka.UUID {
	names := n.config.Load().CordonedLogDirs
	var ids []kafka.UUID
	for _, d := range n.logs.Dirs() {
		if slices.Contains(n.static.LogDirs, d.Path) && (slices.Contains(names, d.Path) || slices.Contains(names, "*")) {
			ids = append(ids, d.ID)
		}
	}
	return ids
}

// metadataDirectoryID is the id of the directory of the metadata log.
func (n *Node) metadataDirectoryID() kafka.UUID {
	for _, d := range n.logs.Dirs() {
		if d.Path == n.static.MetadataLogDir {
			return d.ID
		}
	}
	return kafka.ZeroUUID
}
