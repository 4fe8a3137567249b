package log

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/vfs"
)

// MetaProperties is the identity of a log directory (docs/formats/meta-properties.md).
type MetaProperties struct {
	Version     int // 0 or 1
	ClusterID   string
	NodeID      kafka.NodeID // NoNode when absent
	DirectoryID kafka.UUID   // zero when absent
}

// ParseMetaProperties decodes meta.properties.
func ParseMetaProperties(data []byte) (MetaProperties, error) {
	m := MetaProperties{NodeID: kafka.NoNode}
	list, err := config.ParseProperties(data)
	if err != nil {
		return m, err
	}
	props := config.ToMap(list)
	switch v := props["version"]; v {
	case "", "0":
	case "1":
		m.Version = 1
	default:
		return m, fmt.Errorf("unknown version %.20q", v)
	}
	m.ClusterID = props["cluster.id"]
	key := "broker.id"
	if m.Version == 1 {
		key = "node.id"
	}
	if v, ok := props[key]; ok {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil {
			return m, fmt.Errorf("%s is %.20q: %w", key, v, err)
		}
		m.NodeID = kafka.NodeID(n)
	} else if m.Version == 1 {
		return m, errors.New("node.id was not found")
	}
	if m.Version == 1 && m.ClusterID == "" {
		return m, errors.New("cluster.id was not found")
	}
	if v, ok := props["directory.id"]; ok {
		if m.DirectoryID, err = kafka.ParseUUID(v); err != nil {
			return m, fmt.Errorf("directory.id: %w", err)
		}
		if reservedDirectory(m.DirectoryID) {
			return m, fmt.Errorf("directory.id %s is reserved", m.DirectoryID)
		}
	}
	return m, nil
}

// reservedDirectory says whether an id is one of the first hundred, which stand
// for "unassigned", "lost" and "migrating" in the cluster's metadata.
func reservedDirectory(id kafka.UUID) bool {
	for _, b := range id[:15] {
		if b != 0 {
			return false
		}
	}
	return id[15] < 100
}

// Format encodes meta.properties, keys in a fixed order.
func (m MetaProperties) Format() []byte {
	var b strings.Builder
	b.WriteString("#\n")
	line := func(k, v string) {
		b.WriteString(k)
		b.WriteByte('=')
		b.WriteString(v)
		b.WriteByte('\n')
	}
	if m.ClusterID != "" {
		line("cluster.id", escapeProperty(m.ClusterID))
	}
	if !m.DirectoryID.IsZero() {
		line("directory.id", m.DirectoryID.String())
	}
	if m.NodeID != kafka.NoNode {
		key := "broker.id"
		if m.Version == 1 {
			key = "node.id"
		}
		line(key, strconv.Itoa(int(m.NodeID)))
	}
	line("version", strconv.Itoa(m.Version))
	return []byte(b.String())
}

// escapeProperty writes a value so that Java reads it back.
func escapeProperty(v string) string {
	var b strings.Builder
	for i, r := range v {
		switch {
		case r == ' ' && i == 0:
			b.WriteString(`\ `)
		case r == '\\' || r == '=' || r == ':' || r == '#' || r == '!':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r > 0x7e && r <= 0xffff:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// ReadMetaProperties reads the file of a directory; found is false when there is
// none.
func ReadMetaProperties(fsys vfs.FS, dir string) (m MetaProperties, found bool, err error) {
	name := filepath.Join(dir, fileMetaProperties)
	data, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return MetaProperties{NodeID: kafka.NoNode}, false, nil
	}
	if err != nil {
		return m, false, err
	}
	m, err = ParseMetaProperties(data)
	if err != nil {
		return m, true, fmt.Errorf("%s: %w", name, err)
	}
	return m, true, nil
}

// WriteMetaProperties replaces the file of a directory durably.
func WriteMetaProperties(fsys vfs.FS, dir string, m MetaProperties) error {
	return vfs.WriteFileAtomic(fsys, filepath.Join(dir, fileMetaProperties), m.Format())
}

// parseCleanShutdown returns the broker epoch that the marker holds, -1 when it
// holds none (docs/formats/clean-shutdown.md).
func parseCleanShutdown(data []byte) int64 {
	var c cleanShutdown
	if err := json.Unmarshal(data, &c); err != nil || c.BrokerEpoch == nil {
		return -1
	}
	return *c.BrokerEpoch
}

// formatCleanShutdown encodes the marker.
func formatCleanShutdown(brokerEpoch int64) []byte {
	return []byte(`{"version":0,"brokerEpoch":` + strconv.FormatInt(brokerEpoch, 10) + `}`)
}
