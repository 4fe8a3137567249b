package batch

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/kafka"
)

// validateCase is one line of testdata/validate.txt: what Apache Kafka's leader
// does with bytes and a configuration. Fields: name, compression type, cleanup
// policy, timestamp type, before and after bounds, max.message.bytes, origin,
// input, outcome; the outcome is "ok kept|rewritten output" with base offset 77
// and leader epoch 5, or "err CODE [indexes]".
type validateCase struct {
	name    string
	cfg     Config
	origin  Origin
	in      []byte
	outcome []string
}

func validateCases(t testing.TB) []validateCase {
	t.Helper()
	f, err := os.Open("testdata/validate.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []validateCase
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		p := strings.Split(s.Text(), " ")
		c := validateCase{name: p[0], outcome: p[9:]}
		if p[1] == "none" {
			p[1] = "uncompressed"
		}
		c.cfg.Codec, _ = ParseCompressionType(p[1])
		c.cfg.Compact = p[2] == "compact"
		if p[3] == "append" {
			c.cfg.TimestampType = LogAppendTime
		}
		for k, to := range map[int]*int64{4: &c.cfg.BeforeMaxMs, 5: &c.cfg.AfterMaxMs} {
			if *to, err = strconv.ParseInt(p[k], 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		if c.cfg.MaxMessageBytes, err = strconv.Atoi(p[6]); err != nil {
			t.Fatal(err)
		}
		if p[7] == "coordinator" {
			c.origin = OriginCoordinator
		}
		if c.in, err = hex.DecodeString(p[8]); err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	if len(out) < 500 {
		t.Fatalf("only %d cases", len(out))
	}
	return out
}

// TestValidateLikeKafka compares Validate with Apache Kafka's LogValidator.
func TestValidateLikeKafka(t *testing.T) {
	counts := map[string]int{}
	for n, c := range validateCases(t) {
		var a Appended
		cfg := c.cfg
		errs, err := Validate(&a, bytes.Clone(c.in), &cfg, c.origin, 13, goldenTime+1000)
		where := c.name + " (line " + strconv.Itoa(n+1) + ")"
		counts[c.outcome[0]]++
		if reason, ok := better[n+1]; ok {
			if refused := err != nil; refused != (n+1 == 406) || !refused && !a.Rewritten {
				t.Errorf("%s: %v, but %s", where, err, reason)
			}
			continue
		}
		if c.outcome[0] == "ok" {
			if err != nil {
				t.Errorf("%s: refused: %v", where, err)
				continue
			}
			checkLikeKafka(t, where, &c, &a)
			continue
		}
		if err == nil {
			t.Errorf("%s: accepted, Kafka answers %v", where, c.outcome)
			continue
		}
		code := kafka.CodeOf(err)
		if code == kafka.UnknownServerError {
			t.Errorf("%s: no code in %v", where, err)
		}
		if want := c.outcome[1]; want != "OTHER" && want != code.Name() && !undecodable(err) {
			t.Errorf("%s: %s (%v), Kafka answers %s", where, code.Name(), err, want)
		}
		if len(c.outcome) > 2 && c.outcome[2] != "" {
			var got []string
			for _, e := range errs.Errors {
				got = append(got, strconv.Itoa(int(e.BatchIndex)))
			}
			if strings.Join(got, ",") != c.outcome[2] {
				t.Errorf("%s: records %v are refused, Kafka refuses %s", where, got, c.outcome[2])
			}
		}
	}
	if counts["ok"] < 100 || counts["err"] < 100 {
		t.Errorf("outcomes %v", counts)
	}
}

// better lists the lines where Validate means to differ from Apache Kafka.
var better = map[int]string{
	219: "uncompressed records out of order are numbered anew, Kafka stores them as they are",
	230: "the same",
	245: "the same",
	366: "compressed records out of order are numbered anew, Kafka fails with UNKNOWN_SERVER_ERROR",
	406: "a record whose size is wrong is refused, Kafka looks at no size in a compressed batch",
}

// undecodable says that the compressed bytes are damaged. Kafka may meet a
// damaged record in what it has decompressed so far before it meets the damage
// itself, and then answers CORRUPT_MESSAGE.
func undecodable(err error) bool {
	return strings.Contains(err.Error(), "Failed to decompress record stream")
}

func checkLikeKafka(t *testing.T, where string, c *validateCase, a *Appended) {
	t.Helper()
	Assign(a, 77, 5, NoTimestamp)
	want, err := hex.DecodeString(c.outcome[2])
	if err != nil {
		t.Fatal(err)
	}
	infos, err := Infos(a.Data)
	if err != nil {
		t.Errorf("%s: the result is damaged: %v", where, err)
		return
	}
	if len(infos) != len(a.Infos) {
		t.Errorf("%s: %d batches, infos tell %d", where, len(infos), len(a.Infos))
		return
	}
	for k := range infos {
		if infos[k] != a.Infos[k] {
			t.Errorf("%s: infos tell %+v, the bytes %+v", where, a.Infos[k], infos[k])
		}
	}
	if !a.Rewritten && c.outcome[1] == "kept" {
		if !bytes.Equal(a.Data, want) {
			t.Errorf("%s:\n got %x\nwant %x", where, a.Data, want)
		}
		return
	}
	theirs, err := Infos(want)
	if err != nil {
		t.Fatal(err)
	}
	if len(theirs) != len(infos) {
		t.Errorf("%s: %d batches, Kafka makes %d", where, len(infos), len(theirs))
		return
	}
	for k := range infos {
		g, w := infos[k], theirs[k]
		g.Size, g.CRC, g.BaseTimestamp = w.Size, w.CRC, w.BaseTimestamp
		if g != w {
			t.Errorf("%s:\n got %+v\nwant %+v", where, g, w)
		}
	}
	ours, kafkas := readAll(t, a.Data), readAll(t, want)
	for k := range kafkas {
		if k >= len(ours) || ours[k] != kafkas[k] {
			t.Errorf("%s: records\n got %+v\nwant %+v", where, ours, kafkas)
			return
		}
	}
}
