package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sentTwo = `{"timestamp":1,"name":"startup_complete"}
{"timestamp":2,"name":"producer_send_success","value":"a","topic":"t","partition":0,"offset":0}
{"timestamp":3,"name":"producer_send_success","value":"b","topic":"t","partition":0,"offset":1}
`

const (
	gets    = `{"timestamp":10,"name":"partitions_assigned","partitions":[{"topic":"t","partition":0}]}` + "\n"
	gives   = `{"timestamp":20,"name":"partitions_revoked","partitions":[{"topic":"t","partition":0}]}` + "\n"
	readA   = `{"timestamp":11,"name":"record_data","value":"a","topic":"t","partition":0,"offset":0}` + "\n"
	readB   = `{"timestamp":12,"name":"record_data","value":"b","topic":"t","partition":0,"offset":1}` + "\n"
	readC   = `{"timestamp":12,"name":"record_data","value":"c","topic":"t","partition":0,"offset":2}` + "\n"
	refused = `{"timestamp":4,"name":"producer_send_error","value":"c","topic":"t"}` + "\n"
	laterOn = `{"timestamp":20,"name":"partitions_assigned","partitions":[{"topic":"t","partition":0}]}` + "\n"
	tooSoon = `{"timestamp":19,"name":"partitions_assigned","partitions":[{"topic":"t","partition":0}]}` + "\n"
)

func TestMembers(t *testing.T) {
	for _, c := range []struct {
		name    string
		repeats string
		sent    string
		members []string
		wrong   string
	}{
		{"exactly once", "0", sentTwo, []string{gets + readA + gives, laterOn + readB}, ""},
		{"other words between", "0", sentTwo, []string{"The protocol is ready!\n" + gets + readA + readB}, ""},
		{"missing", "0", sentTwo, []string{gets + readA + gives}, "exactly"},
		{"twice", "0", sentTwo, []string{gets + readA + gives, laterOn + readA + readB}, "exactly"},
		{"twice, allowed", "1", sentTwo, []string{gets + readA + gives, laterOn + readA + readB}, ""},
		{"never sent", "0", sentTwo, []string{gets + readA + readB + readC}, "where"},
		{"out of order", "0", sentTwo, []string{gets + readB + readA}, "behind"},
		{"refused", "0", sentTwo + refused, []string{gets + readA + readB}, "refused"},
		{"two owners", "0", sentTwo, []string{gets + readA + gives, tooSoon + readB}, "both held"},
		{"nothing sent", "0", "", []string{gets}, "exactly"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			args := []string{"members", "-repeats", c.repeats, write(t, dir, "sent", c.sent)}
			for i, m := range c.members {
				args = append(args, write(t, dir, string(rune('a'+i)), m))
			}
			err := run(args)
			if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("got %v, want %q", err, c.wrong)
			}
		})
	}
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
