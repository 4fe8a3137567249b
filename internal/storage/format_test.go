package storage

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gregorhq/gregor/internal/features"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
	"github.com/gregorhq/gregor/internal/vfs"
)

// testIDs draws directory ids that differ by their last byte.
func testIDs() func() kafka.UUID {
	n := byte(100)
	return func() kafka.UUID { n++; return kafka.UUID{1: 0x40, 6: 0x40, 8: 0x80, 15: n} }
}

func options(dirs ...string) FormatOptions {
	return FormatOptions{
		NodeID: 1, ClusterID: "5L6g3nShT-eMCtK--X86sw", Directories: dirs, MetadataLogDir: dirs[0],
		ControllerListenerName: "CONTROLLER", Now: time.UnixMilli(1700000000000).UTC(), NewUUID: testIDs(),
	}
}

func TestFormatWritesWhatTheStorageToolWrites(t *testing.T) {
	fsys := vfs.OS()
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	rep, err := Format(fsys, options(a, b))
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Formatted) != 2 || len(rep.Lines) != 3 {
		t.Fatalf("report %+v", rep)
	}
	if want := "Formatting metadata directory " + a + " with metadata.version 4.3-IV0."; !strings.Contains(strings.Join(rep.Lines, "\n"), want) {
		t.Errorf("lines %q lack %q", rep.Lines, want)
	}
	if want := "Bootstrap metadata: BootstrapMetadata(records=[ApiMessageAndVersion(FeatureLevelRecord(name='metadata.version', featureLevel=30) at version 0), "; !strings.HasPrefix(rep.Lines[0], want) {
		t.Errorf("line %q does not begin with %q", rep.Lines[0], want)
	}
	for _, dir := range []string{a, b} {
		m, err := ReadMetaProperties(fsys, dir)
		if err != nil {
			t.Fatal(err)
		}
		if m.Version != 1 || m.NodeID != 1 || m.ClusterID != "5L6g3nShT-eMCtK--X86sw" || m.DirectoryID.IsZero() {
			t.Errorf("%s: %+v", dir, m)
		}
		recs, err := ReadBootstrap(fsys, dir)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range recs {
			f := r.(*records.FeatureLevelRecord)
			got = append(got, f.Name)
		}
		want := "metadata.version eligible.leader.replicas.version group.version share.version streams.version transaction.version"
		if strings.Join(got, " ") != want {
			t.Errorf("%s: bootstrap records %q, want %q", dir, got, want)
		}
	}
	if _, err := fsys.Stat(filepath.Join(a, MetadataLogDirName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a static quorum's directory has a metadata log after formatting: %v", err)
	}
}

func TestFormatRefusesFormattedDirectories(t *testing.T) {
	fsys := vfs.OS()
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	if _, err := Format(fsys, options(a)); err != nil {
		t.Fatal(err)
	}
	o := options(a, b)
	_, err := Format(fsys, o)
	if want := "Log directory " + a + " is already formatted. Use --ignore-formatted to ignore this directory and format the others."; err == nil || err.Error() != want {
		t.Fatalf("error %v, want %s", err, want)
	}
	o.IgnoreFormatted = true
	rep, err := Format(fsys, o)
	if err != nil || len(rep.Formatted) != 1 || rep.Formatted[0] != b {
		t.Fatalf("formatted %v, %v", rep.Formatted, err)
	}
	rep, err = Format(fsys, o)
	if err != nil || len(rep.Lines) != 1 || rep.Lines[0] != "All of the log directories are already formatted." {
		t.Fatalf("%q, %v", rep.Lines, err)
	}
	o.ClusterID = "another"
	if _, err := Format(fsys, o); err == nil || !strings.HasPrefix(err.Error(), "Invalid cluster.id in: ") {
		t.Fatalf("error %v", err)
	}
	o = options(a)
	o.NodeID, o.IgnoreFormatted = 2, true
	if _, err := Format(fsys, o); err == nil || !strings.HasPrefix(err.Error(), "Stored node id 1 doesn't match previous node id 2 in ") {
		t.Fatalf("error %v", err)
	}
}

