package log

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Suffixes of the files of a segment; see docs/formats/README.md.
const (
	suffixLog       = ".log"
	suffixIndex     = ".index"
	suffixTimeIndex = ".timeindex"
	suffixTxnIndex  = ".txnindex"
	suffixSnapshot  = ".snapshot"

	suffixDeleted = ".deleted"
	suffixCleaned = ".cleaned"
	suffixSwap    = ".swap"
	// suffixMetadataSnapshotDeleted marks the metadata log's own snapshots, which
	// the quorum removes.
	suffixMetadataSnapshotDeleted = ".checkpoint.deleted"
)

// segmentSuffixes are the files that belong to one segment, the log last, so that
// a removal that is interrupted never leaves indexes without their log.
var segmentSuffixes = [...]string{suffixIndex, suffixTimeIndex, suffixTxnIndex, suffixLog}

// Names of the files of a log directory and of a partition's folder.
const (
	fileLock               = ".lock"
	fileMetaProperties     = "meta.properties"
	fileCleanShutdown      = ".kafka_cleanshutdown"
	fileRecoveryPoints     = "recovery-point-offset-checkpoint"
	fileHighWatermarks     = "replication-offset-checkpoint"
	fileLogStartOffsets    = "log-start-offset-checkpoint"
	fileLeaderEpochs       = "leader-epoch-checkpoint"
	filePartitionMetadata  = "partition.metadata"
	dirRemoteLogIndexCache = "remote-log-index-cache"
	offsetDigits           = 20
	maxFolderName          = 255
)

// folderKind is what a partition's folder is, by its suffix.
type folderKind uint8

const (
	folderCurrent folderKind = iota
	folderDelete
	folderFuture
	folderStray
)

// String is the suffix that marks the kind.
func (k folderKind) String() string {
	switch k {
	case folderDelete:
		return "-delete"
	case folderFuture:
		return "-future"
	case folderStray:
		return "-stray"
	}
	return ""
}

// offsetName is the file name for an offset without its suffix.
func offsetName(offset int64) string {
	s := strconv.FormatInt(offset, 10)
	if len(s) >= offsetDigits {
		return s
	}
	return "00000000000000000000"[:offsetDigits-len(s)] + s
}

// parseOffsetName reads the offset at the beginning of a file name and returns
// what follows it, from the first dot on.
func parseOffsetName(name string) (offset int64, suffix string, ok bool) {
	i := strings.IndexByte(name, '.')
	if i <= 0 || name[0] == '-' || name[0] == '+' {
		return 0, "", false
	}
	n, err := strconv.ParseInt(name[:i], 10, 64)
	if err != nil {
		return 0, "", false
	}
	return n, name[i:], true
}

// markedFolder is the name of a folder that is deleted, future or stray. unique
// keeps names of one partition apart.
func markedFolder(tp kafka.TopicPartition, kind folderKind, unique [16]byte) string {
	rest := "-" + strconv.Itoa(int(tp.Partition)) + "." + hex.EncodeToString(unique[:]) + kind.String()
	topic := tp.Topic
	if kind != folderFuture && len(topic)+len(rest) > maxFolderName {
		topic = topic[:maxFolderName-len(rest)]
	}
	return topic + rest
}

// parseFolder reads the name of a partition's folder (docs/formats/partition-folder.md).
func parseFolder(name string) (kafka.TopicPartition, folderKind, error) {
	kind := folderCurrent
	for _, k := range []folderKind{folderDelete, folderFuture, folderStray} {
		if strings.HasSuffix(name, k.String()) {
			kind = k
		}
	}
	base := name
	if kind != folderCurrent {
		dot := strings.LastIndexByte(name, '.')
		if dot <= 0 || dot+1 >= len(name)-len(kind.String()) {
			return kafka.TopicPartition{}, kind, fmt.Errorf("folder %q is not of the form topic-partition or topic-partition.uniqueId%s", name, kind)
		}
		base = name[:dot]
	}
	tp, err := kafka.ParseTopicPartition(base)
	if err != nil {
		return tp, kind, fmt.Errorf("folder %q: %w; a log directory holds only partitions", name, err)
	}
	return tp, kind, nil
}
