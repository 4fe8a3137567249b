package features

import (
	"fmt"
	"strings"
	"testing"
)

// The levels that Apache Kafka's tools print for a release (version-mapping).
func TestDefaultLevels(t *testing.T) {
	for release, want := range map[string]string{
		"3.3":     "3.3-IV3 kraft=0 transaction=0 group=0 eligible=0 share=0 streams=0",
		"3.9":     "3.9-IV0 kraft=1 transaction=0 group=0 eligible=0 share=0 streams=0",
		"4.0":     "4.0-IV3 kraft=1 transaction=2 group=1 eligible=0 share=0 streams=0",
		"4.2-IV1": "4.2-IV1 kraft=1 transaction=2 group=1 eligible=1 share=1 streams=1",
		"4.3.1":   "4.3-IV0 kraft=1 transaction=2 group=1 eligible=1 share=1 streams=1",
		"4.4-IV0": "4.4-IV0 kraft=1 transaction=2 group=1 eligible=1 share=2 streams=1",
		"4.4":     "4.4-IV2 kraft=1 transaction=2 group=1 eligible=1 share=2 streams=1",
	} {
		mv, err := FromVersionString(release, false)
		if err != nil {
			t.Error(err)
			continue
		}
		got := mv.String()
		for i := range Production {
			name, _, _ := strings.Cut(Production[i].Name, ".")
			got += fmt.Sprintf(" %s=%d", name, Production[i].DefaultLevel(mv))
		}
		if got != want {
			t.Errorf("%s: %s, want %s", release, got, want)
		}
	}
	if _, err := FromVersionString("9.9", false); err == nil || !strings.HasPrefix(err.Error(), "Unknown metadata.version '9.9'. Supported metadata.version are: 3.3-IV3, 3.4-IV0, ") || !strings.HasSuffix(err.Error(), ", 4.4-IV2") {
		t.Errorf("%v", err)
	}
	if _, err := FromVersionString("4.5-IV0", false); err == nil {
		t.Error("an unstable version is taken")
	}
	if mv, err := FromVersionString("4.5-IV0", true); err != nil || mv != LatestTesting {
		t.Errorf("%v, %v", mv, err)
	}
}

func TestTheTableIsConsistent(t *testing.T) {
	for i, m := range metadataVersions {
		if int(m.level) != int(MinimumVersion)+i {
			t.Errorf("row %d has level %d", i, m.level)
		}
	}
	for i := range Production {
		f := &Production[i]
		levels := map[string]int16{MetadataVersionName: int16(DefaultVersion)}
		if err := f.Validate(f.DefaultLevel(DefaultVersion), false, levels); err != nil {
			t.Error(err)
		}
		if f.DefaultLevel(LatestProduction) > f.LatestProduction {
			t.Errorf("%s: the default of the newest release is not ready for production", f.Name)
		}
	}
	if !MetadataChanged(V42IV0, V43IV0) || MetadataChanged(V41IV0, V42IV1) || !MetadataChanged(V43IV0, V42IV0) {
		t.Error("changes of the metadata format")
	}
}