func TestFormatStandaloneWritesTheVoters(t *testing.T) {
	fsys := vfs.OS()
	a := filepath.Join(t.TempDir(), "a")
	o := options(a)
	o.DynamicQuorum = true
	id := kafka.UUID{0: 7, 6: 0x40, 8: 0x80}
	o.InitialControllers = NewVoterSet(NewVoter(1, id, "controller", "localhost", 9093))
	rep, err := Format(fsys, o)
	if err != nil {
		t.Fatal(err)
	}
	if want := "Formatting dynamic metadata voter directory " + a + " with metadata.version 4.3-IV0."; rep.Lines[1] != want {
		t.Errorf("line %q, want %q", rep.Lines[1], want)
	}
	m, err := ReadMetaProperties(fsys, a)
	if err != nil || m.DirectoryID != id {
		t.Fatalf("directory id %s, want %s (%v)", m.DirectoryID, id, err)
	}
	r, err := OpenSnapshot(fsys, filepath.Join(a, MetadataLogDirName), BootstrapSnapshotID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	recs, err := r.ReadAll()
	if err != nil || len(recs) != 0 {
		t.Fatalf("records %v, %v", recs, err)
	}
	if r.Header.KRaftVersion != 1 || len(r.Header.Voters) != 1 || r.Header.Voters[0].String() != "1@localhost:9093:"+id.String() {
		t.Errorf("header %+v", r.Header)
	}
	if e := r.Header.Voters[0].Endpoints; len(e) != 1 || e[0].Listener != "CONTROLLER" {
		t.Errorf("endpoints %+v", e)
	}
}

func TestFormatFeatures(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*FormatOptions)
		wantErr string
	}{
		{"both", func(o *FormatOptions) {
			o.ReleaseVersion = features.V40IV0
			o.FeatureLevels = map[string]int16{"metadata.version": 22}
		}, "Use --release-version instead of --feature metadata.version=X to avoid ambiguity."},
		{"unknown", func(o *FormatOptions) { o.FeatureLevels = map[string]int16{"x": 1} },
			"Unsupported feature: x. Supported features are: eligible.leader.replicas.version, group.version, kraft.version, share.version, streams.version, transaction.version"},
		{"dependency", func(o *FormatOptions) {
			o.ReleaseVersion = features.V39IV0
			o.FeatureLevels = map[string]int16{"eligible.leader.replicas.version": 1}
		}, "eligible.leader.replicas.version could not be set to 1 because it depends on metadata.version level 23"},
		{"level", func(o *FormatOptions) { o.FeatureLevels = map[string]int16{"group.version": 9} },
			"No feature:group.version with feature level 9"},
		{"unstable", func(o *FormatOptions) { o.FeatureLevels = map[string]int16{"metadata.version": 34} },
			"metadata.version 4.5-IV0 is not yet stable."},
		{"no level", func(o *FormatOptions) { o.FeatureLevels = map[string]int16{"metadata.version": 99} },
			"No MetadataVersion with feature level 99. Valid feature levels are from 7 to 34."},
		{"static kraft 1", func(o *FormatOptions) { o.FeatureLevels = map[string]int16{"kraft.version": 1} }, "Cannot set kraft.version to 1 unless"},
		{"dynamic kraft 0", func(o *FormatOptions) {
			o.DynamicQuorum = true
			o.FeatureLevels = map[string]int16{"kraft.version": 0}
		}, "Cannot set kraft.version to 0 if"},
		{"scram too early", func(o *FormatOptions) {
			o.ReleaseVersion = features.V34IV0
			o.ScramArguments = []string{"SCRAM-SHA-256=[name=a,password=b]"}
		}, "SCRAM is only supported in metadata.version 3.5-IV2 or later."},
	} {
		o := options(filepath.Join(t.TempDir(), "a"))
		c.change(&o)
		if _, err := Format(vfs.OS(), o); err == nil || !strings.HasPrefix(err.Error(), c.wantErr) {
			t.Errorf("%s: error %v, want %s", c.name, err, c.wantErr)
		}
	}
}

func TestFormatWritesMetaPropertiesLast(t *testing.T) {
	var ops []string
	a := filepath.Join(t.TempDir(), "a")
	if _, err := Format(vfs.NewTrace(vfs.OS(), func(op string) { ops = append(ops, op) }), options(a)); err != nil {
		t.Fatal(err)
	}
	all := strings.Join(ops, "\n")
	boot, meta := strings.LastIndex(all, "bootstrap.checkpoint"), strings.Index(all, "meta.properties.tmp")
	if boot < 0 || meta < boot {
		t.Errorf("meta.properties is written before bootstrap.checkpoint is in place:\n%s", all)
	}
}

