package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/gregorhq/gregor/internal/features"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

// MetadataLogDirName is the folder of the metadata log.
const MetadataLogDirName = kafka.MetadataTopic + "-0"

// WriteBootstrap writes bootstrap.checkpoint.
func WriteBootstrap(fsys vfs.FS, dir string, recs []records.Message, nowMs int64) error {
	w, err := createWriter(fsys, dir, BootstrapCheckpointName+".tmp", BootstrapCheckpointName, 0, SnapshotHeader{}, nowMs)
	if err != nil {
		return err
	}
	if err := w.Append(recs...); err != nil {
		w.Abort()
		return err
	}
	return w.Freeze()
}

// ReadBootstrap returns the records of dir's bootstrap.checkpoint. A directory
// without one gives the default metadata.version alone, as for directories that
// were formatted before there was such a file.
func ReadBootstrap(fsys vfs.FS, dir string) ([]records.Message, error) {
	name := filepath.Join(dir, BootstrapCheckpointName)
	r, err := OpenCheckpointFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return BootstrapRecords(map[string]int16{features.MetadataVersionName: int16(features.DefaultVersion)}), nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	all, err := r.ReadAll()
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if f, ok := m.(*records.FeatureLevelRecord); ok && f.Name == features.MetadataVersionName {
			return all, nil
		}
	}
	return nil, fmt.Errorf("No FeatureLevelRecord for %s was found in the bootstrap metadata from the binary bootstrap metadata file: %s",
		features.MetadataVersionName, name)
}

// describeBootstrap is how kafka-storage shows the records; credentials are left
// out.
func describeBootstrap(recs []records.Message, mv features.MetadataVersion) string {
	parts := make([]string, 0, len(recs))
	for _, m := range recs {
		text := m.SchemaName() + "(hidden)"
		switch m := m.(type) {
		case *records.FeatureLevelRecord:
			text = fmt.Sprintf("FeatureLevelRecord(name='%s', featureLevel=%d)", m.Name, m.FeatureLevel)
		case *records.UserScramCredentialRecord:
			text = fmt.Sprintf("UserScramCredentialRecord(name='%s', mechanism=%d, hidden)", m.Name, m.Mechanism)
		}
		parts = append(parts, fmt.Sprintf("ApiMessageAndVersion(%s at version %d)", text, m.RecordVersion()))
	}
	return fmt.Sprintf("BootstrapMetadata(records=[%s], metadataVersionLevel=%d, source=format command)", strings.Join(parts, ", "), mv)
}
