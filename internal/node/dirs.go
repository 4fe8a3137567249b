package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/log"
	"github.com/gregorhq/gregor/internal/log4j"
	"github.com/gregorhq/gregor/internal/publish"
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

// handleOffline takes a directory out of service. Without the metadata directory, or
// without any other, the node cannot go on.
func (n *Node) handleOffline(d offlineDir) {
	if d.path == filepath.Clean(n.static.MetadataLogDir) {
		n.fail(fmt.Errorf("Shutdown broker because the metadata log dir %s has failed: %w", d.path, d.err)) //nolint:staticcheck // the text that users know
		return
	}
	if n.replicas != nil {
		n.replicas.DirFailed(d.path)
	}
	if n.lifecycle == nil {
		return
	}
	n.lifecycle.dirFailed(d)
	if len(n.directoryIDs()) == 0 {
		n.fail(fmt.Errorf("Shutdown broker because all log dirs in %s have failed, the last of them: %w", strings.Join(n.static.LogDirs, ", "), d.err)) //nolint:staticcheck // the text that users know
	}
}

// dirFailed tells the controller with the next heartbeat that a directory is gone. If that
// cannot be told in time the node stops: the controller would go on to count on the
// replicas there.
func (l *lifecycle) dirFailed(d offlineDir) {
	if d.id.IsZero() {
		return // it never was part of a registration
	}
	l.mu.Lock()
	if slices.Contains(l.offline, d.id) {
		l.mu.Unlock()
		return
	}
	l.offline = append(l.offline, d.id)
	l.mu.Unlock()
	l.heartbeatNow()
	l.n.deps.Clock.AfterFunc(millis(l.n.static.LogDirFailureTimeoutMs), func() {
		if !l.hasHeard(d.id) {
			l.n.fail(fmt.Errorf("Shutting down because couldn't communicate offline log dir %s with controllers within %d ms: %w", d.path, l.n.static.LogDirFailureTimeoutMs, d.err)) //nolint:staticcheck // the text that users know
		}
	})
}

// directoriesHeard notes which failed directories the controller knows of.
func (l *lifecycle) directoriesHeard(ids [][16]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if !slices.Contains(l.heard, kafka.UUID(id)) {
			l.heard = append(l.heard, id)
		}
	}
}

func (l *lifecycle) hasHeard(id kafka.UUID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.heard, id)
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
		if d.Offline == nil {
			ids = append(ids, d.ID)
		}
	}
	return ids
}

// cordonedIDs are the ids of the directories that get no new partitions (KIP-1066).
func (n *Node) cordonedIDs() (ids [][16]byte) {
	for _, d := range n.logs.Dirs() {
		if !d.ID.IsZero() && n.logs.Cordoned(d.Path) {
			ids = append(ids, d.ID)
		}
	}
	return ids
}

// metadataDirectoryID is the id of the directory of the metadata log.
func (n *Node) metadataDirectoryID() kafka.UUID {
	d, _ := n.logs.MetadataDir()
	return d.ID
}

// cordon keeps the log manager and the controller up to date with cordoned.log.dirs, which
// counts from the metadata version on that knows it.
type cordon struct {
	n    *Node
	last []string // belongs to the loader's goroutine
}

func (*cordon) Name() string { return "CordonedLogDirsPublisher" }

func (c *cordon) Publish(u publish.Update) {
	var dirs []string
	if v, ok := u.New.MetadataVersion(); ok && v.CordonedLogDirsSupported() {
		dirs = c.n.config.Load().CordonedLogDirs
	}
	if slices.Equal(dirs, c.last) {
		return
	}
	c.last = dirs
	c.n.logs.Cordon(dirs)
	c.n.lifecycle.heartbeatNow()
	c.n.log.Info("log directories that get no new partitions", "dirs", dirs)
}
