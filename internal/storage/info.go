package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"sort"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

func keys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// Verify checks that the meta.properties of several directories belong to one node
// of one cluster. An empty clusterID and kafka.NoNode stand for "not known"; then
// the directories must agree with each other.
func Verify(dirs map[string]MetaProperties, clusterID string, nodeID kafka.NodeID) error {
	seen := map[kafka.UUID]string{}
	for _, dir := range slices.Sorted(keys(dirs)) {
		m := dirs[dir]
		path := filepath.Join(dir, MetaPropertiesName)
		switch {
		case m.ClusterID == "":
		case clusterID == "":
			clusterID = m.ClusterID
		case m.ClusterID != clusterID:
			return fmt.Errorf("Invalid cluster.id in: %s. Expected %s, but read %s", path, clusterID, m.ClusterID)
		}
		switch {
		case m.NodeID == kafka.NoNode:
		case nodeID == kafka.NoNode:
			nodeID = m.NodeID
		case m.NodeID != nodeID:
			return fmt.Errorf("Stored node id %d doesn't match previous node id %d in %s. If you moved your data, make sure your "+
				"configured node id matches. If you intend to create a new node, you should remove all data in your data directories.",
				m.NodeID, nodeID, path)
		}
		if m.DirectoryID.IsZero() {
			continue
		}
		if reservedDirectory(m.DirectoryID) {
			return fmt.Errorf("Invalid reserved directory ID %s found in %s", m.DirectoryID, dir)
		}
		if prev, ok := seen[m.DirectoryID]; ok {
			return fmt.Errorf("Duplicate directory ID %s found. It was the ID of %s, but also of %s", m.DirectoryID, prev, dir)
		}
		seen[m.DirectoryID] = dir
	}
	return nil
}

// reservedDirectory says whether id is one of the first hundred, which name no
// directory (KIP-858).
func reservedDirectory(id kafka.UUID) bool {
	for _, b := range id[:15] {
		if b != 0 {
			return false
		}
	}
	return id[15] < 100
}

// Info is what kafka-storage info prints, and its exit code.
func Info(fsys vfs.FS, kraft bool, directories []string) (lines []string, exit int) {
	if len(directories) == 0 {
		return []string{"No directories specified."}, 0
	}
	dirs := slices.Clone(directories)
	sort.Strings(dirs)
	var found, problems []string
	var prev *MetaProperties
	for _, dir := range dirs {
		isDir, problem := lookAt(fsys, dir)
		if !isDir {
			problems = append(problems, problem)
			continue
		}
		found = append(found, dir)
		if !formatted(fsys, dir) {
			problems = append(problems, dir+" is not formatted.")
			continue
		}
		m, err := ReadMetaProperties(fsys, dir)
		switch {
		case err != nil:
			problems = append(problems, fmt.Sprintf("Error loading %s: %v", filepath.Join(dir, MetaPropertiesName), err))
		case prev == nil:
			prev = &m
		case prev.ClusterID != m.ClusterID:
			problems = append(problems, "Mismatched cluster IDs between storage directories.")
		case prev.NodeID != m.NodeID:
			problems = append(problems, "Mismatched node IDs between storage directories.")
		}
	}
	if prev != nil && kraft && prev.Version == 0 {
		problems = append(problems, "The kafka configuration file appears to be for a cluster in KRaft mode, but the directories are formatted for legacy mode.")
	}
	if prev != nil && !kraft && prev.Version == 1 {
		problems = append(problems, "The kafka configuration file appears to be for a legacy cluster, but the directories are formatted for a cluster in KRaft mode.")
	}
	lines = append(lines, section("Found log directory:", "Found log directories:", found)...)
	if prev != nil {
		lines = append(lines, "Found metadata: "+prev.String(), "")
	}
	lines = append(lines, section("Found problem:", "Found problems:", problems)...)
	if len(problems) > 0 {
		exit = 1
	}
	return lines, exit
}

// lookAt says whether dir is a directory, and if not, what is wrong.
func lookAt(fsys vfs.FS, dir string) (bool, string) {
	fi, err := fsys.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, dir + " does not exist"
	case err != nil:
		return false, fmt.Sprintf("%s cannot be read: %v", dir, err)
	case !fi.IsDir():
		return false, dir + " is not a directory"
	}
	return true, ""
}

// section is a headline, the items indented, and an empty line; nothing for no
// items.
func section(one, many string, items []string) []string {
	if len(items) == 0 {
		return nil
	}
	head := many
	if len(items) == 1 {
		head = one
	}
	out := []string{head}
	for _, it := range items {
		out = append(out, "  "+it)
	}
	return append(out, "")
}
