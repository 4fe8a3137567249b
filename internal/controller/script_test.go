package controller

import (
	"flag"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/features"
	"github.com/gregorhq/gregor/internal/kafka"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/records"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts print into testdata")

// TestScripts runs the scripts in testdata: a command, a line of dashes, and what
// the controller answers and writes. Commands are documented at their handlers.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(text) {
				t.Errorf("%s", firstDifference(string(text), got))
			}
			// The same inputs must give the same outputs.
			if again := runScript(t, string(text)); again != got {
				t.Errorf("a second run differs: %s", firstDifference(got, again))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		a, b := "", ""
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d:\nwant %s\n got %s", i+1, a, b)
		}
	}
	return ""
}

// runScript executes every command and returns the script with fresh output.
func runScript(t *testing.T, text string) string {
	w := newWorld(t)
	var out strings.Builder
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if line == "" || line[0] == '#' {
			if i < len(lines)-1 || line != "" {
				out.WriteString(line + "\n")
			}
			continue
		}
		if line == "----" { // old output, up to the empty line
			for i+1 < len(lines) && lines[i+1] != "" {
				i++
			}
			continue
		}
		out.WriteString(line + "\n----\n")
		out.WriteString(w.run(line))
	}
	return out.String()
}

// world is one controller with the log that it writes.
type world struct {
	t     *testing.T
	cfg   Config
	m     *Machine
	log   *metadata.Log
	next  kafka.Offset
	nowMs int64
}

func newWorld(t *testing.T) *world {
	return &world{t: t, log: metadata.NewLog(metadata.Empty()), nowMs: 1000000}
}

func (w *world) input() Input {
	return Input{Image: w.log.Image(), NowMs: w.nowMs, NextOffset: w.next}
}

// args are the words of a command: flags and key=value pairs.
type args struct {
	words []string
	pairs map[string]string
}

func parseArgs(words []string) args {
	a := args{pairs: map[string]string{}}
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok && !strings.Contains(k, ":") {
			a.pairs[k] = v
		} else {
			a.words = append(a.words, w)
		}
	}
	return a
}

func (a args) has(word string) bool {
	for _, w := range a.words {
		if w == word {
			return true
		}
	}
	return false
}

