package storage

import (
	"errors"
	"fmt"
	"net"
	"sort"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/records"
)

// Voter is one member of the quorum. While kraft.version is 0 the set is static
// configuration: DirectoryID is zero and the supported versions are 0 to 0.
type Voter struct {
	ID              kafka.NodeID
	DirectoryID     kafka.UUID
	Endpoints       []Endpoint
	MinKRaftVersion int16
	MaxKRaftVersion int16
}

// Endpoint is where a voter's controller listener is reached.
type Endpoint struct {
	Listener string
	Host     string
	Port     uint16
}

// VoterSet is the quorum's members ordered by id. It is immutable.
type VoterSet []Voter

// NewVoterSet returns the voters ordered by id.
func NewVoterSet(voters ...Voter) VoterSet {
	s := append(VoterSet(nil), voters...)
	sort.Slice(s, func(i, j int) bool { return s[i].ID < s[j].ID })
	return s
}

// Find returns the voter with the id.
func (s VoterSet) Find(id kafka.NodeID) (Voter, bool) {
	for _, v := range s {
		if v.ID == id {
			return v, true
		}
	}
	return Voter{}, false
}

// Record is the set as a control record.
func (s VoterSet) Record() *records.VotersRecord {
	r := &records.VotersRecord{}
	for _, v := range s {
		rv := records.VotersRecordVoter{
			VoterID:          int32(v.ID),
			VoterDirectoryID: v.DirectoryID,
			KRaftVersionFeature: records.KRaftVersionFeature{
				MinSupportedVersion: v.MinKRaftVersion,
				MaxSupportedVersion: v.MaxKRaftVersion,
			},
		}
		for _, e := range v.Endpoints {
			rv.Endpoints = append(rv.Endpoints, records.VotersRecordEndpoint{Name: e.Listener, Host: e.Host, Port: e.Port})
		}
		r.Voters = append(r.Voters, rv)
	}
	return r
}

// VotersFromRecord is the inverse of Record.
func VotersFromRecord(r *records.VotersRecord) VoterSet {
	voters := make([]Voter, 0, len(r.Voters))
	for _, rv := range r.Voters {
		v := Voter{
			ID:              kafka.NodeID(rv.VoterID),
			DirectoryID:     rv.VoterDirectoryID,
			MinKRaftVersion: rv.KRaftVersionFeature.MinSupportedVersion,
			MaxKRaftVersion: rv.KRaftVersionFeature.MaxSupportedVersion,
		}
		for _, e := range rv.Endpoints {
			v.Endpoints = append(v.Endpoints, Endpoint{Listener: e.Name, Host: e.Host, Port: e.Port})
		}
		voters = append(voters, v)
	}
	return NewVoterSet(voters...)
}

// ParseVoters reads the argument of --initial-controllers, a comma-separated list
// of id@host:port:directory. listener is the controller listener of all of them.
func ParseVoters(s, listener string) (VoterSet, error) {
	var voters []Voter
	seen := map[kafka.NodeID]bool{}
	for _, part := range strings.Split(strings.TrimSpace(s), ",") {
		if part == "" {
			continue
		}
		v, err := parseVoter(part, listener)
		if err != nil {
			return nil, err
		}
		if seen[v.ID] {
			return nil, fmt.Errorf("Node id %d was specified more than once.", v.ID)
		}
		seen[v.ID] = true
		voters = append(voters, v)
	}
	if len(voters) == 0 {
		return nil, errors.New("No voters given.")
	}
	return NewVoterSet(voters...), nil
}

func parseVoter(s, listener string) (Voter, error) {
	idText, rest, ok := strings.Cut(strings.TrimSpace(s), "@")
	switch {
	case !ok:
		return Voter{}, errors.New("No @ found in dynamic voter string.")
	case idText == "":
		return Voter{}, errors.New("Invalid @ at beginning of dynamic voter string.")
	}
	id, err := strconv.ParseInt(idText, 10, 32)
	if err != nil {
		return Voter{}, errors.New("Failed to parse node id in dynamic voter string.")
	}
	if id < 0 {
		return Voter{}, fmt.Errorf("Invalid negative node id %d in dynamic voter string.", id)
	}
	host, rest, err := cutHost(rest)
	if err != nil {
		return Voter{}, err
	}
	portText, dirText, ok := strings.Cut(rest, ":")
	if !ok {
		return Voter{}, errors.New("No colon following port could be found.")
	}
	port, err := strconv.ParseInt(portText, 10, 32)
	if err != nil {
		return Voter{}, errors.New("Failed to parse port in dynamic voter string.")
	}
	if port < 0 || port > 65535 {
		return Voter{}, fmt.Errorf("Invalid port %d in dynamic voter string.", port)
	}
	dir, err := kafka.ParseUUID(dirText)
	if err != nil {
		return Voter{}, errors.New("Failed to parse directory ID in dynamic voter string.")
	}
	return NewVoter(kafka.NodeID(id), dir, listener, host, uint16(port)), nil
}

// cutHost splits a host, in brackets for an IPv6 address, from what follows the
// colon behind it.
func cutHost(s string) (host, rest string, err error) {
	if s == "" {
		return "", "", errors.New("No hostname found after node id.")
	}
	if strings.HasPrefix(s, "[") {
		host, rest, ok := strings.Cut(s[1:], "]")
		if !ok {
			return "", "", errors.New("Hostname began with left bracket, but no right bracket was found.")
		}
		if !strings.HasPrefix(rest, ":") {
			return "", "", errors.New("Port section must start with a colon.")
		}
		return host, rest[1:], nil
	}
	host, rest, ok := strings.Cut(s, ":")
	if !ok {
		return "", "", errors.New("No colon following hostname could be found.")
	}
	return host, rest, nil
}

// NewVoter is a voter of a dynamic quorum that speaks every kraft.version known.
func NewVoter(id kafka.NodeID, dir kafka.UUID, listener, host string, port uint16) Voter {
	return Voter{
		ID: id, DirectoryID: dir, MaxKRaftVersion: 1,
		Endpoints: []Endpoint{{Listener: strings.ToUpper(listener), Host: host, Port: port}},
	}
}

// String is the form that ParseVoters reads.
func (v Voter) String() string {
	addr := ""
	if len(v.Endpoints) > 0 {
		addr = net.JoinHostPort(v.Endpoints[0].Host, strconv.Itoa(int(v.Endpoints[0].Port)))
	}
	return fmt.Sprintf("%d@%s:%s", v.ID, addr, v.DirectoryID)
}
