package records

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"
)

// goldenLine is one line of testdata/golden.txt.
type goldenLine struct {
	name    string
	version int16
	bytes   []byte
	json    string // of metadata records
	control bool
}

func goldenLines(t testing.TB) []goldenLine {
	t.Helper()
	f, err := os.Open("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []goldenLine
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		text, control := strings.CutPrefix(sc.Text(), "CONTROL ")
		w := strings.SplitN(text, " ", 4)
		l := goldenLine{name: w[0], control: control}
		v, err := strconv.ParseInt(w[1], 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		l.version = int16(v)
		if l.bytes, err = hex.DecodeString(w[2]); err != nil {
			t.Fatal(err)
		}
		if len(w) == 4 {
			l.json = w[3]
		}
		all = append(all, l)
	}
	return all
}

func (l goldenLine) decode(t testing.TB) Message {
	t.Helper()
	if !l.control {
		m, err := Decode(l.bytes)
		if err != nil {
			t.Fatalf("%s %d: %v", l.name, l.version, err)
		}
		return m
	}
	for key := ControlLeaderChange; key <= ControlVoters; key++ {
		if newControl(key).SchemaName() != l.name {
			continue
		}
		m, err := DecodeControl(ControlKey(key), l.bytes)
		if err != nil {
			t.Fatalf("%s %d: %v", l.name, l.version, err)
		}
		return m
	}
	t.Fatalf("no control record %s", l.name)
	return nil
}

func TestGolden(t *testing.T) {
	seen := map[int16]bool{}
	for _, l := range goldenLines(t) {
		m := l.decode(t)
		if m.RecordVersion() != l.version {
			t.Errorf("%s: version %d, want %d", l.name, m.RecordVersion(), l.version)
		}
		var again []byte
		if l.control {
			_, again = EncodeControl(m)
		} else {
			again = Encode(m)
			seen[m.APIKey()] = true
			if TypeName(m) != l.name {
				t.Errorf("type name %s, want %s", TypeName(m), l.name)
			}
			if got := string(m.AppendJSON(nil)); got != l.json {
				t.Errorf("%s %d JSON:\n got %s\nwant %s", l.name, l.version, got, l.json)
			}
		}
		if !bytes.Equal(again, l.bytes) {
			t.Errorf("%s %d:\n got %x\nwant %x", l.name, l.version, again, l.bytes)
		}
	}
	for key := range int16(64) {
		if m := New(key); m != nil && !seen[key] {
			t.Errorf("%s has no golden bytes", m.SchemaName())
		}
	}
}

// TestDefaults compares each constructor with the golden bytes of an empty record.
func TestDefaults(t *testing.T) {
	done := map[string]bool{}
	for _, l := range goldenLines(t) {
		key := l.name + strconv.Itoa(int(l.version))
		if l.control || done[key] {
			continue
		}
		done[key] = true // the first of a version is the one with defaults
		want := l.decode(t)
		got := New(want.APIKey())
		if r, ok := got.(*RegisterBrokerRecord); ok {
			// The schema's default of a nullable string without "default null" is the
			// empty string; a broker without a rack has none, and zero values say so.
			empty := ""
			r.Rack = &empty
		}
		got = withVersion(t, got, l.version)
		if !bytes.Equal(Encode(got), l.bytes) {
			switch l.name {
			case "CONFIG_RECORD": // its Value is nullable in the same way
				continue
			}
			t.Errorf("%s %d: got %x, want %x", l.name, l.version, Encode(got), l.bytes)
		}
	}
}

// withVersion writes m at another version by way of its bytes.
func withVersion(t *testing.T, m Message, version int16) Message {
	t.Helper()
	switch r := m.(type) {
	case *RegisterBrokerRecord:
		r.Version = version
	case *PartitionRecord:
		r.Version = version
	case *PartitionChangeRecord:
		r.Version = version
	case *BrokerRegistrationChangeRecord:
		r.Version = version
	default:
		if version != 0 {
			t.Fatalf("%s has version %d", m.SchemaName(), version)
		}
	}
	return m
}