func (a args) int(key string, def int64) int64 {
	v, ok := a.pairs[key]
	if !ok {
		return def
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func ints(s string) []int32 {
	var out []int32
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		n, err := strconv.Atoi(f)
		if err != nil {
			panic(err)
		}
		out = append(out, int32(n))
	}
	return out
}

func uuid(s string) (u kafka.UUID) {
	copy(u[:], s)
	if s != "" {
		u[15] = 0xff // never reserved
	}
	return u
}

// run executes one command.
func (w *world) run(line string) string {
	words := strings.Fields(line)
	a := parseArgs(words[1:])
	switch words[0] {
	case "boot": // mv= and key:value configs of the node
		return w.boot(a)
	case "activate": // a new term: what is not in the image is forgotten
		return w.activate(a.has("open"))
	case "begin": // a transaction with a topic, which the controller leaves open
		r := records.NewTopicRecord()
		r.Name, r.TopicID = "unseen", uuid("unseen")
		return w.commit(Result{Records: []records.Message{records.NewBeginTransactionRecord(), r}})
	case "eligible": // the eligible replicas of a partition become elr=, by another controller's word
		r := records.NewPartitionChangeRecord()
		n, _ := strconv.Atoi(a.words[1])
		r.Version, r.TopicID, r.PartitionID, r.EligibleLeaderReplicas = 2, w.log.Image().Topic(a.words[0]).ID, int32(n), ints(a.pairs["elr"])
		return w.commit(Result{Records: []records.Message{r}})
	case "advance": // moves the clock
		w.nowMs += a.int("ms", 0)
		return ""
	case "tick":
		before := w.m.NextTickMs(w.log.Image())
		return fmt.Sprintf("due in %d ms\n", before-w.nowMs) + w.commit(w.m.Tick(w.input()))
	case "show": // partitions of a topic, or brokers
		return w.show(a)
	}
	req := w.request(words[0], a)
	if v, ok := a.pairs["version"]; ok {
		n, _ := strconv.Atoi(v)
		req.SetVersion(int16(n))
	}
	res, err := w.m.Handle(w.input(), req)
	if err != nil {
		return "error " + err.Error() + "\n"
	}
	return w.commit(res)
}

// commit applies a result as the controller's loop does, and prints it.
func (w *world) commit(res Result) string {
	var out strings.Builder
	if len(res.Records) > 0 && res.Atomic {
		out.WriteString("atomic\n")
	}
	for i, m := range res.Records {
		if i == 8 && len(res.Records) > 10 {
			fmt.Fprintf(&out, "... %d records\n", len(res.Records))
			break
		}
		out.WriteString(strings.TrimSuffix(records.TypeName(m), "_RECORD") + " " + strconv.Itoa(int(m.RecordVersion())) + " ")
		out.Write(m.AppendJSON(nil))
		out.WriteByte('\n')
	}
	if res.UpgradeKRaftVersion > 0 {
		fmt.Fprintf(&out, "kraft.version becomes %d\n", res.UpgradeKRaftVersion)
	}
	if res.Reply != nil {
		out.WriteString("reply " + strings.TrimSpace(print(reflect.ValueOf(res.Reply).Elem())) + "\n")
	}
	if len(res.Records) == 0 {
		return out.String()
	}
	// The records must survive their encoding, as they will be read from the log.
	var read []records.Message
	for _, m := range res.Records {
		d, err := records.Decode(records.Encode(m))
		if err != nil {
			w.t.Fatalf("%s: %v", records.JSON(m), err)
		}
		read = append(read, d)
	}
	b := metadata.Batch{BaseOffset: w.next, LastOffset: w.next + kafka.Offset(len(read)) - 1, Epoch: 1, TimestampMs: w.nowMs, Messages: read}
	if _, err := w.log.Append(b); err != nil {
		w.t.Fatalf("%s: %v", out.String(), err)
	}
	w.next = b.LastOffset + 1
	return out.String()
}

// print shows the fields of a response that are not zero.
func print(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return ""
		}
		return print(v.Elem())
	case reflect.String:
		return strconv.Quote(v.String())
	case reflect.Array:
		return kafka.UUID(v.Interface().([16]byte)).String()
	case reflect.Slice:
		var parts []string
		for i := range v.Len() {
			parts = append(parts, print(v.Index(i)))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case reflect.Struct:
		var parts []string
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Name == "Version" || f.Name == "UnknownTags" || v.Field(i).IsZero() {
				continue
			}
			if f.Name == "Configs" {
				parts = append(parts, fmt.Sprintf("Configs:%d", v.Field(i).Len()))
				continue
			}
			if f.Name == "ErrorCode" {
				parts = append(parts, kafka.CodeForNum(int16(v.Field(i).Int())).Name())
				continue
			}
			parts = append(parts, f.Name+":"+print(v.Field(i)))
		}
		return "{" + strings.Join(parts, " ") + "}"
	}
	return fmt.Sprint(v.Interface())
}

func (w *world) boot(a args) string {
	props := map[string]string{"process.roles": "broker,controller", "node.id": "1", "controller.listener.names": "CONTROLLER",
		"listeners": "PLAINTEXT://:9092,CONTROLLER://:9093", "controller.quorum.voters": "1@localhost:9093"}
	for _, word := range a.words {
		if k, v, ok := strings.Cut(word, ":"); ok {
			props[k] = v
		}
	}
	static, _, err := config.Load(props)
	if err != nil {
		w.t.Fatal(err)
	}
	w.cfg = Config{NodeID: 1, ClusterID: "cluster", Static: static, LocalIncarnation: uuid("local")}
	if mv := a.pairs["mv"]; mv != "" {
		v, err := features.FromVersionString(mv, false)
		if err != nil {
			w.t.Fatal(err)
		}
		if w.cfg.Bootstrap, err = metadata.BootstrapRecords(metadata.Version(v), nil); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.activate(false)
}

func (w *world) activate(open bool) string {
	w.m = New(w.cfg, rand.New(rand.NewSource(1)))
	res, err := w.m.Activate(w.input(), open)
	if err != nil {
		return "error " + err.Error() + "\n"
	}
	return w.commit(res)
}

func (w *world) show(a args) string {
	var out strings.Builder
	img := w.log.Image()
	if a.has("brokers") {
		for _, b := range img.Brokers() {
			fmt.Fprintf(&out, "%d epoch %d fenced %v shutdown %v dirs %d\n", b.ID, b.Epoch, b.Fenced, b.InControlledShutdown, len(b.Directories))
		}
		return out.String()
	}
	t := img.Topic(a.words[0])
	if t == nil {
		return "none\n"
	}
	for i, p := range t.Partitions() {
		fmt.Fprintf(&out, "%d leader %d replicas %v isr %v elr %v lastKnown %v adding %v removing %v epochs %d,%d recovery %d\n", i, p.Leader, p.Replicas, p.ISR, p.ELR, p.LastKnownELR, p.AddingReplicas, p.RemovingReplicas, p.LeaderEpoch, p.PartitionEpoch, p.LeaderRecoveryState)
	}
	return out.String()
}
