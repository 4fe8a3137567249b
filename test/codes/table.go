package codes

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Outcome is what a code makes of a client.
type Outcome string

// The outcomes of a transactional producer and, but for Abortable, of a member.
const (
	GoesOn    Outcome = "goes-on"   // the client tries again by itself, or passes over the code
	Repeats   Outcome = "repeats"   // the call fails as one to repeat, and succeeds then
	Abortable Outcome = "abortable" // the transaction is aborted, the same client commits the next
	Rejoins   Outcome = "rejoins"   // the member joins anew by itself
	Told      Outcome = "told"      // a call fails, the same client goes on
	Fatal     Outcome = "fatal"     // the client has to be made anew
	Untried   Outcome = "-"         // the client does not send the request
)

// Clients are the columns of the table.
var Clients = []string{"java", "librdkafka", "franz-go"}

// Scenario is what the client does when it is answered the code.
type Scenario struct {
	Name    string // txn, classic or consumer
	OldTxns bool   // with transaction.version=1
	Running bool   // the code comes to a client that works already
	Written string // its word in the table
}

// Row is one code of one request.
type Row struct {
	API      string
	Key      int16
	Code     *kafka.Code
	Scenario Scenario
	Want     map[string]Outcome
	Note     string
}

// Name of the row, unique, fit for a group or transactional id.
func (r Row) Name() string { return r.API + "-" + r.Scenario.Written + "-" + r.Code.Name() }

// MayRejoin says whether a join that comes after the code is one more than the client
// would have sent without it.
func (r Row) MayRejoin() bool {
	return r.Scenario.Name != "txn" && r.Key != int16(kmsg.JoinGroup) && r.Key != int16(kmsg.FindCoordinator)
}

//go:embed table.txt
var table string

// apis are the requests of the table: the scenario that sends them first and whether
// the client works by then.
var apis = map[string]struct {
	key     kmsg.Key
	running bool
}{
	"FindCoordinator":        {kmsg.FindCoordinator, false},
	"InitProducerId":         {kmsg.InitProducerID, false},
	"Produce":                {kmsg.Produce, true},
	"AddPartitionsToTxn":     {kmsg.AddPartitionsToTxn, true},
	"AddOffsetsToTxn":        {kmsg.AddOffsetsToTxn, true},
	"TxnOffsetCommit":        {kmsg.TxnOffsetCommit, true},
	"EndTxn":                 {kmsg.EndTxn, true},
	"JoinGroup":              {kmsg.JoinGroup, false},
	"SyncGroup":              {kmsg.SyncGroup, false},
	"Heartbeat":              {kmsg.Heartbeat, true},
	"OffsetFetch":            {kmsg.OffsetFetch, false},
	"OffsetCommit":           {kmsg.OffsetCommit, true},
	"ConsumerGroupHeartbeat": {kmsg.ConsumerGroupHeartbeat, true},
}

// Rows reads the table.
func Rows() ([]Row, error) {
	var rows []Row
	seen := map[string]bool{}
	for n, line := range strings.Split(table, "\n") {
		line, note, _ := strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		r, err := parseRow(f)
		if err == nil && seen[r.Name()] {
			err = fmt.Errorf("%s is there twice", r.Name())
		}
		if err != nil {
			return nil, fmt.Errorf("line %d of table.txt: %w", n+1, err)
		}
		seen[r.Name()] = true
		r.Note = strings.TrimSpace(note)
		rows = append(rows, r)
	}
	return rows, nil
}

func parseRow(f []string) (Row, error) {
	if len(f) != 3+len(Clients) {
		return Row{}, fmt.Errorf("%d words, not %d", len(f), 3+len(Clients))
	}
	api, ok := apis[f[0]]
	if !ok {
		return Row{}, fmt.Errorf("no request %s", f[0])
	}
	r := Row{API: f[0], Key: int16(api.key), Want: map[string]Outcome{}}
	r.Scenario = Scenario{Name: strings.TrimSuffix(f[1], "-v1"), OldTxns: strings.HasSuffix(f[1], "-v1"), Running: api.running, Written: f[1]}
	switch r.Scenario.Name {
	case "txn", "classic", "consumer":
	default:
		return Row{}, fmt.Errorf("no scenario %s", f[1])
	}
	if r.Code = codeNamed(f[2]); r.Code == nil {
		return Row{}, fmt.Errorf("no code %s", f[2])
	}
	for i, c := range Clients {
		r.Want[c] = Outcome(f[3+i])
		switch r.Want[c] {
		case GoesOn, Repeats, Abortable, Rejoins, Told, Fatal, Untried:
		default:
			return Row{}, fmt.Errorf("no outcome %s", f[3+i])
		}
	}
	return r, nil
}

func codeNamed(name string) *kafka.Code {
	all := kafka.AllCodes()
	if i := slices.IndexFunc(all, func(c *kafka.Code) bool { return c.Name() == name }); i >= 0 {
		return all[i]
	}
	return nil
}

// Page is docs/compat/codes.md.
func Page() (string, error) {
	rows, err := Rows()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(head)
	last := ""
	for _, r := range rows {
		if r.API != last {
			last = r.API
			fmt.Fprintf(&b, "\n## %s\n\n| scenario | code | java | librdkafka | franz-go | |\n|---|---|---|---|---|---|\n", r.API)
		}
		fmt.Fprintf(&b, "| %s | %s |", r.Scenario.Written, r.Code.Name())
		for _, c := range Clients {
			fmt.Fprintf(&b, " %s |", r.Want[c])
		}
		fmt.Fprintf(&b, " %s |\n", r.Note)
	}
	return b.String(), nil
}

const head = `# Error codes and what clients make of them

Each code that the broker may answer to a producer with transactions or to a member of a group, and what becomes of the client that gets it
once. A relay between the two puts the code into the first response of the kind; the broker has done what it was asked for, which is the worst case of a code
that says it may not have. The page is made from ` + "`test/codes/table.txt`" + `: ` + "`go test ./test/codes -run Page -update`" + `.

The columns of java (kafka-clients 4.3.1) and librdkafka (2.16.0) are tried by ` + "`make compat-codes`" + `, that of franz-go by the tests of ` + "`broker`" + `.
A record of a transaction that went on is there once for read_committed, that of one that was aborted is not, and none is there twice.

| outcome | what it means |
|---|---|
| goes-on | the client tries again by itself, or passes over the code; the application learns nothing |
| repeats | the call fails as one to repeat; the same call succeeds |
| abortable | the call fails; the application aborts the transaction and commits the next with the same client |
| rejoins | the member joins its group anew by itself; the application learns of a rebalance only |
| told | a call fails, the same client goes on |
| fatal | the application has to make a new client |
| - | the client does not send the request, or is not tried |

| scenario | what the client does |
|---|---|
| txn | begins a transaction, writes a record, adds a group's offset, commits; transaction.version=2 |
| txn-v1 | the same with transaction.version=1 |
| classic | reads and commits as the only member of a group, classic protocol |
| consumer | the same with the consumer protocol (KIP-848) |
`
