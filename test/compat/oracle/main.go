// Command oracle sends the same requests to Apache Kafka and to gregor and compares the
// answers field by field. Every difference must be a row of docs/compat/differences.md,
// and every row must still be seen; else the command fails.
//
//	oracle -kafka ADDR -gregor ADDR -differences FILE [-kafka-data DIR -gregor-data DIR]
//
// Both servers are started for it, empty, on the same properties (see oracle.sh).
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func main() {
	o := &oracle{}
	kafka := flag.String("kafka", "", "address of Apache Kafka")
	gregor := flag.String("gregor", "", "address of gregor")
	kafkaData := flag.String("kafka-data", "", "Apache Kafka's data directory, as it names it in answers")
	gregorData := flag.String("gregor-data", "", "gregor's")
	differences := flag.String("differences", "", "the page with the reasoned differences")
	only := flag.String("only", "", "run only scenarios whose name matches this expression")
	flag.BoolVar(&o.texts, "texts", false, "print where the texts of errors differ, too")
	flag.Parse()
	o.only = regexp.MustCompile(*only)
	o.sides = [2]*side{newSide("Apache", *kafka, *kafkaData), newSide("gregor", *gregor, *gregorData)}
	if err := o.run(*differences); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

// oracle is one run.
type oracle struct {
	sides  [2]*side
	only   *regexp.Regexp
	texts  bool
	ranges map[int16]span // the versions that both serve, by key

	exchanges, equal, textual int
	covered                   map[int16]map[int16]int
	found                     []difference
}

type span struct{ min, max int16 }

// difference is one field in which an answer of gregor is not that of Apache Kafka.
type difference struct {
	request  string
	version  int16
	scenario string
	path     string
	values   [2]string
}

func (o *oracle) run(page string) error {
	rows, err := readRows(page)
	if err != nil {
		return err
	}
	if err := o.findRanges(); err != nil {
		return err
	}
	o.covered = map[int16]map[int16]int{}
	for _, s := range scenarios {
		if o.only.MatchString(s.name) {
			began := time.Now()
			s.run(o)
			fmt.Printf("%-28s %5d exchanges so far, %s\n", s.name, o.exchanges, time.Since(began).Round(time.Millisecond))
		}
	}
	var unreasoned []difference
	for _, d := range o.found {
		if !rows.explain(d) {
			unreasoned = append(unreasoned, d)
		}
	}
	report(unreasoned)
	whole := o.only.String() == ""
	stale := 0
	if whole {
		for _, r := range rows {
			if r.seen == 0 {
				stale++
				fmt.Printf("row without a difference: %s %s %s\n", r.request, r.scenario, r.path)
			}
		}
		o.reportCoverage()
	}
	fmt.Printf("oracle: %d exchanges, %d equal, %d fields differ with a reason, %d without, %d texts of errors differ, %d rows stale\n",
		o.exchanges, o.equal, len(o.found)-len(unreasoned), len(unreasoned), o.textual, stale)
	if len(unreasoned) > 0 || stale > 0 {
		return fmt.Errorf("%d differences have no reason, %d rows are stale", len(unreasoned), stale)
	}
	return nil
}

// report prints the differences: those of one request and path together, a line for each
// scenario that has them, with an example.
func report(all []difference) {
	kinds := map[string]map[string][]difference{}
	for _, d := range all {
		k := d.request + " " + indexes.ReplaceAllString(d.path, "[]")
		if kinds[k] == nil {
			kinds[k] = map[string][]difference{}
		}
		kinds[k][d.scenario] = append(kinds[k][d.scenario], d)
	}
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		times := 0
		for _, g := range kinds[k] {
			times += len(g)
		}
		fmt.Printf("%s: %d times\n", k, times)
		for _, scenario := range slices.Sorted(maps.Keys(kinds[k])) {
			g := kinds[k][scenario]
			low, high := g[0].version, g[0].version
			for _, d := range g {
				low, high = min(low, d.version), max(high, d.version)
			}
			fmt.Printf("    %s (%d times, v%d to v%d): %s is %s, gregor has %s\n", scenario, len(g), low, high, g[0].path, short(g[0].values[0]), short(g[0].values[1]))
		}
	}
}

// short cuts a value where it no longer helps to tell what differs.
func short(v string) string {
	if len(v) > 240 {
		return v[:240] + "..."
	}
	return v
}

var indexes = regexp.MustCompile(`\[[^]]*\]`)

// reportCoverage names the versions of requests that both serve and no exchange used.
func (o *oracle) reportCoverage() {
	missing := 0
	for key := int16(0); key < 100; key++ {
		r, ok := o.ranges[key]
		if !ok {
			continue
		}
		for v := r.min; v <= r.max; v++ {
			if o.covered[key][v] == 0 {
				missing++
				fmt.Printf("not covered: %s v%d\n", kmsg.NameForKey(key), v)
			}
		}
	}
	fmt.Printf("%d requests served by both, %d of their versions not covered\n", len(o.ranges), missing)
}

