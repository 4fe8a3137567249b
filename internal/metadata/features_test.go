package metadata

import (
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/records"
)

func TestRecordVersions(t *testing.T) {
	want := "122222222233333333333334444" // RegisterBrokerRecord, from 3.3-IV3 on
	wantPart := "000000000011111122222222222"
	var reg, part strings.Builder
	for v := MinVersion; v <= LatestVersion; v++ {
		reg.WriteByte('0' + byte(v.RegisterBrokerRecordVersion()))
		part.WriteByte('0' + byte(v.PartitionRecordVersion()))
	}
	if reg.String() != want {
		t.Errorf("RegisterBrokerRecord versions %s, want %s", reg.String(), want)
	}
	if part.String() != wantPart {
		t.Errorf("PartitionRecord versions %s, want %s", part.String(), wantPart)
	}
}

func TestChangedBetween(t *testing.T) {
	cases := []struct {
		a, b Version
		want bool
	}{{25, 29, false}, {24, 23, false}, {22, 23, true}, {29, 30, true}, {30, 31, false}, {31, 32, true}, {33, 7, true}, {8, 8, false}}
	for _, c := range cases {
		if ChangedBetween(c.a, c.b) != c.want || ChangedBetween(c.b, c.a) != c.want {
			t.Errorf("%s and %s: want %v", c.a, c.b, c.want)
		}
	}
}

func TestBootstrapRecords(t *testing.T) {
	msgs, err := BootstrapRecords(DefaultVersion, map[string]int16{"streams.version": 0})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range msgs {
		got = append(got, string(records.JSON(m)))
	}
	want := `{"type":"FEATURE_LEVEL_RECORD","version":0,"data":{"name":"metadata.version","featureLevel":30}}
{"type":"FEATURE_LEVEL_RECORD","version":0,"data":{"name":"eligible.leader.replicas.version","featureLevel":1}}
{"type":"FEATURE_LEVEL_RECORD","version":0,"data":{"name":"group.version","featureLevel":1}}
{"type":"FEATURE_LEVEL_RECORD","version":0,"data":{"name":"share.version","featureLevel":1}}
{"type":"FEATURE_LEVEL_RECORD","version":0,"data":{"name":"transaction.version","featureLevel":2}}`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	for name, levels := range map[string]map[string]int16{
		"unknown feature":    {"x.version": 1},
		"level out of range": {"group.version": 2},
		"another version":    {FeatureMetadataVersion: 29},
		"missing dependency": {FeatureELR: 1},
	} {
		v := DefaultVersion
		if name == "missing dependency" {
			v = 22
		}
		if _, err := BootstrapRecords(v, levels); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := BootstrapRecords(34, nil); err == nil {
		t.Error("metadata.version 34 was taken")
	}
}
