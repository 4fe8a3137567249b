// Package exercise is what the programs of this folder share: the records that they
// send, the checks that what came back is exactly these, and the count of the tests.
// It is a module of its own, as each program is, so that gregor depends on no other
// client.
package exercise

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Every topic has so many partitions, and so many records are sent to most of them.
const (
	Partitions = 6
	Count      = 600
)

// Start is the first time, in milliseconds, of records that have times: much older ones
// might be deleted at any time.
var Start = time.Now().UnixMilli() - 3_600_000

// Header is one of a record's headers.
type Header struct {
	Key   string
	Value []byte
}

// Record is one that was sent, or came back. Offset and Partition are those of one that
// came back.
type Record struct {
	Key, Value []byte
	Headers    []Header
	Partition  int
	Offset     int64
}

// Number gives the record that is sent with the number: every tenth has no key, every
// fiftieth no value.
func Number(i int) Record {
	r := Record{Headers: []Header{
		{"number", []byte(strconv.Itoa(i))}, {"empty", []byte{}}, {"number", []byte{0, byte(i)}},
	}}
	if i%10 != 9 {
		r.Key = fmt.Appendf(nil, "key-%d", i%10)
	}
	if i%50 != 48 {
		r.Value = fmt.Appendf(nil, "message %d %s", i, strings.Repeat("ä€𝄞 ", i%40))
	}
	return r
}

// Range gives the numbers from to to-1 for which keep holds; a nil keep is true.
func Range(from, to int, keep func(int) bool) []int {
	var is []int
	for i := from; i < to; i++ {
		if keep == nil || keep(i) {
			is = append(is, i)
		}
	}
	return is
}

// Exactly says whether the records are those with the numbers, each once and whole, and
// those of a key in the order in which they were sent.
func Exactly(got []Record, want []int) error {
	sort.SliceStable(got, func(a, b int) bool {
		return got[a].Partition < got[b].Partition || got[a].Partition == got[b].Partition && got[a].Offset < got[b].Offset
	})
	last := map[string]int{}
	for _, r := range got {
		i, err := number(r)
		if err != nil {
			return err
		}
		if before, ok := last[string(r.Key)]; r.Key != nil && ok && before >= i {
			return fmt.Errorf("record %d comes after %d", i, before)
		}
		last[string(r.Key)] = i
	}
	return Once(got, want)
}

func number(r Record) (int, error) {
	if len(r.Headers) == 0 {
		return 0, fmt.Errorf("a record without headers: %q", r.Value)
	}
	return strconv.Atoi(string(r.Headers[0].Value))
}

// Once says whether the records are those with the numbers, each once and whole.
func Once(got []Record, want []int) error {
	var numbers []int
	for _, r := range got {
		i, err := number(r)
		if err != nil {
			return err
		}
		w := Number(i)
		if !bytes.Equal(w.Key, r.Key) || !bytes.Equal(w.Value, r.Value) || len(w.Headers) != len(r.Headers) {
			return fmt.Errorf("record %d came back as %q, %q with %d headers", i, r.Key, r.Value, len(r.Headers))
		}
		for n, h := range w.Headers {
			if g := r.Headers[n]; g.Key != h.Key || !bytes.Equal(g.Value, h.Value) {
				return fmt.Errorf("record %d: header %d is %q=%q", i, n, g.Key, g.Value)
			}
		}
		numbers = append(numbers, i)
	}
	sort.Ints(numbers)
	return Equal(want, numbers)
}

// Equal compares by what the two print.
func Equal(want, got any) error {
	if w, g := fmt.Sprint(want), fmt.Sprint(got); w != g {
		return fmt.Errorf("want %.300s, got %.300s", w, g)
	}
	return nil
}

// All gives the first error.
func All(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Until waits up to a minute for the condition.
func Until(what string, condition func() (bool, error)) error {
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		ok, err := condition()
		if ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return errors.New(what + ": not in a minute")
		}
	}
}

// Eventually asks again for a while: what one node has been told by the controller,
// another one may learn a moment later, with Apache Kafka's nodes too.
func Eventually(body func() error) error {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err := body(); err == nil || time.Now().After(end) {
			return err
		}
	}
}

// Args gives the program's arguments: ADDR NAME REPLICAS.
func Args() (addrs []string, name string, replicas int) {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage:", os.Args[0], "ADDR NAME REPLICAS")
		os.Exit(2)
	}
	replicas, err := strconv.Atoi(os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return strings.Split(os.Args[1], ","), os.Args[2], replicas
}

// Tests counts what each test came to. One goroutine uses it.
type Tests struct{ tests, passed int }

// Run runs a test and prints what it came to.
func (t *Tests) Run(name string, body func() error) {
	t.tests++
	if err := body(); err != nil {
		fmt.Printf("FAIL %s: %v\n", name, err)
		return
	}
	t.passed++
	fmt.Println("ok", name)
}

// Done ends the program.
func (t *Tests) Done() {
	fmt.Printf("tests %d passed %d\n", t.tests, t.passed)
	if t.tests != t.passed {
		os.Exit(1)
	}
	os.Exit(0)
}
