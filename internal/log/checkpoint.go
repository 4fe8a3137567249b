package log

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// checkpointVersion is the only version of the text checkpoints.
const checkpointVersion = 0

// parseCheckpoint reads a text checkpoint: the version, the number of entries and
// a line for each (docs/formats/offset-checkpoints.md). An empty file and one with
// only a version have no entries.
func parseCheckpoint(data []byte, entry func(fields []string) error) error {
	lines := strings.Split(string(data), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\r")
	}
	if len(lines) == 0 {
		return nil
	}
	version, err := strconv.Atoi(lines[0])
	if err != nil || version != checkpointVersion {
		return fmt.Errorf("line 1 is %.40q, expected version %d", lines[0], checkpointVersion)
	}
	if len(lines) == 1 {
		return nil
	}
	n, err := strconv.Atoi(lines[1])
	if err != nil {
		return fmt.Errorf("line 2 is %.40q, expected the number of entries", lines[1])
	}
	if n != len(lines)-2 {
		return fmt.Errorf("%d entries announced, %d found", n, len(lines)-2)
	}
	for i, line := range lines[2:] {
		if err := entry(strings.Fields(line)); err != nil {
			return fmt.Errorf("line %d is %.80q: %w", i+3, line, err)
		}
	}
	return nil
}

// checkpointHeader begins a checkpoint of n entries.
func checkpointHeader(b *bytes.Buffer, n int) {
	fmt.Fprintf(b, "%d\n%d\n", checkpointVersion, n)
}

// parseOffsets decodes an offset checkpoint.
func parseOffsets(data []byte) (map[kafka.TopicPartition]int64, error) {
	m := map[kafka.TopicPartition]int64{}
	err := parseCheckpoint(data, func(f []string) error {
		if len(f) != 3 {
			return errors.New("expected topic, partition and offset")
		}
		p, err := strconv.ParseInt(f[1], 10, 32)
		if err != nil {
			return err
		}
		offset, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return err
		}
		m[kafka.TopicPartition{Topic: f[0], Partition: int32(p)}] = offset
		return nil
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// formatOffsets encodes an offset checkpoint, ordered by partition.
func formatOffsets(m map[kafka.TopicPartition]int64) []byte {
	tps := make([]kafka.TopicPartition, 0, len(m))
	for tp := range m {
		tps = append(tps, tp)
	}
	sortPartitions(tps)
	var b bytes.Buffer
	checkpointHeader(&b, len(tps))
	for _, tp := range tps {
		b.WriteString(tp.Topic)
		b.WriteByte(' ')
		b.WriteString(strconv.Itoa(int(tp.Partition)))
		b.WriteByte(' ')
		b.WriteString(strconv.FormatInt(m[tp], 10))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func sortPartitions(tps []kafka.TopicPartition) {
	sort.Slice(tps, func(i, j int) bool { return lessPartition(tps[i], tps[j]) })
}

func lessPartition(a, b kafka.TopicPartition) bool {
	if a.Topic != b.Topic {
		return a.Topic < b.Topic
	}
	return a.Partition < b.Partition
}

// readOffsets reads an offset checkpoint; a file that does not exist has no entries. Nor
// has an empty one, which Apache Kafka makes at its first start, but whose content a disk
// may as well have lost: it is an error.
func readOffsets(fsys vfs.FS, name string) (map[kafka.TopicPartition]int64, error) {
	data, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return map[kafka.TopicPartition]int64{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("checkpoint %s: the file is empty", name)
	}
	m, err := parseOffsets(data)
	if err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", name, err)
	}
	return m, nil
}

// parseEpochs decodes leader-epoch-checkpoint. Entries that do not grow are an
// error, since they would answer epoch questions wrongly.
func parseEpochs(data []byte) ([]EpochEntry, error) {
	var entries []EpochEntry
	err := parseCheckpoint(data, func(f []string) error {
		if len(f) != 2 {
			return errors.New("expected epoch and start offset")
		}
		epoch, err := strconv.ParseInt(f[0], 10, 32)
		if err != nil {
			return err
		}
		start, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return err
		}
		if epoch < 0 || start < 0 {
			return errors.New("negative")
		}
		if n := len(entries); n > 0 && (int64(entries[n-1].Epoch) >= epoch || entries[n-1].StartOffset >= start) {
			return errors.New("not above the entry before")
		}
		entries = append(entries, EpochEntry{Epoch: int32(epoch), StartOffset: start})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// formatEpochs encodes leader-epoch-checkpoint.
func formatEpochs(entries []EpochEntry) []byte {
	var b bytes.Buffer
	checkpointHeader(&b, len(entries))
	for _, e := range entries {
		fmt.Fprintf(&b, "%d %d\n", e.Epoch, e.StartOffset)
	}
	return b.Bytes()
}

// parsePartitionMetadata decodes partition.metadata (docs/formats/partition-metadata.md).
func parsePartitionMetadata(data []byte) (kafka.TopicID, error) {
	var id kafka.TopicID
	lines := strings.Split(strings.TrimRight(string(data), "\r\n"), "\n")
	if len(lines) != 2 {
		return id, fmt.Errorf("%d lines, expected 2", len(lines))
	}
	version, ok := strings.CutPrefix(strings.TrimSpace(lines[0]), "version:")
	if n, err := strconv.Atoi(strings.TrimSpace(version)); !ok || err != nil || n != 0 {
		return id, fmt.Errorf("line 1 is %.40q, expected version: 0", lines[0])
	}
	text, ok := strings.CutPrefix(strings.TrimSpace(lines[1]), "topic_id:")
	if !ok {
		return id, fmt.Errorf("line 2 is %.60q, expected topic_id", lines[1])
	}
	id, err := kafka.ParseUUID(strings.TrimSpace(text))
	if err != nil {
		return id, err
	}
	if id.IsZero() {
		return id, errors.New("the topic id is zero")
	}
	return id, nil
}

// formatPartitionMetadata encodes partition.metadata.
func formatPartitionMetadata(id kafka.TopicID) []byte {
	return []byte("version: 0\ntopic_id: " + id.String())
}

// cleanShutdown is the content of the clean shutdown marker.
type cleanShutdown struct {
	Version     int    `json:"version"`
	BrokerEpoch *int64 `json:"brokerEpoch"`
}
