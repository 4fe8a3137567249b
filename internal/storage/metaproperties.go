package storage

import (
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

// MetaPropertiesName is the file in every log directory that says whose it is.
const MetaPropertiesName = "meta.properties"

// MetaProperties is the content of meta.properties. Version 0 is what ZooKeeper
// mode writes, where each of the other fields may be absent; version 1 is KRaft's.
type MetaProperties struct {
	Version     int
	ClusterID   string
	NodeID      kafka.NodeID // kafka.NoNode when absent
	DirectoryID kafka.UUID   // zero when absent
}

// ParseMetaProperties reads the file's text. Errors have the words that operators
// know.
func ParseMetaProperties(data []byte) (MetaProperties, error) {
	m := MetaProperties{NodeID: kafka.NoNode}
	list, err := config.ParseProperties(data)
	if err != nil {
		return m, err
	}
	props := list.Map()
	switch v := props["version"]; v {
	case "", "0":
	case "1":
		m.Version = 1
	default:
		return m, fmt.Errorf("Unknown meta.properties version number '%s'", v)
	}
	m.ClusterID = props["cluster.id"]
	idKey := "broker.id"
	if m.Version > 0 {
		idKey = "node.id"
	}
	if v, ok := props[idKey]; ok {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil {
			return m, fmt.Errorf("Unable to read %s as a base-10 number.", idKey)
		}
		m.NodeID = kafka.NodeID(n)
	}
	if v, ok := props["directory.id"]; ok {
		if m.DirectoryID, err = kafka.ParseUUID(v); err != nil {
			return m, fmt.Errorf("Unable to read directory.id as a Uuid: %w", err)
		}
	}
	if m.Version > 0 {
		if m.ClusterID == "" {
			return m, errors.New("cluster.id was not found.")
		}
		if m.NodeID == kafka.NoNode {
			return m, errors.New("node.id was not found.")
		}
	}
	return m, nil
}

// rows are the file's keys and values in the order in which tools print them.
func (m MetaProperties) rows() [][2]string {
	var rows [][2]string
	if m.Version == 0 && m.NodeID != kafka.NoNode {
		rows = append(rows, [2]string{"broker.id", strconv.Itoa(int(m.NodeID))})
	}
	if m.ClusterID != "" {
		rows = append(rows, [2]string{"cluster.id", m.ClusterID})
	}
	if !m.DirectoryID.IsZero() {
		rows = append(rows, [2]string{"directory.id", m.DirectoryID.String()})
	}
	if m.Version > 0 {
		rows = append(rows, [2]string{"node.id", strconv.Itoa(int(m.NodeID))})
	}
	return append(rows, [2]string{"version", strconv.Itoa(m.Version)})
}

// String is how kafka-storage info shows the content.
func (m MetaProperties) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, r := range m.rows() {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(r[0] + "=" + r[1])
	}
	b.WriteByte('}')
	return b.String()
}

// Encode returns the file's text. date is the comment line that Java's properties
// writer leaves; readers skip it.
func (m MetaProperties) Encode(date string) []byte {
	var b strings.Builder
	b.WriteString("#\n")
	if date != "" {
		b.WriteString("#" + date + "\n")
	}
	for _, r := range m.rows() {
		b.WriteString(r[0] + "=" + escapeValue(r[1]) + "\n")
	}
	return []byte(b.String())
}

// escapeValue writes what the properties reader would take for syntax so that it
// reads back as given. Ids of clusters may be any text that an operator chose.
func escapeValue(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\\' || r == '#' || r == '!' || r == '=' || r == ':':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == ' ' && i == 0:
			b.WriteString("\\ ")
		case r == '\n':
			b.WriteString("\\n")
		case r == '\r':
			b.WriteString("\\r")
		case r == '\t':
			b.WriteString("\\t")
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// ReadMetaProperties reads dir's file. The error is fs.ErrNotExist when dir is not
// formatted.
func ReadMetaProperties(fsys vfs.FS, dir string) (MetaProperties, error) {
	data, err := vfs.ReadFile(fsys, filepath.Join(dir, MetaPropertiesName))
	if err != nil {
		return MetaProperties{}, err
	}
	return ParseMetaProperties(data)
}

// formatted says whether dir has a meta.properties, readable or not.
func formatted(fsys vfs.FS, dir string) bool {
	_, err := fsys.Stat(filepath.Join(dir, MetaPropertiesName))
	return !errors.Is(err, fs.ErrNotExist)
}
