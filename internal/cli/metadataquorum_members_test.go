package cli

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/storage"
	"github.com/gregorhq/gregor/internal/vfs"
)

func TestVoterOfAControllersProperties(t *testing.T) {
	dir := t.TempDir()
	id := kafka.UUID{5: 7, 15: 9}
	if _, err := storage.Format(vfs.OS(), storage.FormatOptions{NodeID: 4, ClusterID: "c", Directories: []string{dir}, MetadataLogDir: dir,
		ControllerListenerName: "C", Now: time.UnixMilli(1), NewUUID: func() kafka.UUID { return id }}); err != nil {
		t.Fatal(err)
	}
	good := map[string]string{"node.id": "4", "process.roles": "broker,controller", "log.dirs": dir, "controller.listener.names": "ctl",
		"listeners": "PLAINTEXT://:9092,CTL://0.0.0.0:9093", "advertised.listeners": "CTL://[::1]:9094"}
	req, err := voterOf(good)
	if err != nil {
		t.Fatal(err)
	}
	if l := req.Listeners; req.VoterID != 4 || kafka.UUID(req.VoterDirectoryID) != id || len(l) != 1 || l[0].Name != "CTL" || l[0].Host != "::1" || l[0].Port != 9094 {
		t.Errorf("voter %+v", req)
	}
	for _, c := range []struct{ key, value, want string }{
		{"node.id", "", "node.id not found"},
		{"node.id", "-1", "node.id was negative"},
		{"process.roles", "broker", "process.roles did not contain 'controller'"},
		{"log.dirs", "", "Neither metadata.log.dir nor log.dirs were found"},
		{"log.dirs", dir + "/none", "Unable to read meta.properties"},
		{"controller.listener.names", "", "controller.listener.names was not found"},
		{"controller.listener.names", "other", "Cannot find information about controller listener name: OTHER"},
	} {
		props := maps.Clone(good)
		if props[c.key] = c.value; c.value == "" {
			delete(props, c.key)
		}
		if _, err := voterOf(props); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%s: %v", c.key, c.value, err)
		}
	}
}
