package quorum

import (
	"reflect"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

func TestElectionStateFile(t *testing.T) {
	dir, err := kafka.ParseUUID("J8aAPcfLQt2bqs1JT_rMgQ")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		version int16
		state   ElectionState
		text    string
	}{
		{0, ElectionState{LeaderEpoch: 2, Leader: 1, VotedID: kafka.NoNode, Voters: []kafka.NodeID{1, 2}},
			`{"clusterId":"","leaderId":1,"leaderEpoch":2,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1},{"voterId":2}],"data_version":0}`},
		{1, ElectionState{LeaderEpoch: 2, Leader: kafka.NoNode, VotedID: 1, VotedDirectoryID: dir},
			`{"leaderId":-1,"leaderEpoch":2,"votedId":1,"votedDirectoryId":"J8aAPcfLQt2bqs1JT_rMgQ","data_version":1}`},
	} {
		if got := string(c.state.Encode(c.version)); got != c.text {
			t.Errorf("version %d: %s, want %s", c.version, got, c.text)
		}
		back, err := ParseElectionState([]byte(c.text))
		if err != nil || !reflect.DeepEqual(back, c.state) {
			t.Errorf("version %d: %+v, want %+v: %v", c.version, back, c.state, err)
		}
	}
	for _, bad := range []string{
		``, `{}`, `[]`, `{"leaderEpoch":1}`, `{"leaderEpoch":1,"data_version":2}`, `{"leaderEpoch":-1,"data_version":0}`,
		`{"leaderEpoch":1,"votedId":-2,"data_version":0}`, `{"leaderEpoch":1,"votedDirectoryId":"!","data_version":1}`,
	} {
		if s, err := ParseElectionState([]byte(bad)); err == nil {
			t.Errorf("%s was read as %+v", bad, s)
		}
	}
}

func FuzzElectionState(f *testing.F) {
	f.Add([]byte(`{"clusterId":"","leaderId":1,"leaderEpoch":2,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}`))
	f.Add([]byte(`{"leaderId":-1,"leaderEpoch":2,"votedId":1,"votedDirectoryId":"J8aAPcfLQt2bqs1JT_rMgQ","data_version":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseElectionState(b)
		if err != nil {
			return
		}
		for v := range int16(2) {
			if _, err := ParseElectionState(s.Encode(v)); err != nil {
				t.Fatalf("%s: %v", s.Encode(v), err)
			}
		}
	})
}