func TestInfo(t *testing.T) {
	fsys := vfs.OS()
	root := t.TempDir()
	a, b, missing := filepath.Join(root, "a"), filepath.Join(root, "b"), filepath.Join(root, "missing")
	if _, err := Format(fsys, options(a)); err != nil {
		t.Fatal(err)
	}
	if err := fsys.MkdirAll(b, 0o755); err != nil {
		t.Fatal(err)
	}
	lines, exit := Info(fsys, true, []string{missing, b, a})
	want := []string{
		"Found log directories:", "  " + a, "  " + b, "",
		"Found metadata: {cluster.id=5L6g3nShT-eMCtK--X86sw, directory.id=AEAAAAAAQACAAAAAAAAAZQ, node.id=1, version=1}", "",
		"Found problems:", "  " + b + " is not formatted.", "  " + missing + " does not exist", "",
	}
	if exit != 1 || strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("exit %d, lines\n%s\nwant\n%s", exit, strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

func TestParseScram(t *testing.T) {
	recs, err := ParseScram([]string{`SCRAM-SHA-256=[name="alice",password="alice-secret",salt="N3E=",iterations=8192]`})
	if err != nil {
		t.Fatal(err)
	}
	r := recs[0].(*records.UserScramCredentialRecord)
	if r.Name != "alice" || r.Mechanism != 1 || string(r.Salt) != "7q" || r.Iterations != 8192 || len(r.StoredKey) != 32 || len(r.ServerKey) != 32 {
		t.Errorf("%+v", r)
	}
	for arg, want := range map[string]string{
		"x":                          "Failed to find equals sign in SCRAM argument 'x'",
		"MD5=[name=a]":               "The add-scram mechanism MD5 is not supported.",
		"SCRAM-SHA-256=name":         "Expected configuration string to start with [",
		"SCRAM-SHA-256=[name=a":      "Expected configuration string to end with ]",
		"SCRAM-SHA-256=[password=a]": "You must supply 'name' to add-scram",
		"SCRAM-SHA-256=[name=a]":     "You must supply one of 'password' or 'saltedpassword' to add-scram",
		"SCRAM-SHA-256=[name=a,foo]": "No equals sign found in SCRAM component: foo",
		"SCRAM-SHA-512=[name=a,password=b,iterations=1]": "The 'iterations' value must be >= 4096 for add-scram using SCRAM_SHA_512",
		"SCRAM-SHA-512=[name=a,password=b,x=1]":          "Unknown SCRAM configurations: x",
		"SCRAM-SHA-512=[name=a,saltedpassword=YQ==]":     "You must supply 'salt' with 'saltedpassword' to add-scram",
	} {
		if _, err := ParseScram([]string{arg}); err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", arg, err, want)
		}
	}
}

func TestParseVoters(t *testing.T) {
	const dir = "JEXY6aqzQY-32P5TStzaFg"
	s, err := ParseVoters("1@[::1]:9093:"+dir+",0@example.com:8082:"+dir, "ctl")
	if err != nil {
		t.Fatal(err)
	}
	if len(s) != 2 || s[0].String() != "0@example.com:8082:"+dir || s[1].String() != "1@[::1]:9093:"+dir {
		t.Errorf("%v", s)
	}
	for arg, want := range map[string]string{
		"":                               "No voters given.",
		"x":                              "No @ found in dynamic voter string.",
		"@x":                             "Invalid @ at beginning of dynamic voter string.",
		"a@x:1:" + dir:                   "Failed to parse node id in dynamic voter string.",
		"-1@x:1:" + dir:                  "Invalid negative node id -1 in dynamic voter string.",
		"1@":                             "No hostname found after node id.",
		"1@[::1:1:" + dir:                "Hostname began with left bracket, but no right bracket was found.",
		"1@[::1]1:" + dir:                "Port section must start with a colon.",
		"1@x":                            "No colon following hostname could be found.",
		"1@x:1":                          "No colon following port could be found.",
		"1@x:y:" + dir:                   "Failed to parse port in dynamic voter string.",
		"1@x:70000:" + dir:               "Invalid port 70000 in dynamic voter string.",
		"1@x:1:!":                        "Failed to parse directory ID in dynamic voter string.",
		"1@x:1:" + dir + ",1@y:2:" + dir: "Node id 1 was specified more than once.",
	} {
		if _, err := ParseVoters(arg, "ctl"); err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", arg, err, want)
		}
	}
}
