package isr

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts give instead of comparing")

// TestScripts runs testdata/*.txt. A script is blocks of a command line, a line of
// dashes, and what the command answers, apart by empty lines.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			m := &machine{alive: map[int32]int64{}}
			for i, block := range strings.Split(strings.TrimSpace(string(raw)), "\n\n") {
				cmd, want, _ := strings.Cut(block, "\n----\n")
				var lines []string
				for _, line := range strings.Split(cmd, "\n") {
					if strings.HasPrefix(line, "#") {
						continue
					}
					lines = append(lines, m.run(t, line))
				}
				got := strings.Join(lines, "\n")
				fmt.Fprintf(&out, "%s\n----\n%s\n\n", cmd, got)
				if !*rewrite && got != strings.TrimSpace(want) {
					t.Fatalf("block %d: %s\ngot:\n%s\nwant:\n%s", i, cmd, got, want)
				}
			}
			if *rewrite {
				if err := os.WriteFile(name, []byte(strings.TrimSpace(out.String())+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// machine is a leader with id 1 whose brokers and log are played by the script.
type machine struct {
	l     *Leader
	now   int64
	end   int64
	alive map[int32]int64 // eligible brokers by id, with their epochs
	last  *Proposal
	hw    int64
	// minISR is that of the next update, unless it names one.
	minISR int
}

func (m *machine) Eligible(id int32) (int64, bool) {
	e, ok := m.alive[id]
	return e, ok
}

type args map[string]string

func (a args) num(t *testing.T, key string, def int64) int64 {
	s, ok := a[key]
	if !ok {
		return def
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatalf("%s=%s: %v", key, s, err)
	}
	return n
}

func (a args) ids(t *testing.T, key string) []int32 {
	var out []int32
	for _, s := range strings.FieldsFunc(a[key], func(r rune) bool { return r == ',' }) {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s=%s: %v", key, s, err)
		}
		out = append(out, int32(n))
	}
	return out
}

func (m *machine) run(t *testing.T, line string) string {
	f := strings.Fields(line)
	a := args{}
	for _, kv := range f[1:] {
		k, v, _ := strings.Cut(kv, "=")
		a[k] = v
	}
	if d := a.num(t, "after", 0); d > 0 {
		m.now += d
	}
	switch f[0] {
	case "leader": // a new leader object
		m.end, m.hw = a.num(t, "end", 0), a.num(t, "hw", 0)
		m.minISR = int(a.num(t, "minisr", 1))
		m.l = NewLeader(1, m.end, m.hw, a.num(t, "safe", m.end), a.num(t, "lag", 1000))
		return m.state()
	case "brokers": // id:epoch pairs
		m.alive = map[int32]int64{}
		for _, kv := range f[1:] {
			id, epoch, _ := strings.Cut(kv, ":")
			n, _ := strconv.Atoi(id)
			e, _ := strconv.ParseInt(epoch, 10, 64)
			m.alive[int32(n)] = e
		}
		return "ok"
	case "update":
		m.minISR = int(a.num(t, "minisr", int64(m.minISR)))
		applied, _ := m.l.Update(Assignment{
			LeaderEpoch: int32(a.num(t, "epoch", 0)), PartitionEpoch: int32(a.num(t, "version", 0)),
			Replicas: a.ids(t, "replicas"), ISR: a.ids(t, "isr"), MinISR: m.minISR,
		}, m.end, m.now, m)
		if !applied {
			return "ignored"
		}
		return m.state()
	case "append":
		m.end += a.num(t, "n", 1)
		m.l.LocalEnd(m.end, a.num(t, "safe", m.end), m.now, m)
		return m.state()
	case "fetch":
		_, err := m.l.Fetched(Fetch{
			Replica: int32(a.num(t, "id", 0)), BrokerEpoch: a.num(t, "epoch", -1), Offset: a.num(t, "at", 0),
			LogStartOffset: a.num(t, "start", 0), LeaderEnd: m.end, NowMs: m.now,
		}, m)
		if err != nil {
			return kafka.CodeOf(err).Name()
		}
		return m.state()
	case "limits":
		m.minISR = int(a.num(t, "minisr", 1))
		m.l.SetLimits(m.minISR, a.num(t, "lag", 1000), m.now, m)
		return m.state()
	case "expand":
		return m.proposed(m.l.Expand(int32(a.num(t, "id", 0)), 100, m))
	case "shrink":
		return m.proposed(m.l.Shrink(m.now, 100))
	case "commit":
		m.l.Committed(m.last, a.ids(t, "isr"), int32(a.num(t, "epoch", int64(m.l.LeaderEpoch()))), int32(a.num(t, "version", 0)), m.now, m)
		return m.state()
	case "reject":
		i := slices.IndexFunc(kafka.AllCodes(), func(c *kafka.Code) bool { return c.Name() == a["code"] })
		again := m.l.Rejected(m.last, kafka.AllCodes()[i])
		return fmt.Sprintf("again=%v pending=%v", again, m.l.Pending() != nil)
	case "low":
		return fmt.Sprint(m.l.LowWatermark(a.num(t, "start", 0), m))
	}
	t.Fatalf("unknown command %q", line)
	return ""
}

func (m *machine) proposed(p *Proposal) string {
	if p == nil {
		return "none"
	}
	m.last = p
	s := fmt.Sprintf("epoch=%d version=%d isr=", p.LeaderEpoch, p.PartitionEpoch)
	for i, b := range p.ISR {
		if i > 0 {
			s += ","
		}
		s += fmt.Sprintf("%d:%d", b.ID, b.BrokerEpoch)
	}
	return s + fmt.Sprintf(" maximal=%d", m.l.MaximalISR())
}

// state also checks what must hold after every step.
func (m *machine) state() string {
	if m.l.HighWatermark() < m.hw {
		return fmt.Sprintf("high watermark went back from %d to %d", m.hw, m.l.HighWatermark())
	}
	m.hw = m.l.HighWatermark()
	if m.hw > m.end {
		return fmt.Sprintf("high watermark %d above the end %d", m.hw, m.end)
	}
	return fmt.Sprintf("end=%d hw=%d isr=%v under=%v", m.end, m.hw, m.l.ISR(), m.l.UnderMinISR())
}