// findRanges asks both for the versions that they serve.
func (o *oracle) findRanges() error {
	o.ranges = map[int16]span{}
	var answers [2]map[int16]span
	for i, s := range o.sides {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version = 3
		req.ClientSoftwareName, req.ClientSoftwareVersion = "oracle", "1"
		a := s.ask(req)
		if a.err != nil {
			return fmt.Errorf("%s: ApiVersions: %w", s.name, a.err)
		}
		answers[i] = map[int16]span{}
		for _, k := range a.resp.(*kmsg.ApiVersionsResponse).ApiKeys {
			answers[i][k.ApiKey] = span{k.MinVersion, k.MaxVersion}
		}
	}
	for key, ours := range answers[1] {
		theirs, ok := answers[0][key]
		if !ok {
			continue
		}
		r := span{max(ours.min, theirs.min), min(ours.max, theirs.max)}
		if key == 0 {
			// Apache Kafka names versions 0 to 2 of Produce for old librdkafka's sake, and
			// hangs up when they are used.
			r.min = max(r.min, 3)
		}
		if r.min <= r.max {
			o.ranges[key] = r
		}
	}
	return nil
}

// each calls f for every version of a request that both serve.
func (o *oracle) each(key int16, f func(v int16)) {
	r, ok := o.ranges[key]
	if !ok {
		return
	}
	for v := r.min; v <= r.max; v++ {
		f(v)
	}
}

// ask sends what build makes for each side, compares the answers, and returns them.
func (o *oracle) ask(scenario string, v int16, build func(s *side) kmsg.Request) [2]answer {
	var answers [2]answer
	var name string
	var key int16
	for i, s := range o.sides {
		req := build(s)
		req.SetVersion(v)
		name, key = kmsg.NameForKey(req.Key()), req.Key()
		began := time.Now()
		answers[i] = s.ask(req)
		if took := time.Since(began); took > 5*time.Second {
			fmt.Printf("slow: %s v%d, %s: %s took %s\n", name, v, scenario, s.name, took.Round(time.Second))
		}
	}
	o.compare(name, key, v, scenario, answers)
	return answers
}

// compare notes how two answers differ.
func (o *oracle) compare(name string, key, v int16, scenario string, answers [2]answer) {
	o.exchanges++
	if o.covered[key] == nil {
		o.covered[key] = map[int16]int{}
	}
	o.covered[key][v]++
	var flat [2]map[string]string
	var order [2][]string
	for i := range answers {
		flat[i], order[i] = o.sides[i].flatten(answers[i])
	}
	before := len(o.found)
	missing := "" // an element that only one has; its fields are no differences of their own
	note := func(path string) {
		if missing != "" && strings.HasPrefix(path, missing+".") {
			return
		}
		missing = ""
		a, aok := flat[0][path]
		b, bok := flat[1][path]
		if aok == bok && a == b {
			return
		}
		if aok != bok {
			missing = path
		}
		if !aok {
			a = "absent"
		}
		if !bok {
			b = "absent"
		}
		if aok && bok && isText(path) && a != "nil" && b != "nil" {
			o.textual++
			if o.texts {
				fmt.Printf("text: %s v%d, %s: %s\n    Apache: %s\n    gregor: %s\n", name, v, scenario, path, a, b)
			}
			return
		}
		o.found = append(o.found, difference{name, v, scenario, path, [2]string{a, b}})
	}
	for _, p := range order[0] {
		note(p)
	}
	for _, p := range order[1] {
		if _, ok := flat[0][p]; !ok {
			note(p)
		}
	}
	if len(o.found) == before {
		o.equal++
	}
}

func isText(path string) bool {
	return strings.HasSuffix(path, "ErrorMessage") || strings.HasSuffix(path, ".ErrMessage")
}

// quiet asks both without comparing: for what must have happened before a comparison.
func (o *oracle) quiet(build func(s *side) kmsg.Request, v int16) [2]answer {
	var answers [2]answer
	for i, s := range o.sides {
		req := build(s)
		req.SetVersion(v)
		answers[i] = s.ask(req)
	}
	return answers
}

// until asks a side again until its answer is as wanted, for half a minute at most.
func (o *oracle) until(v int16, build func(s *side) kmsg.Request, good func(kmsg.Response) bool) {
	for _, s := range o.sides {
		end := time.Now().Add(30 * time.Second)
		for {
			req := build(s)
			req.SetVersion(v)
			a := s.ask(req)
			if a.err == nil && good(a.resp) || time.Now().After(end) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}
