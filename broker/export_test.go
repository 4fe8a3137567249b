package broker

import (
	"time"

	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

// OpenClusterOn is OpenCluster with disks that a test can break.
func OpenClusterOn(cfg ClusterConfig, disk func(id int, files vfs.FS) vfs.FS) (*Cluster, error) {
	return openCluster(cfg, disk)
}

// ReplaceDisk puts an empty, formatted disk in the place of a dead node's directory.
func (c *Cluster) ReplaceDisk(id int, dir string) error {
	m := c.members[id-1]
	if err := m.fsys.RemoveAll(dir); err != nil {
		return err
	}
	_, err := storage.Format(m.fsys, storage.FormatOptions{
		NodeID: m.parsed.NodeID, ClusterID: c.clusterID, Directories: m.parsed.LogDirs, MetadataLogDir: m.parsed.MetadataLogDir,
		ControllerListenerName: m.parsed.ControllerListenerNames[0], IgnoreFormatted: true, Now: time.Now(),
	})
	return err
}
